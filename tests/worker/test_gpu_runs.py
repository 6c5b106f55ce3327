"""The pool of GPUs: runs wait for their memory, keep it while they go on, and return it however they end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Cancelling

from blocks.settings import Settings
from deployments.worker import LamaGpuWorker
from tasks.model_host.jobs import JOB_TTL_S
from tests.model_host.running import RunningHost
from tests.worker.conftest import Bench, Started, Worker, create_pool, logged
from tests.worker.gpu_pool import (
    LARGE_MIB,
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

LIMIT = 3
"""Runs at a time in the pool."""
NEVER_MIB = 100_000


@pytest.fixture(scope="module")
def _host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    host = make_host(tmp_path_factory.mktemp("models"))
    host.start()
    yield host
    host.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def _worker(
    prefect_server: Settings, _host: RunningHost, checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    pool = new_pool()
    asyncio.run(create_pool(pool, LIMIT, LamaGpuWorker))
    worker = make_worker(pool, checkout, tmp_path_factory.mktemp("log") / "gpu.log", _host)
    worker.start()
    yield worker
    worker.stop()


@pytest.fixture
async def place(client: PrefectClient, _worker: Worker, _host: RunningHost, tmp_path: Path) -> AsyncIterator[Place]:
    """A host and a worker that are up, and hold nothing for anybody before and after each test."""
    place = Place(_host, _worker, Bench(client, _worker.pool, _worker.checkout, tmp_path))
    yield place
    for one in place.bench.started:
        run = await client.read_flow_run(one.run.id)
        if run.state is None or not run.state.is_final():
            await client.set_flow_run_state(run.id, Cancelling())
    within(15, lambda: empty(_host), "all leases returned")


async def cancel(client: PrefectClient, *started: Started) -> None:
    """As a user does; returns when they have ended."""
    for one in started:
        await client.set_flow_run_state(one.run.id, Cancelling())
    for one in started:
        assert (await one.final()).state_type is StateType.CANCELLED


async def is_queued(started: Started) -> bool:
    run = await started.client.read_flow_run(started.run.id)
    return run.state_type is StateType.SCHEDULED


async def lines(client: PrefectClient, run: FlowRun, message: str) -> int:
    """How many log lines of a run have `message`."""
    wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id]))
    return sum(message in log.message for log in await client.read_logs(wanted, limit=200))


async def test_a_run_sees_its_device_and_its_host(place: Place) -> None:
    """Whatever the job variables say: the pin and the host's address are the worker's."""
    wrong = {"CUDA_VISIBLE_DEVICES": "0,1", "LAMA_GPU": "mine", "LAMA_MODEL_HOST_URL": "http://127.0.0.1:1", "OWN": "1"}
    for more in ({}, {"fresh_interpreter": True}):
        seen = (await (await place.look(env=wrong, **more)).seen_at_end())["environment"]
        assert seen["CUDA_VISIBLE_DEVICES"] == ""
        assert seen["LAMA_GPU"] == "cpu"
        assert seen["LAMA_MODEL_HOST_URL"] == place.host.url
        assert seen["OWN"] == "1"


async def test_models_are_there_before_a_run_and_stay_until_its_end(place: Place, client: PrefectClient) -> None:
    run = await place.nap(models=["one"], memory=20)
    await run.running()
    assert state_of(place.host, "one") == "ready"
    now = status(place.host)
    assert (now["jobs"], now["leased_bytes"]) == (1, 20 * 2**20)
    assert told(place.host, "POST", "/host/models/one/unload") == 409
    assert told(place.host, "POST", "/host/models/two/load") == 200
    assert told(place.host, "POST", "/host/models/three/load") == 200, "evicts the idle one"
    assert state_of(place.host, "one") == "ready"
    assert state_of(place.host, "two") == "absent"
    await cancel(client, run)
    within(5, lambda: empty(place.host), "the lease returned")
    assert told(place.host, "POST", "/host/models/one/unload") == 200


async def test_a_run_waits_for_memory_and_those_behind_it_go_on(place: Place, client: PrefectClient) -> None:
    first = await place.nap(memory=LARGE_MIB)
    await first.running()
    second = await place.nap(seconds=0, memory=LARGE_MIB)
    assert await logged(client, second.run, "waits for memory")
    behind, free = await place.look(memory=20), await place.look()
    await behind.seen_at_end()
    await free.seen_at_end()
    await asyncio.sleep(3)
    assert await is_queued(second)
    assert await lines(client, second.run, "waits for memory") == 1
    assert await lines(client, second.run, "are missing at the moment") == 1
    await cancel(client, first)
    await second.seen_at_end()


async def test_what_can_never_run_here_stays_queued_and_says_so(place: Place, client: PrefectClient) -> None:
    large, unknown = await place.nap(memory=NEVER_MIB), await place.nap(models=["nobody"])
    assert await logged(client, large.run, "It cannot run on this device")
    assert await logged(client, large.run, "can ever be free")
    assert await logged(client, unknown.run, "there is no model 'nobody'")
    assert await is_queued(large)
    assert await is_queued(unknown)
    await cancel(client, large, unknown)


async def test_those_that_wait_do_not_hide_the_others(place: Place, client: PrefectClient) -> None:
    """More of them than the pool has room for are at the head, and the limit of the pool is kept all the same."""
    waiting = [await place.nap(memory=NEVER_MIB) for _ in range(LIMIT + 1)]
    await (await place.look(memory=20)).seen_at_end()
    await (await place.look()).seen_at_end()
    runs = [await place.nap(seconds=1.5, memory=20) for _ in range(LIMIT + 2)]
    naps = [await run.seen_at_end() for run in runs]
    for nap in naps:
        assert sum(one["began"] <= nap["began"] < one["ended"] for one in naps) <= LIMIT
    assert all([await is_queued(run) for run in waiting])
    await cancel(client, *waiting)


async def test_an_exclusive_run_is_alone(place: Place) -> None:
    first = await place.nap(seconds=2, exclusive=True)
    await first.running()
    beside, other = await place.look(), await place.nap(seconds=0, memory=1)
    await beside.seen_at_end()
    alone = await first.seen_at_end()
    seen = await other.seen_at_end()
    assert seen["began"] > alone["ended"]


async def test_the_lease_returns_when_a_run_fails(place: Place) -> None:
    run = await place.bench.trigger("fail", seconds=1, job={"memory": 20, "models": ["one"]})
    await run.running()
    assert status(place.host)["jobs"] == 1
    assert (await run.final()).state_type is StateType.FAILED
    within(5, lambda: empty(place.host), "the lease returned")


async def test_the_lease_returns_when_a_run_is_killed(place: Place) -> None:
    run = await place.nap(memory=20)
    seen = await run.running()
    assert status(place.host)["jobs"] == 1
    os.killpg(seen["pid"], signal.SIGKILL)
    assert (await run.final()).state_type is StateType.CRASHED
    within(5, lambda: empty(place.host), "the lease returned")


async def test_the_lease_returns_when_a_run_cannot_start(place: Place) -> None:
    run = await place.nap(memory=20, working_dir="/proc/nowhere")
    assert (await run.final()).state_type is StateType.CRASHED
    within(5, lambda: empty(place.host), "the lease returned")


async def test_who_is_cancelled_while_it_waits_gets_nothing(place: Place, client: PrefectClient) -> None:
    """Its place in the host's queue is given up: memory that comes back goes to the next."""
    first = await place.nap(memory=LARGE_MIB)
    await first.running()
    second, third = await place.nap(memory=LARGE_MIB), await place.nap(seconds=0, memory=LARGE_MIB)
    assert await logged(client, third.run, "waits for memory")
    await cancel(client, second)
    await cancel(client, first)
    await third.seen_at_end()


async def test_the_host_may_be_away(place: Place, client: PrefectClient) -> None:
    """Runs that need memory wait for it; the others do not."""
    place.host.stop(signal.SIGKILL)
    try:
        needs, free = await place.nap(seconds=0, memory=20), await place.look()
        await free.seen_at_end()
        assert await logged(client, needs.run, "the model host does not answer")
        assert await is_queued(needs)
    finally:
        place.host.start()
    await needs.seen_at_end()


async def test_a_host_that_comes_back_hears_of_the_runs(place: Place, client: PrefectClient) -> None:
    run = await place.nap(models=["one"], memory=20)
    await run.running()
    place.host.stop(signal.SIGKILL)
    place.host.start()
    took_s = within(12, lambda: status(place.host)["leased_bytes"] == 20 * 2**20, "the lease announced again")
    print(f"announced again after {took_s:.1f} s")
    assert state_of(place.host, "one") == "ready"
    await cancel(client, run)


async def test_a_worker_that_is_stopped_returns_everything(place: Place) -> None:
    """Also the places of those that wait, which its successor takes."""
    held, waits = await place.nap(memory=LARGE_MIB), await place.nap(seconds=0, memory=LARGE_MIB)
    await held.running()
    assert await logged(place.bench.client, waits.run, "waits for memory")
    for _ in range(2):
        place.worker.signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
    assert await asyncio.to_thread(place.worker.end, 20) == 0
    assert empty(place.host)
    place.worker.start()
    await waits.seen_at_end()


async def test_the_lease_of_a_killed_worker_goes(place: Place) -> None:
    """Its successor returns it at once; without one, the host misses the worker after a while."""
    first = await place.nap(memory=LARGE_MIB)
    await first.running()
    await first.until(lambda run: "lama.worker.process" in run.labels)
    place.worker.signal(signal.SIGKILL)
    place.worker.end(10)
    next_one = await place.nap(memory=LARGE_MIB)
    place.worker.start()
    assert (await first.final()).state_type is StateType.CRASHED
    await next_one.running()
    place.worker.signal(signal.SIGKILL)
    place.worker.end(10)
    assert not empty(place.host)
    with place.host.http() as http:
        path, asked = f"/host/jobs/{next_one.run.id}", {"bytes": LARGE_MIB * 2**20}
        assert http.post(path, json=asked).json()["expires_s"] == JOB_TTL_S, "as long as the worker's own request"
        assert http.post(path, json=asked | {"ttl_s": 1}).json()["expires_s"] == 1
    assert not empty(place.host)
    took_s = within(20, lambda: empty(place.host), "the lease ended")
    print(f"ended after {took_s:.1f} s")
    place.worker.start()
    assert (await next_one.final()).state_type is StateType.CRASHED
