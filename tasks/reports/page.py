"""What is shown of a report at which level, before anybody decides how it looks.

What was not looked at is shown at every level: a report that leaves that out would claim more than it knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from models.generation import GenerationReport
from models.health_check import HealthReport, ReportLevel
from models.report import Finding, Grid, Report, Severity, Status
from models.risk import AuditReport, RiskReport
from tasks.reports.diff import ReportDiff, changes_of

Cell = str | Severity | Status

_MOST = {ReportLevel.summary: 5, ReportLevel.standard: 50, ReportLevel.comprehensive: 500}
_LOWEST = {ReportLevel.summary: Severity.medium, ReportLevel.standard: Severity.low}
_MOST_SKIPS = 200
_MOST_COMPONENTS = 5
_MOST_PATCH_LINES = 500


@dataclass(frozen=True)
class Table:
    """Rows under named columns."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Entry:
    """One finding with all that is known about it."""

    severity: Severity
    title: str
    fields: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    heading: str
    lines: tuple[str, ...] = ()
    table: Table | None = None
    entries: tuple[Entry, ...] = ()
    code: str = ""
    """Shown as it is, line by line."""
    footer: str = ""


@dataclass(frozen=True)
class Page:
    """All that is shown. Every text in it may come from outside and is untrusted."""

    heading: str
    status: Status | None
    summary: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]


def page_of(report: Report, level: ReportLevel, change: ReportDiff | None = None) -> Page:
    """What `level` shows of `report`; `change` (when known) names what is gone by its title."""
    sections: list[Section | None] = [_skips(report)]
    if isinstance(report, HealthReport):
        sections.append(_narrative(report))
    if isinstance(report, GenerationReport):
        sections.append(_answer(report))
    if isinstance(report, RiskReport):
        sections.append(_recommendations(report, level))
    sections += [_grid(grid, level) for grid in report.grids]
    sections.append(_changes(report, level, change))
    if isinstance(report, HealthReport):
        sections.append(_causes(report, level))
        if level is not ReportLevel.summary:
            sections.append(_modules(report.modules))
    if level is ReportLevel.comprehensive:
        sections += [_entries(report), _metrics(report)]
    elif level is ReportLevel.standard or not isinstance(report, HealthReport):
        sections.append(_findings(report, level))
    if isinstance(report, RiskReport) and level is not ReportLevel.summary:
        sections += [_patch(report), _suppressed(report), _trend(report)]
    return Page(
        heading=report.capability.replace("_", " ").replace(".", ": ").capitalize(),
        status=report.status,
        summary=report.summary,
        facts=(
            ("Scope", report.scope),
            *([("Commits", _commits(report.commits))] if isinstance(report, RiskReport) and report.commits else []),
            ("Finished", report.finished_at.isoformat(timespec="seconds")),
            ("Took", f"{report.duration_s:.1f} s"),
            ("Run", report.run_id),
        ),
        sections=tuple(section for section in sections if section is not None),
    )


def _commits(commits: Mapping[str, str]) -> str:
    """Each with the first digits of its commit: `shop 1a2b3c4d5e6f with changes`."""
    return ", ".join(
        f"{name} {commit[:12]}{commit[40:] if commit[40:41] == ' ' else ''}" for name, commit in commits.items()
    )


def _grid(grid: Grid, level: ReportLevel) -> Section:
    shown = grid.rows[: _MOST[level]]
    left = len(grid.rows) - len(shown)
    table = Table(grid.columns, shown) if shown else None
    footer = " ".join(filter(None, (grid.note, _more(left, "more in the report as JSON"))))
    return Section(grid.heading, table=table, footer=footer)


def _answer(report: GenerationReport) -> Section:
    """What the model said, as it said it, and why it was this one."""
    return Section("Answer", code=report.text or "(nothing)", footer="; ".join(report.reasons))


def page_of_diff(change: ReportDiff) -> Page:
    """What changed between two reports."""
    parts = (
        ("New", change.opened),
        ("Gone", change.closed),
        ("Not looked for this time", change.unseen),
        ("As before", change.persisting),
    )
    return Page(
        heading="What changed",
        status=None,
        summary=_counts(*(len(findings) for _, findings in parts)),
        facts=(("Before", change.before or "nothing"), ("After", change.after)),
        sections=tuple(Section(heading, table=_table(findings)) for heading, findings in parts if findings),
    )


def _skips(report: Report) -> Section | None:
    """Every gap; those with one reason share a row that counts them and names the first."""
    if not report.skipped:
        return None
    groups: dict[tuple[str, str], list[str]] = {}
    for skip in report.skipped:
        groups.setdefault((skip.area, skip.reason), []).append(skip.component)
    rows = tuple((area, _listed(components), reason) for (area, reason), components in groups.items())
    shown = rows[:_MOST_SKIPS]
    return Section(
        "Not looked at",
        table=Table(("Area", "What", "Why"), shown),
        footer=_more(len(rows) - len(shown), "more reasons for which something could not be looked at"),
    )


def _listed(components: Sequence[str]) -> str:
    first = ", ".join(components[:_MOST_COMPONENTS])
    left = len(components) - _MOST_COMPONENTS
    return f"{first} and {left} more" if left > 0 else first


def _narrative(report: HealthReport) -> Section:
    narrative = report.narrative
    note = f" {narrative.note}" if narrative.note else ""
    return Section(
        "In short",
        lines=tuple(line for line in narrative.text.splitlines() if line.strip()),
        footer=f"Written by {narrative.author}.{note}",
    )


def _changes(report: Report, level: ReportLevel, change: ReportDiff | None) -> Section | None:
    if isinstance(report, HealthReport | RiskReport):
        changes = report.changes
    elif change is not None:
        changes = changes_of(change)
    else:
        return None
    if changes.since is None:
        return Section("Since the last run", lines=("There is no earlier run of this scope to compare with.",))
    titles = {
        finding.key: finding for finding in (*report.findings, *report.unseen, *(change.closed if change else ()))
    }
    rows: list[tuple[Cell, ...]] = []
    for what, keys in (("new", changes.opened), ("gone", changes.closed), ("not looked for", changes.unseen)):
        for key in keys:
            known = titles.get(key)
            rows.append((what, known.severity if known else "", known.title if known else key))
    shown = rows[: _MOST[level]]
    counts = _counts(len(changes.opened), len(changes.closed), len(changes.unseen), len(changes.persisting))
    return Section(
        "Since the last run",
        lines=(f"{counts} Compared with {changes.since}.",),
        table=Table(("Change", "Severity", "Finding"), tuple(shown)) if shown else None,
        footer=_more(len(rows) - len(shown), "more changes"),
    )


def _recommendations(report: RiskReport, level: ReportLevel) -> Section | None:
    shown = report.recommendations[: _MOST[level]]
    left = len(report.recommendations) - len(shown)
    lines = tuple(f"{number}. {text}" for number, text in enumerate(shown, start=1))
    return Section("What to do", lines=lines, footer=_more(left, "more in the comprehensive report")) if shown else None


def _patch(report: RiskReport) -> Section | None:
    if not isinstance(report, AuditReport) or not report.patch:
        return None
    lines = report.patch.splitlines()
    left = len(lines) - _MOST_PATCH_LINES
    code = "\n".join(lines[:_MOST_PATCH_LINES])
    return Section("Patch", code=code, footer=_more(left, "more lines in the report as JSON"))


def _suppressed(report: RiskReport) -> Section | None:
    if not report.suppressed:
        return None
    rows = tuple(
        (one.finding.severity, one.finding.title, one.reason, one.expires.isoformat() if one.expires else "", one.by)
        for one in report.suppressed[: _MOST[ReportLevel.comprehensive]]
    )
    left = len(report.suppressed) - len(rows)
    return Section(
        "Set aside",
        table=Table(("Severity", "Finding", "Reason", "Until", "By"), rows),
        footer=_more(left, "more in the report as JSON"),
    )


def _trend(report: RiskReport) -> Section | None:
    if not report.trend:
        return None
    levels = [severity.value for severity in reversed(Severity)]
    rows: list[tuple[Cell, ...]] = [
        (
            f"{point.finished_at:%Y-%m-%d %H:%M}",
            *(str(point.severity_counts.get(level, 0)) for level in levels),
            str(point.skipped),
        )
        for point in report.trend
    ]
    now = (*(str(report.severity_counts.get(level, 0)) for level in levels), str(len(report.skipped)))
    rows.append((f"{report.finished_at:%Y-%m-%d %H:%M}", *now))
    return Section("Trend", table=Table(("Run", *levels, "not looked at"), tuple(rows)))


def _causes(report: HealthReport, level: ReportLevel) -> Section | None:
    causes = [c for c in report.causes if c.severity.rank >= _LOWEST.get(level, Severity.info).rank]
    if not causes:
        return None
    shown = causes[: _MOST[level]]
    rows = tuple((cause.severity, cause.title, str(len(cause.findings)), cause.remedy) for cause in shown)
    return Section(
        "Causes",
        table=Table(("Severity", "Cause", "Findings", "Remedy"), rows),
        footer=_more(len(causes) - len(shown), "more causes"),
    )


def _modules(modules: Sequence[Report]) -> Section:
    rows = tuple(
        (
            module.capability.rpartition(".")[2],
            module.status,
            str(len(module.findings)),
            str(len(module.skipped)),
            f"{module.duration_s:.1f}",
        )
        for module in modules
    )
    return Section("Modules", table=Table(("Module", "Status", "Findings", "Skipped", "Seconds"), rows))


def _findings(report: Report, level: ReportLevel) -> Section | None:
    if not report.findings:
        return None
    wanted = report.at_or_above(_LOWEST[level])
    shown = wanted[: _MOST[level]]
    left = len(report.findings) - len(shown)
    return Section(
        "Findings",
        table=_table(shown, remedy=True) if shown else None,
        footer=_more(left, "more in the comprehensive report"),
    )


def _entries(report: Report) -> Section | None:
    if not report.findings:
        return None
    shown = report.findings[: _MOST[ReportLevel.comprehensive]]
    return Section(
        "Findings",
        entries=tuple(_entry(finding) for finding in shown),
        footer=_more(len(report.findings) - len(shown), "more in the report as JSON"),
    )


def _entry(finding: Finding) -> Entry:
    fields = [("Component", finding.component), ("Detail", finding.detail), ("Remedy", finding.remedy)]
    fields += [(f"Evidence: {name}", _value(value)) for name, value in finding.evidence.items()]
    fields.append(("Key", finding.key))
    return Entry(finding.severity, finding.title, tuple((name, text) for name, text in fields if text))


def _value(value: object) -> str:
    text = ", ".join(str(part) for part in value) if isinstance(value, list) else str(value)
    return text if len(text) <= 500 else f"{text[:500]}..."


def _metrics(report: Report) -> Section | None:
    if not report.metrics:
        return None
    rows = tuple((name, f"{value:.6g}") for name, value in sorted(report.metrics.items()))
    return Section("Metrics", table=Table(("Metric", "Value"), rows))


def _table(findings: Iterable[Finding], *, remedy: bool = False) -> Table:
    if remedy:
        rows = tuple((f.severity, f.component, f.title, f.remedy) for f in findings)
        return Table(("Severity", "Component", "Finding", "Remedy"), rows)
    return Table(("Severity", "Component", "Finding"), tuple((f.severity, f.component, f.title) for f in findings))


def _counts(opened: int, closed: int, unseen: int, persisting: int) -> str:
    hidden = f", {unseen} not looked for this time" if unseen else ""
    return f"{opened} new, {closed} gone, {persisting} as before{hidden}."


def _more(count: int, what: str) -> str:
    return f"{count} {what}." if count > 0 else ""
