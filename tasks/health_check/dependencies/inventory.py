"""What a checkout declares and what its environment holds, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from models.report import Skip


@dataclass(frozen=True)
class Declared:
    """One requirement, and where it is written."""

    requirement: Requirement
    place: str
    """The file, relative to the checkout, and for tables of `pyproject.toml` which one."""
    optional: bool = False
    """An extra, a dependency group, a requirements file beside the main one: need not be installed."""
    constraint: bool = False
    """Says which version, if it is installed at all."""

    @property
    def name(self) -> str:
        """Normalised name."""
        return canonicalize_name(self.requirement.name)

    @property
    def pinned(self) -> str | None:
        """The only version that it allows; None when it allows several."""
        for specifier in self.requirement.specifier:
            if specifier.operator in {"==", "==="} and not specifier.version.endswith(".*"):
                return specifier.version
        return None


@dataclass(frozen=True)
class Installed:
    """One distribution of an environment."""

    name: str
    """Normalised name."""
    version: str
    local: bool = False
    """Installed from a folder, a file or a repository: an index that knows the name knows something else."""


@dataclass(frozen=True)
class Inventory:
    """Everything about the packages of one checkout."""

    checkout: str
    own: frozenset[str] = frozenset()
    """Normalised names of the projects that the checkout itself is."""
    declared: tuple[Declared, ...] = ()
    installed: tuple[Installed, ...] = ()
    locked: tuple[tuple[str, str], ...] = ()
    """Names and versions of lock files."""
    environment: bool = False
    """Whether there is an environment to look into."""
    python: Mapping[str, str] = field(default_factory=dict)
    """Marker variables of that environment that differ from this process's."""
    skipped: tuple[Skip, ...] = ()

    def applies(self, declared: Declared) -> bool:
        """Whether its marker holds in the environment."""
        marker = declared.requirement.marker
        if marker is None:
            return True
        variables = {**default_environment(), **self.python, "extra": ""}
        return marker.evaluate({key: str(value) for key, value in variables.items()})

    def versions(self) -> dict[str, dict[str, str]]:
        """For each package, its versions in use and how each is known: `installed`, `locked` or the pinning file."""
        found: dict[str, dict[str, str]] = {}
        local = {package.name for package in self.installed if package.local} | self.own
        for package in self.installed:
            if package.name not in local:
                found.setdefault(package.name, {})[package.version] = "installed"
        for name, version in self.locked:
            if name not in local:
                found.setdefault(name, {}).setdefault(version, "locked")
        for declared in self.declared:
            if declared.pinned and declared.name not in local and self.applies(declared):
                found.setdefault(declared.name, {}).setdefault(declared.pinned, declared.place)
        return found

    def direct(self) -> frozenset[str]:
        """Names that are declared as requirements."""
        return frozenset(declared.name for declared in self.declared if not declared.constraint)
