"""How runs and workers end: cancelled, crashed, killed, drained."""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import StateType
from prefect.states import Cancelling

from blocks.settings import Settings
from tests.worker.conftest import Bench, Started, Worker, create_pool, gone, until


@pytest.fixture
def hook(tmp_path: Path) -> Path:
    return tmp_path / "hook.json"


async def cancel(client: PrefectClient, started: Started) -> None:
    await client.set_flow_run_state(started.run.id, Cancelling())


async def test_cancelling_ends_the_whole_group(bench: Bench, client: PrefectClient, hook: Path) -> None:
    """After a cancellation no process of the run is left, its hook has run, and its state is Cancelled."""
    started = await bench.trigger("hooked", job={"env": {"HOOK": str(hook)}})
    seen = await started.running()
    await cancel(client, started)
    run = await started.final()
    assert run.state is not None
    assert run.state.type is StateType.CANCELLED
    until(lambda: gone(seen["pid"]) and gone(seen["child"]), "the end of its processes", 5)
    until(hook.exists, "the cancellation hook")


async def test_what_ignores_sigterm_is_killed_after_its_grace(bench: Bench, client: PrefectClient) -> None:
    """A run that does not end is killed with its children when the grace that was configured is over."""
    started = await bench.trigger("nap", stubborn=True, job={"grace_seconds": 1})
    seen = await started.running()
    await cancel(client, started)
    until(lambda: gone(seen["pid"]) and gone(seen["child"]), "the end of its processes", 10)
    run = await started.final()
    assert run.state is not None
    assert run.state.type is StateType.CANCELLED


@pytest.mark.parametrize(("how", "code"), [("segfault", "-11"), ("3", "3")])
async def test_a_process_that_dies_is_a_crash(bench: Bench, how: str, code: str) -> None:
    """A run whose process dies is Crashed, with the exit status in the message."""
    run = await (await bench.trigger("die", how=how)).final()
    assert run.state is not None
    assert run.state.type is StateType.CRASHED
    assert f"status code: {code}" in (run.state.message or "")


async def test_a_parameter_that_the_flow_does_not_have_fails_the_run_with_a_sentence(bench: Bench) -> None:
    """A server of somebody else's takes such a run; it must not look like the crash of a machine."""
    run = await (await bench.trigger("observe", nonsense=1)).final()
    assert run.state is not None
    assert run.state.type is StateType.FAILED
    assert "but was provided with parameters" in (run.state.message or "")


async def test_the_fork_server_may_die(bench: Bench, worker: Worker, hook: Path) -> None:
    """Its death crashes the runs that it had, with all their processes; the next run has a new one."""
    started = await bench.trigger("hooked", job={"env": {"HOOK": str(hook)}})
    seen = await started.running()
    worker.fork_server.kill()
    run = await started.final()
    assert run.state is not None
    assert run.state.type is StateType.CRASHED
    until(lambda: gone(seen["pid"]) and gone(seen["child"]), "the end of its processes", 5)
    until(hook.exists, "the crash hook")
    again = await (await bench.trigger("observe")).seen_at_end()
    assert again["warm"]


async def test_pool_limit(client: PrefectClient, lone_worker: Worker, tmp_path: Path) -> None:
    """A pool with room for one run has them one after the other."""
    bench = Bench(client, lone_worker.pool, lone_worker.checkout, tmp_path)
    runs = [await bench.trigger("nap", seconds=1.5) for _ in range(2)]
    first, second = sorted([await run.seen_at_end() for run in runs], key=lambda seen: seen["began"])
    assert second["began"] > first["ended"]


async def test_a_killed_worker_takes_its_runs_with_it(
    client: PrefectClient, lone_worker: Worker, tmp_path: Path
) -> None:
    """No process survives a worker that is killed; its successor reports the run, and its place is free."""
    bench = Bench(client, lone_worker.pool, lone_worker.checkout, tmp_path)
    started = await bench.trigger("nap")
    seen = await started.running()
    server = lone_worker.fork_server.pid
    await started.until(lambda run: "lama.worker.process" in run.labels)
    lone_worker.signal(signal.SIGKILL)
    lone_worker.end(10)
    until(lambda: all(map(gone, (seen["pid"], seen["child"], server))), "the end of its processes", 5)
    following = await bench.trigger("observe")
    lone_worker.start()
    run = await started.final()
    assert run.state is not None
    assert run.state.type is StateType.CRASHED
    assert (await following.seen_at_end())["warm"]


async def test_sigterm_drains(client: PrefectClient, lone_worker: Worker, tmp_path: Path) -> None:
    """After SIGTERM the runs in flight complete, no other starts, and nothing is left."""
    bench = Bench(client, lone_worker.pool, lone_worker.checkout, tmp_path)
    started = await bench.trigger("nap", seconds=3)
    seen = await started.running()
    server = lone_worker.fork_server.pid
    lone_worker.signal(signal.SIGTERM)
    await asyncio.sleep(0.5)
    late = await bench.trigger("observe")
    assert await asyncio.to_thread(lone_worker.end, 20) == 0
    run = await started.final()
    assert run.state is not None
    assert run.state.is_completed()
    until(lambda: gone(seen["pid"]) and gone(server), "the end of its processes", 5)
    waiting = await client.read_flow_run(late.run.id)
    assert waiting.state is not None
    assert waiting.state.is_scheduled()
    lone_worker.start()
    await late.seen_at_end()


async def test_what_outlasts_the_drain_is_cancelled(client: PrefectClient, lone_worker: Worker, tmp_path: Path) -> None:
    """A second signal ends the patience: the run is Cancelled, and the worker ends."""
    bench = Bench(client, lone_worker.pool, lone_worker.checkout, tmp_path)
    started = await bench.trigger("nap")
    seen = await started.running()
    for _ in range(2):
        lone_worker.signal(signal.SIGINT)
        await asyncio.sleep(0.3)
    assert await asyncio.to_thread(lone_worker.end, 20) == 0
    run = await started.final()
    assert run.state is not None
    assert run.state.type is StateType.CANCELLED
    assert all(map(gone, (seen["pid"], seen["child"])))
    assert not psutil.pid_exists(seen["pid"])


@pytest.fixture(scope="module")
def _lone(prefect_server: Settings, checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    pool = f"lama-{uuid.uuid4().hex[:8]}"
    asyncio.run(create_pool(pool, limit=1))
    worker = Worker(pool, checkout, tmp_path_factory.mktemp("log") / "lone.log")
    yield worker
    worker.stop()


@pytest.fixture
def lone_worker(_lone: Worker) -> Worker:
    """A worker, running, whose pool has room for one run."""
    if _lone.process is None or _lone.process.poll() is not None:
        _lone.start()
    return _lone
