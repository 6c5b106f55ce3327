"""A report looks right, shows what was not seen at every level, and no text in it can escape its place."""

from __future__ import annotations

import io
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from models.health_check import Cause, Changes, HealthReport, Narrative, ReportLevel
from models.report import Finding, Report, Severity, Skip, compose
from tasks.reports.diff import diff
from tasks.reports.render import (
    diff_to_markdown,
    diff_to_terminal,
    escaped,
    plain,
    to_json,
    to_markdown,
    to_terminal,
)

_NOW = datetime(2026, 11, 1, tzinfo=UTC)
_HOSTILE = (
    "\x1b[2J\x1b[31mred",
    "a | b | c\n| d |",
    "[click](javascript:alert(1))",
    "![x](http://evil.example/p.png)",
    "<script>alert(1)</script>",
    "<http://evil.example>",
    "see https://evil.example and www.evil.example",
    "`code` **bold** _em_ ~~gone~~",
    "# heading",
    "- item",
    "1. item",
    "\u202egnp.exe",
    "\x9b31m",
    "]8;;http://evil.example\x07link",
    "\\",
    "&lt;b&gt;",
    "[bold red]markup[/]",
)


def _report(*findings: Finding, skipped: tuple[Skip, ...] = (), run_id: str = "run") -> Report:
    return compose(
        Report, capability="test", summary="A summary.", scope="here", findings=findings, skipped=skipped,
        metrics={"a_total": 1.0}, started_at=_NOW, finished_at=_NOW + timedelta(seconds=2), run_id=run_id,
    )  # fmt: skip


def _health(*findings: Finding, skipped: tuple[Skip, ...] = (), text: str = "Mend a.") -> HealthReport:
    return compose(
        HealthReport, capability="health_check", summary="A summary.", findings=findings, skipped=skipped,
        started_at=_NOW, finished_at=_NOW, run_id="run", modules=(_report(*findings),),
        causes=tuple(
            Cause(title=f.title, severity=f.severity, findings=(f.key,), remedy=f.remedy) for f in findings
        ),
        narrative=Narrative(author="ranking", text=text), changes=Changes(since="earlier", closed=("a.b:gone",)),
    )  # fmt: skip


def _finding(title: str, severity: Severity = Severity.high, key: str = "a.b:c") -> Finding:
    return Finding(
        key=key, severity=severity, component="part", title=title, detail=title, remedy="Mend it.",
        evidence={"place": [title]},
    )  # fmt: skip


def _terminal(report: Report, level: ReportLevel, width: int = 100) -> str:
    stream = io.StringIO()
    to_terminal(report, level, Console(file=stream, width=width, force_terminal=True, color_system="standard"))
    return stream.getvalue()


def _tokens(markdown: str) -> list[tuple[str, str]]:
    found = []
    for token in MarkdownIt("gfm-like", {"linkify": False, "html": True}).parse(markdown):
        found += [(part.type, part.content) for part in token.children or [token]]
    return found


@pytest.mark.parametrize("level", list(ReportLevel))
def test_what_was_not_seen_is_shown_at_every_level(level: ReportLevel) -> None:
    report = _health(skipped=(Skip(area="security", component="here", reason="Nobody answered."),))
    for shown in (to_markdown(report, level), _terminal(report, level)):
        assert "Not looked at" in shown
        assert "Nobody answered." in shown
        assert "incomplete" in shown


def test_gaps_with_one_reason_share_a_row_that_counts_them() -> None:
    gaps = tuple(Skip(area="security", component=f"file{n}", reason="Not parsed.") for n in range(12))
    shown = to_markdown(_report(skipped=gaps), ReportLevel.summary)
    assert "| security | file0, file1, file2, file3, file4 and 7 more | Not parsed. |" in shown
    assert shown.count("Not parsed.") == 1


def test_each_level_shows_more_than_the_one_below() -> None:
    report = _health(_finding("Worst"), _finding("Least", Severity.info, key="a.b:least"))
    summary, standard, comprehensive = (to_markdown(report, level) for level in ReportLevel)
    assert "Worst" in summary
    assert "Least" not in summary
    assert "## Modules" in standard
    assert "## Modules" not in summary
    assert "Least" in comprehensive
    assert "Evidence: place" in comprehensive
    assert "Evidence" not in standard


def test_what_is_not_shown_is_counted() -> None:
    findings = [_finding(f"Number {n}", key=f"a.b:{n:03}") for n in range(120)]
    assert "70 more in the comprehensive report" in to_markdown(_report(*findings), ReportLevel.standard)


@given(st.text(min_size=1, max_size=80))
@settings(max_examples=200, deadline=None)
@example("https://a.b")
@example("=1")
def test_escaped_text_reads_as_itself(text: str) -> None:
    """Parsed by a Markdown parser, the words are back and nothing else is."""
    tokens = _tokens(f"{escaped(text)}\n")
    assert {kind for kind, _ in tokens} <= {"paragraph_open", "text", "text_special", "paragraph_close"}
    assert "".join(content for kind, content in tokens if kind.startswith("text")) == plain(text).strip()


@pytest.mark.parametrize("hostile", _HOSTILE)
@pytest.mark.parametrize("level", list(ReportLevel))
def test_no_title_leaves_its_place_in_markdown(hostile: str, level: ReportLevel) -> None:
    tame = _tokens(to_markdown(_health(_finding("harmless"), text="harmless"), level))
    wild = _tokens(to_markdown(_health(_finding(hostile), text=" ".join(hostile.split())), level))
    structure = [kind for kind, _ in tame if not kind.startswith("text")]
    assert [kind for kind, _ in wild if not kind.startswith("text")] == structure


@pytest.mark.parametrize("hostile", _HOSTILE)
def test_no_title_moves_the_cursor_of_a_terminal(hostile: str) -> None:
    skip = Skip(area=hostile, component=hostile, reason=hostile)
    shown = _terminal(_health(_finding(hostile), skipped=(skip,)), ReportLevel.comprehensive)
    left = re.sub(r"\x1b\[[0-9;]*m", "", shown)  # the colours are ours
    assert all(character.isprintable() or character == "\n" for character in left)
    assert "\x1b[2J" not in shown


@pytest.mark.parametrize("width", [40, 80, 160])
def test_the_terminal_page_keeps_to_its_width(width: int) -> None:
    report = _report(_finding("A long title " * 20), skipped=(Skip(area="a", component="b" * 90, reason="c " * 90),))
    lines = re.sub(r"\x1b\[[0-9;]*m", "", _terminal(report, ReportLevel.standard, width)).splitlines()
    assert max(len(line) for line in lines) <= width
    assert any("high" in line for line in lines)


def test_severity_has_a_colour_and_without_a_terminal_none() -> None:
    report = _report(_finding("Bad"))
    assert "\x1b[1;31mhigh" in _terminal(report, ReportLevel.standard)
    stream = io.StringIO()
    to_terminal(report, ReportLevel.standard, Console(file=stream, width=80))
    assert "\x1b" not in stream.getvalue()


def test_json_is_the_whole_report() -> None:
    report = _health(_finding("t"))
    assert HealthReport.model_validate(json.loads(to_json(report))) == report


def test_a_diff_names_new_gone_and_unseen() -> None:
    before = _report(_finding("Was there"), _finding("Hidden", key="x.y:z"), run_id="one")
    after = _report(
        _finding("Is new", key="a.b:new"), skipped=(Skip(area="x", component="x", reason="down"),), run_id="two"
    )
    change = diff(before, after)
    stream = io.StringIO()
    diff_to_terminal(change, Console(file=stream, width=100))
    for shown in (diff_to_markdown(change), stream.getvalue()):
        new, gone, unseen = (shown.index(f"{heading}\n") for heading in ("New", "Gone", "Not looked for this time"))
        assert new < shown.index("Is new") < gone < shown.index("Was there") < unseen < shown.index("Hidden")
    assert "1 new, 1 gone, 0 as before, 1 not looked for this time." in stream.getvalue()


def test_what_is_gone_is_named_by_its_title_when_known() -> None:
    before, after = _report(_finding("Was there"), run_id="one"), _report(run_id="two")
    assert "Was there" in to_markdown(after, ReportLevel.summary, diff(before, after))


def test_a_bare_address_is_not_made_a_link() -> None:
    """GitHub's flavour links addresses that stand alone; a backslash in them prevents it."""
    assert escaped("https://evil.example www.evil.example a@evil.example") == (
        r"https\://evil.example www\.evil.example a\@evil.example"
    )
