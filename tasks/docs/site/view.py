"""What the page of a module shows, in the order in which it is shown; how it looks is the templates' affair."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from models.code import Kind, Module, Symbol
from tasks.docs.site.facts import summary_of
from tasks.docs.site.names import Names, is_private
from tasks.docs.site.veil import place_of, shared_names, veiled

_ORDER = {Kind.class_: 0, Kind.function: 1, Kind.attribute: 2, Kind.module: 3}
_LONGEST_VALUE = 400


@dataclass(slots=True)
class Item:
    """One class, function or attribute."""

    anchor: str
    """Dotted path under which it has its place; also what it is called in links."""
    name: str
    kind: Kind
    symbol: Symbol
    home: str
    """The module on whose page it is."""
    overloads: list[Symbol] = field(default_factory=list)
    members: list[Item] = field(default_factory=list)

    @property
    def word(self) -> str:
        """What it is called: a function of a class is a method, or a property."""
        labels = self.symbol.labels
        if self.kind is Kind.function:
            if "property" in labels:
                return "property"
            in_class = "." in self.anchor[len(self.home) + 1 :]
            return "method" if in_class else "function"
        return self.kind.value

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know of it at once."""
        hidden = {"property", "overload"}
        return tuple(label for label in self.symbol.labels if label not in hidden)


@dataclass(slots=True)
class View:
    """One page."""

    module: Module
    items: list[Item]
    children: list[tuple[str, str]]
    """Path and summary of the modules right below."""


def view_of(module: Module, names: Names) -> View:
    """What the page of `module` shows: what it defines, and what it hands on of modules without a page."""
    items = _items(module, names, module.path, "")
    names.labels(module.path)
    handed_on = sorted((name, target) for target, name in names.handed_on(module.path).items())
    for name, target in handed_on:
        source = names.module(names.codebase.names[target].module)
        names.labels(source.path)
        items += _items(source, names, module.path, target, name)
    items.sort(key=lambda item: _ORDER[item.kind])
    return View(module, items, names.children(module.path))


def entries_of(view: View) -> list[tuple[str, str, str]]:
    """Anchor, kind and summary of everything on the page."""
    return [(one.anchor, one.kind.value, summary_of(one.symbol.docstring)) for one in flattened(view.items)]


def flattened(items: list[Item]) -> Iterator[Item]:
    """`items` and their members, as they stand on the page."""
    for item in items:
        yield item
        yield from flattened(item.members)


def _items(module: Module, names: Names, home: str, only: str, name: str = "") -> list[Item]:
    """What `module` defines, as items of the page `home`; with `only`, that one and its members, called `name`."""
    tree: list[Item] = []
    by_path: dict[str, Item] = {}
    shared = shared_names(module)
    for symbol in module.symbols:
        path = symbol.path
        if only:
            if not (path == only or path.startswith(f"{only}.")) or _hidden(path, only):
                continue
            anchor = f"{home}.{name}{path[len(only) :]}"
        else:
            if not names.shows(path):
                continue
            anchor = path
        symbol = veiled(symbol, shared.get(place_of(symbol), ()))  # noqa: PLW2901 - from here on only as it may be shown
        known = by_path.get(path)
        if known is not None:
            _again(known, symbol)
            continue
        item = Item(anchor, anchor.rpartition(".")[2], symbol.kind, symbol, home)
        if "overload" in symbol.labels:
            item.overloads.append(symbol)
        parent = by_path.get(path.rpartition(".")[0])
        (parent.members if parent is not None else tree).append(item)
        by_path[path] = item
    return tree


def _hidden(path: str, above: str) -> bool:
    return any(is_private(part) for part in path[len(above) + 1 :].split(".") if part)


def _again(item: Item, symbol: Symbol) -> None:
    """A second definition of one name: an overload, a setter, or another branch of a condition."""
    labels = set(symbol.labels)
    if "overload" in labels:
        item.overloads.append(symbol)
    elif not labels & {"setter", "deleter"} and ("overload" in item.symbol.labels or not item.symbol.docstring):
        item.symbol = symbol
        item.kind = symbol.kind
