"""The deterministic author: what matters first, in sentences that follow from the findings alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from models.health_check import Cause, Narrative
from models.report import Finding, Report, Severity, Status
from tasks.reports.diff import ReportDiff

AUTHOR = "ranking"
_FIRST = 3  # causes that the narrative names; the report has them all
_VERDICT = {
    Status.ok: "All is well",
    Status.degraded: "Degraded",
    Status.failing: "Failing",
    Status.incomplete: "Incomplete",
}


def summarise(report: Report) -> str:
    """One sentence: the verdict, how many findings of which severity, and how much could not be looked at."""
    parts = [counted(report.findings) if report.findings else "no findings"]
    if report.skipped:
        areas = sorted({skip.area for skip in report.skipped})
        parts.append(f"{_plural(len(report.skipped), 'thing')} could not be looked at ({', '.join(areas)})")
    return f"{_VERDICT[report.status]}: {'; '.join(parts)}."


def counted(findings: Sequence[Finding]) -> str:
    """`3 findings (1 high, 2 low)`, worst first."""
    counts = Counter(finding.severity for finding in findings)
    split = ", ".join(f"{counts[level]} {level.value}" for level in reversed(Severity) if counts[level])
    return _plural(len(findings), "finding") + (f" ({split})" if split else "")


def narrate(report: Report, causes: Sequence[Cause], change: ReportDiff) -> Narrative:
    """The report in a few sentences: what to mend first, what changed, and what nobody has seen."""
    lines = []
    actionable = [cause for cause in causes if cause.severity is not Severity.info]
    if actionable:
        lines.append("Mend first:")
        for number, cause in enumerate(actionable[:_FIRST], start=1):
            size = f", {len(cause.findings)} findings" if len(cause.findings) > 1 else ""
            remedy = f" {cause.remedy}" if cause.remedy else ""
            lines.append(f"{number}. {_sentence(cause.title)} ({cause.severity.value}{size}){remedy}")
        if len(actionable) > _FIRST:
            lines.append(f"{_plural(len(actionable) - _FIRST, 'more cause')} below.")
    elif report.skipped:
        lines.append("Nothing to mend in what was looked at.")
    else:
        lines.append("Nothing to mend.")
    if change.before is not None:
        counts = f"{len(change.opened)} new, {len(change.closed)} gone, {len(change.persisting)} as before"
        hidden = f", {len(change.unseen)} not looked for this time" if change.unseen else ""
        lines.append(f"Since the last run: {counts}{hidden}.")
    if report.skipped:
        first = report.skipped[0]
        lines.append(f"Not seen, so not known: {first.area} of {first.component}. {_sentence(first.reason)}")
        if len(report.skipped) > 1:
            lines.append(f"{_plural(len(report.skipped) - 1, 'more gap')} below.")
    return Narrative(author=AUTHOR, text="\n".join(lines))


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."
