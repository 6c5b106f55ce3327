"""An embedded graph server of a test's own, which may be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from blocks.home import Home
from blocks.settings import CHECKOUT, Settings
from deployments.embedded_graph import EmbeddedGraph
from models.graph_settings import GraphSettings
from tests.conftest import free_port


@dataclass
class OwnServer:
    """One in a home of its own."""

    settings: Settings
    process: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        return self.settings.home / "logs" / "graph.log"

    @property
    def embedded(self) -> EmbeddedGraph:
        return EmbeddedGraph(self.settings, GraphSettings())

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("LAMA_", "PREFECT_"))}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "deployments.embedded_graph"],
                cwd=CHECKOUT, env=kept | self.settings.environment() | self.environment, stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + 90
        while not self.embedded.ready():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def end(self, number: signal.Signals) -> int:
        """End it by a signal; returns its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def own_server(home: Path) -> Iterator[OwnServer]:
    """One that is up, and ended at the end."""
    settings = Settings(home=home, graph_port=free_port())
    Home(settings).prepare()
    server = OwnServer(settings)
    server.start()
    try:
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.process.kill()
            server.process.wait(10)
