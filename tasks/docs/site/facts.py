"""What the rest of a site has to know of a module: kept from build to build, so that few modules are read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from typing import Any

from models.code import Kind, Module, Symbol
from tasks.docs.site.names import Names, offered_by

_MOST_BASES = 20
_OF_COMMANDS = frozenset({"argparse", "click"})


@dataclass(slots=True)
class Facts:
    """Of one module."""

    content: str
    """Hash of the file that they were taken from."""
    summary: str = ""
    objects: int = 0
    """Public ones, itself included."""
    documented: int = 0
    missing: list[str] = field(default_factory=list)
    """Public ones without a docstring."""
    offered: list[str] = field(default_factory=list)
    """What it takes from elsewhere and offers to others."""
    imports: list[str] = field(default_factory=list)
    """What it imports when it is imported itself: modules, or members of modules; also from elsewhere."""
    labels: list[str] = field(default_factory=list)
    """Of anything in it."""
    libraries: list[str] = field(default_factory=list)
    """Of those that command lines are written with, the ones that it imports."""
    entries: list[tuple[str, str, str]] = field(default_factory=list)
    """Anchor, kind and summary of what its page tells of; the page itself is not among them."""
    has_page: bool = True

    def dumped(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def facts_of(module: Module, names: Names, entries: list[tuple[str, str, str]]) -> Facts:
    """The facts of `module`; `entries` is what its page tells of."""
    counted = [(one.path, one) for one in module.symbols if is_counted(one, module)] if module.public else []
    bases = _bases_of(module)
    is_counted_itself = module.public and bool(module.symbols)  # an empty `__init__` has nothing to say
    for name, target in _counted_here(module, names):
        source = names.module(names.codebase.names[target].module)
        bases |= _bases_of(source)
        parts = [(one.path[len(target) :], one) for one in source.symbols if f"{one.path}.".startswith(f"{target}.")]
        counted += [(f"{module.path}.{name}{rest}", one) for rest, one in parts if _is_told_of(rest, one)]
    missing = [path for path, one in counted if not one.docstring and not _inherits(one.path, bases, names)]
    if is_counted_itself and not module.docstring:
        missing.insert(0, module.path)
    objects = len(counted) + is_counted_itself
    return Facts(
        content=module.content,
        summary=summary_of(module.docstring),
        objects=objects,
        documented=objects - len(missing),
        missing=missing,
        offered=offered_by(module),
        imports=sorted({one.target for one in module.imports if not (one.lazy or one.typing)}),
        labels=sorted({label for symbol in module.symbols for label in symbol.labels}),
        libraries=sorted({one.target.partition(".")[0] for one in module.imports} & _OF_COMMANDS),
        entries=entries,
        has_page=names.has_page(module.path),
    )


def surface_of(module: Module, facts: Facts) -> list[str]:
    """What pages of other modules may depend on, as `word hash`: rows that differ say which words to look for there."""
    path = module.path
    above, _, own = path.rpartition(".")
    rows: list[tuple[str, object]] = [(own, (path, facts.has_page)), (above, (path, facts.has_page, facts.summary))]
    rows += [(_last(one), "offered") for one in facts.offered]
    for one in module.imports:
        if not one.lazy:
            rows += [(word, (one.name, one.target)) for word in (one.name, _last(one.target))]
    rows += [
        (_last(one.path), (one.path, one.kind.value, one.public, one.bases, bool(one.docstring)))
        for one in module.symbols
    ]
    return sorted({f"{word} {_short(row)}" for word, row in rows if word})


def other_names_of(module: Module) -> list[list[str]]:
    """Pairs of words of which the first leads to what the second is: renamed imports, and classes to their bases."""
    pairs = {(one.name, _last(one.target)) for one in module.imports if not one.lazy and one.name != "*"}
    for one in module.symbols:
        pairs |= {(_last(one.path), _last(base)) for base in one.bases}
    return sorted([name, other] for name, other in pairs if name != other)


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def _short(row: object) -> str:
    return blake2b(repr(row).encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def is_counted(symbol: Symbol, module: Module) -> bool:
    """Whether a docstring is expected of `symbol`: a public class, function or method that others may call.

    Not of overloads (the implementation has it), of setters, of what Python itself calls (`__init__` is told of by its
    class), of what is defined inside of functions, nor of attributes.
    """
    return symbol.public and _is_told_of(symbol.path[len(module.path) :], symbol)


def _is_told_of(rest: str, symbol: Symbol) -> bool:
    """Whether `symbol` is of a kind that is told of; `rest` is its path below what is known to be public."""
    if symbol.kind not in {Kind.class_, Kind.function} or {"overload", "setter", "deleter"} & set(symbol.labels):
        return False
    return not any(part.startswith("_") for part in rest.split("."))


def _counted_here(module: Module, names: Names) -> list[tuple[str, str]]:
    """What `module` hands on of private modules, by its public name here: nobody would count it otherwise.

    What several modules hand on is counted at the nearest package above it, where links to it lead.
    """
    if not module.public:
        return []
    found = [(name, target) for target, name in names.of_private(module.path).items() if not name.startswith("_")]
    return sorted((name, target) for name, target in found if names.door(target) in {module.path, ""})


def _bases_of(module: Module) -> dict[str, tuple[str, ...]]:
    return {symbol.path: symbol.bases for symbol in module.symbols if symbol.kind is Kind.class_}


def _inherits(path: str, bases: Mapping[str, tuple[str, ...]], names: Names) -> bool:
    """Whether a method without a docstring stands for one of a base that has one: that is told of there."""
    cls, _, name = path.rpartition(".")
    waiting = list(bases.get(cls, ()))
    for _ in range(_MOST_BASES):
        if not waiting:
            return False
        base = waiting.pop(0)
        if names.has_docstring(f"{base}.{name}"):
            return True
        waiting += bases.get(base, ())
    return False


def summary_of(docstring: str | None) -> str:
    """The first sentence-like line of a docstring, at most 200 characters."""
    for line in (docstring or "").splitlines():
        if text := line.strip():
            return text if len(text) <= 200 else f"{text[:199]}…"
    return ""
