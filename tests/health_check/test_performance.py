"""The performance module against the real things: this host, PostgreSQL, a Prefect server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from prefect import flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.states import Running, Scheduled
from pydantic import SecretStr

from blocks.database import dsn
from blocks.home import Home
from blocks.postgres import Postgres
from blocks.settings import Settings
from models.configuration import Configuration
from models.health_check import Checkout, HealthReport, Narrative, PerformanceSettings
from models.report import Report, Status, compose
from tasks.health_check.performance import look as module
from tasks.health_check.performance.host import measure_host
from tasks.health_check.performance.look import earlier_figures
from tasks.health_check.performance.postgresql import measure_postgresql
from tasks.health_check.performance.runs import measure_prefect
from tasks.health_check.performance.samples import PrefectSample
from tasks.reports import store
from tasks.target import Target
from tests.conftest import free_port

# Prefect leaves the sockets of its clients to the garbage collector; nothing of ours can close them.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]

_LIMITS = PerformanceSettings()


async def look(target: Target) -> Report:
    """The module's report, from within a flow run as in real life."""

    @flow(name="look-at-performance")
    async def run() -> Report:
        return await module.look(target)

    return await run()


def _target(settings: Settings, checkouts: tuple[Checkout, ...] = (), **performance: float) -> Target:
    configuration = Configuration(performance=PerformanceSettings.model_validate(performance))
    return Target(settings, configuration, checkouts, run_id="run", host="here")


def _keys(report: Report) -> set[str]:
    return {finding.key for finding in report.findings}


def test_this_host_is_measured_and_nothing_is_left_behind(tmp_path: Path) -> None:
    sample = measure_host(
        tmp_path, {"home": tmp_path, "later": tmp_path / "not" / "there" / "yet", "system": Path("/")}
    )
    assert 0 < sample.memory_used_ratio < 1
    assert sample.disk_latency_s is not None
    assert sample.disk_latency_s > 0
    assert {name for volume in sample.volumes for name in volume.holds} == {"home", "later", "system"}
    assert all(0 <= volume.used_ratio <= 1 for volume in sample.volumes)
    assert sample.processes
    assert list(tmp_path.iterdir()) == []
    assert sample.unseen == ()


def test_command_lines_with_secrets_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.health_check.performance.host._TOP", 100_000)
    busy = subprocess.Popen(["python3", "-c", "while True: pass  # hunter2hunter2"])
    try:
        sample = measure_host(tmp_path, {})
        assert busy.pid in {process.pid for process in sample.processes}
        assert "hunter2" not in sample.model_dump_json()
    finally:
        busy.kill()
        busy.wait(10)


def test_a_home_that_does_not_exist_was_not_measured(tmp_path: Path) -> None:
    sample = measure_host(tmp_path / "home", {})
    assert sample.disk_latency_s is None
    assert [what for what, _ in sample.unseen] == ["disk_latency"]
    assert not (tmp_path / "home").exists()


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system without a free byte."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a file system")
    try:
        with contextlib.suppress(OSError):
            (tmp_path / "ballast").write_bytes(b"x" * 200_000)
        yield tmp_path
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_full_disk_is_a_finding_and_no_crash(full_disk: Path) -> None:
    sample = measure_host(full_disk, {"home": full_disk})
    assert sample.unwritable == os.strerror(28)
    keys = {finding.key: finding.severity for finding in module.bottlenecks.host_findings("here", sample, _LIMITS)}
    assert keys["performance.disk_unwritable:home"] == "critical"
    assert keys[f"performance.disk:{full_disk}"] == "high"
    assert [path.name for path in full_disk.iterdir()] == ["ballast"]


async def test_slow_statements_are_found_without_their_literals(postgres: Settings) -> None:
    server = Postgres.of(postgres)
    with psycopg.connect(dsn(postgres), autocommit=True) as connection:
        for _ in range(3):
            connection.execute("SELECT pg_sleep(0.06), 'hunter2hunter2'")
        connection.execute("DO $$ BEGIN PERFORM 'hunter2hunter2'; END $$")
    sample = await measure_postgresql(server, (), PerformanceSettings(slow_statement_s=0.05))
    (found,) = [statement for statement in sample.statements if "pg_sleep" in statement.query]
    assert found.calls >= 3
    assert 0.05 < found.mean_seconds < 5
    assert "hunter2" not in sample.model_dump_json()
    assert {"lama", "prefect"} <= {database.name for database in sample.databases}
    assert 0 < sample.connections <= sample.connection_limit
    assert sample.hits > 0


async def test_dead_rows_and_transactions_that_block_are_found(postgres: Settings, database: str) -> None:
    server = Postgres.of(postgres, database)
    with psycopg.connect(dsn(postgres, database), autocommit=True) as connection:
        connection.execute("CREATE TABLE heap (n int) WITH (autovacuum_enabled = off)")
        connection.execute("INSERT INTO heap SELECT generate_series(1, 30000)")
        connection.execute("DELETE FROM heap WHERE n > 10000")
    with psycopg.connect(dsn(postgres, database), application_name="holder") as holder:
        holder.execute("LOCK TABLE heap")
        waiter = await psycopg.AsyncConnection.connect(dsn(postgres, database), application_name="waiter")
        waiting = asyncio.create_task(waiter.execute("SELECT 1 FROM heap LIMIT 1"))
        await asyncio.sleep(0.6)
        sample = await measure_postgresql(server, (), _LIMITS, long_s=0.3, blocked_s=0.3)
        holder.rollback()
        await waiting
        await waiter.close()
    assert sample.tables, "a locked table is no reason to wait"
    assert [(table.name, table.live, table.dead) for table in sample.tables] == [("public.heap", 10000, 20000)]
    ours = {t.application: t.blocked for t in sample.transactions if t.database == database}
    assert ours == {"holder": False, "waiter": True}


@pytest.fixture
def own(prefect_server: Settings, database: str) -> Settings:
    """Settings that lead to a database of this test's own; it is one without pg_stat_statements."""
    Home(prefect_server).prepare()
    return prefect_server.model_copy(update={"database_url": SecretStr(dsn(prefect_server, database))})


@pytest.fixture
async def client(prefect_server: Settings) -> AsyncIterator[PrefectClient]:
    async with PrefectClient(prefect_server.api_url) as opened:
        yield opened


async def _sample(settings: Settings, limits: PerformanceSettings = _LIMITS, own_run: str = "") -> PrefectSample:
    return await measure_prefect(settings, limits, datetime.now(UTC), own_run)


async def test_what_flows_did_is_measured(prefect_server: Settings) -> None:
    name = f"flow-{uuid.uuid4().hex[:8]}"

    @flow(name=name)
    async def work(fails: bool) -> None:
        await asyncio.sleep(0.05)
        if fails:
            raise ValueError(name)

    for fails in (False, True, True):
        with contextlib.suppress(ValueError):
            await work(fails)
    sample = await _sample(prefect_server)
    ours = [run for run in sample.runs if run.flow == name]
    assert sorted(run.state for run in ours) == ["COMPLETED", "FAILED", "FAILED"]
    assert all(0.05 <= run.seconds < 30 for run in ours)
    found = module.flows.findings_of(sample, _LIMITS, datetime.now(UTC), 90)
    assert f"performance.failure_rate:{name}" in {finding.key for finding in found}


async def test_late_runs_and_a_pool_without_a_worker_are_found(prefect_server: Settings, client: PrefectClient) -> None:
    name = f"pool-{uuid.uuid4().hex[:8]}"
    await client.create_work_pool(WorkPoolCreate(name=name, type="process"))
    flow_id = await client.create_flow_from_name(name)
    deployment = await client.create_deployment(flow_id, name, work_pool_name=name)
    past = datetime.now(UTC) - timedelta(minutes=10)
    for moment in (past, past, datetime.now(UTC) + timedelta(hours=1)):
        await client.create_flow_run_from_deployment(deployment, state=Scheduled(scheduled_time=moment))
    sample = await _sample(prefect_server)
    (pool,) = [pool for pool in sample.pools if pool.name == name]
    assert (pool.scheduled, pool.queues, pool.workers_online) == (3, {"default": 2}, 0)
    assert [run.flow for run in sample.late if run.pool == name] == [name, name]
    keys = {f.key: f.evidence for f in module.flows.findings_of(sample, _LIMITS, datetime.now(UTC), 90)}
    assert keys[f"performance.no_worker:{name}"]["due"] == 2
    assert keys[f"performance.late:{name}"]["count"] == 2
    await client.send_worker_heartbeat(name, "somebody")
    (pool,) = [pool for pool in (await _sample(prefect_server)).pools if pool.name == name]
    assert pool.workers_online == 1


async def test_a_run_whose_heartbeat_stopped_is_a_zombie(prefect_server: Settings, client: PrefectClient) -> None:
    name = f"flow-{uuid.uuid4().hex[:8]}"

    @flow(name=name)
    async def work() -> None:
        return

    run = await client.create_flow_run(work, state=Running())
    event = {
        "occurred": (datetime.now(UTC) + timedelta(seconds=1)).isoformat(),
        "event": "prefect.flow-run.heartbeat",
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run.id}"},
        "id": str(uuid.uuid4()),
    }
    (await client.request("POST", "/events", json=[event])).raise_for_status()
    deadline = asyncio.get_running_loop().time() + 30
    while True:
        sample = await _sample(prefect_server)
        (ours,) = [live for live in sample.live if live.flow == name]
        if ours.heartbeat is not None:
            break
        assert asyncio.get_running_loop().time() < deadline, "the server never stored the heartbeat"
        await asyncio.sleep(0.5)

    def keys(later_s: float) -> set[str]:
        now = datetime.now(UTC) + timedelta(seconds=later_s)
        return {finding.key for finding in module.flows.findings_of(sample, _LIMITS, now, 90)}

    assert f"performance.zombie:{name}" not in keys(0)
    assert f"performance.zombie:{name}" in keys(120)
    without = await _sample(prefect_server, own_run=str(run.id))
    assert name not in {live.flow for live in without.live}, "the check does not report itself"
    await client.delete_flow_run(run.id)


async def test_more_runs_than_are_looked_at_are_said(prefect_server: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    @flow(name="many")
    async def work() -> None:
        return

    for _ in range(3):
        await work()
    monkeypatch.setattr("tasks.health_check.performance.runs._PAGE", 1)
    monkeypatch.setattr("tasks.health_check.performance.runs._PAGES", 2)
    sample = await _sample(prefect_server)
    assert len(sample.runs) <= 2
    assert any(what == "flows" and "only the newest 2" in why for what, why in sample.unseen)


async def test_the_whole_module_is_quick_and_complete(prefect_server: Settings, tmp_path: Path) -> None:
    Home(prefect_server).prepare()
    begun = asyncio.get_running_loop().time()
    report = await look(_target(prefect_server, (Checkout(name="shop", path=tmp_path),)))
    assert asyncio.get_running_loop().time() - begun < 10
    assert report.capability == "health_check.performance"
    assert not report.skipped
    assert {"performance.processes:here", "performance.flows:prefect"} <= _keys(report)
    for name in ("memory_used_ratio", "disk_write_seconds", "postgresql_lama_bytes", "flow_runs_ended_total"):
        assert report.metrics[name] >= 0
    assert all(name.endswith(("_seconds", "_bytes", "_ratio", "_total")) for name in report.metrics)


async def test_without_a_database_the_rest_is_looked_at(own: Settings) -> None:
    nowhere = SecretStr(f"postgresql://lama:hunter2@127.0.0.1:{free_port()}/lama")
    report = await look(_target(own.model_copy(update={"database_url": nowhere})))
    assert report.status is Status.incomplete
    assert {skip.component for skip in report.skipped} == {"postgresql", "history"}
    hidden = ("performance.regression:x_seconds", "performance.connections:postgresql", "performance.bloat:a.b")
    assert all(any(skip.may_hide(key) for skip in report.skipped) for key in hidden)
    assert not any(skip.may_hide("performance.memory:here") for skip in report.skipped)
    assert "performance.flows:prefect" in _keys(report)
    assert "hunter2" not in report.model_dump_json()


async def test_without_prefect_the_rest_is_looked_at(own: Settings) -> None:
    # The flow's own client still has its server; only the module is pointed at one that is not there.
    report = await look(_target(own.model_copy(update={"prefect_api_url": f"http://127.0.0.1:{free_port()}/api"})))
    assert [skip.component for skip in report.skipped] == ["prefect"]
    assert report.skipped[0].may_hide("performance.zombie:f")
    assert "performance.no_statement_statistics:postgresql" in _keys(report), "told of a database of the user's own"


async def test_missing_statement_statistics_of_our_own_server_are_a_skip(
    prefect_server: Settings, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.health_check.performance.look.LAMA_DATABASE", database)
    report = await look(_target(prefect_server))
    assert [skip.component for skip in report.skipped] == ["postgresql"]
    assert report.skipped[0].may_hide("performance.slow_statement:lama:1")


def _earlier(number: int, seconds: float, host: str) -> HealthReport:
    moment = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(hours=number)
    part = compose(
        Report, capability="health_check.performance", summary="s", started_at=moment, finished_at=moment,
        run_id=f"{number}", metrics={"disk_write_seconds": seconds},
    )  # fmt: skip
    return compose(
        HealthReport, capability="health_check", summary="s", started_at=moment, finished_at=moment,
        run_id=f"{number}", modules=(part,), narrative=Narrative(author="ranking", text="t"),
    )  # fmt: skip


async def test_what_grew_against_its_history_is_found(own: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "here")
    block = Postgres.of(own)
    for number in range(6):
        store.save(block, _earlier(number, 1e-9, "here"))
    assert len(await earlier_figures.fn(block, "here", "3")) == 5
    assert await earlier_figures.fn(block, "elsewhere", "") == []
    monkeypatch.setattr("tasks.health_check.performance.trend._NOISE_S", 0.0)
    report = await look(_target(own))
    assert "performance.regression:disk_write_seconds" in _keys(report)
    assert report.metrics["history_points_total"] == 6
