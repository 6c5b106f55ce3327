"""Shows a report: Markdown for the artifact, a table for the terminal, JSON for machines."""

from __future__ import annotations

from models.health_check import ReportLevel
from models.report import Report
from tasks.reports.diff import ReportDiff


def to_markdown(report: Report, level: ReportLevel, change: ReportDiff | None = None) -> str:
    """Markdown."""
    return f"# {report.capability}: {report.status.value}\n\n{plain(report.summary)}\n"


def plain(text: str) -> str:
    """`text` without control characters."""
    return "".join(c for c in text if c.isprintable() or c in "\n\t")
