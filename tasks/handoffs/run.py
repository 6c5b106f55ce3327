"""Drains routes side by side, and reports on them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg

from blocks import settings as environment
from blocks.errors import LamaError
from blocks.postgres import Postgres
from blocks.settings import Settings
from models.handoff_route import HandoffsSettings, Route
from models.report import Finding, Report, Skip, compose
from tasks.handoffs import figures, forget
from tasks.handoffs.deliver import Figures
from tasks.handoffs.drain import Bell, RouteDrain
from tasks.handoffs.orphans import finding, orphans
from tasks.handoffs.preparation import question_about
from tasks.handoffs.route_set import CAPABILITY, RouteSet, load_routes
from tasks.handoffs.routes import model_of, number_of, target_of, transformation_of
from tasks.handoffs.target import InsideTarget
from tasks.handoffs.understand import preview, waiting
from tasks.reports.publish import reason_of


@dataclass(frozen=True)
class Work:
    """What a run has to do its work with."""

    config: Settings
    known: RouteSet
    database: Postgres

    @property
    def settings(self) -> HandoffsSettings:
        """`[handoffs]`."""
        return self.known.settings

    async def connect(self) -> psycopg.AsyncConnection[tuple[object, ...]]:
        """A new connection in autocommit mode, whose commits reach the disk."""
        connection = await self.database.get_async_client(autocommit=True)
        await connection.execute("SET synchronous_commit = on")
        return connection


Drain = Callable[[Work, Route, Bell, float | None], Awaitable[Figures]]
Done = Callable[[str], Awaitable[None]]


async def drain(work: Work, route: Route, bell: Bell, linger_s: float | None) -> Figures:
    """Drain one route. One that is a block is looked at again meanwhile, and what has changed holds for what follows.

    Raises:
        ConfigurationError: the route cannot be used; nothing was done.
        psycopg.Error, OSError: the database is away; nothing is lost.
    """
    linger = work.settings.linger_s if linger_s is None else linger_s
    ends_at = time.monotonic() + work.settings.longest_run_s
    did, idle_s = Figures(), 0.0
    while True:
        left_s = max(0.0, ends_at - time.monotonic())
        part = await _drain_for(work, route, bell, linger - idle_s, left_s)
        did = did.followed_by(part.figures)
        if not part.looks_again or time.monotonic() >= ends_at:
            return did
        idle_s = 0.0 if part.figures.moved else idle_s + part.took_s
        known = await asyncio.to_thread(load_routes, work.config)
        # While Prefect is away nobody can say that it has changed.
        now = route if known.unseen is not None else known.settings.route(route.name)
        if now is None:
            return did
        route = now


@dataclass(frozen=True)
class _Part:
    """What was done between two looks at a route."""

    figures: Figures
    took_s: float
    looks_again: bool
    """Whether it ended because it was time for another look."""


async def _drain_for(work: Work, route: Route, bell: Bell, linger_s: float, longest_s: float) -> _Part:
    is_block = route.name in work.known.blocks
    for_s = min(work.settings.refresh_s, longest_s) if is_block else longest_s
    settings = work.settings.model_copy(update={"longest_run_s": for_s})
    began = time.monotonic()
    model = await model_of(route)
    transformation = transformation_of(route, model)
    target = await target_of(route, work.config)
    try:
        draining = RouteDrain(route, transformation, target, settings, work.connect, model=model)
        done = await draining.run(bell.of(route.name), linger_s=linger_s)
    finally:
        if not isinstance(target, InsideTarget):
            await target.close()
    took_s = time.monotonic() - began
    return _Part(done, took_s, is_block and not done.held_elsewhere and for_s <= took_s and took_s < longest_s)


async def empty_old(work: Work, routes: Sequence[Route]) -> int:
    """Empty what is older than its route keeps it; how many messages that were."""
    async with await work.connect() as connection:
        return await forget.empty_old(connection, routes)


async def fetch_files(work: Work, routes: Sequence[Route]) -> list[Skip]:
    """Fetch the files of messages that are not here yet, of `routes` that say so; what could not be fetched."""
    from tasks.handoffs.media import fetch_media  # noqa: PLC0415

    skipped = []
    for route in routes:
        if route.media is None:
            continue
        try:
            block = await number_of(route, route.media)
            async with await work.connect() as connection:
                await fetch_media(connection, route.name, block)
        except (LamaError, psycopg.Error, OSError, TimeoutError) as error:
            reason = f"Files are fetched by the next run: {reason_of(error)}"
            skipped.append(Skip(area=CAPABILITY, component=route.name, reason=reason))
    return skipped


async def look_ahead(work: Work, route: Route) -> Figures:
    """What a drain would make of the messages that wait now; changes nothing."""
    model = await model_of(route)
    transformation = transformation_of(route, model)
    by_rules, reason = 0, ""
    if model is not None:
        async with await work.connect() as connection:
            found = await waiting(connection, route, batch=work.settings.batch)
        asks = [ask for _, document in found if (ask := question_about(document, transformation, model)) is not None]
        unanswered = await model.prepare(asks)
        by_rules, reason = sum(ask.key in unanswered for ask in asks), model.asked.unanswered
    async with await work.connect() as connection:
        seen = await preview(connection, route, transformation, batch=work.settings.batch)
    return Figures(accepted=seen.accepted, ignored=seen.ignored, dead=seen.dead, by_rules=by_rules, unanswered=reason)


async def drain_all(
    work: Work, routes: Sequence[Route], *, how: Drain = drain, linger_s: float | None = None, done: Done | None = None
) -> tuple[dict[str, Figures], list[Skip]]:
    """Drain `routes` side by side; what each did, and what could not be done."""
    bell = Bell()
    for route in routes:
        bell.of(route.name)
    skipped: list[Skip] = []

    async def one(route: Route) -> tuple[str, Figures] | None:
        try:
            result = await how(work, route, bell, linger_s)
        except (LamaError, psycopg.Error, OSError, TimeoutError) as error:
            reason = reason_of(error)
            skipped.append(Skip(area=CAPABILITY, component=route.name, reason=f"It was not drained: {reason}"))
            result = None
        if done is not None:
            await done(f"{route.name}: {'failed' if result is None else _told(result)}")
        return None if result is None else (route.name, result)

    ear = asyncio.create_task(_listen(bell, work))
    try:
        results = await asyncio.gather(*(one(route) for route in routes))
    finally:
        ear.cancel()
        await asyncio.gather(ear, return_exceptions=True)
    return dict(result for result in results if result is not None), skipped


async def report_of(
    work: Work,
    routes: Sequence[Route],
    results: dict[str, Figures],
    skipped: Sequence[Skip],
    *,
    everything: bool,
    dry_run: bool,
    started_at: datetime,
    run_id: str,
) -> Report:
    """How the routes stand, and what this run did; a run of `everything` also looks for routes that are gone."""
    left_out = list(skipped)
    found: list[Finding] = []
    metrics: dict[str, float] = {}
    window = timedelta(hours=work.settings.window_hours)
    try:
        async with await work.connect() as connection:
            standings = await figures.standings(connection, routes, window=window)
            # Whose messages are left over nobody can say who has not seen every route.
            complete = everything and work.known.unseen is None
            left_over = await orphans(connection, work.known.names) if complete else []
    except (psycopg.Error, OSError, TimeoutError) as error:
        standings, left_over = [], []
        left_out.append(Skip(area=CAPABILITY, component="figures", reason=f"They cannot be read: {reason_of(error)}"))
    for route, standing in zip(routes, standings, strict=False):
        found += figures.findings(route, standing)
        metrics |= figures.metrics(standing)
    found += [finding(orphan) for orphan in left_over]
    for route in routes:
        did = results.get(route.name)
        if did is None:
            continue
        metrics |= {
            f"{route.name}.run_delivered_total": did.delivered,
            f"{route.name}.run_accepted_total": did.accepted,
            f"{route.name}.run_dead_total": did.dead,
        }
        if route.model is not None:
            metrics |= {
                f"{route.name}.run_questions_total": did.questions,
                f"{route.name}.run_from_model_total": did.from_model,
                f"{route.name}.run_model_dropped_total": did.model_dropped,
                f"{route.name}.run_by_rules_total": did.by_rules,
            }
        if did.by_rules:
            count = "1 lead" if did.by_rules == 1 else f"{did.by_rules} leads"
            reason = f"{count} by rules alone: the model {route.model!r} did not answer: {did.unanswered}"
            hides = (f"handoffs.model:{route.name}",)  # nothing else went unseen
            left_out.append(Skip(area=CAPABILITY, component=route.name, reason=reason, hides=hides))
        if did.outage:
            reason = f"Its target is away, so its messages wait: it {did.outage}"
            left_out.append(Skip(area=CAPABILITY, component=route.name, reason=reason))
    return compose(
        Report,
        capability=CAPABILITY,
        summary=_summary(routes, results, dry_run=dry_run),
        scope=f"{environment.settings().node}; routes: {', '.join(sorted(route.name for route in routes)) or 'none'}"
        + ("; dry run" if dry_run else ""),
        findings=found,
        skipped=left_out,
        metrics=metrics,
        started_at=started_at,
        finished_at=datetime.now(UTC),
        run_id=run_id,
    )


async def _listen(bell: Bell, work: Work) -> None:
    # Without it the drains look by themselves, once a second.
    with contextlib.suppress(psycopg.Error, OSError):
        await bell.listen(work.connect)


def _told(did: Figures) -> str:
    if did.held_elsewhere:
        return "another run is at it"
    return f"{did.delivered} delivered, {did.dead} dead"


def _summary(routes: Sequence[Route], results: dict[str, Figures], *, dry_run: bool) -> str:
    accepted = sum(did.accepted for did in results.values())
    delivered = sum(did.delivered for did in results.values())
    dead = sum(did.dead for did in results.values())
    where = f"{len(routes)} {'route' if len(routes) == 1 else 'routes'}"
    if dry_run:
        return f"{where}: {accepted} messages would be handed on, dead letters: {dead}. Nothing was done."
    return f"{where}: {delivered} messages delivered, new dead letters: {dead}."
