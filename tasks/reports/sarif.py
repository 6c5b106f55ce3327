"""A report as SARIF 2.1.0 (OASIS, 2020), for code hosts and editors that show findings at their lines."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

from models.report import Finding, Report, Severity, Skip, Status
from models.risk import RiskReport, Suppressed

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {
    Severity.critical: "error",
    Severity.high: "error",
    Severity.medium: "warning",
    Severity.unknown: "warning",
    Severity.low: "note",
    Severity.info: "note",
}
_SCORES = {
    Severity.critical: "9.5",
    Severity.high: "8.0",
    Severity.unknown: "5.0",
    Severity.medium: "5.0",
    Severity.low: "2.0",
    Severity.info: "0.0",
}
"""Code scanning sorts by `security-severity`; the middle of the bands of CVSS v3.1, section 5."""
_MOST_PLACES = 50


def to_sarif(report: Report) -> str:
    """One SARIF log with one run. What is set aside is in it as suppressed; what was not looked at makes the
    invocation unsuccessful, with a notification for each.
    """
    suppressed = report.suppressed if isinstance(report, RiskReport) else ()
    rules: dict[str, dict[str, Any]] = {}
    results = [_result(finding, rules) for finding in report.findings]
    results += [_result(one.finding, rules) | {"suppressions": [_suppression(one)]} for one in suppressed]
    run = {
        "tool": {
            "driver": {
                "name": "lama",
                "semanticVersion": version("lama"),
                "rules": [rules[name] for name in rules],
            }
        },
        "automationDetails": {"id": f"{report.capability}/{report.run_id}"},
        "invocations": [
            {
                "executionSuccessful": report.status is not Status.incomplete,
                "startTimeUtc": report.started_at.isoformat(),
                "endTimeUtc": report.finished_at.isoformat(),
                "toolExecutionNotifications": [_notification(skip) for skip in report.skipped],
            }
        ],
        "originalUriBaseIds": {
            name: {"description": {"text": f"The root of {name}"}} for name in sorted(_bases(results))
        },
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False)


def _result(finding: Finding, rules: dict[str, dict[str, Any]]) -> dict[str, Any]:
    name = _rule_of(finding)
    if name not in rules:
        rules[name] = {
            "id": name,
            "shortDescription": {"text": finding.title},
            "help": {"text": finding.remedy or finding.title},
            "defaultConfiguration": {"level": _LEVELS[finding.severity]},
            "properties": {"security-severity": _SCORES[finding.severity], "tags": ["security"], "index": len(rules)},
        }
    properties, score = rules[name]["properties"], finding.evidence.get("score")
    if isinstance(score, int | float):  # CVSS says it finer than a word does; of several the worst counts
        raised = float(_SCORES[finding.severity]) if finding.evidence.get("exploited") else 0.0
        properties["cvss"] = max(properties.get("cvss", 0.0), float(score), raised)
        properties["security-severity"] = f"{properties['cvss']:.1f}"
    parts = (finding.title, finding.detail, finding.remedy)
    return {
        "ruleId": name,
        "ruleIndex": rules[name]["properties"]["index"],
        "level": _LEVELS[finding.severity],
        "message": {"text": " ".join(part for part in parts if part)},
        "locations": list(_locations(finding)),
        "partialFingerprints": {"lamaFindingKey/v1": hashlib.sha256(finding.key.encode()).hexdigest()[:32]},
        "properties": {"key": finding.key, "severity": finding.severity.value, "component": finding.component},
    }


def _rule_of(finding: Finding) -> str:
    """The id of what was broken: an advisory, a rule, a test of an engine; else the kind of finding."""
    for key in ("id", "rule", "test"):
        if isinstance(told := finding.evidence.get(key), str) and told:
            return told
    return finding.key.partition(":")[0]


def _locations(finding: Finding) -> Iterable[dict[str, Any]]:
    for file, line in _places(finding.evidence):
        base = {"uriBaseId": finding.component} if finding.component else {}
        physical: dict[str, Any] = {"artifactLocation": {"uri": quote(file), **base}}
        if line:
            physical["region"] = {"startLine": line}
        yield {"physicalLocation": physical}


def _places(evidence: Mapping[str, Any]) -> list[tuple[str, int | None]]:
    """`places` (`file:line` or `file`), or `file` with its `lines`."""
    if isinstance(listed := evidence.get("places"), list):
        return [_place(str(one)) for one in listed[:_MOST_PLACES]]
    file, lines = evidence.get("file"), evidence.get("lines")
    if not isinstance(file, str):
        return []
    if not isinstance(lines, list) or not lines:
        return [(file, None)]
    return [(file, int(line)) for line in lines[:_MOST_PLACES]]


def _place(text: str) -> tuple[str, int | None]:
    file, colon, line = text.rpartition(":")
    return (file, int(line)) if colon and line.isdigit() and int(line) else (text, None)


def _bases(results: Iterable[Mapping[str, Any]]) -> set[str]:
    return {
        location["physicalLocation"]["artifactLocation"]["uriBaseId"]
        for result in results
        for location in result["locations"]
        if "uriBaseId" in location["physicalLocation"]["artifactLocation"]
    }


def _suppression(one: Suppressed) -> dict[str, Any]:
    until = f" Until {one.expires.isoformat()}." if one.expires else ""
    return {"kind": "external", "status": "accepted", "justification": f"{one.reason} ({one.by}){until}"}


def _notification(skip: Skip) -> dict[str, Any]:
    return {"level": "error", "message": {"text": f"Not looked at: {skip.area}: {skip.component}: {skip.reason}"}}
