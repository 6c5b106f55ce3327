"""What a dotted name means in a checkout: followed through re-exports to where it is defined. Pure."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from models.code import Codebase, Kind, Unread
from models.graph import Label, Ref
from models.report import Finding
from tasks.advisories.package import Package
from tasks.advisories.source import VULNERABILITY
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
    _aliases: dict[str, tuple[Mapping[str, str], Sequence[str]]] = field(default_factory=dict)

    def node(self, dotted: str) -> Ref | None:
        """The module, class or function of the checkout that `dotted` means; None: it means none for sure."""
        path = self.codebase.resolve(dotted)
        if path is None and self.unread:
            path = next((way for way in self._ways(dotted) if way in self.unread), None)
        kind = None if path is None else self._kind(path)
        return ref(_LABELS[kind], self.checkout, path) if path is not None and kind in _LABELS else None

    def module_of(self, dotted: str) -> str | None:
        """The longest beginning of `dotted` that is a module of the checkout."""
        parts = dotted.split(".")
        for length in range(len(parts), 0, -1):
            path = ".".join(parts[:length])
            if path in self.codebase.files or self.unread.get(path) is Kind.module:
                return path
        return None

    def home_of(self, member: Ref) -> Ref:
        """The module that defines `member`, which is a class or function of the checkout."""
        dotted = member.key.removeprefix(ref(member.label, self.checkout, "").key)
        return ref(Label.module, self.checkout, self.module_of(dotted) or dotted)

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
        if path in self.codebase.files:
            return Kind.module
        known = self.codebase.names.get(path)
        return self.unread.get(path) if known is None else known.kind

    def _ways(self, dotted: str) -> Iterable[str]:
        """`dotted`, and what modules have it from in turn: where that cannot be read, nobody else follows it."""
        waiting, seen = [dotted], {dotted}
        for _ in range(_MOST_HOPS):
            if not waiting:
                return
            dotted = waiting.pop(0)
            yield dotted
            module = self.module_of(dotted)
            if module is None or module == dotted or module in self.unread:
                continue
            name, dot, rest = dotted[len(module) + 1 :].partition(".")
            named, stars = self._imported(module)
            targets = [named[name]] if name in named else [f"{star}.{name}" for star in stars]
            ways = [f"{target}{dot}{rest}" for target in targets]
            waiting += [way for way in ways if way not in seen]
            seen.update(ways)

    def _imported(self, path: str) -> tuple[Mapping[str, str], Sequence[str]]:
        """What the module `path` has from elsewhere by name, and the modules of which it takes all, the last first."""
        if path not in self._aliases:
            imports = [one for one in self.codebase.module(path).imports if not one.lazy]
            named = {one.name: one.meaning for one in imports if one.name != "*"}
            self._aliases[path] = named, [one.target for one in reversed(imports) if one.name == "*"]
        return self._aliases[path]


def dependency(checkout: str, package: str) -> Ref:
    """A package (`pypi/requests`) as `checkout` has it: in its version, with its weaknesses."""
    return ref(Label.dependency, checkout, package)


def package_of(finding: Finding) -> Ref | None:
    """The dependency that a finding of an audit is about, when it is about one."""
    ecosystem, name = finding.evidence.get("ecosystem"), finding.evidence.get("package")
    if not isinstance(ecosystem, str) or not isinstance(name, str) or not finding.key.startswith(VULNERABILITY):
        return None
    return dependency(finding.component, Package(ecosystem, name).path)


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
