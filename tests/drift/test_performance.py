"""Performance is compared with the version's own held-out rows: known by truths, and estimated before."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.drift import DriftLimits, LossReference
from tasks.drift.estimate import estimated_performance, expected_losses, loss_model, outlook
from tasks.drift.performance import FEWEST, known_performance, loss_reference, sequential_bound
from tasks.drift.reference import reference
from tasks.drift.sketch import merged, sketch

Floats = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]

LOSSES: dict[str, Draw] = {
    "half_normal": lambda random, rows: np.abs(random.normal(size=rows)),
    "exponential": lambda random, rows: random.exponential(size=rows),
    "log_normal": lambda random, rows: np.exp(random.normal(size=rows) * 0.8),
    "wrong": lambda random, rows: (random.random(rows) < 0.08).astype(float),
}
LIMITS = DriftLimits(alpha=0.1)


def _reference(name: str, losses: Floats) -> LossReference:
    return loss_reference(losses, "error_rate" if name == "wrong" else "absolute_error")


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("rows", [50, 4000])
def test_without_drift_both_tests_alarm_at_most_as_often_as_they_say(name: str, rows: int) -> None:
    random, trials, window, ever = np.random.default_rng(1), 150, 0, 0
    for trial in range(trials):
        known = _reference(name, LOSSES[name](random, 1000))
        found = known_performance(known, LOSSES[name](random, rows), before=0, limits=LIMITS, seed=trial)
        window += found.p_value <= 0.05
        ever += (found.sequential or 0) <= 0.05
    assert window / trials <= 0.12, "0.05, and what chance adds to it in so few trials"
    assert ever / trials <= 0.05


@pytest.mark.parametrize("name", LOSSES)
def test_looking_again_and_again_never_adds_up_to_more_alarms(name: str) -> None:
    random, trials, alarms = np.random.default_rng(2), 60, 0
    for _ in range(trials):
        known = _reference(name, LOSSES[name](random, 2000))
        losses = LOSSES[name](random, 3000)
        alarms += any(sequential_bound(known, losses[:seen], alpha=0.1) <= 0.1 for seen in range(100, 3001, 100))
    assert alarms / trials <= 0.15


@pytest.mark.parametrize("name", ["half_normal", "exponential", "log_normal"])
def test_planted_losses_are_found_even_after_a_long_good_past(name: str) -> None:
    random = np.random.default_rng(3)
    for _ in range(20):
        known = _reference(name, LOSSES[name](random, 2000))
        losses = np.concatenate([LOSSES[name](random, 5000), LOSSES[name](random, 3000) * 1.4])
        found = known_performance(known, losses, before=5000, limits=DriftLimits())
        assert found.verdict == "major"
        assert found.sequential is not None
        assert found.sequential <= 0.005
        assert found.low <= found.value / found.held_out <= found.high


def test_more_wrong_classes_are_found() -> None:
    random = np.random.default_rng(4)
    known = _reference("wrong", LOSSES["wrong"](random, 2000))
    found = known_performance(known, (random.random(1500) < 0.14).astype(float), before=0, limits=DriftLimits())
    assert found.verdict == "major"
    assert found.p_value < 0.005


def test_few_truths_cannot_be_judged_and_better_is_no_drift() -> None:
    random = np.random.default_rng(5)
    known = _reference("exponential", random.exponential(size=1000))
    few = known_performance(known, random.exponential(size=FEWEST - 1), before=0, limits=LIMITS)
    assert (few.verdict, few.p_value) == ("unknown", 1.0)
    better = known_performance(known, random.exponential(size=2000) / 2, before=0, limits=LIMITS)
    assert better.verdict == "stable"
    nothing = known_performance(known, np.array([]), before=0, limits=LIMITS)
    assert nothing.verdict == "unknown"


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.floats(1e-3, 1e3))
def test_the_unit_of_losses_does_not_matter(losses: list[float], unit: float) -> None:
    grid = np.asarray(losses) + 1.0
    known, other = (loss_reference(grid * factor, "absolute_error") for factor in (1.0, unit))
    there = sequential_bound(known, grid, alpha=0.1)
    assert sequential_bound(other, grid * unit, alpha=0.1) == pytest.approx(there, rel=1e-6)


@pytest.mark.parametrize("losses", [np.array([]), np.array([-1.0]), np.array([np.nan]), np.array([np.inf])])
def test_losses_that_are_none_are_refused(losses: Floats) -> None:
    with pytest.raises(ValueError, match="held-out losses"):
        loss_reference(losses, "absolute_error")


def _classified(random: np.random.Generator, rows: int, sharpness: float) -> tuple[Floats, Floats]:
    """Confidences of a calibrated classifier, and whether it was wrong."""
    share = 1 / (1 + np.exp(-random.normal(size=rows) * sharpness))
    confidence = np.maximum(share, 1 - share)
    return confidence, (random.random(rows) >= confidence).astype(float)


def test_a_classifiers_error_is_known_before_the_truth_is() -> None:
    random, alarms, covered, trials = np.random.default_rng(6), 0, 0, 150
    for _ in range(trials):
        confidence, wrong = _classified(random, 2000, 2.0)
        known = loss_reference(wrong, "error_rate", confidences=confidence)
        confidence, _ = _classified(random, 500, 2.0)
        found = estimated_performance(known, None, outlook(confidences=confidence), LIMITS)
        assert found is not None
        alarms += found.p_value <= 0.1
        confidence, wrong = _classified(random, 500, 1.2)  # less sure, and more often wrong
        found = estimated_performance(known, None, outlook(confidences=confidence), LIMITS)
        assert found is not None
        assert found.verdict in {"moderate", "major"}
        covered += found.low <= wrong.mean() / known.mean <= found.high
    assert alarms / trials <= 0.19
    assert covered / trials >= 0.83, "of 0.9"


def _predicted(random: np.random.Generator, rows: int, power: float = 1.0) -> tuple[Floats, Floats, Floats]:
    """Predictions that are the less sure the larger they are, half widths of their intervals, and absolute errors."""
    said = random.random(rows) ** power
    spread = 0.2 + said
    return said, spread * 1.64, np.abs(random.normal(size=rows) * spread)


@pytest.mark.parametrize("widths", [True, False])
def test_a_regressions_error_is_known_before_the_truth_is(widths: bool) -> None:
    random, alarms, covered, trials = np.random.default_rng(7), 0, 0, 150
    for _ in range(trials):
        said, half, errors = _predicted(random, 2000)
        model = loss_model(said, half if widths else None, errors)
        known = loss_reference(errors, "absolute_error")
        for power in (1.0, 0.4):
            said, half, errors = _predicted(random, 500, power)
            seen = outlook(model=model, predicted=said, half_widths=half if widths else None)
            found = estimated_performance(known, model, seen, LIMITS)
            assert found is not None
            if power == 1.0:
                alarms += found.p_value <= 0.1
            else:
                assert found.verdict in {"moderate", "major"}
                covered += found.low <= errors.mean() / known.mean <= found.high
    assert alarms / trials <= 0.19
    assert covered / trials >= 0.83, "of 0.9"


def test_expected_losses_follow_the_residuals_and_odd_predictions_break_nothing() -> None:
    said, half, errors = _predicted(np.random.default_rng(8), 5000)
    model = loss_model(said, half, errors)
    low, high = expected_losses(model, np.array([0.05, 0.95]), np.array([0.4, 1.9]))
    assert high > 2 * low
    seen = outlook(model=model, predicted=np.array([np.nan, np.inf, 1e9, 0.5]), half_widths=np.array([1.0] * 4))
    assert seen.rows == 2
    constant = loss_model(np.zeros(50), None, np.ones(50))
    assert (len(constant.cells), constant.cells[0][0].mean) == (1, 1.0)


def test_a_reference_of_held_out_rows_has_all_that_is_compared_later() -> None:
    random = np.random.default_rng(9)
    frame = pd.DataFrame({"x": random.normal(size=500)})
    said = pd.DataFrame({"prediction": frame["x"], "low": frame["x"] - 1, "high": frame["x"] + 1})
    known = reference(frame, said, frame["x"] + random.normal(size=500))
    assert known.performance is not None
    assert known.expected_loss is not None
    assert known.prediction is not None
    classes = pd.DataFrame(
        {"prediction": ["a", "b"] * 50, "probability_a": [0.7, 0.2] * 50, "probability_b": [0.3, 0.8] * 50}
    )
    known = reference(frame, classes, np.array(["a", "a"] * 50))
    assert known.performance is not None
    assert known.performance.mean == 0.5
    assert known.performance.confidence_gap == pytest.approx(0.5 - 0.75)
    assert reference(frame).performance is None
    parts = [sketch(frame, known).model_copy(update={"outlook": outlook(confidences=np.array([0.6, 0.8]))})] * 2
    assert merged(parts).outlook.rows == 4
