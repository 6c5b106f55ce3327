"""The performance module: the host, PostgreSQL, Prefect, and whether things take longer than they used to."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psycopg
from prefect.exceptions import PrefectException
from sqlalchemy.exc import SQLAlchemyError

from blocks.database import LAMA_DATABASE, PREFECT_DATABASE, embedded_location
from blocks.errors import UnavailableError
from blocks.home import Home
from blocks.postgres import Postgres
from blocks.prefect_server import ZOMBIE_WINDOW_S
from blocks.settings import Settings
from models.health_check import PerformanceSettings
from models.report import Finding, Report, Skip, compose
from tasks.health_check.performance import bottlenecks, flows, trend
from tasks.health_check.performance.host import measure_host
from tasks.health_check.performance.postgresql import measure_postgresql
from tasks.health_check.performance.runs import measure_prefect
from tasks.health_check.performance.samples import DatabaseSample, HostSample, PrefectSample
from tasks.reports import store
from tasks.reports.publish import reason_of
from tasks.step import step
from tasks.target import Target

AREA = "performance"
_HISTORY = 20  # earlier checks
_FLOWS = 50  # with figures of their own
_STEP_S = 30.0
_FAILURES = (OSError, UnavailableError, httpx.HTTPError, psycopg.Error, SQLAlchemyError, PrefectException)

_HOST = ("memory", "swap", "load", "disk", "inodes", "disk_latency", "disk_unwritable", "processes")
_POSTGRESQL = (
    *("connections", "cache_hit", "slow_statement", "bloat", "long_transaction", "blocked", "wraparound"),
    "no_statement_statistics",
)
_PREFECT = ("failure_rate", "late", "zombie", "long_run", "stuck", "paused", "no_worker", "flows")


@dataclass
class _Seen:
    """What one part of the module came back with."""

    findings: list[Finding] = field(default_factory=list)
    skipped: list[Skip] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)


async def look(target: Target) -> Report:
    """How well this host, PostgreSQL and Prefect do, what is tight, and what grew."""
    started_at = datetime.now(UTC)
    parts = list(
        await asyncio.gather(
            _guarded(_host, target, target.host, _HOST),
            _guarded(_postgresql, target, "postgresql", _POSTGRESQL),
            _guarded(_prefect, target, "prefect", _PREFECT),
        )
    )
    metrics = {name: value for part in parts for name, value in part.metrics.items()}
    parts.append(await _guarded(lambda aimed: _trend(aimed, metrics), target, "history", ("regression",)))
    findings = [finding for part in parts for finding in part.findings]
    skipped = [skip for part in parts for skip in part.skipped]
    return compose(
        Report,
        capability=f"health_check.{AREA}",
        summary=_summary(findings, skipped),
        findings=findings,
        skipped=skipped,
        metrics={name: value for part in parts for name, value in part.metrics.items()},
        started_at=started_at,
        finished_at=datetime.now(UTC),
        run_id=target.run_id,
    )


async def _guarded(
    part: Callable[[Target], Awaitable[_Seen]], target: Target, component: str, kinds: Sequence[str]
) -> _Seen:
    """What `part` saw; when what it looks at cannot be reached, that it did not see it."""
    try:
        return await part(target)
    except _FAILURES as error:
        reason = f"{component} could not be looked at: {reason_of(error)}"
        return _Seen(skipped=[_skip(component, reason, kinds)])


async def _host(target: Target) -> _Seen:
    limits = target.configuration.performance
    sample = await sample_host(target.settings, {checkout.name: checkout.path for checkout in target.checkouts})
    seen = _Seen(
        findings=[
            *bottlenecks.host_findings(target.host, sample, limits),
            bottlenecks.processes_of(target.host, sample),
        ],
        skipped=[_skip(target.host, f"{what}: {why}", (what,)) for what, why in sample.unseen],
        metrics={
            "cpu_used_ratio": sample.cpu_ratio,
            "cpu_iowait_ratio": sample.iowait_ratio,
            "load_per_core_ratio": sample.load / sample.cores,
            "memory_used_ratio": sample.memory_used_ratio,
            "swap_used_ratio": sample.swap_used_ratio,
        },
    )
    if sample.disk_latency_s is not None:
        seen.metrics["disk_write_seconds"] = sample.disk_latency_s
    names = _metric_names(volume.mount for volume in sample.volumes)
    for volume in sample.volumes:
        seen.metrics[f"disk_{names[volume.mount]}_used_ratio"] = volume.used_ratio
    return seen


@step("measure the host", retries=0, timeout_s=_STEP_S)
async def sample_host(settings: Settings, checkouts: Mapping[str, Path]) -> HostSample:
    """The host, and the disks that the home, the database and the checkouts are on."""
    home = Home(settings).path
    places = {"system": Path("/"), "home": home, **{f"checkout {name}": path for name, path in checkouts.items()}}
    if settings.embeds_postgres:
        places["database"] = embedded_location(settings).data
    return await asyncio.to_thread(measure_host, home, places)


async def _postgresql(target: Target) -> _Seen:
    limits = target.configuration.performance
    expected = target.settings.embeds_postgres
    sample = await sample_postgresql(target.settings, limits)
    seen = _Seen(
        findings=bottlenecks.database_findings(sample, limits, statements_expected=expected),
        skipped=[_skip("postgresql", why, (what,)) for what, why in sample.unseen],
        metrics={
            "postgresql_connections_total": sample.connections,
            "postgresql_connections_ratio": sample.connections / max(1, sample.connection_limit),
            "postgresql_deadlocks_total": sample.deadlocks,
        },
    )
    if expected and not sample.has_statements:
        reason = "pg_stat_statements is missing in it; the next `lama up` creates it."
        seen.skipped.append(_skip("postgresql", reason, ("slow_statement",)))
    if blocks := sample.hits + sample.reads:
        seen.metrics["postgresql_cache_hit_ratio"] = sample.hits / blocks
    names = _metric_names(database.name for database in sample.databases)
    for database in sample.databases:
        if database.bytes is not None:
            seen.metrics[f"postgresql_{names[database.name]}_bytes"] = database.bytes
    return seen


@step("measure PostgreSQL", retries=1, timeout_s=_STEP_S)
async def sample_postgresql(settings: Settings, limits: PerformanceSettings) -> DatabaseSample:
    """The server of Lama's database; the tables of Prefect's too, where it is in the same one."""
    both = settings.embeds_postgres and settings.embeds_prefect
    others = (Postgres.of(settings, PREFECT_DATABASE),) if both else ()
    return await measure_postgresql(Postgres.of(settings, LAMA_DATABASE), others, limits)


async def _prefect(target: Target) -> _Seen:
    limits = target.configuration.performance
    now = datetime.now(UTC)
    sample = await sample_prefect(target.settings, limits, now, target.run_id)
    known = flows.figures(sample.runs)
    seen = _Seen(
        findings=[
            *flows.findings_of(sample, limits, now, ZOMBIE_WINDOW_S),
            flows.inventory_of(sample, limits.window_hours),
        ],
        skipped=[_skip("prefect", why, _CUT_OFF[what]) for what, why in sample.unseen],
        metrics={
            "flow_runs_ended_total": sum(item.ended for item in known),
            "flow_runs_failed_total": sum(item.failed for item in known),
            "flow_runs_late_total": sample.late_total,
            "flow_runs_live_total": len(sample.live),
            "workers_online_total": sum(pool.workers_online for pool in sample.pools),
            "queue_depth_total": sum(depth for pool in sample.pools for depth in pool.queues.values()),
        },
    )
    names = _metric_names(item.flow for item in known[:_FLOWS])
    for item in known[:_FLOWS]:
        name = names[item.flow]
        seen.metrics[f"flow_{name}_failure_ratio"] = item.failure_ratio
        if item.p50_s is not None and item.p95_s is not None:
            seen.metrics[f"flow_{name}_p50_seconds"] = item.p50_s
            seen.metrics[f"flow_{name}_p95_seconds"] = item.p95_s
    return seen


_CUT_OFF = {
    "flows": ("failure_rate", "flows"),
    "live": ("zombie", "long_run", "stuck"),
    "pools": ("no_worker", "paused"),
}


@step("measure Prefect", retries=1, timeout_s=_STEP_S)
async def sample_prefect(settings: Settings, limits: PerformanceSettings, now: datetime, own_run: str) -> PrefectSample:
    """What Prefect ran and has to do."""
    return await measure_prefect(settings, limits, now, own_run)


async def _trend(target: Target, metrics: Mapping[str, float]) -> _Seen:
    history = await earlier_figures(Postgres.of(target.settings), target.host, target.run_id)
    grown = trend.regressions(metrics, history, target.configuration.performance.regression_ratio)
    return _Seen(findings=trend.findings_of(grown, target.host), metrics={"history_points_total": len(history)})


@step("read earlier figures", retries=1, timeout_s=_STEP_S)
async def earlier_figures(database: Postgres, host: str, own_run: str) -> list[dict[str, float]]:
    """The figures of this module in the last health checks of `host`."""
    records = await asyncio.to_thread(store.recent, database, capability="health_check", limit=_HISTORY)
    return [
        {str(name): float(value) for name, value in module["metrics"].items()}
        for record in records
        if record.host == host and record.run_id != own_run
        for module in record.body.get("modules", ())
        if module.get("capability") == f"health_check.{AREA}"
    ]


def _skip(component: str, reason: str, kinds: Iterable[str]) -> Skip:
    hides = tuple(f"{AREA}.{kind}:" for kind in kinds)
    return Skip(area=AREA, component=component, reason=reason, hides=hides)


def _summary(findings: Sequence[Finding], skipped: Sequence[Skip]) -> str:
    tight = bottlenecks.ranked(findings)
    said = " ".join(finding.title for finding in tight[:3]) if tight else "Nothing is tight."
    if skipped:
        tail = ", ".join(dict.fromkeys(skip.component for skip in skipped))
        return f"{said if tight else 'Nothing that was looked at is tight.'} Not or not fully looked at: {tail}."
    return said


def _metric_names(names: Iterable[str]) -> dict[str, str]:
    """For each name one that a metric can have; names that would become equal are told apart."""
    wanted = sorted(set(names))
    plain = {name: re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "root" for name in wanted}
    often = [*plain.values()]
    for name, text in plain.items():
        if often.count(text) > 1:
            plain[name] = f"{text}_{hashlib.blake2b(name.encode(), digest_size=3).hexdigest()}"
    return plain
