"""Handoffs: what arrived by one protocol is handed on to another system, each message once and in order."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

from prefect import flow
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from blocks.postgres import Postgres
from blocks.settings import settings
from models.handoff_route import Route
from models.report import Report, Skip
from tasks.handoffs.deliver import Figures
from tasks.handoffs.drain import Bell
from tasks.handoffs.route_set import CAPABILITY, load_routes
from tasks.handoffs.run import Work, drain, drain_all, empty_old, fetch_files, look_ahead, report_of
from tasks.reports.conclude import conclude
from tasks.reports.publish import Progress
from tasks.step import step


@flow(name="handoffs", persist_result=False)
async def handoffs(
    routes: list[str] | None = None,
    linger_s: float | None = None,
    dry_run: bool = False,  # noqa: FBT001, FBT002 - a flow's parameters are given by name
) -> Report:
    """Hands on what waits in the inbox, and what is due in the outbox, until nothing is left.

    Args:
        routes: Names of routes, of `lama.toml` or of blocks. Otherwise all of them.
        linger_s: Seconds to wait for more before the run ends. Otherwise as configured.
        dry_run: Only say what would become of the messages that wait; nothing is sent or changed.

    Returns:
        The report: success, accuracy, completeness, timeliness and backlog of each route, and what needs a person. It
        is `incomplete` when a route could not be drained or read, or its target is away; its messages wait.

    Raises:
        ConfigurationError: `lama.toml` cannot be used, or there is no such route; nothing was done.
        UnavailableError: the route may be a block, and Prefect did not tell of them; nothing was done.
    """
    started_at = datetime.now(UTC)
    config = settings()
    known = await asyncio.to_thread(load_routes, config)
    taken = known.chosen(routes)
    work = Work(config, known, Postgres.of(config))
    progress = await Progress.start("handoffs-progress", total=max(1, len(taken)), what="Handoffs")
    how = _look_ahead if dry_run else _drain
    results, left_out = await drain_all(work, taken, how=how, linger_s=linger_s, done=progress.advance)
    skipped = known.skips(routes) + left_out
    if taken and not dry_run:
        if any(route.media for route in taken):
            skipped += await _fetch_files(work, taken)
        await _empty_old(work, taken)
    report = await report_of(
        work,
        taken,
        results,
        skipped,
        everything=routes is None,
        dry_run=dry_run,
        started_at=started_at,
        run_id=str(flow_run.id or uuid4()),
    )
    report = await conclude(report, database=work.database, key="handoffs")
    get_run_logger(component=CAPABILITY).info("%s: %s", report.status.value, report.summary)
    return report


@step("drain a route", retries=5)
async def _drain(work: Work, route: Route, bell: Bell, linger_s: float | None) -> Figures:
    return await drain(work, route, bell, linger_s)


@step("fetch files of messages")
async def _fetch_files(work: Work, routes: tuple[Route, ...]) -> list[Skip]:
    return await fetch_files(work, routes)


@step("empty what is old")
async def _empty_old(work: Work, routes: tuple[Route, ...]) -> int:
    return await empty_old(work, routes)


@step("look ahead")
async def _look_ahead(work: Work, route: Route, _bell: Bell, _linger_s: float | None) -> Figures:
    return await look_ahead(work, route)
