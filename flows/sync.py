"""Sync: categories of files are the same on every device, and nothing is lost when devices disagree."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import Literal
from uuid import uuid4

import psycopg
from prefect import flow
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import apause_flow_run
from prefect.input import RunInput
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from blocks.configuration import load_configuration
from blocks.errors import LamaError
from blocks.postgres import Postgres
from blocks.settings import Settings, settings
from models.report import Report, Skip
from models.sync import Category, SyncSettings
from tasks.reports.conclude import conclude
from tasks.reports.publish import Progress, reason_of
from tasks.step import step
from tasks.sync.engine import Outcome
from tasks.sync.run import CAPABILITY, Absent, Asked, Stopped, chosen, report_of, sync_one

_TELL_S = 2.0


class GoAhead(RunInput):
    """A person's word that very many deletions or changes are meant."""

    go_ahead: bool = False


@flow(name="sync", persist_result=False)
async def sync(
    categories: list[str] | None = None,
    direction: Literal["both", "push", "pull"] = "both",
    dry_run: bool = False,  # noqa: FBT001, FBT002 - a flow's parameters are given by name
    confirm: bool = False,  # noqa: FBT001, FBT002
    ask_s: int = 0,
) -> Report:
    """Makes categories of files the same on this device and in the store, and so on every device.

    Args:
        categories: Names of categories of `lama.toml`; otherwise all.
        direction: `push` only tells what is new here, `pull` only takes what is new elsewhere.
        dry_run: Only say what would be done; nothing is changed here or there.
        confirm: Go ahead where very many deletions or changes would otherwise stop the run.
        ask_s: Seconds to wait in the Prefect UI for a person's word when the run would be stopped; 0: do not ask.

    Returns:
        The report: what was told and taken, conflicts, and everything that was skipped. `incomplete` when something
        could not be looked at.

    Raises:
        ConfigurationError: a parameter or `lama.toml` cannot be used; nothing was done.
    """
    started_at = datetime.now(UTC)
    config = settings()
    wanted = load_configuration(config).sync
    taken = chosen(wanted, categories)
    progress = await Progress.start("sync-progress", total=max(1, len(taken)), what="Sync")
    run = f"{started_at:%Y%m%dT%H%M%S}-{str(flow_run.id or uuid4())[:8]}"
    asked = Asked(direction, dry_run, confirm)
    results: dict[str, Outcome | Stopped | Absent] = {}
    skipped: list[Skip] = []
    for category in taken:
        try:
            result = await _sync(config, wanted, category, asked, run)
            if isinstance(result, Stopped) and ask_s and not dry_run and await _is_meant(category, result, ask_s):
                result = await _sync(config, wanted, category, Asked(direction, dry_run, confirmed=True), run)
        except (LamaError, psycopg.Error, OSError) as error:
            result = Skip(area=CAPABILITY, component=category.name, reason=f"It was not synced: {reason_of(error)}")
        if isinstance(result, Skip):
            skipped.append(result)
        else:
            results[category.name] = result
        await progress.advance(f"{category.name}: {_told(result)}")
    report = report_of(
        results,
        skipped,
        node=config.node,
        asked=asked,
        started_at=started_at,
        finished_at=datetime.now(UTC),
        run_id=str(flow_run.id or uuid4()),
    )
    report = await conclude(report, database=Postgres.of(config), key="sync")
    get_run_logger(component=CAPABILITY).info("%s: %s", report.status.value, report.summary)
    return report


@step("sync a category")
async def _sync(
    config: Settings, wanted: SyncSettings, category: Category, asked: Asked, run: str
) -> Outcome | Stopped | Absent | Skip:
    log = get_run_logger(component=CAPABILITY)
    counts: Counter[str] = Counter()

    def note(what: str, count: int) -> None:
        counts[what] += count

    async def tell() -> None:
        while True:
            await asyncio.sleep(_TELL_S)
            log.info("%s: %s", category.name, ", ".join(f"{what} {count}" for what, count in sorted(counts.items())))

    telling = asyncio.create_task(tell())
    try:
        return await asyncio.to_thread(sync_one, config, wanted, category, asked, run=run, progress=note)
    finally:
        telling.cancel()


async def _is_meant(category: Category, stopped: Stopped, ask_s: int) -> bool:
    """Whether a person says in the Prefect UI that the run may go ahead."""
    described = GoAhead.with_initial_data(
        description=f"**{category.name}**: {stopped.reason}\n\nIs that meant?", go_ahead=False
    )
    try:
        answer = await apause_flow_run(wait_for_input=described, timeout=ask_s, key=category.name)
    except FlowPauseTimeout:
        return False
    return bool(answer.go_ahead)


def _told(result: Outcome | Stopped | Absent | Skip) -> str:
    if isinstance(result, Outcome):
        return f"{len(result.changes)} told, {result.plan.size if result.dry_run else len(result.done)} done"
    return result.reason
