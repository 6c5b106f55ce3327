"""The audit as a whole: through a real Prefect server, a real database and a real mirror."""

from __future__ import annotations

import gc
import json
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from blocks import settings as environment
from blocks.errors import ConfigurationError
from blocks.postgres import Postgres
from flows.audit import audit
from models.audit import Remedy
from models.report import Severity, Status
from models.risk import AuditReport
from tasks.audit.inventory.requirement import normal
from tasks.reports import store
from tasks.reports.export import FORMS, export
from tests.audit.loopback import Loopback, Reply
from tests.flow_runs import artifacts_of
from tests.scan.corpus import Maker

# Prefect leaves the sockets of its clients to the garbage collector; nothing of ours can close them.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]
FIRST, SECOND = "CVE-2026-0001", "CVE-2026-0002"
HIGH = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N"


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    yield
    gc.collect()


def record(id_: str, alias: str, package: str, fixed: str, **more: Any) -> dict[str, Any]:
    events = [{"introduced": "0"}, {"fixed": fixed}]
    affected = {"package": {"ecosystem": "PyPI", "name": package}, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
    now = datetime.now(UTC).isoformat()
    return {
        "id": id_,
        "aliases": [alias],
        "modified": now,
        "summary": f"{package} is bad",
        "affected": [affected],
        **more,
    }


@pytest.fixture
def shop(configured: Path, tmp_path: Path) -> Path:
    """A checkout with two vulnerable pins, a mirror that knows of them, and `lama.toml` for both."""
    mirror = tmp_path / "mirror" / "PyPI"
    mirror.mkdir(parents=True)
    severe = [{"type": "CVSS_V3", "score": HIGH}]
    with zipfile.ZipFile(mirror / "all.zip", "w") as archive:
        for one in (
            record("GHSA-1", FIRST, "alpha", "1.10", severity=severe),
            record("PYSEC-1", FIRST, "alpha", "1.9"),
            record("GHSA-2", SECOND, "beta", "2.0"),
            record("GHSA-3", "CVE-2026-0003", "gamma", "1.0"),
        ):
            archive.writestr(f"{one['id']}.json", json.dumps(one))
    code = tmp_path / "code"
    (code / "requirements.txt").write_text("alpha==1.2  # why\nbeta==1.0\ngamma==1.0\n")
    write(configured, "")
    return code


def write(configured: Path, more: str, *, accepted: str = "2099-01-01", index: str = "http://127.0.0.1:9") -> None:
    folder = configured.parent
    configured.write_text(
        f'[[checkouts]]\nname = "{folder.name}"\npath = "{folder / "code"}"\n'
        f'[advisories]\nmirror = "{folder / "mirror"}"\n[audit]\nindex_url = "{index}/simple"\n{more}\n'
        f'[[suppressions]]\nid = "gap.unresolved:*"\nreason = "they bring in nothing"\nexpires = {accepted}\n'
    )


async def test_a_run_finds_stores_shows_and_knows_its_history(shop: Path, configured: Path) -> None:
    first = await audit()
    names = {finding.evidence.get("id"): finding for finding in first.findings}
    assert set(names) - {None} == {FIRST, SECOND}
    assert names[FIRST].severity is Severity.high
    assert names[SECOND].severity is Severity.unknown
    assert (names[FIRST].evidence["sources"], names[FIRST].evidence["seen_as"]) == (["mirror"], ["declared"])
    assert first.weaknesses[0]["sources"] == ["mirror"]
    assert "It is declared; told by mirror." in names[FIRST].detail
    graded = json.loads(export(first, "sarif"))["runs"][0]["tool"]["driver"]["rules"]
    assert {rule["id"]: rule["properties"]["security-severity"] for rule in graded if rule["id"].startswith("CVE")} == {
        FIRST: "7.5",
        SECOND: "5.0",
    }
    assert first.status is Status.failing
    assert first.critical_vulnerabilities == (names[FIRST].key,)
    assert first.moderate_risks == (names[SECOND].key,)
    assert "alpha 1.2 to 1.10" in first.recommendations[0]
    assert [component.name for component in first.components] == ["alpha", "beta", "gamma"]
    assert first.metrics["audit_vulnerabilities_total"] == 2
    stored = store.load(Postgres.of(environment.settings()), first.run_id, AuditReport)
    assert stored == first
    artifacts = await artifacts_of(first.run_id)
    assert FIRST in str(artifacts["audit"])
    assert float(str(artifacts["audit-progress"])) == 100.0
    for form in FORMS:
        assert FIRST in export(first, form), form

    (shop / "requirements.txt").write_text("alpha==1.10\nbeta==1.0\n")
    second = await audit()
    assert second.changes.since == first.run_id
    assert second.changes.closed == (names[FIRST].key,)
    assert second.changes.persisting[0] == names[SECOND].key
    assert [point.severity_counts["high"] for point in second.trend] == [1]


async def test_what_is_set_aside_is_told_and_comes_back(shop: Path, configured: Path) -> None:
    def suppression(expires: str) -> str:
        return f'[[suppressions]]\nid = "{FIRST}"\nreason = "never called"\nexpires = {expires}\n'

    tomorrow = (datetime.now(UTC) + timedelta(days=30)).date().isoformat()
    write(configured, suppression(tomorrow))
    report = await audit()
    assert [one.finding.evidence["id"] for one in report.suppressed] == [FIRST]
    assert FIRST not in "".join(report.recommendations)
    assert report.status is Status.degraded
    write(configured, suppression("2026-01-01"))
    again = await audit()
    (back,) = (finding for finding in again.findings if finding.evidence.get("id") == FIRST)
    assert "that has expired" in back.detail
    assert again.changes.opened[0] == back.key


async def test_what_requirements_bring_in_unseen_is_no_all_clear(shop: Path, configured: Path) -> None:
    (shop / "requirements.txt").write_text("alpha==2.0.0\nbeta==2.0\n")
    accepted = await audit()
    (remark,) = accepted.findings
    assert (accepted.status, remark.severity) == (Status.ok, Severity.info)
    assert "they bring in nothing" in remark.detail
    write(configured, "", accepted="2026-01-01")
    report = await audit()
    assert report.status is Status.incomplete
    (skip,) = report.skipped
    assert skip.key == f"gap.unresolved:{configured.parent.name}/pypi"
    assert "2 PyPI packages bring in" in skip.reason
    assert "that has expired" in skip.reason
    assert report.changes.closed == (remark.key,)


async def test_a_base_image_that_nobody_looked_at_is_no_all_clear(shop: Path, configured: Path) -> None:
    (shop / "requirements.txt").unlink()
    (shop / "Dockerfile").write_text("FROM debian:10\nRUN apt-get install -y curl\n")
    report = await audit()
    assert report.status is Status.incomplete
    name = configured.parent.name
    assert {skip.key for skip in report.skipped} >= {f"gap.image:{name}/debian:10", f"gap.apt:{name}/Dockerfile"}


async def test_without_its_mirror_the_result_is_incomplete(shop: Path, configured: Path) -> None:
    (configured.parent / "mirror/PyPI/all.zip").write_bytes(b"<html>gone</html>")
    report = await audit()
    assert report.status is Status.incomplete
    assert any(
        skip.may_hide(f"dependencies.vulnerability:{configured.parent.name}/pypi/x/Y") for skip in report.skipped
    )
    assert "audit_vulnerabilities_total" not in report.metrics
    assert "not everything could be looked at" in report.summary
    document = json.loads(export(report, "cyclonedx"))
    assert document["compositions"] == [{"aggregate": "incomplete"}]
    assert {"name": "lama:status", "value": "incomplete"} in document["metadata"]["properties"]


async def test_no_secret_of_a_requirements_file_is_in_any_output(shop: Path) -> None:
    token = "ghp_" + Maker(7).mixed(36)
    password = "Ho" + "rse!Battery"
    (shop / "requirements.txt").write_text(
        f"alpha==1.2\n# token = '{token}'\n{token}\nTOKEN={token}\nPASSWORD={password}\n--secret {password}\n"
    )
    (shop / "setup.cfg").write_text(f"[options]\ninstall_requires =\n    KEY={password}\n")
    (shop / "pyproject.toml").write_text(f'[project]\nname = "shop"\ndependencies = ["KEY={token}"]\n')
    report = await audit(remedy=Remedy.patch)
    assert "+alpha==1.10" in report.patch
    stored = store.load(Postgres.of(environment.settings()), report.run_id, AuditReport)
    artifacts = await artifacts_of(report.run_id)
    for told in (str(stored), str(artifacts), *(export(report, form) for form in FORMS)):
        for secret in (token, normal(token), password):
            assert secret not in told
    told = " ".join(skip.reason for skip in report.skipped)
    assert "line 4 (TOKEN...)" in told
    assert "line 3 (***): has the form of a secret" in told


async def test_a_yanked_release_is_told_and_is_no_advice(shop: Path, configured: Path) -> None:
    files = [{"filename": f"alpha-{version}.tar.gz", "yanked": "broken"} for version in ("1.2", "1.10")]
    page = {"files": [*files, {"filename": "alpha-1.11.tar.gz"}]}
    kind = "application/vnd.pypi.simple.v1+json"
    server = Loopback(lambda _request: Reply(200, json.dumps(page).encode(), kind))
    try:
        write(configured, "", index=server.url)
        (shop / "requirements.txt").write_text("alpha==1.2\n")
        report = await audit()
    finally:
        server.close()
    told = {finding.key.partition(":")[0]: finding for finding in report.findings}
    assert told["dependencies.yanked"].title == "alpha 1.2 was yanked: its authors have withdrawn it."
    assert told["dependencies.yanked"].evidence["places"] == ["requirements.txt:1"]
    assert "a later version than 1.10" in told["dependencies.vulnerability"].remedy
    assert "alpha 1.2 to 1.11" in report.recommendations[0]
    assert "was not tried" in report.recommendations[-1]


async def test_a_patch_is_shown_and_only_applied_when_asked(shop: Path, configured: Path) -> None:
    before = (shop / "requirements.txt").read_text()
    shown = await audit(remedy=Remedy.patch)
    assert "-alpha==1.2  # why" in shown.patch
    assert "+alpha==1.10  # why" in shown.patch
    assert (shop / "requirements.txt").read_text() == before
    # The index cannot be reached here, so whether it all fits was not tried: that is said.
    assert shown.status is Status.incomplete
    assert any("not tried" in skip.reason for skip in shown.skipped)
    await audit(remedy=Remedy.apply)
    assert (shop / "requirements.txt").read_text() == "alpha==1.10  # why\nbeta==2.0\ngamma==1.0\n"
    assert {finding.evidence.get("id") for finding in (await audit()).findings} == {None}


async def test_with_and_without_the_cache_the_result_is_the_same(shop: Path) -> None:
    def said(report: AuditReport) -> Any:
        return report.model_dump(exclude={"started_at", "finished_at", "run_id", "changes", "trend", "metrics"})

    first, cached, plain = await audit(), await audit(), await audit(cache=False)
    assert said(first) == said(cached) == said(plain)


async def test_a_push_of_a_commit_that_is_not_here_is_no_all_clear(shop: Path) -> None:
    report = await audit(commit="a" * 40)
    assert report.status is Status.incomplete
    assert "aaaaaaaaaaaa was asked for" in report.skipped[-1].reason


async def test_bad_parameters_are_refused_before_anything_is_looked_at(shop: Path) -> None:
    with pytest.raises(ConfigurationError, match="no checkout is called 'nobody'"):
        await audit(checkouts=["nobody"])
    with pytest.raises(ConfigurationError, match="empty list"):
        await audit(checkouts=[])


async def test_a_pull_request_without_a_token_is_a_gap_and_the_patch_stays(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment.settings(), "github_token", None)
    report = await audit(remedy=Remedy.propose)
    assert any("LAMA_GITHUB_TOKEN" in skip.reason for skip in report.skipped)
    assert report.patch
