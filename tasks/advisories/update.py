"""The steps of an update of the mirror, and the report of what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from blocks.errors import LamaError
from blocks.osv import AdvisoryFiles
from models.advisories import AdvisoriesSettings
from models.report import Finding, Report, Severity, Skip, compose
from tasks.advisories.download import Downloaded, Remote, download
from tasks.advisories.fetched import read_fetched, write_fetched
from tasks.advisories.mirror_build import build
from tasks.advisories.mirror_files import archive_of, exploitation_files
from tasks.advisories.standing import Standing
from tasks.step import step

CAPABILITY = "advisories"


def files_of(settings: AdvisoriesSettings, ecosystems: Iterable[str], *, exploitation: bool) -> tuple[Remote, ...]:
    """What an update fetches.

    Raises:
        ConfigurationError: OSV has no such ecosystem.
    """
    files = block_of(settings)
    archives = [archive_of(name, files.archive_url(name)) for name in dict.fromkeys(ecosystems)]
    return (*archives, *(exploitation_files(files.epss_url, files.kev_url) if exploitation else ()))


def block_of(settings: AdvisoriesSettings) -> AdvisoryFiles:
    """The servers that settings name."""
    return AdvisoryFiles(mirror_url=settings.mirror_url, epss_url=settings.epss_url, kev_url=settings.kev_url)


# What has come stays where it is when the connection breaks: each further try goes on from there.
@step("fetch a file", retries=3)
async def fetch(remote: Remote, files: AdvisoryFiles, folder: Path, *, now: datetime, dry_run: bool) -> Downloaded:
    """One file of the mirror, if it has changed."""
    async with files.get_client() as client:
        return await download(client, remote, folder, read_fetched(folder).get(remote.path), now=now, dry_run=dry_run)


@step("note what was fetched", retries=0)
async def note(done: Sequence[Downloaded], folder: Path) -> None:
    """Remember when files were fetched, and what the server called them.

    Raises:
        LamaError: it cannot be written.
    """
    known = read_fetched(folder) | {one.path: one.fetched for one in done if one.fetched is not None}
    try:
        write_fetched(folder, known)
    except OSError as error:
        raise LamaError(f"cannot be written: {error.strerror}.", component=str(folder)) from error


@step("build the index", retries=0)
async def index(folder: Path, *, now: datetime) -> None:
    """The index of everything that is in the mirror; only what has changed is read."""
    await asyncio.to_thread(build, folder, now=now)


def report_of(
    done: Sequence[Downloaded],
    stands: Sequence[Standing],
    skipped: Iterable[Skip],
    *,
    scope: str,
    dry_run: bool,
    started_at: datetime,
    finished_at: datetime,
    run_id: str,
) -> Report:
    """What an update came to: what changed, how old everything is now, what could not be had."""
    gone = (*skipped, *(_unusable(one) for one in stands if one.problem and not dry_run))
    return compose(
        Report,
        capability=CAPABILITY,
        summary=_summary(done, stands, gone, dry_run=dry_run),
        scope=scope,
        findings=[_stale(one) for one in stands if one.stale and not dry_run],
        skipped=gone,
        metrics=_metrics(done, stands, finished_at),
        started_at=started_at,
        finished_at=finished_at,
        run_id=run_id,
    )


def _unusable(one: Standing) -> Skip:
    return Skip(area=CAPABILITY, component=one.name, reason=f"{one.place}: {one.problem}.")


def _stale(one: Standing) -> Finding:
    told = f"It holds what was known on {one.as_of:%Y-%m-%d}." if one.as_of else "Nothing says how old it is."
    return Finding(
        key=f"{CAPABILITY}.stale:{one.name}",
        severity=Severity.medium,
        component=one.name,
        title=f"The copy of {one.name} is older than max_age_days allows.",
        detail=f"{told} What has become known since is not found by an audit, which says so.",
        remedy="See whether the server that it comes from is still fed; correct mirror_url, or raise max_age_days.",
        evidence={"as_of": one.as_of.isoformat() if one.as_of else None, "place": str(one.place)},
    )


def _summary(done: Sequence[Downloaded], stands: Sequence[Standing], skipped: Sequence[Skip], *, dry_run: bool) -> str:
    fetched = [one for one in done if one.changed]
    size = sum(one.size for one in fetched) / 1e6
    told = (
        f"{len(fetched)} {'to fetch' if dry_run else 'fetched'} ({size:.1f} MB), {len(done) - len(fetched)} unchanged"
    )
    if skipped:
        told += f", {len({skip.component for skip in skipped})} not to be had or not usable"
    records = sum(one.records or 0 for one in stands)
    return f"{told}; {records} records of known vulnerabilities in {len(stands)} copies."


def _metrics(done: Sequence[Downloaded], stands: Sequence[Standing], now: datetime) -> dict[str, float]:
    metrics = {
        "advisories_fetched_bytes": float(sum(one.size for one in done if one.changed)),
        "advisories_records_total": float(sum(one.records or 0 for one in stands)),
    }
    for one in stands:
        name = "".join(character if character.isalnum() else "_" for character in one.name.lower())
        if one.records is not None:
            metrics[f"advisories_{name}_records_total"] = float(one.records)
        if one.as_of is not None:
            metrics[f"advisories_{name}_age_seconds"] = max(0.0, (now - one.as_of).total_seconds())
    return metrics
