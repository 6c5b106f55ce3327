"""The real host in a storm: nobody is lost, nothing is interrupted, and no memory is left behind."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

from blocks.home import Home
from blocks.settings import Settings
from deployments.platform import Platform
from tests.conftest import free_port
from tests.model_host.running import RunningHost
from tests.model_host.storm_host import BROAD, DEEP, GUARANTEED, MIB, SMOLLM2, TORN, VECTORS, Storm, catalogue
from tests.platform.node import eventually

_REQUESTS = int(os.environ.get("LAMA_HOST_STORM", "40"))
_GROWTH = 64 * MIB
"""What a process may have more after a storm than after the first use of everything: arenas of threads."""


def emptied(host: RunningHost) -> int:
    """Unload everything; returns the memory of the process (bytes)."""
    with host.http() as http:
        for name in (GUARANTEED, BROAD, DEEP, SMOLLM2, VECTORS, TORN):
            http.post(f"/host/models/{name}/unload").raise_for_status()
        http.post("/host/clean").raise_for_status()
    return int(psutil.Process(host.pid).memory_info().rss)


def at_rest(host: RunningHost) -> dict[str, Any]:
    """The status once nobody is at work any more."""
    with host.http() as http:
        for _ in range(200):
            status: dict[str, Any] = http.get("/host/status").json()
            if not any(one["running"] or one["waiting"] for one in status["models"]) and not status["leased_bytes"]:
                return status
            time.sleep(0.1)
    raise AssertionError(f"work is left: {status}")


def test_a_storm_of_requests_loses_none_and_leaves_nothing_behind(tmp_path: Path) -> None:
    host = RunningHost(tmp_path, free_port(), catalogue(tmp_path))
    host.start()
    try:
        pid = host.pid
        with host.http() as http:
            for name in (GUARANTEED, BROAD, DEEP, SMOLLM2, VECTORS):
                http.post(f"/host/models/{name}/load").raise_for_status()
        before = emptied(host)
        storm = Storm(host.url, host.key)
        started = time.monotonic()
        asyncio.run(storm.blow(_REQUESTS))
        print(f"\n{_REQUESTS} requests in {time.monotonic() - started:.0f} s: {dict(sorted(storm.ends.items()))}")
        assert storm.wrong == []
        assert sum(storm.ends.values()) == _REQUESTS
        assert not [end for end in storm.ends if "lost" in end or "cut off" in end]
        assert not [end for end in storm.ends if end.startswith(f"{GUARANTEED}: refused")], "it is guaranteed"
        for name in (GUARANTEED, BROAD, DEEP, SMOLLM2, VECTORS):
            assert storm.ends[f"{name}: answered"], name
        assert storm.ends[f"{TORN}: refused, load_failed"]
        assert 0.5 < storm.most_used <= 1.0
        status = at_rest(host)
        assert status["leased_bytes"] == status["jobs"] == 0
        assert host.pid == pid
        after = emptied(host)
        with host.http() as http:
            emptied_status = http.get("/host/status").json()
        assert emptied_status["used_bytes"] == 0
        print(f"memory of the process: {before / MIB:.0f} MiB before, {after / MIB:.0f} MiB after")
        assert after < before + _GROWTH
        log = host.log.read_text()
        assert not re.search(r"out of memory|not enough memory|MemoryError|mistake of ours|unloaded while", log), log
    finally:
        host.stop()


def test_a_host_that_is_killed_in_a_storm_comes_back_and_no_lease_survives() -> None:
    home = Path(tempfile.mkdtemp(prefix="lama-kill-"))
    settings = Settings(home=home, model_host_port=free_port())
    Home(settings).prepare()
    (home / "lama.toml").write_text(catalogue(home))
    platform = Platform(settings, only=["model-host"])
    platform.start()
    try:
        key = Home(settings).secret("model_host.key")
        with httpx.Client(
            base_url=settings.model_host_url, headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=120
        ) as http:
            asked = {"model": GUARANTEED, "prompt": "a house", "max_tokens": 3}
            http.post("/v1/completions", json=asked).raise_for_status()
            http.post("/host/jobs/run-1", json={"bytes": MIB, "ttl_s": 600}).raise_for_status()
            storm = Storm(settings.model_host_url, key)
            blowing = threading.Thread(target=lambda: asyncio.run(storm.blow(60)))
            blowing.start()
            eventually(lambda: storm.ends.total() > 10, within_s=90)
            before = platform.states()["model-host"].pid
            os.kill(before, signal.SIGKILL)
            blowing.join(timeout=240)
            assert not blowing.is_alive(), "whoever asks a dead host is told so, and does not wait"
            assert storm.ends.total() == 60
            assert [end for end in storm.ends if "lost" in end], "it was killed while nobody asked"
            eventually(lambda: ready(http), within_s=60)
            assert platform.states()["model-host"].pid not in {0, before}
            status = http.get("/host/status").json()
            assert status["leased_bytes"] == status["jobs"] == 0
            assert http.post("/v1/completions", json=asked).status_code == 200
    finally:
        platform.stop()
        shutil.rmtree(home)


def ready(http: httpx.Client) -> bool:
    try:
        return http.get("/ready").status_code == 200
    except httpx.TransportError:
        return False
