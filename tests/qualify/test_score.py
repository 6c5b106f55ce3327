"""What rules make of a lead: a letter for who it is, a figure for how near they are, and a reason for each point."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from blocks.configuration import parse_configuration
from blocks.errors import ConfigurationError
from models.qualify import EngagementRule, FitRule, QualifySettings
from tasks.qualify.horizon import horizon_days
from tasks.qualify.score import Event, Known, features, grade

NOW = datetime(2026, 11, 28, 9, tzinfo=UTC)
FLAT = {"phone": "+491711234567", "email": "a@b.de", "name": "Jane", "interest": "flat in Berlin",
        "budget": {"amount": 400_000.0, "currency": "EUR"}, "timeline": "within 2 months"}  # fmt: skip


def said(days_ago: float, text: str = "hello", *found: str, route: str = "leads") -> Event:
    return Event(NOW - timedelta(days=days_ago), route, text, frozenset(found))


def lead(*events: Event, **fields: Any) -> Known:
    return Known(1, fields, NOW, events)


def test_a_lead_that_fits_and_writes_is_a1_and_every_point_has_its_reason() -> None:
    one = grade(lead(said(0, "when can I have a viewing?"), said(0), said(1), **FLAT), QualifySettings(), NOW)
    assert one.grade == "A1"
    assert one.fit == 100
    assert {reason.rule for reason in one.reasons} == {
        "reachable-by-phone", "reachable-by-mail", "named", "says-what", "says-budget", "soon", "wrote",
        "wants-to-see-it",
    }  # fmt: skip
    assert sum(r.points for r in one.reasons if r.part == "engagement") == pytest.approx(one.engagement, abs=0.01)
    told = " ".join(reason.because for reason in one.reasons)
    assert "Jane" not in told
    assert "400" not in told, "a reason is the rule's words: reports keep nothing of the person"


def test_engagement_halves_in_its_half_life_and_fit_does_not() -> None:
    rules = QualifySettings(engagement=(EngagementRule(name="wrote", points=40, half_life_days=14, cap=100),))
    known = lead(said(0), **FLAT)
    later = grade(known, rules, NOW + timedelta(days=14))
    assert (grade(known, rules, NOW).engagement, later.engagement) == (40, 20)
    assert later.fit == grade(known, rules, NOW).fit
    assert grade(known, rules, NOW + timedelta(days=42)).engagement == 5


def test_a_rule_never_counts_more_than_its_cap_for_or_against() -> None:
    rules = QualifySettings(
        engagement=(
            EngagementRule(name="wrote", points=12, cap=40),
            EngagementRule(name="no", points=-20, cap=30, words=("no",)),
        )
    )
    one = grade(lead(*[said(0, "no")] * 50), rules, NOW)
    assert {reason.rule: reason.points for reason in one.reasons} == {"wrote": 40, "no": -30}
    assert one.engagement == 10
    assert "capped at 40" in next(reason.because for reason in one.reasons if reason.rule == "wrote")


def test_who_asks_to_be_left_alone_is_d4_until_that_is_old() -> None:
    known = lead(*[said(0, "viewing")] * 5, said(0, "Please UNSUBSCRIBE me."), **FLAT)
    one = grade(known, QualifySettings(), NOW)
    assert (one.grade, one.disqualified) == ("D4", True)
    assert not grade(known, QualifySettings(), NOW + timedelta(days=365 * 7)).disqualified


def test_words_stand_whole_and_in_any_case() -> None:
    rules = QualifySettings(fit=(FitRule(name="agent", field="name", words=("real estate agent", "c++"), points=-30),))
    for name, points in (("A  Real Estate  AGENT", -30), ("surreal estate agent", 0), ("agents", 0), ("C++", -30)):
        told = grade(lead(name=name), rules, NOW).reasons
        assert sum(reason.points for reason in told) == points, name


@pytest.mark.parametrize(
    ("budget", "holds"),
    [
        ({"amount": 300_000, "currency": "EUR"}, True),
        ({"amount": 299_999, "currency": "EUR"}, False),
        ({"amount": 500_001, "currency": "EUR"}, False),
        ({"amount": 400_000, "currency": "USD"}, False),
        ("400000 EUR", False),
        (None, False),
    ],
)
def test_a_budget_is_compared_in_its_currency_only(budget: Any, *, holds: bool) -> None:
    rule = FitRule(name="can-pay", field="budget", points=30, at_least=300_000, at_most=500_000, currency="EUR")
    assert (grade(lead(budget=budget), QualifySettings(fit=(rule,)), NOW).fit == 30) is holds


@pytest.mark.parametrize(
    ("words", "days"),
    [
        ("asap", 0), ("within 3 months", 91.2), ("in 2-3 weeks", 21), ("in a year", 365.25), ("next month", 45.6),
        ("by January", 48), ("november 2026", 0), ("by May 2027", 169.4), ("in 10 days", 10), ("whenever", None),
        ("before spring", 139), ("by march 2020", 0), ("in a few weeks", 21), ("q1", 78.2),
    ],
)  # fmt: skip
def test_a_timeline_in_words_is_a_number_of_days(words: str, days: float | None) -> None:
    told = horizon_days(words, NOW)
    assert told is None if days is None else told == pytest.approx(days, abs=13)


def test_a_timeline_counts_from_when_it_was_said() -> None:
    rules = QualifySettings(fit=(FitRule(name="soon", field="timeline", within_days=60, points=20),))
    for said_at, fit in ((datetime(2027, 3, 1, tzinfo=UTC), 0.0), (datetime(2027, 4, 20, tzinfo=UTC), 20.0)):
        assert grade(Known(1, {"timeline": "by June 2027"}, said_at), rules, NOW).fit == fit


_EVENTS = st.lists(
    st.builds(
        said,
        st.floats(0, 400),
        st.sampled_from(["hello", "a viewing please", "not interested", "unsubscribe", "\x00\ud800", "x" * 30_000]),
        st.sampled_from(["budget", "timeline", "phone"]),
    ),
    max_size=8,
)


@given(_EVENTS, st.sampled_from(sorted(FLAT)))
def test_grades_are_in_range_do_not_depend_on_order_and_match_their_points(events: list[Event], without: str) -> None:
    fields = {name: value for name, value in FLAT.items() if name != without}
    rules = QualifySettings()
    one, other = grade(lead(*events, **fields), rules, NOW), grade(lead(*reversed(events), **fields), rules, NOW)
    assert one.grade == other.grade
    assert one.engagement == pytest.approx(other.engagement, abs=0.01)
    assert 0 <= one.fit <= 100
    assert 0 <= one.engagement <= 100
    told = features(lead(*events, **fields), rules, NOW)
    assert set(told) == {f"fit:{r.name}" for r in rules.fit} | {f"engagement:{r.name}" for r in rules.engagement}
    for rule in rules.engagement:
        assert abs(told[f"engagement:{rule.name}"]) <= rule.cap + 1e-9
    # one more good message never lowers the score
    assert grade(lead(*events, said(0), **fields), rules, NOW).engagement >= one.engagement


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('[[qualify.fit]]\nname = "a"\nfield = "phone"\npoints = 5\nat_least = 3', "at_least, at_most and currency"),
        ('[[qualify.fit]]\nname = "a"\nfield = "budget"\npoints = 5\nat_least = 3', "need a currency"),
        ('[[qualify.fit]]\nname = "a"\nfield = "phone"\npoints = 500', "lama.toml:4: qualify.fit[0].points"),
        ('[[qualify.fit]]\nname = "a"\nfield = "shoe"\npoints = 5', "qualify.fit[0].field"),
        ("[qualify]\nfit_grades = [10, 20, 30]", "each lower"),
        ('[qualify]\nnotable = ["E1"]', "no grade"),
        ('[[qualify.engagement]]\nname = "a"\npoints = 5\nhalf_life_days = 0', "half_life_days"),
        ('[[qualify.engagement]]\nname = "a"\npoints = 5\n[[qualify.engagement]]\nname = "a"\npoints = 5', "two rules"),
    ],
)
def test_rules_that_cannot_be_meant_are_refused_with_their_place(text: str, where: str) -> None:
    with pytest.raises(ConfigurationError) as told:
        parse_configuration(text, "lama.toml")
    assert where in str(told.value)


def test_the_digest_stands_for_the_rules_alone() -> None:
    rules = QualifySettings()
    assert rules.digest == QualifySettings(notable=("B2",)).digest
    assert rules.digest != QualifySettings(fit=rules.fit[:2]).digest
    with pytest.raises(ValidationError):
        rules.notable = ("A1",)  # type: ignore[misc]


def test_what_was_said_after_the_time_of_grading_does_not_count() -> None:
    known = lead(said(3, "when can I have a viewing?"), said(0, "unsubscribe"), **FLAT)
    then = NOW - timedelta(days=2)
    before = grade(lead(said(3, "when can I have a viewing?"), **FLAT), QualifySettings(), then)
    assert before.engagement > 0
    assert grade(known, QualifySettings(), then) == before
    assert grade(known, QualifySettings(), NOW).disqualified
