"""A real worker process on a checkout of its own, and a client that deploys and triggers its flows."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, StateType

from blocks.settings import CHECKOUT, Settings
from deployments.worker import LamaWorker

LIMIT_S = 40.0


@dataclass
class Worker:
    """A worker process, which can be stopped in every way and started again."""

    pool: str
    checkout: Path
    log: Path
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        return f"{self.log.stem} of {self.pool}"

    def start(self) -> None:
        ready = self.written().count("Fork server ready")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "deployments.worker", "--pool", self.pool, "--name", self.name,
                 "--checkout", str(self.checkout), *self.arguments],
                cwd=CHECKOUT, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self.environment},
            )  # fmt: skip
        until(lambda: self.written().count("Fork server ready") > ready, "a fork server")

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def fork_server(self) -> psutil.Process:
        (server,) = [
            child
            for child in psutil.Process(self.pid).children()
            if any("fork_server" in word for word in child.cmdline())
        ]
        return server

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def end(self, limit_s: float = LIMIT_S) -> int:
        assert self.process is not None
        return self.process.wait(limit_s)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    def written(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


@dataclass
class Bench:
    """Deploys the flows of a checkout to a pool, starts runs, and waits for what becomes of them."""

    client: PrefectClient
    pool: str
    checkout: Path
    folder: Path
    started: list[Started] = field(default_factory=list)
    _deployments: dict[Any, uuid.UUID] = field(default_factory=dict)

    async def trigger(
        self,
        flow: str,
        *,
        entrypoint: str | None = None,
        directory: Path | None = None,
        job: dict[str, Any] | None = None,
        **parameters: Any,
    ) -> Started:
        """Start a run of `flow`, one of `warmed.flows` unless `entrypoint` says otherwise."""
        entrypoint = entrypoint or f"warmed.flows.{flow}"
        key = (flow, entrypoint, directory)
        if key not in self._deployments:
            step = "prefect.deployments.steps.set_working_directory"
            self._deployments[key] = await self.client.create_deployment(
                flow_id=await self.client.create_flow_from_name(flow),
                name=f"{flow}-{uuid.uuid4().hex[:8]}",
                work_pool_name=self.pool,
                entrypoint=entrypoint,
                pull_steps=[{step: {"directory": str(directory or self.checkout)}}],
            )
        out = self.folder / f"{uuid.uuid4().hex}.json"
        if flow not in {"die", "eat"}:
            parameters["out"] = str(out)
        run = await self.client.create_flow_run_from_deployment(
            self._deployments[key], parameters=parameters, job_variables=job
        )
        self.started.append(Started(self.client, run, out))
        return self.started[-1]


@dataclass
class Started:
    """A run that was triggered."""

    client: PrefectClient
    run: FlowRun
    out: Path

    async def final(self, limit_s: float = LIMIT_S) -> FlowRun:
        """The run once its state is final."""
        return await self.until(lambda run: run.state is not None and run.state.is_final(), limit_s)

    async def running(self) -> dict[str, Any]:
        """What it has written down, once it is running."""
        run = await self.until(lambda run: run.state is not None and (run.state.is_final() or self.out.exists()))
        assert run.state is not None
        assert run.state.type is StateType.RUNNING, run.state
        return self.seen()

    async def seen_at_end(self) -> dict[str, Any]:
        """What it has written down; it must have completed."""
        run = await self.final()
        assert run.state is not None
        assert run.state.is_completed(), run.state
        return self.seen()

    def seen(self) -> dict[str, Any]:
        return dict(json.loads(self.out.read_text()))

    async def until(self, holds: Callable[[FlowRun], bool], limit_s: float = LIMIT_S) -> FlowRun:
        deadline = time.monotonic() + limit_s
        while True:
            run = await self.client.read_flow_run(self.run.id)
            if holds(run):
                return run
            assert time.monotonic() < deadline, f"{run.name} is still {run.state!r}"
            await asyncio.sleep(0.1)


async def logged(client: PrefectClient, run: FlowRun, message: str, limit_s: float = LIMIT_S) -> bool:
    """Whether the API gets a log line of `run` with `message` in it: lines are sent in batches."""
    deadline = time.monotonic() + limit_s
    wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id]))
    while time.monotonic() < deadline:
        if any(message in log.message for log in await client.read_logs(wanted, limit=200)):
            return True
        await asyncio.sleep(0.2)
    return False


def until(holds: Callable[[], bool], what: str, limit_s: float = LIMIT_S) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline, f"waited {limit_s:.0f} s for {what}"
        time.sleep(0.05)


def gone(pid: int) -> bool:
    """Whether no process of this id does anything any more."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
async def client(prefect_server: Settings) -> AsyncIterator[PrefectClient]:
    async with get_client() as client:
        yield client


@pytest.fixture(scope="package")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout that the tests may change."""
    return Path(shutil.copytree(Path(__file__).parent / "checkout", tmp_path_factory.mktemp("code") / "checkout"))


@pytest.fixture(scope="package")
def pool() -> str:
    return f"lama-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="package")
def worker(
    prefect_server: Settings, pool: str, checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    """A worker, started; a test that ends it starts it again."""
    worker = Worker(pool, checkout, tmp_path_factory.mktemp("log") / "worker.log")
    worker.start()
    yield worker
    worker.stop()


@pytest.fixture
async def bench(client: PrefectClient, worker: Worker, tmp_path: Path) -> Bench:
    """Deploys to the pool of `worker`."""
    return Bench(client, worker.pool, worker.checkout, tmp_path)


async def create_pool(name: str, limit: int | None = None, kind: type[LamaWorker] = LamaWorker) -> None:
    """Create a pool of a type of ours with room for `limit` runs."""
    async with get_client() as client:
        await client.create_work_pool(
            WorkPoolCreate(
                name=name,
                type=kind.type,
                base_job_template=kind.get_default_base_job_template(),
                concurrency_limit=limit,
            )
        )
