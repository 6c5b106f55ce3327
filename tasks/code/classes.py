"""What is defined at a path, and classes of a code base with what they have from their bases."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from models.code import Call, Codebase, Kind, Module, Symbol


class Defined:
    """Finds what is defined at a path; each module is decoded and sorted once."""

    def __init__(self, codebase: Codebase) -> None:
        self._codebase = codebase
        self.module = functools.cache(codebase.module)
        """The module at a path."""
        self._by_path = functools.cache(self._paths)
        self._by_owner = functools.cache(self._owners)
        self._by_caller = functools.cache(self._callers)

    def symbol(self, path: str) -> Symbol | None:
        """What is defined at `path`; None for modules, and for what was not read."""
        named = self._codebase.names.get(path)
        return None if named is None or named.kind is Kind.module else self._by_path(named.module).get(path)

    def members(self, path: str) -> list[Symbol]:
        """What is defined directly in the class or module at `path`, in the order of the source."""
        named = self._codebase.names.get(path)
        return [] if named is None else self._by_owner(named.module).get(path, [])

    def calls(self, path: str) -> tuple[list[Call], list[Call]]:
        """What the function at `path` calls, and what it hands on."""
        named = self._codebase.names.get(path)
        return ([], []) if named is None else self._by_caller(named.module).get(path, ([], []))

    def _paths(self, module: str) -> dict[str, Symbol]:
        return {symbol.path: symbol for symbol in self.module(module).symbols}

    def _owners(self, module: str) -> dict[str, list[Symbol]]:
        found: dict[str, list[Symbol]] = {}
        for symbol in self.module(module).symbols:
            found.setdefault(symbol.path.rpartition(".")[0], []).append(symbol)
        return found

    def _callers(self, module: str) -> dict[str, tuple[list[Call], list[Call]]]:
        found: dict[str, tuple[list[Call], list[Call]]] = {}
        read = self.module(module)
        for place, several in enumerate((read.calls, read.handed)):
            for call in several:
                found.setdefault(call.caller, ([], []))[place].append(call)
        return found


class Classes(Defined):
    """Finds classes by label, and the attributes that a class has, its bases' before its own."""

    def labelled(self, label: str) -> Iterator[tuple[Module, Symbol]]:
        """Every class with `label`, by module; only modules with one are decoded."""
        named, derived = self._codebase.names, self._codebase.derived
        modules = sorted({named[path].module for path, marks in derived.items() if label in marks and path in named})
        for module in map(self.module, modules):
            for symbol in module.symbols:
                if symbol.kind is Kind.class_ and label in symbol.labels:
                    yield module, symbol

    def lineage(self, symbol: Symbol) -> list[Symbol]:
        """The class and those of its bases that were read, each once and behind its own bases.

        Of several bases the first one stands last: it is asked before the others, and the class before it.
        """
        found: dict[str, Symbol] = {}
        met = {symbol.path}
        todo: list[tuple[Symbol, bool]] = [(symbol, False)]
        while todo:
            one, done = todo.pop()
            if done:
                found[one.path] = one
                continue
            todo.append((one, True))
            for base in one.bases:
                target = self._codebase.resolve(base)
                inner = None if target is None else self.symbol(target)
                if inner is not None and inner.kind is Kind.class_ and inner.path not in met:
                    met.add(inner.path)
                    todo.append((inner, False))
        return list(found.values())

    def attributes(self, symbol: Symbol) -> dict[str, tuple[Symbol, Symbol]]:
        """By name the attributes of the class body, and the class that each is from; its own go before its bases'."""
        found: dict[str, tuple[Symbol, Symbol]] = {}
        for owner in self.lineage(symbol):
            for member in self.members(owner.path):
                if member.kind is Kind.attribute and "instance" not in member.labels:
                    found[member.path.rpartition(".")[2]] = (member, owner)
        return found
