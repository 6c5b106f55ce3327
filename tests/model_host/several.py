"""Two model hosts and the one address in front of them, as on a node with two GPUs."""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import free_port
from tests.model_host.running import RunningHost

MIB = 1024**2


@dataclass
class Several:
    """The processes."""

    front: RunningHost
    hosts: list[RunningHost]

    def http(self) -> httpx.Client:
        return self.front.http()

    def status(self) -> dict[str, Any]:
        with self.http() as http:
            return dict(http.get("/host/status").raise_for_status().json())

    def states(self, model: str) -> list[str]:
        """How a model is on each device, as each host says."""
        found = []
        for host in self.hosts:
            with host.http() as http:
                models = http.get("/host/status").raise_for_status().json()["models"]
            found += [str(one["state"]) for one in models if one["name"] == model]
        return found

    def empty(self) -> bool:
        """Whether nothing is leased anywhere."""
        now = self.status()
        return now["leased_bytes"] == 0 and now["jobs"] == 0

    def load(self, model: str, device: int) -> None:
        with self.http() as http:
            http.post(f"/host/models/{model}/load", params={"device": device}).raise_for_status()

    def bring_back(self, models: tuple[str, ...] = ("one", "two", "three", "vectors")) -> None:
        """Start the hosts that are not there, and unload everything."""
        for host in self.hosts:
            if not host.up:
                host.start()
        within(20, lambda: not self.status()["incomplete"], "all devices seen")
        within(20, self.empty, "nothing leased")
        with self.http() as http:
            for model in models:
                http.post(f"/host/models/{model}/unload", params={"device": "all"}).raise_for_status()
                http.delete(f"/host/reserves/{model}").raise_for_status()
        # What the address has heard may be a moment older than what the hosts have answered.
        within(10, lambda: {one["state"] for one in self.status()["models"]} == {"absent"}, "nothing loaded")


def within(limit_s: float, holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < limit_s, f"not within {limit_s:.0f} s: {what}"
        time.sleep(0.05)


@contextmanager
def running(toml: str) -> Iterator[Several]:
    """Two hosts of one catalogue, with an address in front."""
    home = Path(tempfile.mkdtemp(prefix="lama-hosts-"))
    hosts = [RunningHost(home, free_port(), toml) for _ in range(2)]
    front = RunningHost(home, free_port(), toml)
    front.command = ("services.model_host.front", *(word for one in hosts for word in ("--device", f"cpu={one.url}")))
    try:
        front.start(wait=False)
        for host in hosts:
            host.start()
        several = Several(front, hosts)
        within(20, lambda: _ready(front) and not several.status()["incomplete"], "all devices seen")
        yield several
    finally:
        for one in (front, *hosts):
            one.stop(signal.SIGKILL)


def _ready(front: RunningHost) -> bool:
    try:
        return httpx.get(f"{front.url}/ready", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
