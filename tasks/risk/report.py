"""Puts a report about risks together: what is set aside leaves the findings, counts and lists follow from the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from models.report import Finding, Severity, Skip, compose
from models.risk import RiskReport, Suppressed, TrendPoint
from tasks.reports.diff import ReportDiff, changes_of, diff

R = TypeVar("R", bound=RiskReport)

MOST_POINTS = 10
"""Earlier runs that a report's trend shows."""
_MOST_RECOMMENDATIONS = 100


def compose_risk(
    cls: type[R],
    *,
    capability: str,
    summary: str,
    scope: str,
    findings: Iterable[Finding],
    skipped: Iterable[Skip],
    suppressed: Sequence[Suppressed] = (),
    recommendations: Sequence[str] = (),
    metrics: Mapping[str, float],
    started_at: datetime,
    finished_at: datetime,
    run_id: str,
    **more: Any,
) -> R:
    """The report `cls`; `recommendations` come first, then the remedies of findings that they do not speak of."""
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
        recommendations=tuple(_once([*recommendations, *_remedies(draft.findings)]))[:_MOST_RECOMMENDATIONS],
        suppressed=tuple(suppressed),
        **more,
    )


def since(report: R, before: RiskReport | None) -> tuple[R, ReportDiff]:
    """`report` with what changed against `before`, and the trend that `before` carried on by one."""
    change = diff(before, report)
    trend = (*before.trend, _point(before))[-MOST_POINTS:] if before else ()
    return report.model_copy(update={"changes": changes_of(change), "trend": trend}), change


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


def _remedies(findings: Iterable[Finding]) -> Iterable[str]:
    """What the findings themselves advise, those of `low` and `info` left out."""
    return (f"{f.component}: {f.remedy}" for f in findings if f.remedy and f.severity.rank >= Severity.unknown.rank)


def _once(texts: Iterable[str]) -> Iterable[str]:
    return dict.fromkeys(texts)
