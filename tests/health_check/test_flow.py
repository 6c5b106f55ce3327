"""The health check as a whole, through a real Prefect server and a real database."""

from __future__ import annotations

import gc
import json
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.utilities.callables import parameter_schema

from blocks import settings as environment
from blocks.postgres import Postgres
from blocks.settings import Settings
from deployments.schema import upgrade
from flows import health_check as subject
from models.health_check import HealthReport, Module, ReportLevel
from models.report import Finding, Report, Severity, Skip, Status, compose
from tasks.health_check.target import Target
from tasks.reports import store

# Prefect leaves the sockets of its clients to the garbage collector; nothing of ours can close them.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]

Look = Callable[[Target], Awaitable[Report]]


@pytest.fixture(scope="session")
def platform(prefect_server: Settings) -> Iterator[Settings]:
    upgrade(prefect_server)
    yield prefect_server
    # What is still to be sent must go while the server is there; without it Prefect waits for a minute at exit.
    APILogWorker.drain_all(timeout=10)
    EventsWorker.drain_all(timeout=10)


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture
def configured(platform: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A `lama.toml` that this test writes, in a node that is otherwise the session's."""
    path = tmp_path / "lama.toml"
    (tmp_path / "code").mkdir()
    path.write_text(f'[[checkouts]]\nname = "{tmp_path.name}"\npath = "{tmp_path / "code"}"\n')
    monkeypatch.setenv("LAMA_CONFIG", str(path))
    environment.settings.cache_clear()
    yield path
    monkeypatch.undo()
    environment.settings.cache_clear()


def _module(monkeypatch: pytest.MonkeyPatch, **looks: Look) -> None:
    """Other modules in place of ours: what is tested here is the flow around them."""
    import sys

    for name, look in looks.items():
        planted = ModuleType(f"tasks.health_check.{name}.look")
        planted.look = look  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, planted.__name__, planted)


def _saying(module: str, *keys: str, skipped: tuple[Skip, ...] = ()) -> Look:
    async def look(target: Target) -> Report:
        now = datetime.now(UTC)
        return compose(
            Report, capability=f"health_check.{module}", summary="", run_id=target.run_id, started_at=now,
            finished_at=now, skipped=skipped, metrics={"things_total": 2.0},
            findings=[Finding(key=f"{module}.k:{k}", severity=Severity.medium, component="c", title=k) for k in keys],
        )  # fmt: skip

    return look


async def test_a_run_returns_stores_and_shows_its_report(configured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _module(monkeypatch, security=_saying("security", "a"), performance=_saying("performance", "b"))
    report = await subject.health_check(modules=[Module.security, Module.performance])
    assert report.status is Status.degraded
    assert {finding.key for finding in report.findings} == {"security.k:a", "performance.k:b"}
    assert report.metrics["security_things_total"] == 2.0
    assert report.narrative.author == "ranking"
    stored = store.load(Postgres.of(environment.settings()), report.run_id, HealthReport)
    assert stored == report
    artifacts = await _artifacts(report.run_id)
    assert report.summary in str(artifacts["health-check"])
    assert float(str(artifacts["health-check-progress"])) == 100.0


async def test_the_second_run_says_what_changed(configured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _module(monkeypatch, security=_saying("security", "stays", "goes"))
    first = await subject.health_check(modules=[Module.security])
    assert first.changes.since is None
    assert len(first.changes.opened) == 2
    _module(monkeypatch, security=_saying("security", "stays", "comes"))
    second = await subject.health_check(modules=[Module.security])
    assert second.changes.since == first.run_id
    assert second.changes.opened == ("security.k:comes",)
    assert second.changes.closed == ("security.k:goes",)
    assert second.changes.persisting == ("security.k:stays",)


async def _artifacts(run_id: str) -> dict[str | None, object]:
    from uuid import UUID

    async with get_client() as client:
        found = await client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(run_id)]))
        )
    return {artifact.key: artifact.data for artifact in found}


def test_every_parameter_is_described_in_the_form() -> None:
    schema = parameter_schema(subject.health_check.fn)
    assert set(schema.properties) == {"checkouts", "modules", "report_level", "narrative"}
    for name, field in schema.properties.items():
        assert len(field.get("description", "")) > 20, f"{name} has no description: {json.dumps(field)}"
    assert set(schema.definitions["Module"]["enum"]) == set(Module)
    assert set(schema.definitions["ReportLevel"]["enum"]) == set(ReportLevel)
