"""A node of its own for the tests of the platform: its home, its ports, its command line."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from blocks.prefect_api import FlowRun, PrefectApi
from blocks.settings import CHECKOUT, Settings
from deployments.embedded_postgres import EmbeddedPostgres
from tests.conftest import free_port


@dataclass
class Node:
    """A home in a temporary folder, and `lama` run on it as a user would."""

    home: Path
    prefect_port: int = field(default_factory=free_port)
    gateway_port: int = field(default_factory=free_port)
    model_host_port: int = field(default_factory=free_port)
    graph_port: int = field(default_factory=free_port)
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        return Settings(
            home=self.home, prefect_port=self.prefect_port, gateway_port=self.gateway_port,
            model_host_port=self.model_host_port, graph_port=self.graph_port,
        )  # fmt: skip

    @property
    def environment(self) -> dict[str, str]:
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("LAMA_", "PREFECT_"))}
        return kept | {
            "LAMA_HOME": str(self.home),
            "LAMA_PREFECT_PORT": str(self.prefect_port),
            "LAMA_GATEWAY_PORT": str(self.gateway_port),
            "LAMA_MODEL_HOST_PORT": str(self.model_host_port),
            "LAMA_GRAPH_PORT": str(self.graph_port),
            "COLUMNS": "160",
            **self.extra,
        }

    def lama(self, *arguments: str, timeout: float = 240, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run `lama ARGUMENTS` and wait for it."""
        return subprocess.run(
            [sys.executable, "-m", "lama.cli", *arguments],
            cwd=CHECKOUT,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def start(self) -> None:
        done = self.lama("up", "--detach")
        assert done.returncode == 0, done.stdout + done.stderr

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.lama("status", "--json").stdout))

    def pid(self, name: str) -> int:
        return next(int(row["pid"]) for row in self.status()["processes"] if row["name"] == name)

    def processes(self) -> list[psutil.Process]:
        """Every process of this node, known by its environment."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get("LAMA_INSTANCE") == self.settings.instance:
                    found.append(process)
        return [process for process in found if process.status() != psutil.STATUS_ZOMBIE]

    def trigger(self, deployment: str = "health-check", **parameters: Any) -> FlowRun:
        with PrefectApi(self.settings) as api:
            return api.create_run(api.deployment(deployment), parameters)

    def run(self, run_id: str) -> FlowRun:
        with PrefectApi(self.settings) as api:
            return api.run(run_id)

    def remove(self) -> None:
        self.lama("down")
        EmbeddedPostgres(self.settings).remove()
        shutil.rmtree(self.home, ignore_errors=True)


@contextlib.contextmanager
def temporary_node(**extra: str) -> Iterator[Node]:
    node = Node(Path(tempfile.mkdtemp(prefix="lama-node-")), extra=extra)
    try:
        yield node
    finally:
        node.remove()


def command_lines() -> str:
    """What everybody on this machine sees in the process list."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            found.append(" ".join(process.cmdline()))
    return "\n".join(found)


def eventually(what: Callable[[], Any], *, within_s: float, every_s: float = 0.25) -> Any:
    """The first truthy answer of `what`; fails after `within_s` seconds."""
    deadline = time.monotonic() + within_s
    last: Any = None
    while time.monotonic() < deadline:
        last = what()
        if last:
            return last
        time.sleep(every_s)
    raise AssertionError(f"not within {within_s} s; the last answer was {last!r}")
