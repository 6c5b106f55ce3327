"""A report as SARIF: nothing that was found or missed is lost on the way."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any

from models.report import Finding, Severity, Skip
from models.risk import RiskReport, Suppressed
from tasks.reports.sarif import to_sarif
from tasks.risk.report import compose_risk

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def finding(key: str, severity: Severity = Severity.high, **evidence: Any) -> Finding:
    return Finding(key=key, severity=severity, component="shop", title=f"{key}.", remedy="Mend it.", evidence=evidence)


def log(*findings: Finding, skipped: tuple[Skip, ...] = (), suppressed: tuple[Suppressed, ...] = ()) -> dict[str, Any]:
    report = compose_risk(
        RiskReport, capability="audit", summary="", scope="", findings=findings, skipped=skipped,
        suppressed=suppressed, metrics={}, started_at=NOW, finished_at=NOW, run_id="r1",
    )  # fmt: skip
    run: dict[str, Any] = json.loads(to_sarif(report))["runs"][0]
    return run


def test_every_finding_is_a_result_at_its_lines() -> None:
    run = log(
        finding("dependencies.vulnerability:shop/pypi/a/CVE-1", id="CVE-1", places=["requirements.txt:3", "uv.lock"]),
        finding("security.code:shop/a b.py/B1", Severity.low, test="B1", file="a b.py", lines=[7, 9]),
        finding("security.listener:host", Severity.medium, port=5432),
    )
    by_rule = {result["ruleId"]: result for result in run["results"]}
    assert set(by_rule) == {"CVE-1", "B1", "security.listener"}
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    first = [place["physicalLocation"] for place in by_rule["CVE-1"]["locations"]]
    assert [place["artifactLocation"]["uri"] for place in first] == ["requirements.txt", "uv.lock"]
    assert first[0]["region"] == {"startLine": 3}
    assert "region" not in first[1]
    assert [p["physicalLocation"]["region"]["startLine"] for p in by_rule["B1"]["locations"]] == [7, 9]
    assert by_rule["B1"]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "a%20b.py"
    assert [by_rule[name]["level"] for name in ("CVE-1", "security.listener", "B1")] == ["error", "warning", "note"]


def test_what_is_set_aside_is_there_as_suppressed() -> None:
    aside = Suppressed(finding=finding("x.y:1"), reason="not reachable", by="lama.toml", expires=date(2027, 1, 1))
    (result,) = log(suppressed=(aside,))["results"]
    assert result["suppressions"][0]["justification"] == "not reachable (lama.toml) Until 2027-01-01."


def test_what_was_not_looked_at_makes_the_run_unsuccessful() -> None:
    run = log(skipped=(Skip(area="dependencies", component="OSV", reason="did not answer."),))
    (invocation,) = run["invocations"]
    assert invocation["executionSuccessful"] is False
    assert "did not answer" in invocation["toolExecutionNotifications"][0]["message"]["text"]
    assert log()["invocations"][0]["executionSuccessful"] is True


def test_the_same_finding_has_the_same_fingerprint_in_every_run() -> None:
    once, again = (log(finding("a.b:c", s))["results"][0] for s in (Severity.high, Severity.low))
    assert once["partialFingerprints"] == again["partialFingerprints"]
