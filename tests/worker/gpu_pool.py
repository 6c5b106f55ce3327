"""A model host and the workers of a pool beside it, as processes, for the tests of the pool of GPUs."""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import free_port
from tests.model_host.running import RunningHost, a_model_of_its_own
from tests.worker.conftest import Bench, Started, Worker

MIB = 1024 * 1024
MEMORY_MIB = 400
"""Room for two of the models, or for one and 200 MiB of runs."""
LARGE_MIB = 300
"""No two of them fit."""


def make_host(folder: Path) -> RunningHost:
    """A host of three models that share nothing; not started."""
    entries = ""
    for name in ("one", "two", "three"):
        file = a_model_of_its_own(folder, name)
        entries += (
            f'[[model_host.models]]\nname = "{name}"\nsource = "path:{file}"\ncontext_window = 256\nconcurrency = 1\n'
        )
    settings = f"[model_host]\nmemory_bytes = {MEMORY_MIB * MIB}\nqueue_s = 2\nkeep_s = 0\nthreads = 1\n"
    return RunningHost(Path(tempfile.mkdtemp(prefix="lama-host-")), free_port(), settings + entries)


def make_worker(pool: str, checkout: Path, log: Path, host: RunningHost, *arguments: str) -> Worker:
    """A worker of the pool on the CPU, beside `host`; not started."""
    return Worker(
        pool,
        checkout,
        log,
        ("--gpu", "cpu", "--model-host", host.url, *arguments),
        {"LAMA_MODEL_HOST_KEY": host.key, "PREFECT_WORKER_HEARTBEAT_SECONDS": "2"},
    )


def new_pool() -> str:
    return f"gpu-{uuid.uuid4().hex[:8]}"


def status(host: RunningHost) -> dict[str, Any]:
    with host.http() as http:
        answer = http.get("/host/status")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def state_of(host: RunningHost, model: str) -> str:
    return next(str(one["state"]) for one in status(host)["models"] if one["name"] == model)


def told(host: RunningHost, method: str, path: str) -> int:
    """The status of what the host answers."""
    with host.http() as http:
        return http.request(method, path).status_code


def empty(host: RunningHost) -> bool:
    """Whether nobody holds anything that is not weights."""
    now = status(host)
    return now["jobs"] == 0 and now["leased_bytes"] == 0


@dataclass
class Place:
    """One worker and its host."""

    host: RunningHost
    worker: Worker
    bench: Bench

    async def nap(self, seconds: float = 300.0, **job: Any) -> Started:
        return await self.bench.trigger("nap", seconds=seconds, job=job)

    async def look(self, **job: Any) -> Started:
        return await self.bench.trigger("observe", job=job)


def within(limit_s: float, holds: Callable[[], bool], what: str) -> float:
    """Seconds until something held; fails after `limit_s`."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < limit_s, f"not within {limit_s:.0f} s: {what}"
        time.sleep(0.05)
    return time.monotonic() - began
