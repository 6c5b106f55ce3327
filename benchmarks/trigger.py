"""From trigger to running flow: the warm worker beside Prefect's stock process worker.

One embedded PostgreSQL and one Prefect server, both workers at the same time, the same flow deployed to both, triggered
in turn. The stock worker looks for runs every second (its default is 10 s), the warm worker every 0.25 s. A time is the
one from just before the request that creates the run to the timestamp of its Running state.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from blocks.prefect_server import client_environment  # noqa: E402
from blocks.settings import Settings  # noqa: E402
from deployments.embedded_postgres import EmbeddedPostgres  # noqa: E402
from deployments.platform import Platform  # noqa: E402

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun

OURS, STOCK = "lama", "process"
LIMIT_S = 90.0

FLOWS = """
import asyncio
from prefect import flow

@flow
async def nothing(seconds: float = 0.0) -> None:
    await asyncio.sleep(seconds)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="within 45 seconds")
    parser.add_argument("--runs", type=int, default=20, help="runs of each worker (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lama-bench-") as folder:
        settings = Settings(home=Path(folder) / "home", prefect_port=free_port(), gateway_port=free_port())
        os.environ.update(client_environment(settings), PREFECT_LOGGING_LEVEL="ERROR")
        platform = Platform(settings, only=["postgres", "prefect"])
        try:
            platform.start()
            turns = [[OURS, STOCK, OURS, OURS]] if options.quick else [[OURS, STOCK] for _ in range(options.runs)]
            measured = asyncio.run(measure(settings, Path(folder), turns))
        finally:
            platform.stop()
            EmbeddedPostgres(settings).remove()
    show(measured)


async def measure(settings: Settings, folder: Path, turns: list[list[str]]) -> dict[str, dict[str, Any]]:
    from prefect.client.orchestration import get_client  # noqa: PLC0415 - after its settings are in the environment

    checkout = folder / "checkout"
    checkout.mkdir()
    (checkout / "bench_flows.py").write_text(FLOWS)
    (checkout / "prefect.yaml").write_text("deployments:\n- {name: nothing, entrypoint: bench_flows.nothing}\n")
    async with get_client() as client, workers(client, settings, checkout) as processes:
        deployments = {pool: await deploy(client, pool, checkout) for pool in (OURS, STOCK)}
        idle = {pool: memory(process) for pool, process in processes.items()}
        await trigger(client, deployments[OURS])  # what only its first run pays; every run is a first one for the other
        times: dict[str, list[float]] = {OURS: [], STOCK: []}
        sizes: dict[str, dict[str, int]] = {}
        for turn in turns:
            for pool in turn:
                await asyncio.sleep(random.random())  # not in step with anybody's clock
                last = turn is turns[-1] and pool not in sizes
                size = sizes.setdefault(pool, {}) if last else None
                times[pool].append(await trigger(client, deployments[pool], size))
    return {pool: {"times_s": times[pool], "idle": idle[pool], "run": sizes[pool]} for pool in times}


@asynccontextmanager
async def workers(
    client: PrefectClient, settings: Settings, checkout: Path
) -> AsyncIterator[dict[str, psutil.Process]]:
    python = sys.executable
    commands = {
        OURS: [python, "-m", "deployments.worker", "--pool", OURS, "--name", OURS, "--checkout", str(checkout)],
        STOCK: [python, "-m", "prefect", "worker", "start", "--pool", STOCK, "--type", "process", "--name", STOCK],
    }
    environment = os.environ | {
        "LAMA_HOME": str(settings.home),
        "LAMA_PREFECT_PORT": str(settings.prefect_port),
        "LAMA_WORKER_POLL_S": "0.25",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PYTHONPATH": str(ROOT),
    }
    started = {
        pool: subprocess.Popen(  # noqa: ASYNC220
            command, cwd=ROOT, env=environment, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for pool, command in commands.items()
    }  # fmt: skip
    try:
        for pool in started:
            await online(client, pool)
        await asyncio.sleep(2)  # the fork server imports, the stock worker settles
        yield {pool: psutil.Process(process.pid) for pool, process in started.items()}
    finally:
        for process in started.values():
            process.kill()
            process.wait()


async def online(client: PrefectClient, pool: str) -> None:
    from prefect.exceptions import PrefectHTTPStatusError  # noqa: PLC0415

    until = time.monotonic() + LIMIT_S
    while True:
        try:
            if await client.read_workers_for_work_pool(pool):
                return
        except PrefectHTTPStatusError as error:
            if error.response.status_code != 404:  # it has not created its pool yet
                raise
        if time.monotonic() > until:
            raise TimeoutError(f"the worker of {pool} did not come online")
        await asyncio.sleep(0.2)


async def deploy(client: PrefectClient, pool: str, checkout: Path) -> UUID:
    return await client.create_deployment(
        flow_id=await client.create_flow_from_name("nothing"),
        name=pool,
        work_pool_name=pool,
        entrypoint="bench_flows.nothing",
        pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(checkout)}}],
    )


async def trigger(client: PrefectClient, deployment: UUID, size: dict[str, int] | None = None) -> float:
    """Seconds from the request to the Running state; waits for the end of the run.

    With `size`, the run sleeps for a moment, and its memory is put there.
    """
    asked = datetime.now(UTC)
    run = await client.create_flow_run_from_deployment(
        deployment, parameters={"seconds": 2.0 if size is not None else 0.0}
    )
    if size is not None:
        running = await until(client, run.id, final=False)
        while not running.infrastructure_pid:  # reported beside the start
            running = await client.read_flow_run(run.id)
        await asyncio.sleep(0.5)
        size.update(memory(psutil.Process(int(running.infrastructure_pid))))
    run = await until(client, run.id, final=True)
    states = {state.name: state.timestamp for state in await client.read_flow_run_states(run.id)}
    if "Completed" not in states:
        raise RuntimeError(f"run {run.id} ended as {run.state!r}")
    return (states["Running"] - asked).total_seconds()


async def until(client: PrefectClient, run_id: UUID, *, final: bool) -> FlowRun:
    """The run once its state is final, or else Running."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        run = await client.read_flow_run(run_id)
        if run.state is not None and (run.state.is_final() or (not final and run.state.is_running())):
            return run
        if time.monotonic() > deadline:
            raise TimeoutError(f"run {run_id} is {run.state!r} after {LIMIT_S:.0f} s")
        await asyncio.sleep(0.2)


def memory(root: psutil.Process) -> dict[str, int]:
    """Bytes of a process and all that it has started: its fair share of shared pages, and what is its own."""
    figures = [process.memory_full_info() for process in (root, *root.children(recursive=True))]
    return {"pss_bytes": sum(info.pss for info in figures), "uss_bytes": sum(info.uss for info in figures)}


def show(measured: dict[str, dict[str, Any]]) -> None:
    figures = {
        pool: {
            "median_s": statistics.median(values["times_s"]),
            "p95_s": percentile(values["times_s"], 0.95),
            "best_s": min(values["times_s"]),
            "worst_s": max(values["times_s"]),
            "runs": len(values["times_s"]),
            **{f"idle_worker_{name}": size for name, size in values["idle"].items()},
            **{f"run_{name}": size for name, size in values["run"].items()},
        }
        for pool, values in measured.items()
    }
    print(f"{'':36}{'warm worker':>14}{'stock worker':>14}")
    for name in figures[OURS]:
        ours, stock = figures[OURS][name], figures[STOCK][name]
        if name.endswith("_bytes"):
            line = f"{ours / 2**20:>10.0f} MiB{stock / 2**20:>10.0f} MiB"
        elif name.endswith("_s"):
            line = f"{ours:>12.2f} s{stock:>12.2f} s"
        else:
            line = f"{ours:>14}{stock:>14}"
        print(f"{name:36}{line}")
    ours, stock = figures[OURS]["median_s"], figures[STOCK]["median_s"]
    peer = "Prefect's process worker, polling every second"
    print(
        json.dumps(
            {
                "benchmark": "trigger",
                "unit": "s from trigger to running, median",
                "ours": round(ours, 3),
                "peers": {peer: round(stock, 3)},
                "ratio": {peer: round(stock / ours, 2)},
                "detail": {
                    "warm": _rounded(figures[OURS]),
                    "stock": _rounded(figures[STOCK]),
                    "cores": os.cpu_count(),
                    "load_at_end": round(os.getloadavg()[0], 2),
                },
            }
        )
    )


def _rounded(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in figures.items()}


def percentile(values: list[float], share: float) -> float:
    """The smallest of `values` that at least `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1))]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
