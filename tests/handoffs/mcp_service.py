"""`python -m services.mcp` in a process of its own, and the SDK's client that speaks to it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from blocks.home import Home
from blocks.settings import CHECKOUT, Settings
from tests.handoffs.shop import DOCUMENT

ROUTE = """
[[handoffs.routes]]
name = "shop"
source = "mcp:shop"
retry = {{ tries = {tries}, first_s = 0.05, longest_s = 0.1, timeout_s = {timeout_s} }}
[handoffs.routes.target]
kind = "api"
document = "shop.json"
url = "{url}"
operations = ["createOrder", "getOrder"]
answers = {{ createOrder = "{{id: id, number: number}}" }}
largest_request = 2000
allow_private = [{private}]
answer_s = {answer_s}
"""


class Service:
    """Starts, stops and kills one service; its home, port and database stay the same."""

    def __init__(self, home: Path, port: int, database_url: str, url: str, **route: Any) -> None:
        self.home = home
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.log = home / "mcp.log"
        Home(Settings(home=home)).prepare()
        (home / "shop.json").write_text(json.dumps(DOCUMENT))
        asked = {"url": url, "tries": 8, "timeout_s": 0.8, "private": '"127.0.0.1"', "answer_s": 10} | route
        (home / "lama.toml").write_text(ROUTE.format(**asked))
        self._environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ},
            "LAMA_HOME": str(home),
            "LAMA_MCP_PORT": str(port),
            "LAMA_DATABASE_URL": database_url,
            "PYTHONPATH": str(CHECKOUT),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def settings(self) -> Settings:
        return Settings(home=self.home)

    @property
    def key(self) -> str:
        return Home(self.settings).secret("mcp.key")

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.mcp"], cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, env=self._environment, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self.log.read_text()
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/health", trust_env=False).status_code == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def end(self, number: int = signal.SIGTERM) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        return process.wait(timeout=20)

    @contextlib.asynccontextmanager
    async def client(self, mode: str = "auto", source: str = "shop") -> AsyncIterator[Client]:
        headers = {"Authorization": f"Bearer {self.key}"}
        async with (
            httpx2.AsyncClient(headers=headers, trust_env=False, timeout=30) as http,
            Client(streamable_http_client(f"{self.url}/mcp/{source}", http_client=http), mode=mode) as client,
        ):
            yield client


def told(result: Any) -> str:
    """What a tool's answer says."""
    return str(result.content[0].text)
