"""Asks Prefect's API what ran, what is late, what is dead, and who works: in few calls, each of bounded size."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from blocks.settings import Settings
from models.health_check import PerformanceSettings
from tasks.health_check.performance.samples import LiveRun, Pool, PrefectSample, Run

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.orchestration.routes import ServerRoutes

_PAGE = 200  # the most that the API gives at once
_PAGES = 15
_AT_ONCE = 4
_POOLS = 50
_QUEUES = 100
_HEARTBEAT = "prefect.flow-run.heartbeat"
_RESOURCE = "prefect.flow-run."

Json = dict[str, Any]


async def measure_prefect(
    settings: Settings, limits: PerformanceSettings, now: datetime, own_run: str
) -> PrefectSample:
    """What Prefect at `settings.api_url` ran and has to do. The run `own_run` is this check itself and left out.

    Raises:
        httpx.HTTPError: the API cannot be reached, or answers with a failure.
    """
    from prefect.client.orchestration import PrefectClient  # noqa: PLC0415

    auth = settings.prefect_auth.get_secret_value() if settings.prefect_auth else None
    unseen: list[tuple[str, str]] = []
    async with PrefectClient(settings.api_url, auth_string=auth) as client:
        api = _Api(client)
        ended, live, late, pools = await asyncio.gather(
            _ended(api, now - timedelta(hours=limits.window_hours), unseen),
            _live(api, unseen),
            _late(api, now - timedelta(seconds=limits.late_after_s)),
            _pools(api, now, unseen),
        )
        live = [run for run in live if run["id"] != own_run]
        names, heartbeats = await asyncio.gather(
            _flow_names(api, {run["flow_id"] for run in (*ended, *live, *late[0])}), _heartbeats(api, live, now)
        )
    return PrefectSample(
        runs=tuple(
            Run(flow=names[run["flow_id"]], state=run["state_type"], seconds=max(0.0, float(run["total_run_time"])))
            for run in ended
        ),
        live=tuple(_live_run(run, names, heartbeats.get(run["id"])) for run in live),
        late=tuple(_live_run(run, names, None) for run in late[0]),
        late_total=max(late[1], len(late[0])),
        pools=tuple(pools),
        unseen=tuple(unseen),
    )


class _Api:
    """Prefect's API, a few calls at a time."""

    def __init__(self, client: PrefectClient) -> None:
        self._client = client
        self._turn = asyncio.Semaphore(_AT_ONCE)

    async def post(self, path: ServerRoutes, body: Json, **parts: str) -> Any:
        async with self._turn:
            answer = await self._client.request("POST", path, json=body, path_params=parts or None)
        answer.raise_for_status()
        return answer.json()


async def _ended(api: _Api, since: datetime, unseen: list[tuple[str, str]]) -> list[Json]:
    """Runs that ended since then, each once, the newest first."""
    wanted = {
        "state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]}},
        "end_time": {"after_": since.isoformat()},
    }
    total = await api.post("/flow_runs/count", {"flow_runs": wanted})
    pages = await asyncio.gather(
        *(
            api.post(
                "/flow_runs/filter",
                {"flow_runs": wanted, "sort": "END_TIME_DESC", "limit": _PAGE, "offset": page * _PAGE},
            )
            for page in range(min(_PAGES, -(-total // _PAGE)))
        )
    )
    if total > _PAGES * _PAGE:
        unseen.append(("flows", f"{total} runs ended in the window; only the newest {_PAGES * _PAGE} were looked at."))
    return list({run["id"]: run for page in pages for run in page}.values())


async def _live(api: _Api, unseen: list[tuple[str, str]]) -> list[Json]:
    wanted = {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}}
    body = {"flow_runs": wanted, "sort": "EXPECTED_START_TIME_ASC", "limit": _PAGE}
    found: list[Json] = await api.post("/flow_runs/filter", body)
    if len(found) == _PAGE:
        unseen.append(("live", f"more than {_PAGE} runs are under way; only the oldest {_PAGE} were looked at."))
    return found


async def _late(api: _Api, before: datetime) -> tuple[list[Json], int]:
    """Runs that should have started before then: the oldest ones, and how many there are."""
    wanted = {"state": {"type": {"any_": ["SCHEDULED"]}}, "next_scheduled_start_time": {"before_": before.isoformat()}}
    body = {"flow_runs": wanted, "sort": "NEXT_SCHEDULED_START_TIME_ASC", "limit": _PAGE}
    found, total = await asyncio.gather(
        api.post("/flow_runs/filter", body), api.post("/flow_runs/count", {"flow_runs": wanted})
    )
    return found, total


async def _flow_names(api: _Api, ids: Iterable[str]) -> dict[str, str]:
    wanted = sorted(ids)
    pages = await asyncio.gather(
        *(
            api.post("/flows/filter", {"flows": {"id": {"any_": wanted[start : start + _PAGE]}}, "limit": _PAGE})
            for start in range(0, len(wanted), _PAGE)
        )
    )
    names = {flow["id"]: flow["name"] for page in pages for flow in page}
    return {identity: names.get(identity, "deleted flow") for identity in wanted}


async def _heartbeats(api: _Api, live: Sequence[Json], now: datetime) -> dict[str, str]:
    """The last sign of life of each of the `live` runs that ever gave one, by its id."""
    running = [run for run in live if run["state_type"] == "RUNNING"]
    if not running:
        return {}
    earliest = min(datetime.fromisoformat(run["start_time"] or run["expected_start_time"]) for run in running)
    since = max(earliest, now - timedelta(days=6))  # Prefect keeps heartbeats for seven
    counted = await api.post(
        "/events/count-by/{countable}",
        {
            "filter": {
                "occurred": {"since": since.isoformat(), "until": (now + timedelta(minutes=1)).isoformat()},
                "event": {"name": [_HEARTBEAT]},
                "resource": {"id": [_RESOURCE + run["id"] for run in running]},
            }
        },
        countable="resource",
    )
    return {str(row["value"]).removeprefix(_RESOURCE): str(row["end_time"]) for row in counted}


async def _pools(api: _Api, now: datetime, unseen: list[tuple[str, str]]) -> list[Pool]:
    found = await api.post("/work_pools/filter", {"limit": _PAGE})
    if len(found) > _POOLS:
        unseen.append(("pools", f"there are {len(found)} work pools; only the first {_POOLS} were looked at."))
    return list(await asyncio.gather(*(_pool(api, pool, now, unseen) for pool in found[:_POOLS])))


async def _pool(api: _Api, pool: Json, now: datetime, unseen: list[tuple[str, str]]) -> Pool:
    name = pool["name"]
    waiting: Json = {"state": {"type": {"any_": ["SCHEDULED"]}}}
    due = waiting | {"next_scheduled_start_time": {"before_": now.isoformat()}}
    workers, queues, scheduled = await asyncio.gather(
        api.post("/work_pools/{work_pool_name}/workers/filter", {"limit": _PAGE}, work_pool_name=name),
        api.post("/work_pools/{work_pool_name}/queues/filter", {"limit": _PAGE}, work_pool_name=name),
        api.post("/flow_runs/count", {"flow_runs": waiting, "work_pools": {"name": {"any_": [name]}}}),
    )
    if len(queues) > _QUEUES:
        unseen.append(("pools", f"{name} has {len(queues)} queues; only the first {_QUEUES} were counted."))
    queues = queues[:_QUEUES] if scheduled else []
    depths = await asyncio.gather(
        *(
            api.post("/flow_runs/count", {"flow_runs": due, "work_pool_queues": {"id": {"any_": [queue["id"]]}}})
            for queue in queues
        )
    )
    return Pool(
        name=name,
        type=pool["type"],
        paused=pool["is_paused"],
        workers=len(workers),
        workers_online=sum(worker["status"] == "ONLINE" for worker in workers),
        scheduled=scheduled,
        queues={queue["name"]: depth for queue, depth in zip(queues, depths, strict=True)},
    )


def _live_run(run: Json, names: dict[str, str], heartbeat: str | None) -> LiveRun:
    # A run that waits for its retry has started before; it is late by when it should go on.
    waits = run["state_type"] == "SCHEDULED"
    since = run["next_scheduled_start_time"] if waits else run["state"]["timestamp"]
    return LiveRun(
        flow=names[run["flow_id"]],
        pool=run["work_pool_name"] or "no pool",
        state=run["state_type"],
        since=since or run["expected_start_time"],
        heartbeat=datetime.fromisoformat(heartbeat) if heartbeat else None,
    )
