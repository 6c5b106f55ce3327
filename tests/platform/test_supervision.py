"""A process that does not stay up is tried again, later each time, and then given up."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.home import Home
from blocks.settings import Settings
from deployments import supervision
from deployments.programs import Program
from deployments.supervision import Supervisor
from tests.platform.node import eventually


def _dying(log: Path, after_s: float) -> Program:
    """One that notes when it was started, and ends `after_s` seconds later."""
    code = f"import time; print(time.time(), file=open({str(log)!r}, 'a'), flush=True); time.sleep({after_s}); exit(1)"
    return Program(name="dying", command=(sys.executable, "-c", code), priority=1, ready=lambda _: False)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    settings = Settings(home=tmp_path / "home")
    Home(settings).prepare()
    fresh = Supervisor(settings)
    yield fresh
    fresh.shutdown(30)


def _start(supervisor: Supervisor, program: Program) -> None:
    supervisor.write_configuration([program])
    supervisor.start()
    supervisor.start_process(program.name)


def test_it_is_tried_with_growing_pauses_and_then_given_up(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "START_RETRIES", 2)
    log = tmp_path / "starts"
    _start(supervisor, _dying(log, 0.1))
    eventually(lambda: supervisor.states()["dying"].given_up, within_s=60)
    starts = [float(line) for line in log.read_text().splitlines()]
    first, second = (later - earlier for earlier, later in itertools.pairwise(starts))
    assert first > 0.9, "a second's pause"
    assert second > 1.9, "a longer one"


def test_one_that_ends_some_seconds_after_its_start_is_not_started_again_at_once(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    log = tmp_path / "starts"
    _start(supervisor, _dying(log, 6))
    states = set()
    deadline = time.monotonic() + 60
    while not log.exists() or (len(log.read_text().splitlines()) < 2 and time.monotonic() < deadline):
        states.add(supervisor.states()["dying"].state)
        time.sleep(0.05)
    assert "BACKOFF" in states, states
