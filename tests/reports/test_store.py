"""Reports are stored whole and found again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from blocks.postgres import Postgres
from blocks.settings import Settings
from models.report import Finding, Report, Severity, compose
from tasks.reports import store

_NOW = datetime(2026, 11, 1, tzinfo=UTC)


def _report(run_id: str, minutes: int = 0, scope: str = "here", title: str = "t") -> Report:
    moment = _NOW + timedelta(minutes=minutes)
    return compose(
        Report, capability="test", summary="s", scope=scope, started_at=moment, finished_at=moment, run_id=run_id,
        findings=[Finding(key="a.b:c", severity=Severity.high, component="c", title=title)],
    )  # fmt: skip


@pytest.fixture
def block(postgres: Settings, database: str) -> Postgres:
    return Postgres.of(postgres, database)


def test_a_report_comes_back_as_it_was(block: Postgres) -> None:
    report = _report("11111111-aaaa")
    store.save(block, report)
    assert store.load(block, "11111111-aaaa", Report) == report
    assert store.load(block, "11111111", Report) == report
    assert store.load(block, "%1111111", Report) is None


def test_storing_a_run_again_replaces_it(block: Postgres) -> None:
    store.save(block, _report("run", title="before"))
    store.save(block, _report("run", title="after"))
    assert [r.body["findings"][0]["title"] for r in store.recent(block)] == ["after"]


def test_the_latest_is_of_the_same_scope_and_not_the_run_itself(block: Postgres) -> None:
    for run_id, minutes, scope in (("old", 0, "here"), ("new", 1, "here"), ("other", 2, "there")):
        store.save(block, _report(run_id, minutes, scope))
    found = store.latest(block, "test", Report, scope="here", before="new")
    assert found is not None
    assert found.run_id == "old"
    assert store.latest(block, "nothing", Report) is None
