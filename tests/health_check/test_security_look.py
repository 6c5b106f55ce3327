"""Both modules as the health check runs them: steps of a real Prefect server, whole reports."""

from __future__ import annotations

import gc
import json
import logging
import subprocess
import time
import zipfile
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prefect import flow
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker

from blocks.settings import Settings
from models.advisories import AdvisoriesSettings
from models.audit import AuditSettings
from models.configuration import Configuration
from models.health_check import Checkout, Service, ServiceKind
from models.report import Report, Severity, Status
from models.scan import ScanSettings
from tasks.health_check.dependencies import look as dependencies
from tasks.health_check.security import look as security
from tasks.target import Target
from tests.programs import require

# Prefect leaves the sockets of its clients to the garbage collector; nothing of ours can close them.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]

TOKEN = "ghp_" + "Zx8Qp2Lm9Vk4Rt7Wn3Yc6Bd1Hf5Jg0SaTuEi"
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def platform(prefect_server: Settings) -> Iterator[Settings]:
    yield prefect_server
    # What is still to be sent must go while the server is there; without it Prefect waits for a minute at exit.
    APILogWorker.drain_all(timeout=10)
    EventsWorker.drain_all(timeout=10)


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture
def target(platform: Settings, tmp_path: Path) -> Target:
    root = tmp_path / "app"
    root.mkdir()
    site = root / ".venv/lib/python3.11/site-packages"
    for name, version in (("alpha", "1.0"), ("beta", "1.0")):
        (site / f"{name}-{version}.dist-info").mkdir(parents=True)
        (site / f"{name}-{version}.dist-info/METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    (root / "requirements.txt").write_text("alpha<2\nbeta\n")
    (root / "code.py").write_text(f"import subprocess\nsubprocess.run('x' + y, shell=True)\ntoken = '{TOKEN}'\n")
    (root / ".gitignore").write_text(".venv\n")
    require("git")
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    configuration = Configuration(
        checkouts=(Checkout(name="app", path=root),),
        advisories=AdvisoriesSettings(osv_url=NOBODY),
        audit=AuditSettings(index_url=f"{NOBODY}/simple"),
    )
    return Target(platform, configuration, configuration.checkouts, "run", "here")


def changed(target: Target, **parts: object) -> Target:
    configuration = target.configuration.model_copy(update=parts)
    return Target(target.settings, configuration, configuration.checkouts, target.run_id, target.host)


async def run(look: Callable[[Target], Awaitable[Report]], target: Target) -> Report:
    @flow(name="one module")
    async def one() -> Report:
        return await look(target)

    return await one()


async def test_without_its_sources_the_report_is_incomplete_within_seconds(target: Target) -> None:
    begun = time.monotonic()
    report = await run(dependencies.look, target)
    assert time.monotonic() - begun < 10
    assert report.status is Status.incomplete
    assert any(skip.may_hide("dependencies.vulnerability:app/pypi/alpha/CVE-2026-1") for skip in report.skipped)
    assert any(skip.may_hide("dependencies.outdated:app/pypi/alpha") for skip in report.skipped)
    assert "dependencies_vulnerabilities_total" not in report.metrics
    assert "not all looked up" in report.summary


def mirror(folder: Path, modified: str) -> AdvisoriesSettings:
    def record(id_: str, aliases: list[str], fixed: str, **more: object) -> str:
        events = [{"introduced": "0"}, {"fixed": fixed}]
        package = {"name": "Alpha", "ecosystem": "PyPI"}
        affected = [{"package": package, "ranges": [{"type": "ECOSYSTEM", "events": events}]}]
        return json.dumps({"id": id_, "modified": modified, "aliases": aliases, "affected": affected, **more})

    (folder / "PyPI").mkdir(parents=True, exist_ok=True)
    critical = [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]
    with zipfile.ZipFile(folder / "PyPI" / "all.zip", "w") as archive:
        archive.writestr("GHSA-1.json", record("GHSA-1", ["CVE-2026-1"], "1.10", severity=critical))
        archive.writestr("PYSEC-1.json", record("PYSEC-1", ["CVE-2026-1"], "1.9"))
        archive.writestr("PYSEC-2.json", record("PYSEC-2", [], "1.0"))
        archive.writestr("PYSEC-3.json", record("PYSEC-3", [], "9.0", withdrawn="2026-01-01T00:00:00Z"))
    return AdvisoriesSettings(mirror=folder)


async def test_a_mirror_gives_one_finding_for_each_weakness_with_its_remedy(target: Target, tmp_path: Path) -> None:
    fresh = mirror(tmp_path / "mirror", datetime.now(UTC).isoformat())
    report = await run(dependencies.look, changed(target, advisories=fresh))
    (finding,) = (one for one in report.findings if one.key.startswith("dependencies.vulnerability:"))
    assert (finding.key, finding.severity) == (
        "dependencies.vulnerability:app/pypi/alpha/CVE-2026-1",
        Severity.critical,
    )
    assert "1.10" in finding.remedy
    assert report.metrics["dependencies_vulnerabilities_total"] == 1
    assert not any(skip.may_hide(finding.key) for skip in report.skipped)


async def test_a_stale_or_damaged_mirror_is_incomplete(target: Target, tmp_path: Path) -> None:
    old = mirror(tmp_path / "old", "2020-01-01T00:00:00Z")
    report = await run(dependencies.look, changed(target, advisories=old))
    keys = {finding.key: finding.severity for finding in report.findings}
    assert keys["dependencies.stale_mirror:mirror"] is Severity.medium
    assert "dependencies.vulnerability:app/pypi/alpha/CVE-2026-1" in keys
    assert any(skip.may_hide("dependencies.vulnerability:app/pypi/beta/X") for skip in report.skipped)
    (tmp_path / "old/PyPI/all.zip").write_bytes(b"<html>")
    damaged = await run(dependencies.look, changed(target, advisories=old))
    assert any(skip.may_hide("dependencies.vulnerability:app/pypi/beta/X") for skip in damaged.skipped)


async def test_the_security_report_tells_no_secret_anywhere(
    target: Target, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    report = await run(security.look, target)
    keys = [finding.key for finding in report.findings]
    assert sum(key.startswith("security.secret:app/code.py/") for key in keys) == 1
    assert "security.code:app/code.py/B602" in keys
    assert "security.open_server:prefect" in keys  # that of the tests asks nobody
    assert TOKEN not in report.model_dump_json() + caplog.text + "".join(capfd.readouterr())
    again = await run(security.look, target)
    assert again.findings == report.findings
    cached = (target.settings.home / "cache" / "looked.sqlite").read_bytes()
    assert TOKEN.encode() not in cached
    assert TOKEN[4:20].encode() not in cached
    assert not any("history" in skip.reason for skip in report.skipped)


async def test_whatever_cannot_be_looked_at_makes_the_report_incomplete(target: Target, tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text("[[rules]]\nid = 1\n")
    broken = changed(
        target,
        checkouts=(*target.checkouts, Checkout(name="gone", path=tmp_path / "gone")),
        services=(Service(name="letta", kind=ServiceKind.letta, url=NOBODY),),
        scan=ScanSettings(rules=tmp_path / "rules.toml"),
    )
    report = await run(security.look, broken)
    assert report.status is Status.incomplete
    for key in ("security.secret:gone/x/1", "security.open_server:letta", "security.rule:app/a/b"):
        assert any(skip.may_hide(key) for skip in report.skipped), key
    assert any("rules.toml:2" in skip.reason for skip in report.skipped)
    assert any(finding.key.startswith("security.secret:app/code.py/") for finding in report.findings)
