"""What a dotted name means in a checkout: followed through re-exports to where it is defined. Pure."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from models.code import Codebase, Kind, Module, Unread
from models.graph import Label, Ref
from tasks.graph.ingest.facts import ref

_STUB = re.compile(r"\.pyi?$")
_MOST_HOPS = 16
_LABELS = {Kind.module: Label.module, Kind.class_: Label.class_, Kind.function: Label.function}


@dataclass(slots=True)
class Names:
    """The names of one checkout."""

    checkout: str
    codebase: Codebase
    brought: Mapping[str, str] = field(default_factory=dict)
    """Dotted beginnings of modules from elsewhere, and the package that brings them: `yaml` -> `pypi/pyyaml`."""
    unread: Mapping[str, Kind] = field(default_factory=dict)
    """What files define that cannot be read just now, as it was known before."""
    _aliases: dict[str, dict[str, str]] = field(default_factory=dict)

    def node(self, dotted: str) -> Ref | None:
        """The module, class or function of the checkout that `dotted` means; None: it means none for sure."""
        for path in self._ways(dotted):
            kind = self._kind(path)
            if kind in _LABELS:
                return ref(_LABELS[kind], self.checkout, path)
        return None

    def module_of(self, dotted: str) -> str | None:
        """The longest beginning of `dotted` that is a module of the checkout."""
        parts = dotted.split(".")
        for length in range(len(parts), 0, -1):
            if self._kind(path := ".".join(parts[:length])) is Kind.module:
                return path
        return None

    def dependency(self, dotted: str) -> Ref | None:
        """The dependency that brings `dotted`; None: Python itself does, the checkout, or nobody knows who."""
        parts = dotted.split(".")
        if parts[0] in sys.stdlib_module_names or parts[0] in self.codebase.packages:
            return None
        for length in range(min(len(parts), 3), 0, -1):
            if (package := self.brought.get(".".join(parts[:length]))) is not None:
                return dependency(self.checkout, package) if package else None
        return None

    def _kind(self, path: str) -> Kind | None:
        known = self.codebase.names.get(path)
        if known is not None:
            return known.kind
        return Kind.module if path in self.codebase.files else self.unread.get(path)

    def _ways(self, dotted: str) -> Collection[str]:
        """`dotted`, and what it is a re-export of, in turn."""
        ways = {dotted: None}
        current: str | None = dotted
        for _ in range(_MOST_HOPS):
            current = self._followed(current)
            if current is None or current in ways:
                break
            ways[current] = None
        return ways

    def _followed(self, dotted: str) -> str | None:
        """Where the module that `dotted` lies in has it from; None: it defines it, or is not ours."""
        if self._kind(dotted) is not None or (module := self.module_of(dotted)) is None or module == dotted:
            return None
        name, dot, rest = dotted[len(module) + 1 :].partition(".")
        target = self._imported(module).get(name)
        return None if target is None else f"{target}{dot}{rest}"

    def _imported(self, path: str) -> Mapping[str, str]:
        if path not in self._aliases:
            try:
                module = self.codebase.module(path)
            except KeyError:
                return {}
            self._aliases[path] = aliases(module)
        return self._aliases[path]


def aliases(module: Module) -> dict[str, str]:
    """The names that others may take from `module`, which has them from elsewhere."""
    return {one.name: one.target for one in module.imports if not one.lazy}


def dependency(checkout: str, package: str) -> Ref:
    """A package (`pypi/requests`) as `checkout` has it: in its version, with its weaknesses."""
    return ref(Label.dependency, checkout, package)


def is_unread(module: str, unread: Iterable[Unread]) -> bool:
    """Whether the file of `module`, or a folder that it is in, is among what could not be read."""
    for one in unread:
        parts = list(PurePosixPath(_STUB.sub("", one.place)).parts)
        if parts[-1:] == ["__init__"]:
            parts.pop()
        if parts[:1] == ["src"]:
            parts = parts[1:]
        dotted = ".".join(parts)
        if not dotted or module == dotted or module.startswith(f"{dotted}."):
            return True
    return False
