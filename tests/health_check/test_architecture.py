"""The architecture module as a whole, against a real database: drift, acceptance, and what could not be looked at."""

from __future__ import annotations

import concurrent.futures
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from prefect import flow
from pydantic import SecretStr

from blocks.database import dsn
from blocks.errors import ConfigurationError
from blocks.home import Home
from blocks.postgres import Postgres
from blocks.settings import Settings
from models.configuration import Configuration
from models.health_check import Checkout, Service
from models.report import Report, Status
from tasks.health_check.architecture import look as module
from tasks.health_check.architecture import snapshot
from tasks.health_check.architecture.drift import View
from tasks.target import Target
from tests.conftest import free_port

# Prefect's client leaves its events' socket to the garbage collector when a flow run ends.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]

_NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def block(postgres: Settings, database: str) -> Postgres:
    return Postgres.of(postgres, database)


def _view(*modules: str) -> View:
    return {"modules": dict.fromkeys(modules, "")}


def _rows(block: Postgres) -> int:
    with block.get_client() as connection:
        row = connection.execute("SELECT count(*) FROM snapshot").fetchone()
    return int(row[0]) if row else 0


def test_the_first_is_accepted_and_equal_content_is_stored_once(block: Postgres) -> None:
    assert snapshot.record(block, {"code:a": _view("m")}, _NOW) == {"code:a": _view("m")}
    assert snapshot.record(block, {"code:a": _view("m")}, _NOW + timedelta(hours=1)) == {"code:a": _view("m")}
    assert _rows(block) == 1
    assert snapshot.record(block, {"code:a": _view("n")}, _NOW + timedelta(hours=2)) == {"code:a": _view("m")}
    assert _rows(block) == 2


def test_accepting_takes_what_was_seen_last_even_if_it_was_there_before(block: Postgres) -> None:
    for hours, name in enumerate(["m", "n", "m", "n"]):
        snapshot.record(block, {"code:a": _view(name), "code:b": _view("x")}, _NOW + timedelta(hours=hours))
    assert snapshot.accept(block, _NOW + timedelta(hours=5), ["code:a"]) == ("code:a",)
    assert snapshot.record(block, {"code:a": _view("m")}, _NOW + timedelta(hours=6)) == {"code:a": _view("n")}
    assert snapshot.accept(block, _NOW + timedelta(hours=7)) == ("code:a", "code:b")
    assert snapshot.record(block, {"code:a": _view("n")}, _NOW + timedelta(hours=8)) == {"code:a": _view("m")}


def test_what_was_never_seen_cannot_be_accepted(block: Postgres) -> None:
    snapshot.record(block, {"code:a": _view("m")}, _NOW)
    with pytest.raises(ConfigurationError, match="code:a"):
        snapshot.accept(block, _NOW, ["code:a", "code:zzz"])


def test_snapshots_that_nobody_accepted_do_not_pile_up(block: Postgres) -> None:
    for number in range(60):
        snapshot.record(block, {"code:a": _view(f"m{number}")}, _NOW + timedelta(hours=number))
    assert _rows(block) == 51
    assert snapshot.record(block, {"code:a": _view("m0")}, _NOW) == {"code:a": _view("m0")}


def test_of_many_first_ones_at_once_one_is_accepted(block: Postgres) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        views = [{"code:a": _view(f"m{number}")} for number in range(8)]
        accepted = list(pool.map(lambda view: snapshot.record(block, view, _NOW), views))
    assert len({str(view) for view in accepted}) == 1


def _target(settings: Settings, checkouts: tuple[Checkout, ...] = (), **configuration: object) -> Target:
    given = Configuration.model_validate(configuration)
    return Target(settings, given, checkouts, run_id="run", host="here")


async def look(target: Target) -> Report:
    """The module's report, from within a flow run as in real life."""

    @flow(name="look-at-architecture")
    async def run() -> Report:
        return await module.look(target)

    return await run()


def _keys(report: Report) -> set[str]:
    return {finding.key for finding in report.findings}


@pytest.fixture
def own(prefect_server: Settings, database: str) -> Settings:
    """Settings that lead to a database of this test's own."""
    return prefect_server.model_copy(update={"database_url": SecretStr(dsn(prefect_server, database))})


@pytest.fixture
def kept(own: Settings, tmp_path: Path) -> Settings:
    """The same, in a home whose whole platform a `lama up` keeps up."""
    settings = own.model_copy(update={"home": tmp_path / "home"})
    Home(settings).prepare()
    Home(settings).keep_mark.touch()
    return settings


async def test_drift_is_reported_until_it_is_accepted(own: Settings, tmp_path: Path) -> None:
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    target = _target(own, (Checkout(name="shop", path=tmp_path),))
    first = await look(target)
    assert first.capability == "health_check.architecture"
    assert not [key for key in _keys(first) if "drift" in key]
    (package / "web.py").write_text("import yaml\n")
    second = await look(target)
    expected = {"architecture.drift:code:shop:modules", "architecture.drift:code:shop:outside_packages"}
    assert {key for key in _keys(second) if "drift" in key} == expected
    snapshot.accept(Postgres.of(own), datetime.now(UTC))
    assert not [key for key in _keys(await look(target)) if "drift" in key]


async def test_services_down_hanging_and_without_secret_are_told_apart(kept: Settings) -> None:
    Home(kept).write_secret("the-token", "hunter2hunter2")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        services = [
            Service.model_validate({"name": name, "kind": kind, "url": url, "timeout_s": 0.5, "secret": secret})
            for name, kind, url, secret in (
                ("gone", "http", f"http://user:hunter2hunter2@127.0.0.1:{free_port()}/?k=hunter2hunter2", None),
                ("stuck", "http", f"http://127.0.0.1:{listener.getsockname()[1]}", "the-token"),
                ("keyless", "http", "http://127.0.0.1:1", "no-such-file"),
            )
        ]
        report = await look(_target(kept, services=services))
    assert report.status is Status.incomplete
    assert {"architecture.down:gone", "architecture.hanging:stuck"} <= _keys(report)
    assert "architecture.down:lama-gateway" in _keys(report), "PostgreSQL and Prefect are up: the gateway is broken"
    assert {skip.component for skip in report.skipped} == {"stuck", "keyless"}
    assert "hunter2" not in report.model_dump_json()


async def test_without_a_database_drift_is_unknown_and_the_rest_is_looked_at(kept: Settings, tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    nowhere = SecretStr(f"postgresql://lama:hunter2@127.0.0.1:{free_port()}/lama")
    settings = kept.model_copy(update={"database_url": nowhere})
    layers = {"layers": {"another": ("x",)}}
    report = await look(_target(settings, (Checkout(name="shop", path=tmp_path),), architecture=layers))
    assert report.status is Status.incomplete
    assert [skip.component for skip in report.skipped] == ["drift"]
    assert report.skipped[0].may_hide("architecture.drift:code:shop:modules")
    assert not report.skipped[0].may_hide("architecture.down:lama-gateway")
    expected = {"architecture.down:lama-postgresql", "architecture.code:shop", "architecture.layers_of_nobody:another"}
    assert expected <= _keys(report)
    assert "hunter2" not in report.model_dump_json()


async def test_a_platform_that_was_never_started_is_one_finding(prefect_server: Settings, tmp_path: Path) -> None:
    off = prefect_server.model_copy(
        update={"home": tmp_path, "prefect_port": free_port(), "gateway_port": free_port(), "prefect_api_url": None}
    )
    report = await look(_target(off))
    assert "architecture.platform_off:here" in _keys(report)
    assert not [key for key in _keys(report) if ".down:" in key]


async def test_a_gateway_is_missed_only_where_there_should_be_one(own: Settings) -> None:
    """A command that starts what it needs itself starts no gateway: that it is down is no news."""
    report = await look(_target(own))
    assert report.status is Status.ok, [finding.title for finding in report.findings]
    inventory = next(finding for finding in report.findings if finding.key.startswith("architecture.services:"))
    assert set(inventory.evidence) == {"lama-postgresql", "lama-prefect"}
    elsewhere = own.model_copy(update={"gateway_outside": f"http://127.0.0.1:{free_port()}"})
    assert "architecture.down:lama-gateway" in _keys(await look(_target(elsewhere)))


async def test_a_checkout_that_does_not_exist_is_skipped(own: Settings, tmp_path: Path) -> None:
    report = await look(_target(own, (Checkout(name="gone", path=tmp_path / "gone"),)))
    (skip,) = report.skipped
    assert "does not exist" in skip.reason
    assert report.status is Status.incomplete


def test_the_database_of_the_tests_is_real(block: Postgres) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable), block.get_client() as connection:
        connection.execute("SELECT 1 FROM no_such_table")
