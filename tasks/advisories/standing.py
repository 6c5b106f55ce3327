"""How the local copies of advisories stand: what there is, how old it is, what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from blocks.errors import ConfigurationError, UnavailableError
from tasks.advisories import github_database
from tasks.advisories.archives import INDEX, archives_in, stamp_of
from tasks.advisories.custom import load_rules
from tasks.advisories.exploited import EPSS_FILE, KEV_FILE, as_of, default_or
from tasks.advisories.fetched import Fetched, read_fetched
from tasks.advisories.mirror import ages_of
from tasks.advisories.mirror_files import exploitation_files
from tasks.advisories.mirror_index import Archive, Index

if TYPE_CHECKING:
    from models.advisories import AdvisoriesSettings


@dataclass(frozen=True, slots=True)
class Standing:
    """One copy."""

    name: str
    """An ecosystem, `github`, `rules`, `EPSS` or `KEV`."""
    place: Path
    size: int = 0
    """Bytes of the file or files."""
    records: int | None = None
    newest: datetime | None = None
    """When the newest of its records was modified."""
    fetched_at: datetime | None = None
    """When the server last gave it, or said that it had not changed."""
    as_of: datetime | None = None
    """Up to when it holds what had become known."""
    stale: bool = False
    problem: str = ""
    """Why it cannot be used, or not all of it; empty when it can."""


def standings(settings: AdvisoriesSettings, folder: Path, *, now: datetime) -> tuple[Standing, ...]:
    """How the mirror in `folder` stands, archive by archive, and what else settings name. Builds nothing."""
    found = list(_mirror(settings, folder, now))
    if settings.github_database is not None:
        found.append(_github(settings.github_database, settings, folder, now))
    if settings.rules is not None:
        found.append(_rules(settings.rules))
    fetched = read_fetched(folder)
    for remote, named in zip(exploitation_files(), (settings.epss, settings.kev), strict=True):
        file = EPSS_FILE if remote.path == EPSS_FILE else KEV_FILE
        path = default_or(named, folder, file)
        if path is not None:
            oldest = now - timedelta(days=settings.max_age_days)
            found.append(_file(remote.name, path, remote.check, fetched.get(file), oldest))
    return tuple(found)


def _mirror(settings: AdvisoriesSettings, folder: Path, now: datetime) -> list[Standing]:
    try:
        archives = archives_in(folder)
    except UnavailableError as error:
        return [Standing("mirror", folder, problem=str(error))]
    held: dict[str, Archive] = {}
    trouble = "is not in the index yet; the next audit builds it"
    try:
        with Index(folder / INDEX) as index:
            index.check()
            held = {archive.ecosystem: archive for archive in index.archives()}
    except UnavailableError as error:
        trouble = f"the index {error.what.rstrip('.')}; the next audit builds it" if archives else trouble
    ages = ages_of(held.values(), read_fetched(folder), now=now, max_age_days=settings.max_age_days)
    found = []
    for ecosystem, path in archives.items():
        archive = held.get(ecosystem)
        if archive is None or archive.stamp != stamp_of(path):
            found.append(Standing(ecosystem, path, path.stat().st_size, problem=trouble))
            continue
        age = ages[ecosystem]
        problem = archive.problem or "; ".join(archive.unusable)
        size, records = archive.size, archive.records
        found.append(
            Standing(ecosystem, path, size, records, archive.newest, age.fetched_at, age.of, age.stale, problem)
        )
    return found


def _github(checkout: Path, settings: AdvisoriesSettings, folder: Path, now: datetime) -> Standing:
    name = github_database.NAME
    try:
        github_database.reviewed_in(checkout)
        with Index(folder / github_database.INDEX) as index:
            (archive,) = index.archives()
    except UnavailableError as error:
        return Standing(name, checkout, problem=error.what.rstrip("."))
    except ValueError:
        return Standing(name, checkout, problem="the index is not whole; the next audit builds it")
    (age,) = ages_of([archive], {}, now=now, max_age_days=settings.max_age_days).values()
    problem = archive.problem or "; ".join(archive.unusable)
    return Standing(
        name, checkout, archive.size, archive.records, archive.newest, None, age.of, stale=age.stale, problem=problem
    )


def _rules(path: Path) -> Standing:
    try:
        advisories = load_rules(path)
    except ConfigurationError as error:
        return Standing("rules", path, problem=str(error))
    return Standing("rules", path, path.stat().st_size, len(advisories))


def _file(name: str, path: Path, check: object, fetched: Fetched | None, oldest: datetime) -> Standing:
    try:
        check(path)  # type: ignore[operator]
        state = path.stat()
        of = as_of(path, fetched)
    except (ValueError, OSError) as error:
        return Standing(name, path, problem=str(error))
    known = fetched is not None and fetched.stamp == stamp_of(path)
    at = fetched.at if known and fetched is not None else None
    return Standing(name, path, state.st_size, None, None, at, of, stale=of < oldest)
