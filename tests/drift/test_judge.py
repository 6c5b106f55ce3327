"""A whole table against its profile: what is found, how much it is, and when there is too little to tell."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.drift import CategoryProfile, DriftLimits, NumericProfile, Profile
from tasks.drift.judge import PREDICTION, judge
from tasks.drift.profile import MOST_BINS, MOST_CATEGORIES, column_profile, profile
from tasks.drift.sketch import counts_of, merged, reference_counts, sketch


def table(random: np.random.Generator, rows: int) -> pd.DataFrame:
    frame = pd.DataFrame({f"x{n}": random.normal(size=rows) for n in range(5)})
    frame["rooms"] = random.integers(1, 7, rows)
    frame["town"] = random.choice(["Ade", "Bor", "Cam", "Dun"], rows, p=[0.4, 0.3, 0.2, 0.1])
    frame["pool"] = random.random(rows) < 0.2
    frame["lot"] = np.where(random.random(rows) < 0.1, np.nan, random.exponential(size=rows))
    frame["sold"] = pd.Timestamp("2026-01-01") + pd.to_timedelta(random.integers(0, 300, rows), unit="D")
    return frame


@pytest.mark.parametrize("correction", ["holm", "bh"])
def test_without_drift_runs_alarm_as_seldom_as_alpha_says(correction: str) -> None:
    random, alarms, runs = np.random.default_rng(3), 0, 80
    limits = DriftLimits.model_validate({"alpha": 0.1, "correction": correction})
    for _ in range(runs):
        known = profile(table(random, 1500))
        columns = judge(known, sketch(table(random, 400), known), limits)
        alarms += any(column.verdict not in {"stable", "unknown"} for column in columns)
    assert alarms / runs <= 0.2, "0.1, and what chance adds to it in so few runs"


@pytest.mark.parametrize(
    ("column", "drifted", "test"),
    [
        ("x1", lambda frame, _: frame["x1"] + 0.8, "ks"),
        ("x2", lambda frame, _: frame["x2"] * 1.8, "ks"),
        ("rooms", lambda frame, _: frame["rooms"].clip(lower=3), "chi_squared"),
        ("town", lambda frame, random: frame["town"].where(random.random(len(frame)) > 0.4, "Dun"), "chi_squared"),
        ("lot", lambda frame, random: frame["lot"].where(random.random(len(frame)) > 0.4), "missing"),
        ("pool", lambda frame, random: random.random(len(frame)) < 0.7, "chi_squared"),
        ("x3", lambda frame, _: frame["x3"].map(lambda value: f"about {value}"), "missing"),
    ],
)
def test_planted_drift_is_found_in_its_column_and_in_no_other(column: str, drifted: object, test: str) -> None:
    random = np.random.default_rng(4)
    known = profile(table(random, 3000))
    for _ in range(5):
        now = table(random, 800)
        now[column] = drifted(now, random)  # type: ignore[operator]
        found = judge(known, sketch(now, known), DriftLimits(alpha=0.001))
        assert [one.column for one in found if one.verdict in {"moderate", "major"}] == [column]
        assert found[0].column == column, "the worst first"
        (tested,) = [one for one in found[0].comparisons if one.test == test]
        assert tested.adjusted < 0.001
        assert found[0].reason


def test_what_is_certain_and_tiny_is_small() -> None:
    random = np.random.default_rng(5)
    known = profile(pd.DataFrame({"x": random.normal(size=200_000)}))
    now = pd.DataFrame({"x": random.normal(loc=0.03, size=200_000)})
    (column,) = judge(known, sketch(now, known), DriftLimits())
    assert column.comparisons[0].p_value < 1e-6
    assert column.verdict == "small"


def test_too_few_rows_are_said_to_be_too_few() -> None:
    random = np.random.default_rng(6)
    known = profile(table(random, 3000)[["x1", "town"]])
    verdicts = {}
    for rows in (0, 20, 130, 600):
        columns = judge(known, sketch(table(random, rows), known), DriftLimits())
        verdicts[rows] = {one.column: one.verdict for one in columns}
    assert verdicts[0] == {"x1": "unknown", "town": "unknown"}
    assert verdicts[20]["x1"] == "unknown"
    assert verdicts[600] == {"x1": "stable", "town": "stable"}
    few = judge(known, sketch(table(random, 130), known), DriftLimits())
    assert "could not be told from chance" in {one.column: one.reason for one in few}["x1"]
    far = judge(known, sketch(pd.DataFrame({"x1": [9.0] * 20, "town": ["Ade"] * 20}), known), DriftLimits())
    assert {one.column: one.verdict for one in far}["x1"] == "major", "what is plain needs no more rows"


def test_new_categories_are_named_and_a_column_that_is_gone_is_missing() -> None:
    random = np.random.default_rng(7)
    known = profile(table(random, 3000)[["town", "rooms"]])
    now = table(random, 500)[["town"]]
    now.loc[:60, "town"] = "Eck"
    found = {one.column: one for one in judge(known, sketch(now, known), DriftLimits())}
    assert "'Eck'" in found["town"].reason
    assert found["rooms"].verdict == "major"
    assert "100.0% of the rows are missing" in found["rooms"].reason


def test_predictions_are_a_column_of_their_own() -> None:
    random = np.random.default_rng(8)
    frame = table(random, 2000)
    known = profile(frame[["x0"]]).model_copy(update={"prediction": column_profile(frame["x1"])})
    window = sketch(frame[["x0"]], known, predictions=frame["x1"] + 1)
    assert [one.column for one in judge(known, window, DriftLimits()) if one.verdict == "major"] == [PREDICTION]


@settings(max_examples=40)
@given(
    st.lists(
        st.one_of(
            st.floats(width=32),
            st.none(),
            st.sampled_from(["a", "b", "", "1.5", "x" * 300, "\x00"]),
        ),
        max_size=60,
    ),
    st.integers(0, 60),
)
def test_any_column_is_profiled_and_its_sketches_add_up(values: list[object], cut: int) -> None:
    column = pd.Series(values, dtype=object)
    for given_column in (column, pd.to_numeric(column, errors="coerce")):
        known = column_profile(given_column)
        assert json.loads(known.model_dump_json())["rows"] == len(values)
        whole = counts_of(given_column, known)
        reference = reference_counts(known)
        assert (whole.rows, whole.missing, whole.counts) == (reference.rows, reference.missing, reference.counts)
        assert whole.new_rows == whole.below + whole.above == 0 or not isinstance(known, CategoryProfile)
        table_profile = Profile(rows=len(values), columns={"c": known})
        parts = [sketch(pd.DataFrame({"c": part}), table_profile) for part in (given_column[:cut], given_column[cut:])]
        assert merged(parts).columns["c"] == whole


def test_profiles_are_small_and_hold_no_row() -> None:
    random = np.random.default_rng(9)
    frame = pd.DataFrame({"x": random.normal(size=50_000), "id": [f"person-{n}" for n in range(50_000)]})
    known = profile(frame)
    assert len(known.model_dump_json()) < 60_000
    numbers, names = known.columns["x"], known.columns["id"]
    assert isinstance(numbers, NumericProfile)
    assert isinstance(names, CategoryProfile)
    assert len(numbers.counts) <= MOST_BINS
    assert len(names.counts) == MOST_CATEGORIES
    assert not names.complete, "so a new one cannot be told from one that is not listed"
    assert sketch(pd.DataFrame({"id": ["somebody"]}), known).columns["id"].new_rows == 0


def test_infinities_and_ties_have_their_place() -> None:
    known = column_profile(pd.Series([0.0] * 500 + list(range(1, 400)) + [np.inf, -np.inf]))
    assert isinstance(known, NumericProfile)
    assert sum(known.counts) == 901
    assert (known.low, known.high) == (0.0, 399.0)
    assert not known.discrete
