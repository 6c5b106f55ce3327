"""What every source of advisories does: it is asked about packages, and says what it knows and what it does not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from models.gap import Gap
from tasks.advisories.package import Package
from tasks.advisories.record import Advisory

AREA = "dependencies"
VULNERABILITY = "dependencies.vulnerability:"
"""What the key of a finding about a vulnerability begins with; then `<target>/<Package.path>/<id>`."""

Wanted = Mapping[Package, frozenset[str]]
"""Packages and their versions in use; a package whose version is not known has none, and is wanted all the same."""


@dataclass(frozen=True, slots=True)
class SourceState:
    """How a source stands, for a person who wants to know how far to trust the answer."""

    name: str
    """`osv`, `mirror`, `github`, `pypi`, `rules`."""
    records: int | None = None
    """How many it holds in all, when that is known."""
    newest: datetime | None = None
    """When the newest of its records was modified; None for one that is asked live."""
    fetched_at: datetime | None = None
    """When a local copy was fetched."""
    stale: bool = False
    """Whether it is older than allowed: then its `Told` has a gap as well."""


@dataclass(frozen=True, slots=True)
class Told:
    """What one source says about what was wanted."""

    state: SourceState
    advisories: Mapping[Package, tuple[Advisory, ...]] = field(default_factory=dict)
    """Advisories by package, also those that turn out not to be about the versions in use."""
    covers: frozenset[str] = frozenset()
    """Families of ecosystems (`PyPI`, `npm`) of which it knows everything that it should."""
    gaps: tuple[Gap, ...] = ()


class Source(Protocol):
    """A source of advisories."""

    @property
    def name(self) -> str:
        """Its name in settings and findings."""
        ...

    async def tell(self, wanted: Wanted) -> Told:
        """What it knows. Never raises for being absent, slow, stale or broken: that is a gap of the answer."""
        ...


@dataclass(frozen=True, slots=True)
class Known:
    """What all sources together say."""

    advisories: Mapping[Package, tuple[Advisory, ...]]
    """One record an id (the most recently modified one), withdrawn ones left out."""
    states: tuple[SourceState, ...] = ()
    gaps: tuple[Gap, ...] = ()
    told: tuple[Told, ...] = ()
    """What each source said by itself."""

    def sources_of(self, package: Package, names: Iterable[str]) -> tuple[str, ...]:
        """The sources that tell of a vulnerability of `package` with one of these `names`."""
        wanted = frozenset(names)
        found = (
            part.state.name
            for part in self.told
            if any(one.id in wanted and not one.withdrawn for one in part.advisories.get(package, ()))
        )
        return tuple(sorted(set(found)))
