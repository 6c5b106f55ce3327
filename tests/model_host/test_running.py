"""A model host of the tests does not outlive them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from blocks.settings import CHECKOUT
from tests.conftest import free_port

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
