"""A model host of the tests does not outlive them, and one whose load hangs ends all the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from blocks.model_host_api import key_of
from blocks.settings import CHECKOUT, Settings
from tests import bound
from tests.conftest import free_port
from tests.platform.node import eventually

_TESTS = """
import sys, time
from pathlib import Path
from tests.model_host.running import RunningHost

host = RunningHost(Path(sys.argv[1]), int(sys.argv[2]), "")
host.start()
print(host.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_a_model_host_ends_with_the_tests_that_were_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _TESTS, str(tmp_path), str(free_port())]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE) as tests:
        assert tests.stdout is not None
        host = psutil.Process(int(tests.stdout.readline()))
        assert host.is_running()
        tests.kill()
    host.wait(timeout=10)


_HANGS = """
import sys, threading
from services.model_host import __main__, wiring
from tests.model_host.bench import entry
from tests.model_host.test_serving_together import BenchHost

wiring.DRAIN_S = 0.3

def hanging(configuration, device):
    host = BenchHost(entry("a"), load_timeout_s=0.2)
    host.bench.loader.fails = lambda source: threading.Event().wait()
    return host

wiring.build_host = hanging
sys.exit(__main__.main(["--port", sys.argv[1]]))
"""


def test_a_host_whose_load_hangs_ends_when_it_is_told_to(tmp_path: Path) -> None:
    port = free_port()
    settings = Settings(home=tmp_path, model_host_port=port)
    environment = {"PATH": os.environ["PATH"], "LAMA_HOME": str(tmp_path), "PYTHONPATH": str(CHECKOUT)}
    with subprocess.Popen(
        [sys.executable, "-c", _HANGS, str(port)], cwd=CHECKOUT, env=environment, stderr=subprocess.PIPE,
        preexec_fn=bound.to_us(),  # noqa: PLW1509 - it takes no locks
    ) as host:  # fmt: skip
        eventually(lambda: answers(settings), within_s=30)
        with httpx.Client(
            base_url=settings.model_host_url, headers={"Authorization": f"Bearer {key_of(settings)}"}, trust_env=False
        ) as http:
            told = http.post("/v1/completions", json={"model": "a", "prompt": "x"})
            assert told.json()["error"]["code"] == "load_failed"
            assert http.get("/health").status_code == 200
        started = time.monotonic()
        host.send_signal(signal.SIGINT)
        assert host.wait(timeout=15) == 3
        assert time.monotonic() - started < 10
        assert host.stderr is not None
        assert b"It ends while this still hangs: path:a" in host.stderr.read()


def answers(settings: Settings) -> bool:
    try:
        return httpx.get(f"{settings.model_host_url}/health", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
