"""The end of a flow whose findings are compared with those of its last run: stored, compared, shown, announced."""

from __future__ import annotations

from typing import TypeVar

from blocks.postgres import Postgres
from models.health_check import ReportLevel
from models.report import Report, status_of
from tasks.reports.diff import diff
from tasks.reports.publish import announce, publish, recall, remember

R = TypeVar("R", bound=Report)


async def conclude(report: R, *, database: Postgres, key: str) -> R:
    """`report` as it is stored and shown.

    Args:
        report: the finished report.
        database: where reports are kept.
        key: of the Markdown artifact.

    Returns:
        The report. When there is no history to read or to write, it is `incomplete` and says so.
    """
    before, no_history = await recall(
        database, report.capability, type(report), scope=report.scope, run_id=report.run_id
    )
    change = diff(before, report)
    report = report.model_copy(update={"unseen": change.unseen})
    not_stored = no_history or await remember(database, report)
    if not_stored is not None:
        skipped = (*report.skipped, not_stored)
        report = report.model_copy(update={"skipped": skipped, "status": status_of(report.findings, skipped)})
    await publish(report, change, key=key, level=ReportLevel.standard)
    announce(report, change, compared=no_history is None)
    return report
