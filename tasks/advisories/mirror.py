"""Known vulnerabilities from a local mirror: OSV's zip files in a folder, and the index that is built from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from blocks.errors import UnavailableError
from models.gap import Gap
from tasks.advisories.archives import ARCHIVE, INDEX, archives_in, is_current
from tasks.advisories.fetched import Fetched, read_fetched
from tasks.advisories.local_copy import LocalCopy, consult, gap, utc_now
from tasks.advisories.mirror_index import Archive
from tasks.advisories.package import DOCKER
from tasks.advisories.source import SourceState, Told, Wanted
from tasks.event_loop import in_thread

NAME = "mirror"
UPDATE = "`lama advisories update` fetches what is new, `lama advisories import` takes files that were brought here"


@dataclass(frozen=True, slots=True)
class Age:
    """How old an archive is."""

    of: datetime | None
    """Up to when it holds what had become known; None when nothing says."""
    stale: bool
    """Whether that is longer ago than allowed."""
    fetched_at: datetime | None = None
    """When the server last gave it, or said that it had not changed; None for one that was put there by hand."""

    def told(self, now: datetime) -> str:
        """In words."""
        return "of unknown age" if self.of is None else f"{(now - self.of).total_seconds() / 86_400:.0f} days old"


class Mirror:
    """The mirror in a folder.

    An index that is not of the archives that are there is built before the first answer, in a process of its own;
    without archives there is a gap.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_age_days: float = 7.0,
        budget_s: float = 60.0,
        build_s: float = 900.0,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._folder = folder
        self._max_age_days = max_age_days
        self._now = now
        self._copy = LocalCopy(
            name=NAME,
            index=folder / INDEX,
            module="tasks.advisories.mirror_build",
            arguments=(str(folder.absolute()),),
            is_current=lambda: is_current(folder),
            budget_s=budget_s,
            build_s=build_s,
        )

    @property
    def name(self) -> str:
        """Its name in settings and findings."""
        return NAME

    async def tell(self, wanted: Wanted) -> Told:
        """What the archives of the wanted ecosystems say."""
        try:
            there = await in_thread(archives_in, self._folder)
        except UnavailableError as error:
            return Told(SourceState(NAME), gaps=(gap(NAME, str(error)),))
        if not there:
            return Told(SourceState(NAME), gaps=(gap(NAME, f"there is no archive in {self._folder}; {UPDATE}"),))
        consulted = await consult(self._copy, (package for package in wanted if package.family != DOCKER))
        ecosystems = {package.ecosystem for package in wanted if package.family != DOCKER}
        asked = [one for one in consulted.archives if any(one.covers(name) for name in ecosystems)]
        now = self._now()
        held = ages_of(consulted.archives, read_fetched(self._folder), now=now, max_age_days=self._max_age_days)
        ages = {archive.ecosystem: held[archive.ecosystem] for archive in asked}
        return Told(
            SourceState(
                NAME,
                records=sum(archive.records for archive in consulted.archives) if consulted.archives else None,
                newest=min((age.of for age in ages.values() if age.of is not None), default=None),
                fetched_at=min((age.fetched_at for age in ages.values() if age.fetched_at is not None), default=None),
                stale=any(age.stale for age in ages.values()),
            ),
            consulted.advisories,
            covered(ecosystems, [archive for archive in asked if not archive.problem]),
            (*consulted.gaps, *(found for archive in asked for found in _gaps(archive, ages, now))),
        )


def ages_of(
    archives: Iterable[Archive], fetched: Mapping[str, Fetched], *, now: datetime, max_age_days: float
) -> dict[str, Age]:
    """How old each archive is, by ecosystem.

    An archive is as old as its newest record. Nothing new becomes known for weeks in a quiet ecosystem: of an archive
    that was fetched, the day on which the server last gave it counts instead, provided that another one from there is
    fresh by its records. A server that stopped being fed so stays stale.
    """
    held = tuple(archives)
    limit = now - timedelta(days=max_age_days)
    asked = {one.ecosystem: fetched[path] for one in held if (path := f"{one.ecosystem}/{ARCHIVE}") in fetched}
    asked = {one.ecosystem: asked[one.ecosystem] for one in held if _is_of(asked.get(one.ecosystem), one)}
    alive = any(one.newest is not None and one.newest >= limit for one in held if one.ecosystem in asked)
    ages = {}
    for one in held:
        dates = [one.newest, asked[one.ecosystem].at if alive and one.ecosystem in asked else None]
        of = max((date for date in dates if date is not None and date <= now + timedelta(days=1)), default=None)
        fetched_at = asked[one.ecosystem].at if one.ecosystem in asked else None
        ages[one.ecosystem] = Age(of, stale=of is None or of < limit, fetched_at=fetched_at)
    return ages


def covered(ecosystems: Iterable[str], archives: Iterable[Archive]) -> frozenset[str]:
    """Of `ecosystems`, those that `archives` hold everything about, and families of which that holds for all."""
    wanted, held = set(ecosystems), tuple(archives)
    found = {name for name in wanted if any(archive.covers(name) for archive in held)}
    families = {name.partition(":")[0] for name in found} - {name.partition(":")[0] for name in wanted - found}
    return frozenset(found | families)


def _is_of(fetched: Fetched | None, archive: Archive) -> bool:
    return fetched is not None and fetched.stamp == archive.stamp


def _gaps(archive: Archive, ages: Mapping[str, Age], now: datetime) -> Iterable[Gap]:
    component = f"{NAME}: {archive.ecosystem}"
    if archive.problem:
        yield gap(component, f"the archive {archive.problem}")
    if archive.unusable:
        yield gap(component, f"{'; '.join(archive.unusable)}; fetch the archive again")
    age = ages[archive.ecosystem]
    if age.stale:
        yield gap(component, f"it is {age.told(now)}, what has become known since is not in it; {UPDATE}")
