"""The text of `/metrics`: what the gateway counts, and what the database and Prefect say at that moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from models.report import Severity, Status
from services.connection import UNAVAILABLE, Connection
from services.gateway.measures import Measures
from services.gateway.prefect_figures import PrefectFigures
from services.live_routes import LiveRoutes
from tasks.handoffs.figures import Standing, standings

_FRESH_S = 5.0
_DATABASE_S = 3.0
_MOST_REPORTS = 200

_BACKLOG = """
SELECT status, count(*), extract(epoch FROM clock_timestamp() - min(received_at))::float8 FROM delivery
WHERE status = 'stored' GROUP BY status
"""

_REPORTS = """
SELECT DISTINCT ON (capability, scope)
    capability, scope, status, started_at, finished_at, body -> 'metrics' AS metrics,
    (SELECT jsonb_object_agg(severity, number) FROM (
        SELECT finding ->> 'severity' AS severity, count(*) AS number
        FROM jsonb_array_elements(body -> 'findings') AS finding GROUP BY 1) AS counted) AS findings
FROM report ORDER BY capability, scope, finished_at DESC LIMIT %s
"""


class Exposition:
    """Gathers the figures of one scrape. What is away is shown as away; the scrape itself never fails for it."""

    def __init__(self, measures: Measures, reads: Connection, prefect: PrefectFigures, live: LiveRoutes) -> None:
        self._measures = measures
        self._reads = reads
        self._prefect = prefect
        self._live = live
        self._looked_at = float("-inf")
        self._looking = asyncio.Lock()
        self._from_database: list[Metric] = []

    async def text(self) -> bytes:
        """The exposition, in Prometheus' text format."""
        database, prefect = await asyncio.gather(self._database(), self._prefect.families())
        return generate_latest(_Both(self._measures.registry, [*database, *prefect, *_route_families(self._live)]))

    async def _database(self) -> list[Metric]:
        async with self._looking:
            if time.monotonic() - self._looked_at > _FRESH_S:
                up = True
                found: list[Metric] = []
                try:
                    found = await self._look()
                except UNAVAILABLE:
                    up = False
                state = GaugeMetricFamily("lama_database_up", "Whether the database answers.", value=float(up))
                self._from_database = [state, *found]
                self._looked_at = time.monotonic()
            return self._from_database

    async def _look(self) -> list[Metric]:
        handoffs = self._live.receiving
        async with self._reads.use(_DATABASE_S) as connection:
            backlog = await (await connection.execute(_BACKLOG)).fetchone()
            reports = await (await connection.execute(_REPORTS, (_MOST_REPORTS,))).fetchall()
            routes = await standings(connection, handoffs.routes, window=timedelta(hours=handoffs.window_hours))
        waiting, age = (backlog[1], backlog[2]) if backlog else (0, 0.0)
        return [
            GaugeMetricFamily("lama_webhook_backlog", "Deliveries that are stored, not started yet.", value=waiting),
            GaugeMetricFamily("lama_webhook_backlog_age_seconds", "Age of the oldest of them.", value=age),
            *_report_families(reports),
            *_handoff_families(routes),
        ]


class _Both(Collector):
    """What is counted, and the figures of this scrape."""

    def __init__(self, counted: Collector, families: Iterable[Metric]) -> None:
        self._counted = counted
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._counted.collect()
        yield from self._families


def _report_families(rows: Iterable[tuple[Any, ...]]) -> tuple[Metric, ...]:
    by = ("capability", "scope")
    status = GaugeMetricFamily("lama_report_status", "1 for the status of the latest report.", labels=(*by, "status"))
    findings = GaugeMetricFamily("lama_report_findings", "Findings of the latest report.", labels=(*by, "severity"))
    finished = GaugeMetricFamily("lama_report_finished_timestamp_seconds", "When the latest report ended.", labels=by)
    took = GaugeMetricFamily("lama_report_duration_seconds", "How long the latest report took.", labels=by)
    figures = GaugeMetricFamily("lama_report_metric", "Figures of the latest report, by name.", labels=(*by, "name"))
    for capability, scope, state, started_at, finished_at, metrics, counts in rows:
        for possible in Status:
            status.add_metric((capability, scope, possible.value), float(possible.value == state))
        for severity in Severity:
            findings.add_metric((capability, scope, severity.value), (counts or {}).get(severity.value, 0))
        finished.add_metric((capability, scope), _epoch(finished_at))
        took.add_metric((capability, scope), _epoch(finished_at) - _epoch(started_at))
        for name, value in sorted((metrics or {}).items()):
            figures.add_metric((capability, scope, name), value)
    return status, findings, finished, took, figures


def _route_families(live: LiveRoutes) -> tuple[Metric, ...]:
    routes = GaugeMetricFamily(
        "lama_handoff_routes", "Routes by where they are written; `unusable`: blocks.", labels=("state",)
    )
    known = live.current
    for state, count in (
        ("file", len(known.routes) - len(known.blocks)),
        ("block", len(known.blocks)),
        ("unusable", len(known.faults)),
    ):
        routes.add_metric((state,), count)
    up = GaugeMetricFamily(
        "lama_handoff_route_blocks_up", "Whether Prefect told of its blocks when they were last asked for.",
        value=float(known.unseen is None),
    )  # fmt: skip
    at = GaugeMetricFamily(
        "lama_handoff_route_blocks_seen_timestamp_seconds", "When it last did; 0: not yet.", value=live.looked_at or 0.0
    )
    return routes, up, at


def _handoff_families(routes: Iterable[Standing]) -> tuple[Metric, ...]:
    messages = GaugeMetricFamily(
        "lama_handoff_messages", "Messages of the window by what became of them.", labels=("route", "state")
    )
    shares = GaugeMetricFamily("lama_handoff_ratio", "What a route achieves, of the window.", labels=("route", "name"))
    latency = GaugeMetricFamily(
        "lama_handoff_latency_seconds", "Seconds from arrival to delivery.", labels=("route", "quantile")
    )
    backlog = GaugeMetricFamily("lama_handoff_backlog", "Messages that are not delivered yet.", labels=("route",))
    age = GaugeMetricFamily("lama_handoff_backlog_age_seconds", "Age of the oldest of them.", labels=("route",))
    dead = GaugeMetricFamily("lama_handoff_dead_letters", "Dead letters that wait for a person.", labels=("route",))
    for one in routes:
        for state, count in (("delivered", one.delivered), ("dead", one.dead), ("ignored", one.ignored)):
            messages.add_metric((one.route, state), count)
        for name, share in (
            ("success", one.share),
            ("accuracy", one.accuracy),
            ("completeness", one.completeness),
            ("timeliness", one.timeliness),
        ):
            if share is not None:
                shares.add_metric((one.route, name), share)
        for quantile, seconds in (("0.5", one.p50_s), ("0.95", one.p95_s)):
            if seconds is not None:
                latency.add_metric((one.route, quantile), seconds)
        backlog.add_metric((one.route,), one.backlog)
        age.add_metric((one.route,), one.oldest_s)
        dead.add_metric((one.route,), one.dead_letters)
    return messages, shares, latency, backlog, age, dead


def _epoch(moment: datetime) -> float:
    return moment.timestamp()
