"""Flow runs by state and duration, asked from Prefect's API; an API that is away costs no more than a short wait."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from prometheus_client.core import GaugeMetricFamily, Metric

from blocks.settings import Settings

STATES = ("SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING", "COMPLETED", "FAILED", "CRASHED", "CANCELLED")

_TIMEOUT_S = 2.0
_FRESH_S = 10.0
_WINDOW = timedelta(hours=1)
_MOST_RUNS = 200  # the API's own limit of one page


@dataclass(frozen=True)
class FlowRuns:
    """What Prefect said at one moment."""

    by_state: dict[str, int]
    """All flow runs that it keeps, by state."""
    ended: dict[tuple[str, str], int] = field(default_factory=dict)
    """Runs that ended within the last hour (at most the latest 200), by flow and state."""
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """How long those ran, by flow, in rising order."""


class PrefectFigures:
    """Asks Prefect at most once in ten seconds, whoever wants to know."""

    def __init__(self, settings: Settings) -> None:
        self._client = httpx.AsyncClient(
            base_url=settings.api_url,
            auth=settings.prefect_credentials,
            timeout=_TIMEOUT_S,
            trust_env=False,
            follow_redirects=False,
        )
        self._asking = asyncio.Lock()
        self._asked_at = float("-inf")
        self._answer: FlowRuns | None = None
        self._reached_at = float("-inf")
        self._reached = False

    async def reachable(self) -> bool:
        """Whether the API answers; asked at most once a second."""
        if time.monotonic() - self._reached_at > 1.0:
            self._reached_at = time.monotonic()
            try:
                self._reached = (await self._client.get("/health")).status_code == 200
            except httpx.HTTPError:
                self._reached = False
        return self._reached

    async def families(self) -> list[Metric]:
        """The figures for Prometheus; without Prefect only that it is away."""
        answer = await self._latest()
        up = GaugeMetricFamily("lama_prefect_up", "Whether Prefect's API answers.", value=float(answer is not None))
        return [up, *(_families(answer) if answer else ())]

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _latest(self) -> FlowRuns | None:
        async with self._asking:
            if time.monotonic() - self._asked_at > _FRESH_S:
                try:
                    async with asyncio.timeout(_TIMEOUT_S):
                        self._answer = await self._ask()
                except (httpx.HTTPError, TimeoutError, ValueError, KeyError, TypeError):
                    self._answer = None  # shown as `lama_prefect_up 0`
                self._asked_at = time.monotonic()
            return self._answer

    async def _ask(self) -> FlowRuns:
        since = datetime.now(UTC) - _WINDOW
        counts, runs = await asyncio.gather(
            asyncio.gather(*(self._post("/flow_runs/count", _in_state(state)) for state in STATES)),
            self._post(
                "/flow_runs/filter",
                {
                    "flow_runs": {"end_time": {"after_": since.isoformat()}},
                    "sort": "END_TIME_DESC",
                    "limit": _MOST_RUNS,
                },
            ),
        )
        by_state = {state: int(count) for state, count in zip(STATES, counts, strict=True)}
        flow_ids = sorted({run["flow_id"] for run in runs})
        flows = await self._post("/flows/filter", {"flows": {"id": {"any_": flow_ids}}}) if flow_ids else []
        names = {flow["id"]: str(flow["name"]) for flow in flows}
        ended: Counter[tuple[str, str]] = Counter()
        seconds: defaultdict[str, list[float]] = defaultdict(list)
        for run in runs:
            name = names.get(run["flow_id"], "unknown")
            ended[name, str(run["state_type"])] += 1
            seconds[name].append(float(run["total_run_time"]))
        return FlowRuns(by_state, dict(ended), {name: sorted(values) for name, values in seconds.items()})

    async def _post(self, path: str, body: dict[str, Any]) -> Any:
        answer = await self._client.post(path, json=body)
        answer.raise_for_status()
        return answer.json()


def _in_state(state: str) -> dict[str, Any]:
    return {"flow_runs": {"state": {"type": {"any_": [state]}}}}


def _families(answer: FlowRuns) -> Iterator[Metric]:
    states = GaugeMetricFamily("lama_flow_runs", "Flow runs that Prefect keeps, by state.", labels=("state",))
    for state, count in answer.by_state.items():
        states.add_metric((state.lower(),), count)
    yield states
    ended = GaugeMetricFamily(
        "lama_flow_runs_ended_last_hour", "Flow runs that ended in the last hour (the latest 200).",
        labels=("flow", "state"),
    )  # fmt: skip
    for (flow, state), count in answer.ended.items():
        ended.add_metric((flow, state.lower()), count)
    yield ended
    durations = GaugeMetricFamily("lama_flow_run_duration_seconds", "How long those ran.", labels=("flow", "quantile"))
    for flow, values in answer.seconds.items():
        for quantile in (0.5, 0.95, 1.0):
            durations.add_metric((flow, str(quantile)), values[round(quantile * (len(values) - 1))])
    yield durations
