"""What is set aside is set aside by name, until a day, and never in silence."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.report import Finding, Severity, Skip
from models.risk import Suppression
from tasks.risk.suppress import fits, suppress

TODAY = date(2026, 11, 21)
WEAK = Finding(
    key="dependencies.vulnerability:web/pypi/flask-login/CVE-1",
    severity=Severity.high,
    component="web",
    title="flask-login 1 has CVE-1.",
    detail="It is bad.",
    evidence={
        "id": "CVE-1",
        "package": "flask-login",
        "ecosystem": "PyPI",
        "versions": ["1.0"],
        "names": ["CVE-1", "GHSA-aaaa-bbbb-cccc"],
    },
)
CODE = Finding(
    key="security.code:web/app/main.py/B602",
    severity=Severity.medium,
    component="web",
    title="Shell.",
    evidence={"file": "app/main.py", "test": "B602"},
)
LOOSE = Finding(
    key="dependencies.range:web/pypi/flask-login",
    severity=Severity.low,
    component="web",
    title="Loose.",
    evidence={"package": "flask-login", "ecosystem": "PyPI", "names": ["CVE-1", "CVE-2"]},
)


def aside(id_: str, *, days: int = 100, **more: Any) -> Suppression:
    return Suppression(id=id_, reason="Looked at it.", expires=TODAY + timedelta(days=days), **more)


@pytest.mark.parametrize(
    ("suppression", "finding", "expected"),
    [
        (aside("CVE-1"), WEAK, True),
        (aside("ghsa-AAAA-bbbb-cccc"), WEAK, True),
        (aside("CVE-10"), WEAK, False),
        (aside("CVE-1", package="Flask_Login"), WEAK, True),
        (aside("CVE-1", package="pypi/flask-login"), WEAK, True),
        (aside("CVE-1", package="npm/flask-login"), WEAK, False),
        (aside("CVE-1", package="flask"), WEAK, False),
        (aside("CVE-1", target="web"), WEAK, True),
        (aside("CVE-1", target="we"), WEAK, False),
        (aside("B602"), CODE, True),
        (aside("B602", package="x"), CODE, False),
        (aside("security.code:web/app/*"), CODE, True),
        (aside("security.code:*"), CODE, True),
        (aside("security.code:web/app/main.py/B602"), CODE, True),
        (aside("security.code:web/tests/*"), CODE, False),
        (aside("*"), CODE, False),
        (aside("*:*"), CODE, False),
        (aside("CVE-1"), LOOSE, False),
        (aside("dependencies.range:web/*"), LOOSE, True),
    ],
)
def test_a_suppression_is_about_what_it_names(suppression: Suppression, finding: Finding, expected: bool) -> None:
    assert fits(suppression, finding) is expected


def test_what_is_set_aside_leaves_the_findings_with_its_reason_and_its_last_day() -> None:
    kept, suppressed = suppress([WEAK, CODE], [aside("CVE-1"), aside("B602", days=-1)], today=TODAY)
    assert [(one.finding, one.reason, one.by, one.expires) for one in suppressed] == [
        (WEAK, "Looked at it.", "lama.toml", TODAY + timedelta(days=100))
    ]
    assert [finding.key for finding in kept] == [CODE.key]


def test_it_holds_on_its_last_day_and_comes_back_on_the_next() -> None:
    assert suppress([WEAK], [aside("CVE-1", days=0)], today=TODAY).suppressed
    kept, suppressed = suppress([WEAK], [aside("CVE-1", days=-1)], today=TODAY)
    assert not suppressed
    assert (kept[0].key, kept[0].severity) == (WEAK.key, WEAK.severity)
    assert kept[0].detail == "It is bad. It was set aside until 2026-11-20 (Looked at it); that has expired."


def test_one_that_holds_counts_over_one_that_has_expired() -> None:
    assert suppress([WEAK], [aside("CVE-1", days=-1), aside("GHSA-aaaa-bbbb-cccc")], today=TODAY).suppressed


def test_the_end_is_told_two_weeks_before() -> None:
    kept, _ = suppress([WEAK], [aside("CVE-1", days=14, target="web")], today=TODAY)
    assert [(finding.key, finding.severity) for finding in kept] == [
        ("risk.suppression_expiring:web/CVE-1", Severity.info)
    ]
    assert not suppress([WEAK], [aside("CVE-1", days=15)], today=TODAY).kept


def test_one_that_fits_nothing_is_told_unless_its_finding_may_have_gone_unseen() -> None:
    kept, _ = suppress([CODE], [aside("CVE-9")], today=TODAY)
    assert [finding.key for finding in kept] == [CODE.key, "risk.suppression_unused:CVE-9"]
    hidden = Skip(area="dependencies", component="web", reason="x", hides=("dependencies.vulnerability:web/",))
    assert suppress([CODE], [aside("CVE-9")], today=TODAY, skipped=[hidden]).kept == (CODE,)
    unseen, seen = aside("dependencies.vulnerability:web/pypi/*"), aside("security.secret:web/*")
    told = suppress([], [unseen, seen], today=TODAY, skipped=[hidden]).kept
    assert [finding.key for finding in told] == ["risk.suppression_unused:security.secret:web/*"]


findings = st.lists(st.sampled_from([WEAK, CODE, LOOSE]), unique_by=lambda finding: finding.key)
sets = st.builds(
    aside,
    st.sampled_from(["CVE-1", "CVE-2", "B602", "security.code:*", "*"]),
    days=st.integers(-30, 30),
    target=st.sampled_from([None, "web", "other"]),
)


@given(findings, st.lists(sets, max_size=5))
def test_nothing_gets_lost_and_only_what_holds_today_sets_aside(told: list[Finding], asides: list[Suppression]) -> None:
    kept, suppressed = suppress(told, asides, today=TODAY)
    after = {finding.key for finding in kept if not finding.key.startswith("risk.")}
    assert after | {one.finding.key for one in suppressed} == {finding.key for finding in told}
    assert after.isdisjoint(one.finding.key for one in suppressed)
    for one in suppressed:
        assert any(fits(aside_, one.finding) and aside_.expires >= TODAY for aside_ in asides)
    for finding in kept:
        assert not any(fits(aside_, finding) and aside_.expires >= TODAY for aside_ in asides)
