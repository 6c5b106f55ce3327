"""A real Bolt server for tests: the embedded one, which can be killed and started again with what it has kept."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from pydantic import SecretStr

from blocks.graph import Graph
from tests.conftest import free_port

PASSWORD = "hunter2hunter2"


class BoltServer:
    """A server whose data lie in `folder`; its user is `root`."""

    def __init__(self, folder: Path, *, heap: str = "512m", options: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.heap = heap
        self.port = free_port()
        self._options = options or {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    @property
    def block(self) -> Graph:
        """What connects to it."""
        return Graph(uri=f"bolt://{self.address}", user="root", password=SecretStr(PASSWORD))

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and return when it answers."""
        package = Path(str(importlib.util.find_spec("arcadedb_embedded").origin)).parent
        options = {
            "arcadedb.server.plugins": "Bolt:com.arcadedb.bolt.BoltProtocolPlugin",
            "arcadedb.bolt.port": self.port,
            "arcadedb.bolt.host": "127.0.0.1",
            "arcadedb.server.httpIncomingHost": "127.0.0.1",
            "arcadedb.server.httpIncomingPort": free_port(),
            "arcadedb.server.defaultDatabases": "neo4j[]",
            "arcadedb.server.rootPassword": PASSWORD,
            "arcadedb.server.rootPath": self.folder,
            "arcadedb.server.databaseDirectory": self.folder / "databases",
            **self._options,
        }
        command = [str(package / "jre" / "bin" / "java"), f"-Xmx{self.heap}", "--add-modules", "jdk.incubator.vector"]
        command += ["--add-exports", "java.management/sun.management=ALL-UNNAMED"]
        command += ["--add-opens", "java.base/java.util.concurrent.atomic=ALL-UNNAMED"]
        command += [f"-D{name}={value}" for name, value in options.items()]
        command += ["-cp", f"{package}/jars/*", "com.arcadedb.server.ArcadeDBServer"]
        output = self.folder / "output"
        with output.open("wb") as log:
            self._process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 60
        while b"started" not in output.read_bytes().lower() or not _listens(self.port):
            assert self._process.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.05)

    def kill(self) -> None:
        """End it at once, whatever it is doing."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
