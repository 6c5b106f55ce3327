"""A gateway in a process of its own, for tests that speak to it over real sockets."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import httpx

from blocks.home import Home
from blocks.prefect_server import client_environment
from blocks.settings import CHECKOUT, Settings
from models.webhook import Source
from services.gateway.signatures import sign
from tests import bound

SECRET = "correct horse battery staple"
GITHUB = Source.model_validate({"name": "github", "kind": "github"})


class RunningGateway:
    """Starts, stops and kills one gateway; its home, port and database stay the same over restarts."""

    def __init__(self, home: Path, port: int, database_url: str, config: Settings, toml: str = "") -> None:
        self.settings = Settings(home=home, gateway_port=port)
        self.home = Home(self.settings)
        self.home.prepare()
        self.url = f"http://127.0.0.1:{port}"
        self.log = home / "gateway.log"
        (home / "lama.toml").write_text(toml)
        self.set_secrets("github", SECRET)
        self._environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ},
            **client_environment(config),
            "LAMA_HOME": str(home),
            "LAMA_GATEWAY_PORT": str(port),
            "LAMA_PREFECT_API_URL": config.api_url,
            "LAMA_DATABASE_URL": database_url,
            "PYTHONPATH": str(CHECKOUT),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def key(self) -> str:
        return self.home.secret("gateway.key")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def set_secrets(self, source: str, *secrets: str) -> None:
        self.home.write_secret(f"webhooks/{source}", "\n".join(secrets))

    def start(self, *, until: str = "/ready", **variables: str) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.gateway"], cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, env=self._environment | variables, start_new_session=True,
                preexec_fn=bound.to_us(),  # noqa: PLW1509 - it takes no locks
            )  # fmt: skip
        self.wait_for(until)

    def wait_for(self, path: str, status: int = 200, timeout_s: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_s
        with self.client() as client:
            while time.monotonic() < deadline:
                assert self._process is not None
                assert self._process.poll() is None, self.logged()
                with contextlib.suppress(httpx.TransportError):
                    if client.get(path, timeout=5).status_code == status:
                        return
                time.sleep(0.05)
        raise AssertionError(f"{path} is not {status} after {timeout_s} s; log:\n{self.logged()}")

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        return process.wait(timeout=20)

    def logged(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def client(self) -> httpx.Client:
        # Not over TLS: without the certificates of all authorities, which take longer to read than an answer.
        return httpx.Client(base_url=self.url, timeout=20, trust_env=False, verify=False)

    def api(self, path: str, method: str = "GET") -> httpx.Response:
        with self.client() as client:
            return client.request(method, path, headers={"X-API-Key": self.key})

    def deliver(
        self, payload: Any = None, *, body: bytes | None = None, secret: str = SECRET, **headers: str | None
    ) -> httpx.Response:
        """A signed GitHub delivery; `headers` (dashes as underscores) replace or, when None, take away."""
        content = json.dumps(payload or {}).encode() if body is None else body
        with self.client() as client:
            return client.post("/webhooks/github", content=content, headers=signed(content, secret, **headers))


def signed(content: bytes, secret: str = SECRET, **headers: str | None) -> dict[str, str]:
    """The headers of a GitHub delivery of `content`."""
    merged: dict[str, str | None] = {
        "X-Hub-Signature-256": sign(GITHUB, secret.encode(), content),
        "X-GitHub-Delivery": str(uuid.uuid4()),
        "X-GitHub-Event": "push",
        "Content-Type": "application/json",
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    return {name: value for name, value in merged.items() if value is not None}


def push(repository: str = "acme/shop", ref: str = "refs/heads/main", **more: Any) -> dict[str, Any]:
    """A push event, shortened."""
    return {"ref": ref, "repository": {"full_name": repository, "private": False}, "nonce": uuid.uuid4().hex, **more}
