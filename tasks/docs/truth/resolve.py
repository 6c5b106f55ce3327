"""Whether a dotted name is defined in a code base: certainly, certainly not, or nobody can say from the syntax."""

from __future__ import annotations

import builtins
import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property, lru_cache
from pathlib import Path

from models.code import Codebase, Kind, Module, Parameter, Symbol
from tasks.docs.truth.bound import bound_in
from tasks.docs.truth.modules import Modules
from tasks.docs.truth.signature import ANYTHING, KEYWORD_ONLY, PLAIN, Signature, without_self

HASH = 16
"""Digits of a hash that are kept and compared."""
_MODULES = 4_096
"""Modules that are kept decoded."""
_DEPTH = 40
_CLOSED = frozenset({"object", "Generic", "Protocol", "ABC", "typing.Generic", "typing.Protocol", "abc.ABC",
                     "typing_extensions.Protocol", "builtins.object"})  # fmt: skip
_PLAIN_DECORATORS = re.compile(
    r"(?:^|\.)(?:dataclass|final|total_ordering|runtime_checkable|deprecated|unique|define|frozen|mutable|s)$"
)
_INERT = re.compile(r"(?:^|\.)(?:final|total_ordering|runtime_checkable|deprecated|unique)$")
"""Decorators of classes that leave it to the class how it is made."""
_MANY_OF_CLASS = re.compile(
    r"\b(?:setattr|object\.__setattr__)\(\s*[^,]{1,200},\s*(?![\"'\s])"
    r"|(?:\b__dict__\b|\bvars\(\w+\))(?!\s*(?:[!=]=|\.(?:items|keys|values|get|copy)\b))"
    r"|\b(?:vars|locals)\(\)\s*(?:\[|\|=|\.(?:update|setdefault)\b)"
)
"""How a class gives itself attributes that it does not spell; one that only reads them all does not."""
_READ_OF_CLASS = re.compile(r"(?:[!=]=|\*\*|\bin\b)\s*(?:\w+\.__dict__|vars\(\w*\))")


class Answer(StrEnum):
    """What is known of a name."""

    defined = "defined"
    gone = "gone"
    open = "open"
    """It may exist: below a value, a base from elsewhere, a module that makes its names as it runs."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer for one name."""

    answer: Answer
    path: str = ""
    """Where it is defined; of a name that is gone, the longest part of it that is there."""


@dataclass
class Resolver:
    """Answers about the names of one code base."""

    codebase: Codebase
    _verdicts: dict[str, Verdict] = field(default_factory=dict)
    _members: dict[str, dict[str, Symbol]] = field(default_factory=dict)
    _waiting: set[str] = field(default_factory=set)
    _returned: set[str] = field(default_factory=set)
    _met: dict[str, Verdict] = field(default_factory=dict)
    _many: dict[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Have modules that are asked for again and again decoded once."""
        self.codebase = replace(self.codebase, module=lru_cache(_MODULES)(self.codebase.module))
        self._modules = Modules(self.codebase)

    def resolve(self, name: str) -> Verdict:
        """What is known of the dotted `name`; one that begins outside of the code base is open."""
        return self._step(name, -1)

    def is_ours(self, name: str) -> bool:
        """Whether `name` begins with a package of the code base."""
        return name.partition(".")[0] in self._packages

    def is_variable(self, package: str) -> bool:
        """Whether a document or an example of the checkout gives the name of a package to something else."""
        return package in self._variables

    def symbol(self, path: str) -> Symbol | None:
        """The symbol at the path of a verdict; None for modules, and for what cannot be read any more."""
        known = self.codebase.names.get(path)
        if known is None or known.kind is Kind.module:
            return None
        return self._symbols(known.module).get(path)

    def signature(self, path: str) -> Signature | None:
        """What a caller of `path` sees; a class of which nobody can say how it is made takes anything."""
        symbol = self.symbol(path)
        if symbol is None:
            return None
        if symbol.kind is Kind.class_:
            made = self.constructor(path)
            return Signature.of(symbol, made if made is not None else ANYTHING)
        return Signature.of(symbol)

    def constructor(self, path: str) -> tuple[Parameter, ...] | None:
        """The parameters that the class at `path` is made with, without `self`; None where that is not certain."""
        for depth, symbol in enumerate(self.lineage(path)):
            if symbol is None:
                return None
            if any(name == "metaclass" for name, _ in symbol.keywords):
                return None
            members = self._symbols(self.codebase.names[symbol.path].module)
            new = members.get(f"{symbol.path}.__new__")
            made = members.get(f"{symbol.path}.__init__")
            if new is not None or (made is not None and "overload" in made.labels):
                return None
            if made is not None:
                return without_self(made) if made.parameters and is_plain(made) else None
            if "dataclass" in symbol.labels or any(not _INERT.search(one) for one in symbol.decorators):
                return self._fields(symbol) if depth == 0 else None
        return ()  # all of its bases are known, and none of them takes anything

    def _fields(self, symbol: Symbol) -> tuple[Parameter, ...] | None:
        """Of a plain dataclass without bases and without fields that say how they are made."""
        if symbol.decorators not in {("dataclasses.dataclass",), ("dataclass",)} or symbol.bases:
            return None
        if "kw_only" in self._text(symbol.path) or "init=" in self._text(symbol.path):
            return None
        found: list[Parameter] = []
        for member in self.members(symbol.path).values():
            if member.kind is not Kind.attribute or member.annotation is None or "instance" in member.labels:
                continue
            if "ClassVar" in member.annotation or "property" in member.labels:
                continue
            if "InitVar" in member.annotation or "KW_ONLY" in member.annotation:
                return None
            value = member.value
            required = value is None or (value.startswith(("field(", "dataclasses.field(")) and "default" not in value)
            found.append(
                Parameter(member.path.rpartition(".")[2], PLAIN, member.annotation, None if required else value)
            )
        return tuple(found)

    def members(self, path: str) -> dict[str, Symbol]:
        """What is defined directly below the class or module at `path`, by name."""
        known = self.codebase.names.get(path)
        if known is None:
            return {}
        prefix = f"{path}."
        found = self._symbols(known.module)
        return {p[len(prefix) :]: s for p, s in found.items() if p.startswith(prefix) and "." not in p[len(prefix) :]}

    def method(self, path: str, name: str) -> Symbol | None:
        """The method or attribute `name` of the class at `path` or of its bases; None where that is not certain."""
        for symbol in self.lineage(path):
            if symbol is None:
                return None
            found = self.members(symbol.path).get(name)
            if found is not None:
                return found
        return None

    def candidates(self, name: str) -> tuple[str, ...]:
        """Where a name that is gone may have gone to: the same last part elsewhere, public, best first."""
        *above, last = name.split(".")
        same = [path for path in self._by_last.get(last, ()) if path != name]
        kinds = [path for path in same if self._looks_alike(last, path)]
        mine = [path for path in kinds if path.partition(".")[0] == above[0]] if above else kinds
        return tuple(self._shortest(mine))

    def similar(self, name: str) -> tuple[str, ...]:
        """Names beside the one that is gone that are spelt much like it."""
        parent, _, last = self._existing(name)
        known = self.codebase.names.get(parent)
        if known is None:
            return ()
        siblings = [*self.members(parent)]
        if known.kind is Kind.module:
            siblings += [one.name for one in self.codebase.module(parent).imports if not one.typing]
        close = difflib.get_close_matches(last, sorted({one for one in siblings if not one.startswith("_")}), 3, 0.75)
        return tuple(f"{parent}.{one}" for one in close)

    def unique(self, last: str) -> str | None:
        """The one public symbol whose name is `last`, as it is best known; None when there are several or none."""
        found = tuple(self._shortest(self._by_last.get(last, ())))
        return found[0] if len(found) == 1 else None

    def is_any(self, last: str) -> bool:
        """Whether anything public is called so."""
        return last in self._by_last

    def source_of(self, path: str) -> str:
        """Text of the file that defines `path`; empty when it cannot be read."""
        return self._text(path)

    def file_of(self, path: str) -> str:
        """The file that defines `path`, relative to the checkout."""
        known = self.codebase.names.get(path)
        return self.codebase.module(known.module).file if known is not None else ""

    @cached_property
    def _packages(self) -> frozenset[str]:
        return frozenset(self.codebase.packages)

    @cached_property
    def _variables(self) -> frozenset[str]:
        return bound_in(Path(self.codebase.root), self._packages)

    @cached_property
    def _by_last(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for path, known in self.codebase.names.items():
            if known.public:
                found.setdefault(path.rpartition(".")[2], []).append(path)
        return found

    @cached_property
    def _by_source(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for path, known in self.codebase.names.items():
            found.setdefault(known.source[:HASH], []).append(path)
        return found

    def same_source(self, source: str) -> tuple[str, ...]:
        """Names whose source text has this hash, or one that begins with it."""
        return tuple(self._by_source.get(source[:HASH], ())) if source else ()

    def _shortest(self, paths: Sequence[str]) -> Iterator[str]:
        return iter(sorted(paths, key=lambda path: (path.count("."), path)))

    def _looks_alike(self, last: str, path: str) -> bool:
        kind = self.codebase.names[path].kind
        return kind is not Kind.attribute or last.isupper()

    def _existing(self, name: str) -> tuple[str, str, str]:
        verdict = self.resolve(name)
        parent = verdict.path
        rest = name.split(".")[parent.count(".") + 1 :] if name.startswith(parent) else name.split(".")[-1:]
        return parent, ".".join(rest), rest[0] if rest else name

    def _resolve(self, name: str, depth: int) -> Verdict:
        if depth > _DEPTH:
            return Verdict(Answer.open)
        parts = name.split(".")
        if parts[0] not in self._packages:
            return Verdict(Answer.open)
        length = next((n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in self.codebase.files), 0)
        if length == 0:
            namespace = any(module.startswith(f"{name}.") for module in self.codebase.files)
            return Verdict(Answer.defined if namespace else Answer.open, name if namespace else "")
        module = ".".join(parts[:length])
        if length == len(parts):
            return Verdict(Answer.defined, module)
        verdict = self._in_module(module, parts[length], parts[length + 1 :], depth)
        package = ".".join(parts[: length - 1])
        if verdict.answer is Answer.gone and package in self.codebase.files:
            # it may have something else by the name of its module: `from .system import system`
            for one in self.codebase.module(package).imports:
                if one.name == parts[length - 1] and not one.lazy and one.meaning != module:
                    other = self._step(".".join([one.meaning, *parts[length:]]), depth + 1)
                    verdict = verdict if other.answer is Answer.gone else other
        return verdict

    def _in_module(self, path: str, name: str, rest: Sequence[str], depth: int) -> Verdict:
        """A member of a module: gone when it is so in every way that the module may have it."""
        try:
            module = self.codebase.module(path)
        except KeyError:
            return Verdict(Answer.open, path)
        if f"{path}.{name}" in self.codebase.names:
            return self._below(f"{path}.{name}", rest, depth)
        last: Verdict | None = None
        for found in self._ways(module, name, depth):
            below = self._below(found.path, rest, depth) if found.answer is Answer.defined else found
            if below.answer is not Answer.gone:
                return below
            last = last or below
        if last is not None:
            return last
        return Verdict(Answer.open if self._modules.may_hold(module, name) else Answer.gone, path)

    def _ways(self, module: Module, name: str, depth: int) -> Iterator[Verdict]:
        """What a name that a module imports may stand for, what holds in the end first; never gone."""
        full = f"{module.path}.{name}"
        for one in reversed(module.imports):
            if one.name != name or one.lazy:
                continue
            verdict = self._step(one.meaning, depth) if one.meaning != full else Verdict(Answer.open, full)
            # an import of what no syntax shows is no lie of a document: a compiled module, or a name that is made
            yield verdict if verdict.answer is Answer.defined else Verdict(Answer.open, full)
        for one in reversed(module.imports):
            if one.name != "*" and not one.target.endswith(".*"):
                continue
            target = one.target.removesuffix(".*")
            verdict = self._through_star(target, name, depth) if self.is_ours(target) else Verdict(Answer.open, full)
            if verdict.answer is not Answer.gone:
                yield verdict

    def _through_star(self, target: str, name: str, depth: int) -> Verdict:
        """What `from target import *` brings as `name`."""
        try:
            module = self.codebase.module(target)
        except KeyError:
            verdict = self._step(target, depth)
            if verdict.answer is not Answer.defined:
                return Verdict(Answer.open, target)
            return self._step(f"{verdict.path}.{name}", depth)
        if self._modules.is_handed_on(module, name) is False:
            return Verdict(Answer.gone, target)
        verdict = self._step(f"{target}.{name}", depth)
        if verdict.answer is Answer.gone and self._modules.spells_all(module):
            return Verdict(Answer.open, target)  # it says itself that it has this
        return verdict

    def _step(self, name: str, depth: int) -> Verdict:
        """The answer for a name on the way to another; what leads back to itself brings nothing, and nothing twice."""
        held = self._verdicts.get(name) or self._met.get(name)
        if held is not None:
            return held
        if name in self._waiting:
            self._returned.add(name)
            return Verdict(Answer.gone, name)
        self._waiting.add(name)
        try:
            verdict = self._resolve(name, depth + 1)
        finally:
            self._waiting.discard(name)
            self._returned.discard(name)
        # where a way led back to what is still asked, the answer holds within this question only
        (self._met if self._returned else self._verdicts)[name] = verdict
        if not self._waiting:
            self._met.clear()
        return verdict

    def _below(self, path: str, rest: Sequence[str], depth: int) -> Verdict:
        known = self.codebase.names.get(path)
        if not rest:
            return Verdict(Answer.defined, path)
        if known is None or known.kind in {Kind.attribute, Kind.function}:
            return Verdict(Answer.open, path)
        if known.kind is Kind.module:
            return self._in_module(path, rest[0], rest[1:], depth)
        return self._in_class(path, rest[0], rest[1:], depth)

    def _in_class(self, path: str, name: str, rest: Sequence[str], depth: int) -> Verdict:
        for symbol in self.lineage(path, name):
            if symbol is None:
                return Verdict(Answer.open, path)
            full = f"{symbol.path}.{name}"
            if full in self.codebase.names:
                return self._below(full, rest, depth + 1)
            if self._opens(symbol, name):
                return Verdict(Answer.open, path)
        return Verdict(Answer.open if hasattr(type, name) else Answer.gone, path)  # each class has those of `type`

    def _opens(self, symbol: Symbol, name: str) -> bool:
        """Whether the class may have a member `name` that its syntax does not list."""
        if any(not _is_plain_class(one) for one in symbol.decorators):
            return True
        if any(f"{symbol.path}.{hook}" in self.codebase.names for hook in ("__getattr__", "__getattribute__")):
            return True
        text = self._text(symbol.path)
        if any(name == "metaclass" for name, _ in symbol.keywords) or not text:
            return True
        if self._makes_its_own(symbol, text):
            return True
        word = re.escape(name)
        return (
            re.search(rf"\.{word}\s*(?::[^=\n]+)?=(?!=)|[\"']{word}[\"']|^[ \t]*{word}\s*[:=]", text, re.M) is not None
        )

    def _makes_its_own(self, symbol: Symbol, text: str) -> bool:
        """Whether attributes of the class are set by names that are computed, within it or beside it."""
        held = self._many.get(symbol.path)
        if held is None:
            own = "\n".join(text.splitlines()[symbol.line - 1 : symbol.end_line])
            beside = rf"\bsetattr\(\s*{re.escape(symbol.path.rpartition('.')[2])}\s*,\s*(?![\"'\s])"
            own = _READ_OF_CLASS.sub(" == ", own)
            held = _MANY_OF_CLASS.search(own) is not None or re.search(beside, text) is not None
            self._many[symbol.path] = held
        return held

    def lineage(self, path: str, name: str = "") -> Iterator[Symbol | None]:
        """The class at `path` and its bases, near ones first; None once where it derives from what is not known."""
        seen: set[str] = set()
        waiting = [path]
        while waiting:
            current = waiting.pop(0)
            if current in seen:
                continue
            seen.add(current)
            symbol = self.symbol(current)
            if symbol is None or symbol.kind is not Kind.class_ or len(seen) > _DEPTH:
                yield None
                return
            yield symbol
            for base in symbol.bases:
                if not self._next_base(symbol, base, name, waiting):
                    yield None
                    return

    def _next_base(self, symbol: Symbol, base: str, name: str, waiting: list[str]) -> bool:
        """Put `base` behind what waits; False when nobody can say what it brings."""
        bare = base.partition("[")[0]
        if bare in _CLOSED:
            return True
        verdict = self.resolve(bare) if self.is_ours(bare) else Verdict(Answer.open)
        if verdict.answer is not Answer.defined:
            module = self.codebase.names[symbol.path].module
            local = self._resolve(f"{module}.{bare}", 1)
            verdict = local if local.answer is Answer.defined else verdict
        if verdict.answer is Answer.defined:
            waiting.append(verdict.path)
            return True
        builtin = getattr(builtins, bare.removeprefix("builtins."), None)
        return isinstance(builtin, type) and bool(name) and not hasattr(builtin, name)

    def _symbols(self, module: str) -> dict[str, Symbol]:
        held = self._members.get(module)
        if held is None:
            try:
                found: Module | None = self.codebase.module(module)
            except KeyError:
                found = None
            # of overloads and other conditional definitions the last is what runs
            held = self._members[module] = {one.path: one for one in (found.symbols if found is not None else ())}
        return held

    def _text(self, path: str) -> str:
        return self._modules.text(self.file_of(path))


def is_plain(symbol: Symbol) -> bool:
    """Whether its decorators leave the signature of a function as it is written."""
    known = re.compile(
        r"(?:^|\.)(?:staticmethod|classmethod|abstractmethod|override|final|cache|lru_cache|wraps|"
        r"contextmanager|asynccontextmanager|deprecated|no_type_check|typing_extensions\.\w+|property|cached_property)$"
    )
    runs = bool({"flow", "task"} & set(symbol.labels)) and len(symbol.decorators) == 1  # called with what it declares
    return runs or all(known.search(one) for one in symbol.decorators)


def takes_keyword(parameters: Sequence[Parameter], name: str) -> bool:
    """Whether a call may name a parameter so."""
    return any(
        one.kind == "variadic keyword" or (one.name == name and one.kind in {PLAIN, KEYWORD_ONLY}) for one in parameters
    )


def _is_plain_class(decorator: str) -> bool:
    return _PLAIN_DECORATORS.search(decorator) is not None
