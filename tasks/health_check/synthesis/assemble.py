"""Puts the modules' reports together: one report, its causes, its narrative, and what changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from models.health_check import HealthReport, ReportLevel
from models.report import Report, Skip, compose, status_of
from tasks.health_check.synthesis.causes import causes_of
from tasks.health_check.synthesis.ranking import narrate, summarise
from tasks.reports.diff import ReportDiff, changes_of, diff


def assemble(
    modules: Sequence[Report],
    *,
    before: HealthReport | None,
    skipped: Iterable[Skip],
    scope: str,
    report_level: ReportLevel,
    started_at: datetime,
    finished_at: datetime,
    run_id: str,
) -> tuple[HealthReport, ReportDiff]:
    """One report of `modules`, and how it differs from `before`.

    Args:
        modules: their reports; each capability ends in the module's name.
        before: the latest report of the same scope; None when there is none, or none could be read.
        skipped: what could not be done beside the modules.
        scope: what was looked at.
        report_level: how much will be shown.
        started_at: when the looking began.
        finished_at: when it ended.
        run_id: the flow run's id.
    """
    findings = [finding for report in modules for finding in report.findings]
    left_out = [*(skip for report in modules for skip in report.skipped), *skipped]
    metrics: dict[str, float] = {"duration_seconds": (finished_at - started_at).total_seconds()}
    for report in modules:
        name = report.capability.rpartition(".")[2]
        metrics[f"{name}_duration_seconds"] = report.duration_s
        metrics |= {f"{name}_{metric}": value for metric, value in report.metrics.items()}
    plain = compose(
        Report,
        capability="health_check",
        summary="",
        scope=scope,
        findings=findings,
        skipped=left_out,
        started_at=started_at,
        finished_at=finished_at,
        run_id=run_id,
    )
    change = diff(before, plain)
    causes = causes_of(plain.findings)
    report = compose(
        HealthReport,
        capability="health_check",
        summary=summarise(plain),
        scope=scope,
        findings=findings,
        skipped=left_out,
        metrics=metrics,
        started_at=started_at,
        finished_at=finished_at,
        run_id=run_id,
        modules=tuple(modules),
        causes=causes,
        narrative=narrate(plain, causes, change),
        changes=changes_of(change),
        unseen=change.unseen,
        report_level=report_level,
    )
    return report, change


def finish(report: HealthReport, *, finished_at: datetime, skipped: Iterable[Skip] = ()) -> HealthReport:
    """`report` with its last words: when it was done, and what else could not be done."""
    left_out = (*report.skipped, *skipped)
    ended = report.model_copy(
        update={
            "finished_at": finished_at,
            "skipped": left_out,
            "status": status_of(report.findings, left_out),
            "metrics": report.metrics | {"duration_seconds": (finished_at - report.started_at).total_seconds()},
        }
    )
    return ended.model_copy(update={"summary": summarise(ended)})
