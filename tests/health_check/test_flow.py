"""The health check as a whole, through a real Prefect server and a real database."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest
from prefect.exceptions import ParameterTypeError
from prefect.utilities.callables import parameter_schema

from blocks import settings as environment
from blocks.errors import ConfigurationError
from blocks.postgres import Postgres
from flows import health_check as subject
from models.health_check import HealthReport, Module, ReportLevel
from models.report import Finding, Report, Severity, Skip, Status, compose
from tasks.reports import publish, store
from tasks.reports.diff import diff
from tasks.target import Target
from tests.flow_runs import artifacts_of, logs_of

# Prefect leaves the sockets of its clients to the garbage collector; nothing of ours can close them.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]

Look = Callable[[Target], Awaitable[Report]]


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    yield
    gc.collect()


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
    artifacts = await artifacts_of(report.run_id)
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


async def test_a_run_that_could_not_look_makes_nothing_new_and_forgets_nothing(
    configured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    announced: list[str] = []
    monkeypatch.setattr(publish, "emit_event", lambda **event: announced.append(str(event["event"])))
    blind = (Skip(area="security", component="c", reason="it was away"),)
    _module(monkeypatch, security=_saying("security", "stays", "goes"))
    await subject.health_check(modules=[Module.security])
    _module(monkeypatch, security=_saying("security", skipped=blind))
    for _ in range(2):  # however often
        lost = await subject.health_check(modules=[Module.security])
        assert set(lost.changes.unseen) == {"security.k:stays", "security.k:goes"}
        assert lost.changes.closed == ()
    announced.clear()
    _module(monkeypatch, security=_saying("security", "stays"))
    back = await subject.health_check(modules=[Module.security])
    assert back.changes.persisting == ("security.k:stays",)
    assert back.changes.closed == ("security.k:goes",)
    assert back.changes.opened == ()
    assert back.unseen == ()
    assert announced == ["lama.finding.closed", "lama.report.finished"]


async def test_a_planted_change_in_a_checkout_opens_and_closes(configured: Path) -> None:
    """The real documentation module, twice, with a document that is mended in between."""
    code = configured.parent / "code"
    (code / "acme").mkdir()
    (code / "acme" / "__init__.py").write_text('"""Acme."""\n')
    (code / "README.md").write_text("`acme.gone`\n")
    (code / "docs").mkdir()
    first = await subject.health_check(modules=[Module.documentation])
    key = f"documentation.name:{configured.parent.name}/README.md#acme.gone"
    assert [finding.key for finding in first.findings] == [key]
    (code / "README.md").write_text("`acme` [x](gone.md)\n")
    second = await subject.health_check(modules=[Module.documentation])
    assert second.changes.closed == (key,)
    assert second.changes.opened == (f"documentation.link:{configured.parent.name}/README.md#gone.md",)
    (code / "acme" / "torn.py").write_text("def (:")
    (code / "README.md").write_text("nothing\n")
    third = await subject.health_check(modules=[Module.documentation])
    assert third.status is Status.incomplete
    assert third.changes.closed == ()
    assert third.changes.unseen == second.changes.opened


async def test_a_module_that_fails_or_hangs_takes_no_other_with_it(
    configured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(target: Target) -> Report:
        raise RuntimeError("postgresql://me:hunter2@db/x is\nno good")

    async def hangs(target: Target) -> Report:
        await asyncio.sleep(60)
        raise AssertionError

    _module(monkeypatch, security=fails, performance=hangs, dependencies=_saying("dependencies", "a"))
    _write(configured, "[health_check]\nmodule_timeout_s = 0.5\n")
    report = await subject.health_check(modules=[Module.security, Module.performance, Module.dependencies])
    assert report.status is Status.incomplete
    reasons = {skip.area: skip.reason for skip in report.skipped}
    assert set(reasons) == {"security", "performance"}
    assert "RuntimeError" in reasons["security"]
    assert "took longer than 0.5 s" in reasons["performance"]
    assert [finding.key for finding in report.findings] == ["dependencies.k:a"]
    assert "hunter2" not in report.model_dump_json()
    markdown = str((await artifacts_of(report.run_id))["health-check"])
    assert "took longer than 0.5 s" in markdown
    assert "hunter2" not in markdown
    told = "\n".join(await logs_of(report.run_id))
    assert "RuntimeError: postgresql://********@db/x" in told, "the traceback is there, for whoever has to find out"
    assert "hunter2" not in told


async def test_a_checkout_that_does_not_exist_is_incomplete(configured: Path, tmp_path: Path) -> None:
    report = await subject.health_check(checkouts=[str(tmp_path / "nowhere")], modules=[Module.documentation])
    assert report.status is Status.incomplete
    assert any("nowhere" in skip.reason for skip in report.skipped)


async def test_a_database_that_is_gone_costs_history_and_not_the_report(
    configured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAMA_DATABASE_URL", "postgresql://nobody:hunter2@127.0.0.1:9/none")
    environment.settings.cache_clear()
    monkeypatch.setattr(publish._latest, "retry_delay_seconds", 0.01)
    announced: list[str] = []
    monkeypatch.setattr(publish, "emit_event", lambda **event: announced.append(str(event["event"])))
    _module(monkeypatch, security=_saying("security", "a"))
    report = await subject.health_check(modules=[Module.security])
    assert announced == ["lama.report.finished"], "nobody knows what is new"
    assert report.status is Status.incomplete
    assert [finding.key for finding in report.findings] == ["security.k:a"]
    (skip,) = report.skipped
    assert "not stored" in skip.reason
    assert "hunter2" not in skip.reason
    assert report.changes.since is None


async def test_garbage_in_the_configuration_is_refused_with_its_place(configured: Path) -> None:
    _write(configured, "[documentation]\n\ndocstring_coverage = 7\n")
    with pytest.raises(ConfigurationError, match=rf"{configured}:3: documentation.docstring_coverage"):
        await subject.health_check(modules=[Module.documentation])
    _write(configured, "= = =")
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        await subject.health_check(modules=[Module.documentation])


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"checkouts": ["nobody"]}, "no checkout is called 'nobody'"),
        ({"checkouts": []}, "empty list"),
        ({"modules": []}, "empty list"),
        ({"checkouts": ["../up"]}, "absolute path"),
    ],
)
async def test_bad_parameters_are_refused_with_a_sentence(
    configured: Path, parameters: dict[str, object], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(target: Target) -> Report:
        raise AssertionError("nothing may be looked at")

    _module(monkeypatch, **dict.fromkeys(Module, never))
    with pytest.raises(ConfigurationError, match=words):
        await subject.health_check(**parameters)


async def test_an_unknown_module_is_refused_by_the_form() -> None:
    with pytest.raises(ParameterTypeError, match=r"modules\.0"):
        await subject.health_check(modules=["astrology"])


async def test_findings_are_announced_once_and_within_bounds(configured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    announced: list[dict[str, object]] = []
    monkeypatch.setattr(publish, "emit_event", lambda **event: announced.append(event))
    _module(monkeypatch, security=_saying("security", *(f"{n:03}" for n in range(150))))
    report = await subject.health_check(modules=[Module.security])
    names = [event["event"] for event in announced]
    assert names == ["lama.finding.opened"] * publish.MOST_EVENTS + ["lama.report.finished"]
    assert announced[-1]["payload"]["opened"] == 150  # type: ignore[index]
    first = [event["id"] for event in announced]
    announced.clear()
    publish.announce(report, diff(None, report))
    assert [event["id"] for event in announced] == first, "announced again, it is the same event"


def _write(configured: Path, text: str) -> None:
    configured.write_text(text)


def test_every_parameter_is_described_in_the_form() -> None:
    schema = parameter_schema(subject.health_check.fn)
    assert set(schema.properties) == {"checkouts", "modules", "report_level", "narrative"}
    for name, field in schema.properties.items():
        assert len(field.get("description", "")) > 20, f"{name} has no description: {json.dumps(field)}"
    assert set(schema.definitions["Module"]["enum"]) == set(Module)
    assert set(schema.definitions["ReportLevel"]["enum"]) == set(ReportLevel)
