"""What the code of a checkout defines and describes, from the reading of it that all capabilities share."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from models.code import Codebase, Kind, Module, Symbol
from tasks.code.classes import Classes
from tasks.code.docstrings import Style, parse
from tasks.code.read import read
from tasks.code.settings import is_field
from tasks.health_check.documentation.surveyed import Code, ModuleCoverage, Undocumented, Unread

_STYLES = (Style.google, Style.numpy, Style.sphinx)
_SETTINGS_NAME = re.compile(r"(Settings|Config|Configuration)$")
_CUT = 1_000
"""Characters of a value that are kept: of a longer one the end is not known."""


@dataclass
class Names:
    """Every name that a document may use."""

    defined: set[str] = field(default_factory=set)
    """Dotted names of modules, classes, functions, attributes and what modules import."""
    open: set[str] = field(default_factory=set)
    """Names below which anything may exist: values, classes with bases elsewhere, modules that could not be read."""
    words: frozenset[str] = frozenset()
    """Words in string literals, and names of functions: commands, event names, keys."""


def read_code(
    root: Path, packages: Sequence[str], exclude: Sequence[str], cache: Path | None = None
) -> tuple[Code, Names, list[Unread]]:
    """The `packages` of the checkout `root`; without any, those that are found."""
    codebase = read(root, packages or None, exclude=exclude, cache=cache)
    names = Names(words=codebase.words())
    for one in codebase.unread:
        names.open.add(_module_of(one.place, codebase))
    classes = Classes(codebase)
    coverage: list[ModuleCoverage] = []
    flows: list[Undocumented] = []
    settings: list[Undocumented] = []
    for path in codebase.files:
        module = codebase.module(path)
        _collect(module, names)
        counted = list(_documented(module, classes))
        coverage.append(ModuleCoverage(name=path, total=len(counted), documented=sum(counted)))
        for symbol in module.symbols:
            if symbol.kind is Kind.function and "flow" in symbol.labels and symbol.path.rpartition(".")[0] == path:
                flows += _undocumented_flow(symbol)
            elif symbol.kind is Kind.class_ and _is_settings(symbol):
                settings += _undocumented_settings(symbol, classes)
    code = Code(packages=codebase.packages, coverage=tuple(coverage), flows=tuple(flows), settings=tuple(settings))
    return code, names, [Unread(place=one.place, reason=one.reason) for one in codebase.unread]


def _module_of(place: str, codebase: Codebase) -> str:
    """The dotted path of the module, or the package, that a file or folder would be."""
    name = re.sub(r"\.pyi?$", "", place).replace("/", ".").removesuffix(".__init__")
    inner = name.removeprefix("src.")
    return inner if inner.partition(".")[0] in codebase.packages else name


def _collect(module: Module, names: Names) -> None:
    names.defined.add(module.path)
    for one in module.imports:
        if one.name == "*":
            names.open.add(module.path)
        elif not one.lazy:
            names.defined.add(f"{module.path}.{one.name}")
            names.open.add(f"{module.path}.{one.name}")
    for symbol in module.symbols:
        names.defined.add(symbol.path)
        if symbol.path == f"{module.path}.__getattr__":
            names.open.add(module.path)
        if symbol.kind is not Kind.class_ or symbol.bases or symbol.decorators:
            names.open.add(symbol.path)  # what bases and decorators add cannot be known for certain


def _documented(module: Module, classes: Classes) -> Iterator[bool]:
    """Whether each public object of `module` itself is: it, its classes, functions, methods and properties.

    A module without anything in it, such as the `__init__` of a folder, has nothing to say.
    """
    if not module.public:
        return
    if module.symbols:
        yield _says(module.docstring)
    owners = {symbol.path: symbol for symbol in module.symbols if symbol.kind is Kind.class_}
    for symbol in module.symbols:
        owner, _, name = symbol.path.rpartition(".")
        special = any(part.startswith("__") for part in symbol.path[len(module.path) + 1 :].split("."))
        if not symbol.public or special or symbol.kind is Kind.attribute or "overload" in symbol.labels:
            continue
        inherited = symbol.kind is Kind.function and owner in owners and _inherited(owners[owner], name, classes)
        yield _says(symbol.docstring) or inherited


def _says(docstring: str | None) -> bool:
    return bool(docstring)


def _inherited(owner: Symbol, name: str, classes: Classes) -> bool:
    """Whether a base in the same packages documents the method that `owner` only implements."""
    bases = [base for base in classes.lineage(owner) if base.path != owner.path]
    found = [classes.symbol(f"{base.path}.{name}") for base in bases]
    return any(one is not None and _says(one.docstring) for one in found)


def _undocumented_flow(symbol: Symbol) -> Iterator[Undocumented]:
    described = {
        item.name
        for style in _STYLES
        for item in parse(symbol.docstring, style=style).parameters
        if item.description.strip()
    }
    missing = [one.name for one in symbol.parameters if one.name not in described]
    if missing:
        yield Undocumented(name=symbol.path, parts=tuple(missing))


def _is_settings(symbol: Symbol) -> bool:
    """A class that inherits from `BaseSettings`, or is called settings and inherits from pydantic's `BaseModel`."""
    if "settings" in symbol.labels:
        return True
    return "model" in symbol.labels and "sqlmodel" not in symbol.labels and bool(_SETTINGS_NAME.search(symbol.path))


def _undocumented_settings(symbol: Symbol, classes: Classes) -> Iterator[Undocumented]:
    described = {item.name for item in parse(symbol.docstring, style=Style.google).attributes}
    missing = [
        name
        for member in classes.members(symbol.path)
        if member.kind is Kind.attribute and "instance" not in member.labels
        if is_field(name := member.path.rpartition(".")[2], member)
        if name not in described and not _says(member.docstring) and not _is_described(member)
    ]
    if missing:
        yield Undocumented(name=symbol.path, parts=tuple(missing))


def _is_described(member: Symbol) -> bool:
    value = member.value or ""
    return len(value) >= _CUT or "description=" in f"{member.annotation}{value}".replace(" ", "")
