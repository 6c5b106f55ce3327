"""Classes of a code base with what they have from their bases."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from models.code import Codebase, Kind, Module, Symbol

_DEPTH = 20


class Classes:
    """Finds classes by label, and the attributes that a class has, its bases' before its own."""

    def __init__(self, codebase: Codebase) -> None:
        self._codebase = codebase
        self._read = functools.cache(codebase.module)

    def labelled(self, label: str) -> Iterator[tuple[Module, Symbol]]:
        """Every class with `label`, by module; only modules with one are decoded where that is known."""
        named, derived = self._codebase.names, self._codebase.derived
        modules = sorted({named[path].module for path, marks in derived.items() if label in marks and path in named})
        for module in map(self._read, modules):
            for symbol in module.symbols:
                if symbol.kind is Kind.class_ and label in symbol.labels:
                    yield module, symbol

    def symbol(self, path: str) -> Symbol | None:
        """What is defined at `path`."""
        named = self._codebase.names.get(path)
        if named is None or named.kind is Kind.module:
            return None
        return next((one for one in reversed(self._read(named.module).symbols) if one.path == path), None)

    def lineage(self, symbol: Symbol) -> list[Symbol]:
        """The class and those of its bases that were read, the furthest first; each once."""
        found: dict[str, Symbol] = {}
        todo = [(symbol, 0)]
        while todo:
            one, depth = todo.pop()
            found.pop(one.path, None)  # a base of several goes before all of them
            found[one.path] = one
            if depth >= _DEPTH:
                continue
            for base in one.bases:
                target = self._codebase.resolve(base)
                inner = None if target is None else self.symbol(target)
                if inner is not None and inner.kind is Kind.class_ and inner.path != symbol.path:
                    todo.append((inner, depth + 1))
        return list(reversed(found.values()))

    def attributes(self, symbol: Symbol) -> dict[str, tuple[Symbol, Symbol]]:
        """By name the attributes of the class body, and the class that each is from; its own go before its bases'."""
        found: dict[str, tuple[Symbol, Symbol]] = {}
        for owner in self.lineage(symbol):
            named = self._codebase.names.get(owner.path)
            if named is None:
                continue
            prefix = f"{owner.path}."
            for member in self._read(named.module).symbols:
                if not member.path.startswith(prefix) or "." in member.path[len(prefix) :]:
                    continue
                if member.kind is Kind.attribute and "instance" not in member.labels:
                    found[member.path[len(prefix) :]] = (member, owner)
        return found
