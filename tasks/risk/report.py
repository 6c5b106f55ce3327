"""Puts a report about risks together: what is set aside leaves the findings, counts and lists follow from the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from models.report import Finding, Severity, Skip, compose
from models.risk import RiskReport, Suppressed, TrendPoint
from tasks.reports.diff import ReportDiff, changes_of, diff

R = TypeVar("R", bound=RiskReport)

MOST_POINTS = 10
"""Earlier runs that a report's trend shows."""
_MOST_RECOMMENDATIONS = 100
_MOST_PLACES = 3


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do, and which findings it is for."""

    text: str
    keys: frozenset[str] = frozenset()


def compose_risk(
    cls: type[R],
    *,
    capability: str,
    summary: str,
    scope: str,
    findings: Iterable[Finding],
    skipped: Iterable[Skip],
    suppressed: Sequence[Suppressed] = (),
    advice: Sequence[Advice] = (),
    metrics: Mapping[str, float],
    started_at: datetime,
    finished_at: datetime,
    run_id: str,
    **more: Any,
) -> R:
    """The report `cls`. Its recommendations are `advice`, and then the remedies of findings that this is not for."""
    draft = compose(
        RiskReport, capability=capability, summary=summary, scope=scope, findings=findings, skipped=skipped,
        started_at=started_at, finished_at=finished_at, run_id=run_id,
    )  # fmt: skip
    counts = severity_counts(draft.findings)
    grades = {f"{capability}_findings_{level}_total": float(count) for level, count in counts.items()}
    return compose(
        cls,
        capability=capability,
        summary=summary,
        scope=scope,
        findings=draft.findings,
        skipped=draft.skipped,
        metrics={**metrics, **grades, f"{capability}_suppressed_total": float(len(suppressed))},
        started_at=started_at,
        finished_at=finished_at,
        run_id=run_id,
        severity_counts=counts,
        critical_vulnerabilities=tuple(f.key for f in draft.findings if f.severity.rank >= Severity.high.rank),
        moderate_risks=tuple(f.key for f in draft.findings if f.severity in {Severity.medium, Severity.unknown}),
        recommendations=_recommendations(draft.findings, advice),
        suppressed=tuple(suppressed),
        **more,
    )


def since(report: R, before: RiskReport | None) -> tuple[R, ReportDiff]:
    """`report` with what changed against `before`, and the trend that `before` carried on by one."""
    change = diff(before, report)
    trend = (*before.trend, _point(before))[-MOST_POINTS:] if before else ()
    return report.model_copy(update={"changes": changes_of(change), "unseen": change.unseen, "trend": trend}), change


def severity_counts(findings: Iterable[Finding]) -> dict[str, int]:
    """How many findings there are of each severity, worst first."""
    told = [finding.severity for finding in findings]
    return {severity.value: told.count(severity) for severity in reversed(Severity)}


def counted(counts: Mapping[str, int]) -> str:
    """The counts in words, without those that are nought: `1 critical, 2 medium`."""
    return ", ".join(f"{count} {level}" for level, count in counts.items() if count) or "no findings"


def _point(report: RiskReport) -> TrendPoint:
    return TrendPoint(
        finished_at=report.finished_at,
        run_id=report.run_id,
        severity_counts=report.severity_counts,
        skipped=len(report.skipped),
    )


def _recommendations(findings: Iterable[Finding], advice: Sequence[Advice]) -> tuple[str, ...]:
    """`advice`, then what the other findings themselves advise; those of `low` and `info` are left out."""
    advised = frozenset[str]().union(*(one.keys for one in advice))
    places: dict[str, list[str]] = {}
    for finding in findings:
        if finding.remedy and finding.key not in advised and finding.severity.rank >= Severity.unknown.rank:
            places.setdefault(f"{finding.component}: {finding.remedy}", []).append(_place_of(finding))
    remedies = (f"{text}{_told(where)}" for text, where in places.items())
    return tuple(dict.fromkeys([*(one.text for one in advice), *remedies]))[:_MOST_RECOMMENDATIONS]


def _place_of(finding: Finding) -> str:
    """The file that a finding is about; empty for one that is about no file."""
    listed = finding.evidence.get("places")
    place = finding.evidence.get("file") or (listed[0] if isinstance(listed, list) and listed else "")
    return str(place)


def _told(places: Sequence[str]) -> str:
    known = list(dict.fromkeys(place for place in places if place))
    more = f" and {len(known) - _MOST_PLACES} more" if len(known) > _MOST_PLACES else ""
    return f" ({', '.join(known[:_MOST_PLACES])}{more})" if known else ""
