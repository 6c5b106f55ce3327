"""The end of every flow about risks: compare with the last run, store, show, announce."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeVar

from blocks.postgres import Postgres
from models.health_check import ReportLevel
from models.report import Skip, status_of
from models.risk import RiskReport
from tasks.reports.publish import announce, publish, recall, remember
from tasks.risk.report import since

R = TypeVar("R", bound=RiskReport)


async def conclude(
    report: R, cls: type[R], *, database: Postgres, key: str, level: ReportLevel = ReportLevel.standard
) -> R:
    """`report` as it is stored and shown: with what changed since the last run of its scope.

    Args:
        report: the finished report.
        cls: its class, which earlier reports of the same scope have as well.
        database: where reports are kept.
        key: of the Markdown artifact.
        level: how much the artifact shows.

    Returns:
        The report. When there is no history to read or to write, it is `incomplete` and says so.
    """
    before, no_history = await recall(database, report.capability, cls, scope=report.scope, run_id=report.run_id)
    report, change = since(_with(report, [no_history] if no_history else []), before)
    if no_history is None and (not_stored := await remember(database, report)):
        report = _with(report, [not_stored])
    await publish(report, change, key=key, level=level)
    announce(report, change, compared=no_history is None)
    return report


def _with(report: R, skipped: Sequence[Skip]) -> R:
    left_out = (*report.skipped, *skipped)
    finished_at = datetime.now(UTC)
    return report.model_copy(
        update={"skipped": left_out, "status": status_of(report.findings, left_out), "finished_at": finished_at}
    )
