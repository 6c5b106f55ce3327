"""The scan as a whole: through a real Prefect server and a real database."""

from __future__ import annotations

import gc
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks import settings as environment
from blocks.errors import ConfigurationError
from blocks.postgres import Postgres
from flows.scan import scan
from models.report import Status
from models.risk import ScanReport
from models.scan import Engine
from tasks.reports import store
from tests.flow_runs import artifacts_of
from tests.programs import require

# Prefect leaves the sockets of its clients to the garbage collector; nothing of ours can close them.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]
SECRET = "ghp_" + "a1B2c3D4e5F6g7H8i9J0" * 2
FILES = [Engine.secrets, Engine.history, Engine.code, Engine.rules, Engine.containers, Engine.licences]


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture
def code(configured: Path) -> Path:
    """A repository with a secret that was taken out, risky code and an image that runs as root."""
    root = configured.parent / "code"

    def git(*words: str) -> None:
        who = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
        require("git")
        subprocess.run(["git", "-C", str(root), *who, *words], check=True, capture_output=True)

    git("init", "-q")
    (root / "deploy.py").write_text(f"TOKEN = '{SECRET}'\n")
    git("add", "-A")
    git("commit", "-qm", "first")
    (root / "deploy.py").write_text("import subprocess\nsubprocess.run('ls ' + x, shell=True)\n")
    (root / "Dockerfile").write_text("FROM python:3.11-slim\nCMD python\n")
    git("add", "-A")
    git("commit", "-qm", "second")
    return root


def more(configured: Path, text: str) -> None:
    configured.write_text(configured.read_text() + text)


async def test_a_run_finds_stores_and_shows_and_tells_no_secret(code: Path, configured: Path) -> None:
    name = configured.parent.name
    report = await scan(engines=FILES)
    kinds = {finding.key.partition(":")[0] for finding in report.findings}
    assert {"security.secret_history", "security.code", "security.container"} <= kinds
    assert set(report.engines) == {engine.value for engine in FILES}
    assert report.critical_vulnerabilities
    assert report.recommendations
    stored = store.load(Postgres.of(environment.settings()), report.run_id, ScanReport)
    assert stored == report
    shown = await artifacts_of(report.run_id)
    assert "Scan" in str(shown["scan"])
    assert float(str(shown["scan-progress"])) == 100.0
    assert SECRET not in report.model_dump_json() + str(shown)
    assert SECRET.encode() not in (environment.settings().home / "cache/looked.sqlite").read_bytes()

    more(configured, '[[suppressions]]\nid = "security.secret_history:*"\nreason = "revoked"\nexpires = 2099-01-01\n')
    second = await scan(engines=FILES, cache=False)
    assert {one.finding.key.partition(":")[0] for one in second.suppressed} == {"security.secret_history"}, [
        one.finding.title for one in second.suppressed
    ]
    assert second.changes.since == report.run_id
    before, after = ({f.key for f in one.findings if "history" not in f.key} for one in (report, second))
    assert before == after, "with and without the cache the same is found"
    assert all(name in finding.key for finding in second.findings if finding.key.startswith("security.code"))


async def test_nothing_to_look_with_is_refused(code: Path) -> None:
    with pytest.raises(ConfigurationError, match="empty list"):
        await scan(engines=[])


async def test_what_does_not_run_is_not_in_the_scope_and_alone_it_is_refused(code: Path, configured: Path) -> None:
    other = configured.parent / "other"
    other.mkdir()
    report = await scan(checkouts=[str(other)], engines=[Engine.rules, Engine.services])
    assert "services" not in report.scope
    assert "rules" in report.scope
    with pytest.raises(ConfigurationError, match="nothing would be looked at"):
        await scan(checkouts=[str(other)], engines=[Engine.services])


async def test_an_engine_that_cannot_run_makes_it_incomplete(code: Path, configured: Path) -> None:
    more(configured, f'[scan]\nrules = "{configured.parent / "nowhere.toml"}"\n')
    report = await scan(engines=[Engine.rules])
    assert report.status is Status.incomplete
    assert "nowhere.toml" in report.skipped[0].reason
