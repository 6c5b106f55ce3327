"""Docstrings against the code that they stand in: parameters, names that they refer to, examples."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from models.code import Kind, Module, Parameter, Symbol
from tasks.code.docstrings import Item, references
from tasks.docs.truth.code import Scope, UnreadableError, misfits, parameters_for, read_example
from tasks.docs.truth.described import certain, described, is_handed_on
from tasks.docs.truth.past import speaks_of_the_past
from tasks.docs.truth.resolve import Answer, Resolver, is_plain
from tasks.docs.truth.signature import VARIADIC, VARIADIC_KEYWORD, Signature, without_self
from tasks.docs.truth.spoken import Literals

_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+", re.ASCII)
_SUFFIX = re.compile(r"\.(?:py|md|toml|yaml|yml|json|ini|cfg|txt|sql|html|com|org|io|net|dev)$")
_DIRECTIVE = re.compile(r"^\s*\.\.\s+(?:version\w+|deprecated\w*)::")
_FENCED = re.compile(r"^[ \t]*```(?:python|py)[^\n]*\n(.*?)^[ \t]*```", re.MULTILINE | re.DOTALL)
_ROLES = frozenset({"", "class", "func", "meth", "attr", "mod", "exc", "data", "const", "obj", "function", "method"})
_ALIKE = 0.75
_PLAIN_LABELS = frozenset({"flow", "task"})
_OF_PYTEST = "conftest"
"""A module of fixtures, whose docstrings describe what tests mark them with."""
_FIELDS = frozenset({"dataclass", "model", "settings", "table"})
_THE_REST = re.compile(
    r"\b(?:additional|other|remaining|further|same|all|any)\s+(?:keyword\s+|positional\s+|of the\s+)?"
    r"(?:arguments|parameters|args|kwargs|options)\b",
    re.IGNORECASE,
)
"""What says that not every parameter is described here."""
_FILLED = re.compile(
    r"^[ \t]*(?:%s|%\([\w:. ]+\)s|\{\w*\}|\{\{[ \t]*\w+[ \t]*\}\}|\$\w+|\$\{\w+\}|<<\w+>>|\|\w+\|)[ \t]*$", re.MULTILINE
)
"""A line that is filled in as the code runs, with descriptions that nobody can see here."""
_TOGETHER = re.compile(r"^[ \t]*\(\w+(?:,[ \t]*\w+)+\)[ \t]*(?::|$)", re.MULTILINE)
"""What one parameter holds instead of its name, such as `(lower, upper) : (int, int)`."""
_PLACEHOLDER = re.compile(r"\b(?:my_?\w*|your_?\w*|foo|bar|baz|example|some_\w+|xxx)\b")


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Something that a docstring says and the code does not."""

    symbol: str
    kind: str
    """`extra`, `misnamed`, `missing`, `name`, `example` or `call`."""
    subject: str
    file: str
    line: int
    title: str
    remedy: str
    evidence: Mapping[str, object] = field(default_factory=dict)


def mismatches(
    path: str,
    resolver: Resolver,
    literals: Literals,
    *,
    private: bool = False,
    handed: frozenset[str] = frozenset(),
) -> tuple[list[Mismatch], int]:
    """What the docstrings of the module at `path` say wrongly, and how many of them were judged.

    Parameters are judged of what is public, and of the private definitions whose paths are in `handed`; with `private`
    of everything.
    """
    try:
        module = resolver.codebase.module(path)
    except KeyError:
        return [], 0
    judge = _Judge(module, resolver, literals)
    judged = int(bool(module.docstring))
    found = [*judge.text(module.path, module.docstring, 1)]
    overloaded = {one.path for one in module.symbols if "overload" in one.labels}
    for symbol in module.symbols:
        if not symbol.docstring or "overload" in symbol.labels:
            continue
        judged += 1
        found += judge.text(symbol.path, symbol.docstring, symbol.line)
        if symbol.path in overloaded or not (private or symbol.public or is_handed_on(symbol.path, handed)):
            continue
        if module.path.rpartition(".")[2] == _OF_PYTEST:
            continue
        if symbol.kind is Kind.function:
            found += judge.function(symbol)
        elif symbol.kind is Kind.class_:
            found += judge.cls(symbol)
    return found, judged


class _Judge:
    """One module's docstrings."""

    def __init__(self, module: Module, resolver: Resolver, literals: Literals) -> None:
        self.module = module
        self.resolver = resolver
        self.literals = literals
        self.lines = resolver.source_of(module.path).splitlines()

    def function(self, symbol: Symbol) -> Iterator[Mismatch]:
        """Parameters of a function or method."""
        if "property" in symbol.labels or not (is_plain(symbol) or _PLAIN_LABELS & set(symbol.labels)):
            return
        items = described(symbol.docstring)
        owner = symbol.path.rpartition(".")[0]
        known = self.resolver.codebase.names.get(owner)
        parameters = without_self(symbol) if known is not None and known.kind is Kind.class_ else symbol.parameters
        also: set[str] = set()
        if symbol.path.endswith(".__init__"):
            above = self.resolver.symbol(owner)
            also = {one.name for one in described(above.docstring if above is not None else None)}
        yield from self._compare(symbol, items, parameters, also)

    def cls(self, symbol: Symbol) -> Iterator[Mismatch]:
        """Parameters that the docstring of a class describes: those that it is made with."""
        items = described(symbol.docstring)
        if not items or _FIELDS & set(symbol.labels):
            return
        constructor = self.resolver.constructor(symbol.path)
        if constructor is None:
            return
        members = set(self.resolver.members(symbol.path))
        made = self.resolver.method(symbol.path, "__init__")
        also = members | {one.name for one in described(made.docstring if made is not None else None)}
        if made is None and "dataclass" not in symbol.labels and not constructor:
            return  # it describes what its methods are given, or the classes below it
        extra_possible = [one for one in items if one.name not in members]
        yield from self._compare(symbol, extra_possible, constructor, also)

    def _compare(
        self, symbol: Symbol, items: Sequence[Item], parameters: Sequence[Parameter], also: set[str]
    ) -> Iterator[Mismatch]:
        if not items:
            return
        names = [one.name for one in parameters]
        told = {one.name for one in items}
        code = self._code_of(symbol)
        docstring = symbol.docstring or ""
        missing = [
            one.name
            for one in parameters
            if one.kind not in {VARIADIC, VARIADIC_KEYWORD}
            and not one.name.startswith("_")
            and one.name not in {"self", "cls"}  # of a function that is made a method elsewhere
            and one.name not in told | also
            and not re.search(rf"(?<!\w){re.escape(one.name)}(?!\w)", docstring)
        ]
        open_ = any(one.kind in {VARIADIC, VARIADIC_KEYWORD} for one in parameters)
        signature = Signature(tuple(parameters)).shown(symbol.path)
        sure = certain(docstring)
        takes = {*names, *(one.name for one in symbol.parameters)}
        extra = [one.name for one in items if one.name in sure and one.name not in takes]
        for name in [] if open_ else extra:
            near = difflib.get_close_matches(name, missing, 1, _ALIKE)
            if near:
                missing.remove(near[0])
                yield self._found(
                    symbol, "misnamed", name, f"the docstring of `{symbol.path}` calls `{near[0]}` `{name}`",
                    "Give it its name.", {"signature": signature, "did_you_mean": near},
                )  # fmt: skip
            elif not re.search(rf"\b{name}\b", code):
                yield self._found(
                    symbol, "extra", name,
                    f"the docstring of `{symbol.path}` describes `{name}`, which is no parameter",
                    "Take it out, or bring the parameter back.", {"signature": signature},
                )  # fmt: skip
        told_of = [name for name in names if name in told]
        if _TOGETHER.search(docstring) or _THE_REST.search(docstring) or _FILLED.search(docstring):
            return
        if len(told_of) * 2 >= len(names) and told_of:
            for name in missing:
                yield self._found(
                    symbol, "missing", name, f"the docstring of `{symbol.path}` does not describe `{name}`",
                    "Describe it with the others.", {"signature": signature},
                )  # fmt: skip

    def text(self, path: str, docstring: str | None, line: int) -> Iterator[Mismatch]:
        """Names of the code base that a docstring refers to, and its examples."""
        if not docstring or not any(package in docstring for package in self.resolver.codebase.packages):
            if docstring and ">>> " in docstring:
                yield from self._examples(path, docstring, line)
            return
        lines = docstring.split("\n")
        seen: set[str] = set()
        for one in references(docstring):
            name = one.target.removesuffix("()").strip()
            if not _DOTTED.fullmatch(name) or not self.resolver.is_ours(name) or name in seen or _SUFFIX.search(name):
                continue
            if one.role.rpartition(":")[2] not in _ROLES:
                continue  # a label of a document, a term and so on
            seen.add(name)
            if self.resolver.resolve(name).answer is not Answer.gone or self._is_spelt(one.kind, name):
                continue
            if _PLACEHOLDER.search(name) or _in_past(lines, one.line, name):
                continue
            meant = (*self.resolver.candidates(name)[:3], *self.resolver.similar(name)[:3])
            yield Mismatch(
                path, "name", name, self.module.file, self._line(name, line),
                f"the docstring of `{path}` names `{name}`, which the code does not define",
                "Correct it." + (f" Did you mean {' or '.join(f'`{m}`' for m in meant)}?" if meant else ""),
                {"did_you_mean": list(meant)} if meant else {},
            )  # fmt: skip
        yield from self._examples(path, docstring, line)

    def _is_spelt(self, kind: str, name: str) -> bool:
        """Whether code in backquotes may be a string that the code knows; a role or a link names a definition."""
        return kind == "code" and self.literals.has(name)

    def _examples(self, path: str, docstring: str, line: int) -> Iterator[Mismatch]:
        pieces = [match[1] for match in _FENCED.finditer(docstring)]
        if ">>> " in docstring:
            pieces.append(docstring)
        scope = self._scope()
        for piece in pieces:
            try:
                example = read_example(piece, self.resolver, scope)
            except UnreadableError:
                continue
            for use in example.uses:
                gone = self.resolver.resolve(use.name).answer is Answer.gone
                if gone and not _PLACEHOLDER.search(use.name):
                    yield Mismatch(
                        path, "example", use.name, self.module.file, self._line(use.name.rpartition(".")[2], line),
                        f"an example of `{path}` uses `{use.name}`, which nothing defines", "Correct the example.",
                    )  # fmt: skip
            for call in example.calls:
                parameters = parameters_for(call, self.resolver)
                for misfit in misfits(call.node, parameters, arity=True) if parameters is not None else ():
                    yield Mismatch(
                        path, "call", f"{call.name}.{misfit.name}", self.module.file, self._line(f"{call.name}(", line),
                        f"an example of `{path}` calls `{call.name}` wrongly: {misfit.sentence}",
                        "Correct the example.", {"signature": Signature(parameters or ()).shown(call.path)},
                    )  # fmt: skip

    def _scope(self) -> Scope:
        """What names mean in a doctest of the module: what the module defines and imports."""
        scope = Scope()
        prefix = f"{self.module.path}."
        for one in self.module.imports:
            if not one.lazy and one.name != "*":
                scope.modules[one.name] = one.meaning
        for symbol in self.module.symbols:
            name = symbol.path.removeprefix(prefix)
            if "." not in name and symbol.kind is not Kind.attribute:
                scope.modules[name] = symbol.path
            elif "." not in name:
                scope.other.add(name)
        return scope

    def _code_of(self, symbol: Symbol) -> str:
        """Source of a symbol without its docstring."""
        code = "\n".join(self.lines[symbol.line - 1 : symbol.end_line])
        first = re.search(r'[rRbBuU]{0,2}("""|\'\'\')', code)
        if first is None:
            return code
        end = code.find(first[1], first.end())
        return code[: first.start()] + code[end + 3 :] if end > 0 else code

    def _line(self, text: str, start: int) -> int:
        for number in range(max(start - 1, 0), len(self.lines)):
            if text in self.lines[number]:
                return number + 1
        return start

    def _found(
        self, symbol: Symbol, kind: str, name: str, title: str, remedy: str, evidence: Mapping[str, object]
    ) -> Mismatch:
        line = symbol.line
        if kind != "missing":
            pattern = re.compile(rf"^\s*(?::\w+\s+(?:[\w.\[\], |]+\s+)?)?[*`]*{re.escape(name)}\b")
            for number in range(symbol.line, min(symbol.end_line, len(self.lines))):
                if pattern.search(self.lines[number]):
                    line = number + 1
                    break
        return Mismatch(symbol.path, kind, name, self.module.file, line, title, remedy, evidence)


def _in_past(lines: Sequence[str], place: int, name: str) -> bool:
    """Whether the paragraph around a line speaks of the past, or belongs to a directive about a version."""
    first = place
    while first > 0 and lines[first - 1].strip():
        first -= 1
    last = place
    while last + 1 < len(lines) and lines[last + 1].strip():
        last += 1
    if _DIRECTIVE.match(lines[first]) or speaks_of_the_past(" ".join(lines[first : last + 1]), name):
        return True
    indent = len(lines[place]) - len(lines[place].lstrip())
    above = (line for line in reversed(lines[:first]) if line.strip() and len(line) - len(line.lstrip()) < indent)
    return bool(_DIRECTIVE.match(next(above, "")))
