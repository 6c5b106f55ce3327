"""An engine is bounded in time and output, and ends with all that it started."""

from __future__ import annotations

import sys
import time

import psutil
import pytest

from blocks.errors import UnavailableError
from tasks.engine import run_engine


async def test_an_engine_gives_its_output_and_its_exit_code_whatever_it_is() -> None:
    script = "import sys; print(sys.stdin.read()); print('e', file=sys.stderr); sys.exit(3)"
    outcome = await run_engine([sys.executable, "-c", script], timeout_s=20, stdin=b"in")
    assert (outcome.code, outcome.stdout, outcome.stderr) == (3, b"in\n", "e\n")


async def test_an_engine_that_hangs_is_killed_with_its_children() -> None:
    child = "[sys.executable, '-c', 'import time; time.sleep(4711)']"
    script = f"import subprocess, sys, time; subprocess.Popen({child}); time.sleep(4712)"
    began = time.monotonic()
    with pytest.raises(UnavailableError, match="took longer than 2 s"):
        await run_engine([sys.executable, "-c", script], timeout_s=2)
    assert time.monotonic() - began < 10
    left = [p.cmdline() for p in psutil.process_iter() if "time.sleep(4711)" in " ".join(_command(p))]
    assert left == []


async def test_an_engine_that_floods_is_stopped() -> None:
    with pytest.raises(UnavailableError, match="wrote more than"):
        await run_engine(["yes"], timeout_s=30, max_output=1_000_000)


async def test_an_engine_that_is_not_there_is_said_to_be_so() -> None:
    with pytest.raises(UnavailableError, match="cannot be started"):
        await run_engine(["/nonexistent/engine"], timeout_s=5)


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
