"""Drift on a planted set: what real changes of packages made untrue is found, and what only looks like it is not."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tasks.code.read import read
from tasks.docs.truth.baseline import AcceptedSection, Baseline, accept
from tasks.docs.truth.drift import Drift, drift_of
from tasks.docs.truth.page import Page, read_page
from tasks.docs.truth.resolve import Resolver
from tasks.docs.truth.spoken import Literals, speak
from tests.docs.versions import installed, older

CASES = tomllib.loads(Path(__file__).with_name("drift_cases.toml").read_text(encoding="utf-8"))
PACKAGES = tuple(CASES["versions"])
_PRECISION, _RECALL = 0.98, 0.9


@dataclass(frozen=True)
class Versions:
    """Two readings of one package, and a page that was accepted when it was at the older."""

    page: Page
    old: Resolver
    new: Resolver
    accepted: Mapping[str, AcceptedSection]


def page_of(package: str) -> Page:
    """One section a case, named after its kind and place in the list."""
    parts = [f"# {package}"]
    for kind in ("false_now", "still_true"):
        parts += [f"## Part {kind} {number}\n\n{text}" for number, text in enumerate(CASES[package][kind])]
    return read_page("docs/guide.md", "\n\n".join(parts) + "\n")


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Versions]:
    found = {}
    for package, (distribution, version) in CASES["versions"].items():
        old = Resolver(read(older(distribution, version), [package]))
        new = Resolver(read(installed(package, tmp_path_factory.mktemp(package)), [package]))
        page = page_of(package)
        written = accept([page], old).written
        found[package] = Versions(page, old, new, Baseline.read(written).pages.get(page.file, {}))
    return found


def told(one: Versions, resolver: Resolver) -> Iterator[tuple[str, int, list[Drift]]]:
    literals = Literals(resolver)
    for spoken in speak(one.page, resolver):
        _, _, name = spoken.section.path[-1].partition("Part ")
        if name:
            kind, _, number = name.partition(" ")
            known = one.accepted.get(spoken.section.key)
            yield kind, int(number), list(drift_of(one.page.file, spoken, known, resolver, literals))


def test_the_planted_set_is_large_enough() -> None:
    true = sum(len(CASES[package]["false_now"]) for package in PACKAGES)
    tempting = sum(len(CASES[package]["still_true"]) for package in PACKAGES)
    assert true >= 60
    assert tempting >= 60


def test_of_the_version_that_a_page_was_written_for_everything_is_true(versions: dict[str, Versions]) -> None:
    wrong: list[Any] = []
    for package, one in versions.items():
        wrong += [(package, kind, number, found) for kind, number, found in told(one, one.old) if found]
    assert wrong == []


def test_drift_is_found_with_high_precision_and_recall(
    versions: dict[str, Versions], capsys: pytest.CaptureFixture[str]
) -> None:
    right = false = missed = 0
    notes = []
    for package, one in versions.items():
        for kind, number, found in told(one, one.new):
            text = CASES[package][kind][number]
            if kind == "false_now":
                right += bool(found)
                missed += not found
                notes += [] if found else [f"missed: {text}"]
            elif found:
                false += 1
                notes.append(f"false: {text} -> {found[0].title}")
    precision, recall = right / (right + false), right / (right + missed)
    with capsys.disabled():
        print(f"\ndrift: {right} found, {missed} missed, {false} false; precision {precision:.3f}, recall {recall:.3f}")
    assert precision >= _PRECISION, "\n".join(notes)
    assert recall >= _RECALL, "\n".join(notes)


def test_a_finding_shows_the_old_and_the_new_signature(versions: dict[str, Versions]) -> None:
    found = [drift for _, _, drifts in told(versions["rich"], versions["rich"].new) for drift in drifts]
    widths = [one for one in found if one.subject == "rich.traceback.Traceback.width"]
    assert widths
    assert "width: Optional[int] = 88" in str(widths[0].evidence["old"])
    assert "width: Optional[int] = 100" in str(widths[0].evidence["new"])


def test_a_section_that_was_changed_since_is_believed(versions: dict[str, Versions]) -> None:
    """Whoever changed the text has looked at it: only what is false by itself is told then."""
    one = versions["rich"]
    text = one.page.text.replace("is as wide as", "has the width of")
    changed = Versions(read_page("docs/guide.md", text), one.old, one.new, one.accepted)
    subjects = {drift.subject for _, _, drifts in told(changed, one.new) for drift in drifts}
    assert "rich.traceback.Traceback.width" not in subjects
    assert "rich.tabulate" in subjects
