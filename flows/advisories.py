"""Keeps the local copy of known vulnerabilities up to date, so that audits are fast and need no network."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from uuid import uuid4

from prefect import flow
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from blocks.configuration import load_configuration
from blocks.errors import ConfigurationError, LamaError
from blocks.postgres import Postgres
from blocks.settings import settings
from models.report import Report, Skip
from tasks.advisories.archives import archives_in
from tasks.advisories.download import Downloaded, Remote
from tasks.advisories.importing import LOCK
from tasks.advisories.known import mirror_of
from tasks.advisories.mirror_build import only_one
from tasks.advisories.standing import standings
from tasks.advisories.update import CAPABILITY, block_of, fetch, files_of, index, note, report_of
from tasks.reports.conclude import conclude
from tasks.reports.publish import Progress, reason_of


@flow(name="advisories", persist_result=False)
async def update_advisories(
    ecosystems: list[str] | None = None,
    exploitation: bool = True,  # noqa: FBT001, FBT002 - a flow's parameters are given by name
    dry_run: bool = False,  # noqa: FBT001, FBT002
) -> Report:
    """Fetches what has changed of OSV's archives into the mirror, and builds its index.

    Args:
        ecosystems: What to fetch, by OSV's names: `PyPI`, `npm`, `Debian:12`. Otherwise those of `lama.toml`.
        exploitation: Whether EPSS's scores and CISA's catalogue of exploited vulnerabilities are fetched as well.
        dry_run: Only ask which files have changed; nothing is written but the report.

    Returns:
        The report: what was fetched, how many records there are, how old. `incomplete` when a file could not be had;
        the copy that was there before stays.

    Raises:
        ConfigurationError: a parameter or `lama.toml` cannot be used; nothing was fetched.
        UnavailableError: somebody else is updating the mirror, or it cannot be written.
    """
    started_at = datetime.now(UTC)
    config = settings()
    chosen = load_configuration(config).advisories
    if ecosystems is not None and not ecosystems:
        raise ConfigurationError("ecosystems is an empty list.", component=CAPABILITY, remedy="Leave it out.")
    names = tuple(dict.fromkeys(ecosystems or chosen.ecosystems))
    remotes = files_of(chosen, names, exploitation=exploitation)
    folder = mirror_of(chosen, config.home)
    log = get_run_logger(component=CAPABILITY)
    progress = await Progress.start("advisories-progress", total=len(remotes) + 1, what="Update of advisories")
    files = block_of(chosen)

    async def bring(remote: Remote) -> Downloaded | Skip:
        try:
            done = await fetch(remote, files, folder, now=started_at, dry_run=dry_run)
        except LamaError as error:
            log.warning("%s", error)
            await progress.advance(f"{remote.name}: failed")
            return Skip(area=CAPABILITY, component=remote.name, reason=f"It was not fetched: it {error.what}")
        await progress.advance(f"{remote.name}: {'new' if done.changed else 'unchanged'}")
        return done

    with contextlib.nullcontext() if dry_run else only_one(folder / LOCK, wait_s=0):
        brought = await asyncio.gather(*(bring(remote) for remote in remotes))
        done = [one for one in brought if isinstance(one, Downloaded)]
        skipped = [one for one in brought if isinstance(one, Skip)]
        if not dry_run:
            try:
                await note(done, folder)
                if await asyncio.to_thread(archives_in, folder):
                    await index(folder, now=started_at)
            except LamaError as error:
                skipped.append(Skip(area=CAPABILITY, component="mirror", reason=reason_of(error)))
    await progress.advance("index")
    stands = await asyncio.to_thread(standings, chosen, folder, now=started_at)
    report = report_of(
        done,
        stands,
        skipped,
        scope=f"{config.node}; {folder}; {', '.join(names)}{'; dry run' if dry_run else ''}",
        dry_run=dry_run,
        started_at=started_at,
        finished_at=datetime.now(UTC),
        run_id=str(flow_run.id or uuid4()),
    )
    # Without a database the mirror is up to date all the same.
    return await conclude(report, database=Postgres.of(config), key="advisories")
