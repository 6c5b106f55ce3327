"""Signatures as text that a diff shows well, and what a change of one makes untrue. Pure."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from models.code import Kind, Parameter, Symbol
from tasks.code.veil import veiled_annotation, veiled_source
from tasks.docs.site.veil import veiled_parameter

POSITIONAL_ONLY = "positional-only"
PLAIN = "positional or keyword"
VARIADIC = "variadic positional"
KEYWORD_ONLY = "keyword-only"
VARIADIC_KEYWORD = "variadic keyword"
ANYTHING = (Parameter("args", VARIADIC), Parameter("kwargs", VARIADIC_KEYWORD))
"""Parameters of what may take anything."""
_LONGEST = 2_000
_SELVES = frozenset({"self", "cls", "mcs", "metacls"})
_PREFIX = re.compile(r"\b(?:typing_extensions|typing|collections\.abc|cabc|te|t|_t|ast|types|datetime|pathlib)\.")
_OPTIONAL = re.compile(r"\bOptional\[([^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*)\]")
_UNION = re.compile(r"\bUnion\[([^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*)\]")


class What(StrEnum):
    """How a signature changed."""

    removed = "removed"
    renamed = "renamed"
    default = "default"
    required = "required"
    """A parameter came in that has to be given, or one lost its default."""
    kind = "kind"
    order = "order"
    returns = "returns"
    value = "value"
    bases = "bases"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference that can make a text untrue."""

    what: What
    name: str
    """Of the parameter; empty for the others."""
    old: str
    new: str

    @property
    def sentence(self) -> str:
        """The change in words."""
        return self.told("")

    def told(self, name: str) -> str:
        """The change of what is called `name` in words, without what may be a secret."""
        old, new = self.old, self.new
        if self.what in {What.default, What.value}:
            old, new = (veiled_source(self.name or name, None, text) for text in (old, new))
        return {
            What.removed: f"parameter `{self.name}` is gone",
            What.renamed: f"parameter `{self.name}` is now called `{self.new}`",
            What.default: f"default of `{self.name}` was `{old}` and is `{new}`",
            What.required: f"parameter `{self.name}` has to be given",
            What.kind: f"parameter `{self.name}` was {self.old} and is {self.new}",
            What.order: f"parameter `{self.name}` stands at another place",
            What.returns: f"it returned `{self.old}` and returns `{self.new}`",
            What.value: f"it was `{old}` and is `{new}`",
            What.bases: f"it no longer derives from `{self.old}`",
        }[self.what]


@dataclass(frozen=True, slots=True)
class Signature:
    """What a user of a symbol sees of it."""

    parameters: tuple[Parameter, ...] = ()
    returns: str | None = None
    value: str | None = None
    bases: tuple[str, ...] = ()
    callable: bool = True

    @property
    def text(self) -> str:
        """On one line; `Signature.of_text` reads it back."""
        if not self.callable:
            return f"= {self.value}"[:_LONGEST] if self.value is not None else ""
        head = f"({', '.join(_written(self.parameters))})"
        head += f" -> {self.returns}" if self.returns else ""
        return head + (f" [{', '.join(self.bases)}]" if self.bases else "")

    def shown(self, path: str) -> str:
        """`path` and the text, without what may be a secret: for reports."""
        value = self.value and veiled_source(path.rpartition(".")[2], None, self.value)
        returns = self.returns and veiled_annotation(path.rpartition(".")[2], self.returns)
        parameters = tuple(map(veiled_parameter, self.parameters))
        return path + replace(self, parameters=parameters, returns=returns, value=value).text

    @classmethod
    def of_text(cls, text: str) -> Signature | None:
        """The signature that `text` was; None when it is none of ours."""
        if not text or text.startswith("= "):
            return cls(value=text[2:] or None, callable=False)
        bases: tuple[str, ...] = ()
        found = re.fullmatch(r"(\(.*\)(?: -> .*?)?) \[([\w., \[\]|'\"]*)\]", text, re.DOTALL)
        if found is not None:
            text, bases = found[1], tuple(part.strip() for part in found[2].split(",") if part.strip())
        try:
            tree = ast.parse(f"def _{text}: ...")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
        function = tree.body[0] if len(tree.body) == 1 else None
        if not isinstance(function, ast.FunctionDef):
            return None
        returns = ast.unparse(function.returns) if function.returns is not None else None
        return cls(parameters_of(function.args), returns, bases=bases)

    @classmethod
    def of(cls, symbol: Symbol, constructor: Sequence[Parameter] | None = None) -> Signature:
        """Of `symbol`; `constructor` are the parameters of a class, without `self`, where they are known."""
        if symbol.kind is Kind.class_:
            return cls(tuple(constructor or ()), None, bases=symbol.bases)
        if symbol.kind is Kind.function:
            if "property" in symbol.labels:
                return cls(returns=symbol.returns, callable=True)
            return cls(without_self(symbol, method=False), symbol.returns)
        return cls(value=symbol.value, callable=False)


def without_self(symbol: Symbol, *, method: bool = True) -> tuple[Parameter, ...]:
    """The parameters that a caller gives: of a method, without what stands for the instance or the class.

    That is the first one whatever it is called; only where it is not known that `symbol` stands directly in a class
    (`method` is false), its name tells.
    """
    first = symbol.parameters[:1]
    if not first or "staticmethod" in symbol.labels or first[0].kind not in {PLAIN, POSITIONAL_ONLY}:
        return symbol.parameters
    return symbol.parameters[1:] if method or first[0].name in _SELVES else symbol.parameters


def parameters_of(arguments: ast.arguments) -> tuple[Parameter, ...]:
    """The parameters of a function as the parser has them."""
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(plain) - len(arguments.defaults))
    defaults += arguments.defaults
    found = []
    for number, (argument, default) in enumerate(zip(plain, defaults, strict=True)):
        kind = POSITIONAL_ONLY if number < len(arguments.posonlyargs) else PLAIN
        found.append(_parameter(argument, kind, default))
    if arguments.vararg is not None:
        found.append(_parameter(arguments.vararg, VARIADIC, None))
    found += [_parameter(a, KEYWORD_ONLY, d) for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    if arguments.kwarg is not None:
        found.append(_parameter(arguments.kwarg, VARIADIC_KEYWORD, None))
    return tuple(found)


def changes(old: Signature, new: Signature) -> tuple[Change, ...]:
    """What of `old` no longer holds. What only came in beside it, or says more of a type, leaves a text true."""
    if old.callable != new.callable:
        return ()
    if not old.callable:
        if old.value is None or new.value is None or _same(old.value, new.value):
            return ()
        return (Change(What.value, "", old.value, new.value),)
    found = [*_of_parameters(old.parameters, new.parameters)]
    if old.returns and new.returns and not same_type(old.returns, new.returns):
        found.append(Change(What.returns, "", old.returns, new.returns))
    kept = {_last(base) for base in new.bases}
    if old.bases and new.bases:
        found += [Change(What.bases, "", base, "") for base in old.bases if _last(base) not in kept]
    return tuple(found)


def _of_parameters(old: Sequence[Parameter], new: Sequence[Parameter]) -> Iterator[Change]:
    before, now = {one.name: one for one in old}, {one.name: one for one in new}
    takes_any = any(one.kind == VARIADIC_KEYWORD for one in new)
    takes_more = any(one.kind == VARIADIC for one in new)
    added = [one for one in new if one.name not in before]
    renamed: set[str] = set()
    for place, one in enumerate(old):
        if one.kind in {VARIADIC, VARIADIC_KEYWORD}:
            continue
        held = now.get(one.name)
        if held is None:
            other = new[place] if place < len(new) else None
            if other in added and other is not None and other.kind == one.kind and _alike(one, other):
                renamed.add(other.name)
                yield Change(What.renamed, one.name, one.name, other.name)
            elif not takes_any and not (takes_more and one.kind == POSITIONAL_ONLY):
                yield Change(What.removed, one.name, one.name, "")
            continue
        if one.default is not None and held.default is None and held.kind not in {VARIADIC, VARIADIC_KEYWORD}:
            yield Change(What.required, one.name, one.default, "")
        elif one.default is not None and held.default is not None and not _same(one.default, held.default):
            yield Change(What.default, one.name, one.default, held.default)
        if one.kind == PLAIN and held.kind in {KEYWORD_ONLY, POSITIONAL_ONLY}:
            yield Change(What.kind, one.name, one.kind, held.kind)
    yield from _moved(old, new)
    for one in added:
        required = one.default is None and one.kind not in {VARIADIC, VARIADIC_KEYWORD}
        if required and one.name not in renamed:
            yield Change(What.required, one.name, "", one.name)


def _moved(old: Sequence[Parameter], new: Sequence[Parameter]) -> Iterator[Change]:
    """The first parameter that can be given by position and stands at another place than it did."""
    places = {one.name: i for i, one in enumerate(new) if one.kind in {PLAIN, POSITIONAL_ONLY}}
    was = [one.name for one in old if one.kind in {PLAIN, POSITIONAL_ONLY}]
    for place, name in enumerate(was):
        if name in places and places[name] != place:
            yield Change(What.order, name, str(place), str(places[name]))
            return


def _last(base: str) -> str:
    """The bare name of a base, without what it is given in brackets."""
    return base.partition("[")[0].rpartition(".")[2]


def _alike(one: Parameter, other: Parameter) -> bool:
    """Whether what came in at the place of a parameter is that one under another name."""
    if (one.default is None) != (other.default is None):
        return False
    if one.annotation and other.annotation and same_type(one.annotation, other.annotation):
        return True
    return difflib.SequenceMatcher(None, one.name, other.name).ratio() >= 0.6


def _same(one: str, other: str) -> bool:
    """Whether two expressions are one and the same, however they are spelt."""
    if one == other:
        return True
    try:
        first, second = ast.parse(one, mode="eval"), ast.parse(other, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    if ast.dump(first) == ast.dump(second):
        return True
    values = [node.body.value for node in (first, second) if isinstance(node.body, ast.Constant)]
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return len(numbers) == 2 and numbers[0] == numbers[1]


def same_type(one: str, other: str) -> bool:
    """Whether two annotations name one type; `Any`, and a bare generic against a fuller one, agree with the other."""
    first, second = normal_type(one), normal_type(other)
    if first == second or "any" in {first, second}:
        return True
    bare = first.partition("[")[0], second.partition("[")[0]
    return bare[0] == bare[1] and ("[" not in first or "[" not in second)


def normal_type(annotation: str) -> str:
    """An annotation without quotes, module names and the ways of writing a union, in lower case."""
    text = _PREFIX.sub("", annotation.replace('"', "").replace("'", ""))
    while (found := _OPTIONAL.search(text)) is not None:
        text = f"{text[: found.start()]}{found[1]} | None{text[found.end() :]}"
    while (found := _UNION.search(text)) is not None:
        text = f"{text[: found.start()]}{' | '.join(_split(found[1]))}{text[found.end() :]}"
    text = re.sub(r"\b[\w.]+\.(\w+)", r"\1", "".join(text.split()))
    return "|".join(sorted(_split(text.lower(), "|")))


def _split(text: str, at: str = ",") -> list[str]:
    """`text` at each `at` that no bracket encloses."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[(") - (letter in "])")
        if letter == at and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _parameter(argument: ast.arg, kind: str, default: ast.expr | None) -> Parameter:
    annotation = ast.unparse(argument.annotation) if argument.annotation is not None else None
    return Parameter(argument.arg, kind, annotation, ast.unparse(default) if default is not None else None)


def _written(parameters: Sequence[Parameter]) -> Iterator[str]:
    starred = False
    for number, one in enumerate(parameters):
        if one.kind == KEYWORD_ONLY and not starred:
            starred = True
            yield "*"
        starred = starred or one.kind == VARIADIC
        star = {VARIADIC: "*", VARIADIC_KEYWORD: "**"}.get(one.kind, "")
        note = f": {' '.join(one.annotation.split())}" if one.annotation else ""
        equals = " = " if note else "="
        given = f"{equals}{' '.join(one.default.split())}" if one.default is not None else ""
        yield f"{star}{one.name}{note}{given}"
        following = parameters[number + 1] if number + 1 < len(parameters) else None
        if one.kind == POSITIONAL_ONLY and (following is None or following.kind != POSITIONAL_ONLY):
            yield "/"
