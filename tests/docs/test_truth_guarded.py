"""A page or module that a rule trips over is told as a skip, and everything else is judged as ever."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.docs import DocsSettings
from models.health_check import Checkout
from models.report import Finding, Skip
from tasks.code.read import read
from tasks.docs.truth import judge
from tasks.docs.truth.judge import accepted, check, gather
from tasks.docs.truth.kept import keep
from tasks.docs.truth.options import Options

DOCSTRING = '"""M."""\n\n\ndef run(a):\n    """Run.\n\n    Args:\n        a: One.\n        gone: No.\n    """\n'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for module in ("__init__", "bad", "badly"):
        path = tmp_path / "acme" / f"{module}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(DOCSTRING)
    (tmp_path / "docs").mkdir()
    for page in ("bad", "good"):
        (tmp_path / "docs" / f"{page}.md").write_text(
            "# Guide\n\n`acme.lost()` and [x](lost.md) and `acme/no.py`; `acme.run(a)` runs.\n"
        )
    return tmp_path


def looked_at(root: Path) -> tuple[dict[str, Finding], list[Skip]]:
    findings, skips, _ = check(Checkout(name="shop", path=root), read(root, jobs=1), DocsSettings())
    return {one.key: one for one in findings}, skips


def tripping(rule: Callable[..., Any], over: str) -> Callable[..., Any]:
    """`rule`, which raises where its first argument is, or is called, `over`."""

    def tripped(first: Any, *others: Any, **named: Any) -> Any:
        if over in {first, getattr(first, "file", "")}:
            raise ValueError("it was\nnot foreseen")
        return rule(first, *others, **named)

    return tripped


@pytest.mark.parametrize(
    ("rule", "over", "hidden"),
    [
        ("mismatches", "acme.bad", {"docs.docstring:shop/acme.bad.run#extra.gone"}),
        ("speak", "docs/bad.md", {"docs.name:shop/docs/bad.md#acme.lost"}),
        ("drift_of", "docs/bad.md", {"docs.name:shop/docs/bad.md#acme.lost"}),
    ],
)
def test_a_rule_that_raises_costs_the_page_or_module_that_it_trips_over(
    root: Path, monkeypatch: pytest.MonkeyPatch, rule: str, over: str, hidden: set[str]
) -> None:
    before, skips = looked_at(root)
    assert hidden < before.keys()
    assert skips == []
    monkeypatch.setattr(judge, rule, tripping(getattr(judge, rule), over))
    after, skips = looked_at(root)
    assert before.keys() - after.keys() == hidden
    assert [one.reason for one in skips] == [f"{over} could not be judged: ValueError: it was not foreseen"]
    assert {key for key in before if skips[0].may_hide(key)} >= hidden
    assert not [key for key in before if skips[0].may_hide(key) and over not in key]


def test_a_page_that_no_parser_takes_is_unread_and_stays_as_it_was_accepted(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, _ = looked_at(root)
    checkout, chosen, codebase = Checkout(name="shop", path=root), DocsSettings(), read(root, jobs=1)
    baseline = accepted(gather(checkout, codebase, chosen))
    keep(root / chosen.baseline, baseline)
    monkeypatch.setattr(judge, "read_page", tripping(judge.read_page, "docs/bad.md"))
    after, skips = looked_at(root)
    lost = before.keys() - after.keys()
    assert lost == {key for key in before if "docs/bad.md" in key}
    assert len(lost) == 3
    assert [one.reason for one in skips] == [
        "1 of its files could not be read (docs/bad.md: ValueError: it was not foreseen)."
    ]
    assert all(skips[0].may_hide(key) for key in lost)
    assert accepted(gather(checkout, codebase, chosen)).pages == baseline.pages


def test_settings_that_cannot_be_judged_leave_the_rest(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, _ = looked_at(root)

    def tripped(*_: object) -> None:
        raise RecursionError

    monkeypatch.setattr(Options, "of", tripped)
    after, skips = looked_at(root)
    assert after.keys() == before.keys()
    assert [one.reason for one in skips] == ["its options and settings could not be judged: RecursionError"]
