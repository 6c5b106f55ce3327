"""Two workers of one pool, each beside a model host of its own, as on a machine with two GPUs."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import WorkerStatus

from blocks.settings import Settings
from deployments.worker import LamaGpuWorker
from tests.model_host.running import RunningHost
from tests.worker.conftest import Bench, Started, Worker, create_pool
from tests.worker.gpu_pool import (
    Place,
    empty,
    make_host,
    make_worker,
    new_pool,
    state_of,
    status,
    told,
    within,
)


@pytest.fixture(scope="module")
def _hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RunningHost]]:
    hosts = [make_host(tmp_path_factory.mktemp("models")) for _ in range(2)]
    for host in hosts:
        host.start()
    yield hosts
    for host in hosts:
        host.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def _workers(
    prefect_server: Settings, _hosts: list[RunningHost], checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Worker]]:
    pool, logs = new_pool(), tmp_path_factory.mktemp("log")
    asyncio.run(create_pool(pool, kind=LamaGpuWorker))
    workers = [make_worker(pool, checkout, logs / f"gpu-{n}.log", host) for n, host in enumerate(_hosts)]
    for worker in workers:
        worker.start()
    yield workers
    for worker in workers:
        worker.stop()


@pytest.fixture
async def places(
    client: PrefectClient, _hosts: list[RunningHost], _workers: list[Worker], tmp_path: Path
) -> AsyncIterator[list[Place]]:
    """Both, knowing of each other; no model is loaded."""
    first = _workers[0]
    while True:
        seen = await client.read_workers_for_work_pool(first.pool)
        if sum(one.status is WorkerStatus.ONLINE for one in seen) == len(_workers):
            break
        await asyncio.sleep(0.2)
    await asyncio.sleep(3)  # a heartbeat later they have heard of each other
    for host in _hosts:
        for model in ("one", "two", "three"):
            assert told(host, "POST", f"/host/models/{model}/unload") == 200
    bench = Bench(client, first.pool, first.checkout, tmp_path)
    yield [Place(host, worker, bench) for host, worker in zip(_hosts, _workers, strict=True)]
    for host in _hosts:
        within(15, lambda host=host: empty(host), "all leases returned")  # type: ignore[misc]


async def host_of(run: Started) -> str:
    """The address of the host that a run was beside."""
    return str((await run.seen_at_end())["environment"]["LAMA_MODEL_HOST_URL"])


async def test_runs_go_where_their_model_is_loaded(places: list[Place]) -> None:
    """Also to the worker whose turn it would not be, and without loading anything anywhere."""
    for place, model in zip(places, ("one", "two"), strict=True):
        assert told(place.host, "POST", f"/host/models/{model}/load") == 200
    wanted = {"one": places[0].host.url, "two": places[1].host.url}
    waits = []
    for model in ("one", "two") * 5:
        run = await places[0].look(models=[model])
        assert await host_of(run) == wanted[model]
        ended = await run.final()
        assert ended.start_time is not None
        assert ended.created is not None
        waits.append((ended.start_time - ended.created).total_seconds())
    print(f"from the trigger to the start: median {sorted(waits)[len(waits) // 2]:.2f} s, longest {max(waits):.2f} s")
    assert state_of(places[0].host, "two") == state_of(places[1].host, "one") == "absent"


async def test_a_model_that_nobody_has_is_loaded_once(places: list[Place]) -> None:
    """And every run with it goes there; the other worker does not load it, too."""
    began = time.monotonic()
    runs = [await places[0].look(models=["three"]) for _ in range(4)]
    hosts = Counter([await host_of(run) for run in runs])
    print(f"four runs, cold: {time.monotonic() - began:.1f} s")
    assert len(hosts) == 1
    assert sorted(state_of(place.host, "three") for place in places) == ["absent", "ready"]


async def test_a_run_is_taken_by_one_and_leased_by_one(places: list[Place]) -> None:
    """Both are asked for memory where no model says where to go; who loses returns it at once."""
    for _ in range(3):
        runs = [await places[0].nap(seconds=4, memory=150) for _ in range(2)]
        for run in runs:
            await run.running()
        within(5, lambda: sum(status(place.host)["jobs"] for place in places) == 2, "a lease for each of the two")
        for run in runs:
            await run.seen_at_end()


async def test_memory_of_both_is_used(places: list[Place]) -> None:
    """What does not fit on one goes to the other."""
    runs = [await places[0].nap(seconds=2, memory=300) for _ in range(2)]
    first, second = [await run.seen_at_end() for run in runs]
    assert max(first["began"], second["began"]) < min(first["ended"], second["ended"])
