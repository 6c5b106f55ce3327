"""What dies comes back, and what was under way ends in a state that is true."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import psutil

from blocks.errors import UnavailableError
from blocks.postgres import Postgres
from blocks.prefect_api import PrefectApi
from blocks.prefect_server import ZOMBIE_WINDOW_S
from models.health_check import HealthReport
from tasks.reports import store
from tests.platform.node import Node, eventually


def _state(node: Node, run_id: str) -> str:
    with PrefectApi(node.settings) as api, contextlib.suppress(UnavailableError):
        return api.run(run_id).state_type
    return "UNKNOWN"


def _ended(node: Node, run_id: str, *, within_s: float) -> str:
    ends = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
    return str(eventually(lambda: (state := _state(node, run_id)) in ends and state, within_s=within_s))


def _running(node: Node) -> str:
    """Start a health check and wait until it is running; returns its id."""
    run_id = node.trigger().id
    eventually(lambda: _state(node, run_id) == "RUNNING", within_s=60, every_s=0.05)
    return run_id


def _report(node: Node, run_id: str) -> HealthReport:
    report = store.load(Postgres.of(node.settings), run_id, HealthReport)
    assert report is not None, "the run completed, and its report is not there"
    return report


def _whole(node: Node) -> None:
    eventually(lambda: node.status()["ok"], within_s=90, every_s=1)


def test_postgres_killed_during_a_run_comes_back_and_the_run_keeps_its_report(node: Node) -> None:
    before = node.pid("postgres")  # to ask takes longer than some runs
    run_id = _running(node)
    time.sleep(0.3)
    os.kill(before, signal.SIGKILL)
    _whole(node)
    assert node.pid("postgres") != before
    assert _ended(node, run_id, within_s=180) == "COMPLETED"
    assert _report(node, run_id).modules


def test_the_prefect_server_killed_during_a_run_comes_back_and_the_run_completes(node: Node) -> None:
    server = node.pid("prefect")
    run_id = _running(node)
    os.kill(server, signal.SIGKILL)
    _whole(node)
    assert _ended(node, run_id, within_s=180) == "COMPLETED"
    assert _report(node, run_id).modules


def test_a_killed_worker_leaves_no_run_that_seems_alive_and_the_next_run_starts(node: Node) -> None:
    worker = psutil.Process(node.pid("worker"))
    run_id = _running(node)
    family = worker.children(recursive=True)
    worker.kill()
    gone, alive = psutil.wait_procs(family, timeout=15)
    assert not alive, f"{len(alive)} of {len(gone) + len(alive)} processes outlived their worker"
    _whole(node)
    following = node.trigger(modules=["documentation"])
    assert _ended(node, following.id, within_s=120) == "COMPLETED", "the slot of the dead run was not freed"
    assert _ended(node, run_id, within_s=ZOMBIE_WINDOW_S + 90) == "CRASHED"


def test_a_killed_supervisor_leaves_nothing_to_clean_by_hand(node: Node) -> None:
    supervisor = node.settings and psutil.Process(node.pid("gateway")).parent()
    assert supervisor is not None
    supervisor.kill()
    supervisor.wait(10)
    assert node.lama("status").returncode == 2
    assert node.processes(), "its children were expected to outlive it"
    began = time.monotonic()
    node.start()
    assert time.monotonic() - began < 90
    _whole(node)
    instances = [p for p in node.processes() if "services.gateway" in p.cmdline()]
    assert len(instances) == 1


def test_ten_health_checks_at_once_all_end_with_a_report(node: Node) -> None:
    runs = [node.trigger(modules=["documentation"]).id for _ in range(10)]
    states = [_ended(node, run_id, within_s=240) for run_id in runs]
    assert states == ["COMPLETED"] * 10
    assert {_report(node, run_id).run_id for run_id in runs} == set(runs)


def test_a_checkout_that_does_not_exist_makes_the_report_incomplete(node: Node) -> None:
    run = node.trigger(checkouts=["/nonexistent/checkout"])
    assert _ended(node, run.id, within_s=180) == "COMPLETED"
    report = _report(node, run.id)
    assert report.status == "incomplete"
    assert any("/nonexistent/checkout" in skip.component + skip.reason for skip in report.skipped)


def test_a_run_can_be_cancelled(node: Node) -> None:
    run_id = _running(node)
    with PrefectApi(node.settings) as api:
        api.cancel(run_id)
    assert _ended(node, run_id, within_s=60) == "CANCELLED"
