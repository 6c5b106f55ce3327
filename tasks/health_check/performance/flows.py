"""How the flows fared: durations, failures, runs that are late or dead, and pools without workers. Pure."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime

from pydantic import JsonValue

from models.health_check import PerformanceSettings
from models.report import Finding, Severity, Value
from tasks.health_check.performance.samples import LiveRun, Pool, PrefectSample, Run

AREA = "performance"
_LEAST_RUNS = 3  # that ended, before a share of failures says something
_STUCK_S = 300.0  # between a run's being taken and its start
_FAR_TOO_LONG = 10  # times its usual duration
_LONG_S = 3600.0
_FAILED = frozenset({"FAILED", "CRASHED"})


class FlowFigures(Value):
    """One flow over the window."""

    flow: str
    ended: int
    failed: int
    p50_s: float | None
    p95_s: float | None

    @property
    def failure_ratio(self) -> float:
        """Share of the runs that failed or crashed; cancelled ones count as neither."""
        return self.failed / self.ended if self.ended else 0.0


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that at least `share` of them do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def figures(runs: Iterable[Run]) -> list[FlowFigures]:
    """Every flow's figures, the one with the most runs first. Durations are those of completed runs."""
    by_flow: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_flow[run.flow].append(run)
    found = []
    for flow, group in by_flow.items():
        times = [run.seconds for run in group if run.state == "COMPLETED"]
        found.append(
            FlowFigures(
                flow=flow,
                ended=sum(run.state != "CANCELLED" for run in group),
                failed=sum(run.state in _FAILED for run in group),
                p50_s=percentile(times, 0.50) if times else None,
                p95_s=percentile(times, 0.95) if times else None,
            )
        )
    return sorted(found, key=lambda item: (-item.ended, item.flow))


def findings_of(
    sample: PrefectSample, limits: PerformanceSettings, now: datetime, zombie_after_s: float
) -> list[Finding]:
    """What is to be said about flows, runs and pools."""
    known = figures(sample.runs)
    return [
        *_failures(known, limits),
        *_late(sample, limits, now),
        *_dead(sample.live, known, now, zombie_after_s),
        *(finding for pool in sample.pools for finding in _pool(pool)),
    ]


def inventory_of(sample: PrefectSample, window_hours: float) -> Finding:
    """What ran, as a table."""
    known = figures(sample.runs)
    return Finding(
        key=f"{AREA}.flows:prefect",
        severity=Severity.info,
        component="prefect",
        title=f"{sum(item.ended for item in known)} runs of {len(known)} flows ended in {window_hours:g} hours.",
        evidence={
            "flows": [item.model_dump(mode="json") for item in known[:50]],
            "pools": [pool.model_dump(mode="json") for pool in sample.pools],
        },
    )


def _failures(known: Iterable[FlowFigures], limits: PerformanceSettings) -> Iterable[Finding]:
    for item in known:
        if item.ended >= _LEAST_RUNS and item.failure_ratio > limits.failure_ratio:
            yield _finding(
                f"failure_rate:{item.flow}",
                Severity.high if item.failure_ratio > 0.5 else Severity.medium,
                item.flow,
                f"{item.failed} of {item.ended} runs of {item.flow} failed.",
                "Look at the logs of the last failed run in Prefect's UI.",
                item.failure_ratio / limits.failure_ratio,
                failed=item.failed,
                ended=item.ended,
            )


def _late(sample: PrefectSample, limits: PerformanceSettings, now: datetime) -> Iterable[Finding]:
    by_pool = Counter(run.pool for run in sample.late)
    oldest: dict[str, datetime] = {}
    for run in sample.late:
        oldest[run.pool] = min(oldest.get(run.pool, run.since), run.since)
    for pool, count in sorted(by_pool.items()):
        waited = max(0.0, (now - oldest[pool]).total_seconds())
        yield _finding(
            f"late:{pool}",
            Severity.high if waited > 60 * limits.late_after_s else Severity.medium,
            pool,
            f"{count} runs for {pool} are late.",
            "Start more workers, or raise the concurrency limit of the pool, its queues or its deployments.",
            waited / limits.late_after_s,
            count=count,
            of_all=sample.late_total,
            oldest_seconds=round(waited),
        )


def _dead(
    live: Iterable[LiveRun], known: Iterable[FlowFigures], now: datetime, zombie_after_s: float
) -> Iterable[Finding]:
    usual = {item.flow: item.p95_s for item in known}
    zombies, long, stuck = Counter[str](), Counter[str](), Counter[str]()
    for run in live:
        age = (now - run.since).total_seconds()
        if run.state == "RUNNING":
            # Of a run that never gave a sign of life, as its heartbeat may be off, only the time can be judged.
            limit = max(_LONG_S, _FAR_TOO_LONG * (usual.get(run.flow) or 0.0))
            if run.heartbeat is not None:
                zombies[run.flow] += (now - run.heartbeat).total_seconds() > zombie_after_s
            elif age > limit:
                long[run.flow] += 1
        elif age > _STUCK_S:
            stuck[run.flow] += 1
    remedy = "See whether its process still lives; set it to Crashed in Prefect's UI, so that its slot is free again."
    for kind, counted, severity, words in (
        ("zombie", +zombies, Severity.high, "count as running, but their processes gave no sign of life"),
        ("long_run", +long, Severity.medium, "run far longer than usual"),
        ("stuck", +stuck, Severity.medium, "were taken up, but neither start nor stop"),
    ):
        for flow, count in sorted(counted.items()):
            title = f"{count} runs of {flow} {words}."
            yield _finding(f"{kind}:{flow}", severity, flow, title, remedy, float(count), count=count)


def _pool(pool: Pool) -> Iterable[Finding]:
    if not pool.scheduled:
        return
    due = sum(pool.queues.values())
    if pool.paused:
        yield _finding(
            f"paused:{pool.name}",
            Severity.low,
            pool.name,
            f"The pool {pool.name} is paused, and {pool.scheduled} runs wait for it.",
            "Resume it when it should work again.",
            1.0,
            scheduled=pool.scheduled,
            due=due,
        )
    elif pool.needs_worker and not pool.workers_online:
        yield _finding(
            f"no_worker:{pool.name}",
            Severity.high,
            pool.name,
            f"{pool.scheduled} runs wait for the pool {pool.name}, and no worker of it is online.",
            "Start one: `lama up`, or `prefect worker start` for a pool of another type.",
            max(1.0, float(due)),
            scheduled=pool.scheduled,
            due=due,
            workers_offline=pool.workers,
        )


def _finding(
    key: str, severity: Severity, component: str, title: str, remedy: str, pressure: float, **evidence: JsonValue
) -> Finding:
    return Finding(
        key=f"{AREA}.{key}",
        severity=severity,
        component=component,
        title=title,
        remedy=remedy,
        evidence={**evidence, "pressure": round(pressure, 3)},
    )
