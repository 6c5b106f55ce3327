"""The update of the mirror as a whole, through a real Prefect server and a real database."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from blocks.errors import ConfigurationError
from blocks.postgres import Postgres
from blocks.settings import settings
from flows.advisories import update_advisories
from models.report import Report, Severity, Status
from tasks.advisories.known import ask_all, mirror_of, sources_of
from tasks.reports import store
from tests.advisories.records import ALPHA, archive, record
from tests.flow_runs import artifacts_of
from tests.loopback import Reply, Server

# Prefect leaves the sockets of its clients to the garbage collector; nothing of ours can close them.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture
def files(server: Server) -> dict[str, Reply]:
    """What the server has, by path. Each is known by what it holds."""
    held: dict[str, Reply] = {}

    def route(path: str, _body: Any) -> Reply | None:
        reply = held.get(path)
        if reply is None or reply[0] != 200:
            return reply
        etag = f'"{hash(reply[2])}"'
        if server.headers[-1].get("if-none-match") == etag:
            return 304, "application/zip", b"", {"etag": etag}
        return *reply[:3], {"etag": etag}

    server.route = route
    return held


@pytest.fixture
def mirror(configured: Path, server: Server, tmp_path: Path) -> Path:
    """The folder of the mirror; the network is `server` only."""
    folder = tmp_path / "mirror"
    configured.write_text(
        f'[advisories]\nmirror = "{folder}"\nmirror_url = "{server.url}"\necosystems = ["PyPI", "npm"]\n'
        f'epss_url = "{server.url}/epss"\nkev_url = "{server.url}/kev"\n'
    )
    return folder


def zipped(folder: Path, modified: str, *names: str, ecosystem: str = "PyPI") -> Reply:
    records = [record(name, ecosystem=ecosystem) | {"modified": modified} for name in names]
    return 200, "application/zip", archive(folder, records, ecosystem).read_bytes()


def serve_all(files: dict[str, Reply], folder: Path, modified: str) -> None:
    files["/PyPI/all.zip"] = zipped(folder, modified, "X-1", "X-2")
    files["/npm/all.zip"] = zipped(folder, modified, "N-1", ecosystem="npm")
    files["/epss"] = 200, "text/csv", b"cve,epss\nCVE-1,0.5\n"
    files["/kev"] = 200, "application/json", b'{"vulnerabilities": [{"cveID": "CVE-1"}]}'


async def test_an_update_fills_the_mirror_and_the_next_one_fetches_what_changed(
    mirror: Path, files: dict[str, Reply], server: Server, tmp_path: Path
) -> None:
    now = datetime.now(UTC).isoformat()
    serve_all(files, tmp_path / "served", now)
    asked = await update_advisories(dry_run=True)
    assert asked.summary.startswith("4 to fetch")
    assert not (mirror / "PyPI").exists()
    report = await update_advisories()
    assert (report.status, report.findings, report.skipped) == (Status.ok, (), ())
    assert report.metrics["advisories_pypi_records_total"] == 2
    assert report.metrics["advisories_npm_age_seconds"] < 3600
    assert store.load(Postgres.of(settings()), report.run_id, Report) == report
    artifacts = await artifacts_of(report.run_id)
    assert "Advisories" in str(artifacts["advisories"])
    assert float(str(artifacts["advisories-progress"])) == 100.0
    files["/PyPI/all.zip"] = zipped(tmp_path / "served", now, "X-2", "X-3", "X-4")
    report = await update_advisories()
    assert report.summary.startswith("1 fetched")
    assert report.metrics["advisories_pypi_records_total"] == 3
    chosen = _settings()
    known = await ask_all(sources_of(chosen, mirror_of(chosen, tmp_path)), {ALPHA: frozenset({"1.0"})})
    assert [one.id for one in known.advisories[ALPHA]] == ["X-2", "X-3", "X-4"]
    assert known.gaps == ()


async def test_what_cannot_be_had_makes_it_incomplete_and_what_was_there_stays(
    mirror: Path, files: dict[str, Reply], tmp_path: Path
) -> None:
    serve_all(files, tmp_path / "served", datetime.now(UTC).isoformat())
    assert (await update_advisories()).status is Status.ok
    before = (mirror / "PyPI/all.zip").read_bytes()
    files["/PyPI/all.zip"] = 200, "text/html", b"<html>Please log in</html>"
    del files["/npm/all.zip"], files["/kev"]
    report = await update_advisories()
    assert report.status is Status.incomplete
    assert {skip.component for skip in report.skipped} == {"PyPI", "npm", "KEV"}
    assert (mirror / "PyPI/all.zip").read_bytes() == before
    assert report.metrics["advisories_pypi_records_total"] == 2


async def test_a_copy_that_is_stale_after_an_update_is_a_finding(
    mirror: Path, files: dict[str, Reply], tmp_path: Path
) -> None:
    serve_all(files, tmp_path / "served", "2020-01-01T00:00:00Z")
    report = await update_advisories(ecosystems=["PyPI"], exploitation=False)
    (finding,) = report.findings
    assert (finding.key, finding.severity) == ("advisories.stale:PyPI", Severity.medium)
    assert report.status is Status.degraded
    assert not (mirror / "npm").exists()


@pytest.mark.parametrize("names", [[], ["PyPy"], ["../PyPI"]])
async def test_parameters_that_mean_nothing_are_refused_before_anything_is_asked(
    mirror: Path, server: Server, names: list[str]
) -> None:
    with pytest.raises(ConfigurationError):
        await update_advisories(ecosystems=names)
    assert server.requests == []
    assert not (mirror / "PyPI").exists()


def _settings() -> Any:
    from blocks.configuration import load_configuration

    return load_configuration(settings()).advisories
