"""Shows a report: Markdown for the artifact, a page for the terminal, JSON for machines.

Titles, components and reasons come from file names, package indexes and servers. None of them may move the cursor,
start a link, close a table or bring HTML into the page.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from models.health_check import ReportLevel
from models.report import Report, Severity, Status
from tasks.reports.diff import ReportDiff
from tasks.reports.page import Cell, Page, Section, Table, page_of, page_of_diff

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_PUNCTUATION = re.compile(r"([\\`*_\[\]|~@])")
_LEADING = re.compile(r"^(\d+)([.)])(?=\s|$)|^([-+=:#])")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_STYLES: dict[Severity | Status, str] = {
    Severity.critical: "bold white on red",
    Severity.high: "bold red",
    Severity.medium: "yellow",
    Severity.unknown: "magenta",
    Severity.low: "cyan",
    Severity.info: "dim",
    Status.ok: "bold green",
    Status.degraded: "bold yellow",
    Status.failing: "bold red",
    Status.incomplete: "bold magenta",
}


def to_json(report: Report) -> str:
    """The whole report as one JSON document, whatever its level."""
    return report.model_dump_json(indent=2)


def to_markdown(report: Report, level: ReportLevel, change: ReportDiff | None = None) -> str:
    """`report` as GitHub-flavoured Markdown; with `change`, also what is gone is named by its title."""
    return _markdown(page_of(report, level, change))


def diff_to_markdown(change: ReportDiff) -> str:
    """`change` as GitHub-flavoured Markdown."""
    return _markdown(page_of_diff(change))


def to_terminal(report: Report, level: ReportLevel, console: Console, change: ReportDiff | None = None) -> None:
    """Print `report` on `console`, as wide as that is."""
    _terminal(page_of(report, level, change), console)


def diff_to_terminal(change: ReportDiff, console: Console) -> None:
    """Print `change` on `console`."""
    _terminal(page_of_diff(change), console)


def plain(text: str) -> str:
    """`text` on one line, without control characters, escape sequences and invisible marks."""
    return "".join(character for character in " ".join(text.split()) if character.isprintable())


def escaped(text: str) -> str:
    """`text` as inline Markdown that shows exactly it: no link, emphasis, table cell, heading or HTML of its own."""
    text = "".join(_HTML.get(character, character) for character in _PUNCTUATION.sub(r"\\\1", plain(text)))
    text = text.replace("://", r"\://").replace("www.", r"www\.")  # GitHub's flavour links bare addresses
    return _LEADING.sub(lambda match: rf"{match[1]}\{match[2]}" if match[1] else rf"\{match[3]}", text)


def _markdown(page: Page) -> str:
    status = f": {page.status.value}" if page.status else ""
    blocks = [f"# {escaped(page.heading)}{status}", f"**{escaped(page.summary)}**" if page.summary else ""]
    blocks.append("  \n".join(f"{name}: {escaped(value)}" for name, value in page.facts if value))
    for section in page.sections:
        blocks += _markdown_section(section)
    return "\n\n".join(block for block in blocks if block) + "\n"


def _markdown_section(section: Section) -> list[str]:
    blocks = [f"## {escaped(section.heading)}", "  \n".join(escaped(line) for line in section.lines)]
    if section.table:
        blocks.append(_markdown_table(section.table))
    for entry in section.entries:
        blocks.append(f"### {entry.severity.value}: {escaped(entry.title)}")
        blocks.append("\n".join(f"- {escaped(name)}: {escaped(text)}" for name, text in entry.fields))
    blocks.append(_fenced(section.code) if section.code else "")
    blocks.append(f"*{escaped(section.footer)}*" if section.footer else "")
    return blocks


def _fenced(code: str) -> str:
    """`code` in a fence that nothing in it can close."""
    longest = max((len(run) for run in re.findall(r"`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{_lines(code)}\n{fence}"


def _lines(code: str) -> str:
    """`code` line by line, without control characters, escape sequences and invisible marks."""
    kept = (line.replace("\t", "    ") for line in code.split("\n"))
    return "\n".join("".join(letter for letter in line if letter.isprintable()) for line in kept)


def _markdown_table(table: Table) -> str:
    rows = [table.columns, tuple("---" for _ in table.columns)]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines += [f"| {' | '.join(_markdown_cell(cell) for cell in row)} |" for row in table.rows]
    return "\n".join(lines)


def _markdown_cell(cell: Cell) -> str:
    if isinstance(cell, Severity):
        return f"**{cell.value}**" if cell.rank >= Severity.high.rank else cell.value
    return cell.value if isinstance(cell, Status) else escaped(cell)


def _terminal(page: Page, console: Console) -> None:
    from rich.padding import Padding  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    heading = Text(plain(page.heading), style="bold")
    if page.status:
        heading.append(": ").append(page.status.value, style=_STYLES[page.status])
    console.print(heading)
    console.print(Text(plain(page.summary)))
    for name, value in page.facts:
        if value:
            console.print(Text(f"{name}: {plain(value)}", style="dim"))
    for section in page.sections:
        console.print()
        console.print(Text(plain(section.heading), style="bold underline"))
        for line in section.lines:
            console.print(Text(plain(line)))
        if section.table:
            _terminal_table(section.table, console)
        for entry in section.entries:
            console.print(Text(f"{entry.severity.value} ", style=_STYLES[entry.severity]) + Text(plain(entry.title)))
            for name, value in entry.fields:
                line_of = Text(f"{plain(name)}: ", style="dim").append(Text(plain(value), style="default"))
                console.print(Padding(line_of, (0, 0, 0, 4)))
        if section.code:
            console.print(Text(_lines(section.code)), soft_wrap=True)
        if section.footer:
            console.print(Text(plain(section.footer), style="italic dim"))


def _terminal_table(table: Table, console: Console) -> None:
    from rich import box  # noqa: PLC0415
    from rich.table import Table as Grid  # noqa: PLC0415

    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for number, column in enumerate(table.columns):
        # Words such as a severity stay whole; what is long gets the rest of the width.
        short = all(len(_word(row[number])) <= 12 for row in table.rows)
        grid.add_column(column, no_wrap=short, overflow="fold", ratio=None if short else 1)
    for row in table.rows:
        grid.add_row(*(_terminal_cell(cell) for cell in row))
    console.print(grid)


def _terminal_cell(cell: Cell) -> Text:
    from rich.text import Text  # noqa: PLC0415

    style = _STYLES[cell] if isinstance(cell, Severity | Status) else ""
    return Text(_word(cell), style=style)


def _word(cell: Cell) -> str:
    return cell.value if isinstance(cell, Severity | Status) else plain(cell)
