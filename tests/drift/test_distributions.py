"""Tests of drift alarm as often as they say they do without drift, and nearly always when there is some."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from models.drift import Comparison
from tasks.drift.distributions import (
    benjamini_hochberg,
    coarse,
    holm,
    homogeneity,
    kolmogorov_smirnov,
    missing_rate,
    new_categories,
    out_of_range,
    pooled,
    stability,
)
from tasks.drift.profile import MOST_BINS, binned, column_profile
from tasks.drift.sketch import counts_of, reference_counts

COUNTS = st.lists(st.integers(0, 200), min_size=2, max_size=12)
PAIRS = st.integers(2, 12).flatmap(
    lambda k: st.tuples(*(st.lists(st.integers(0, 200), min_size=k, max_size=k) for _ in range(2)))
)
TRIALS = 600


def _rates(draw: Callable[[np.random.Generator], Comparison], trials: int = TRIALS) -> tuple[float, float]:
    """How often the p-value is at most 0.05 and 0.01."""
    random = np.random.default_rng(7)
    found = np.array([draw(random).p_value for _ in range(trials)])
    return float((found <= 0.05).mean()), float((found <= 0.01).mean())


def _at_most(nominal: float, trials: int = TRIALS) -> float:
    """What the share of alarms exceeds only once in a thousand times if their chance is `nominal`."""
    return float(stats.binom.ppf(0.999, trials, nominal)) / trials


def _numbers(random: np.random.Generator, n: int, m: int, shift: float = 0.0) -> tuple[npt.NDArray[np.int64], ...]:
    first = random.normal(size=n)
    edges = np.unique(np.quantile(first, np.arange(1, MOST_BINS) / MOST_BINS, method="inverted_cdf"))
    return binned(first, edges), binned(random.normal(loc=shift, size=m), edges)


@pytest.mark.parametrize(("n", "m"), [(2000, 300), (300, 300), (60, 40), (500, 5000)])
def test_kolmogorov_smirnov_alarms_at_its_nominal_rate(n: int, m: int) -> None:
    five, one = _rates(lambda random: kolmogorov_smirnov(*_numbers(random, n, m)))
    assert five <= _at_most(0.05)
    assert one <= _at_most(0.01)
    assert five >= 0.02, "nor is it asleep"


def test_over_bins_the_distance_is_nearly_that_of_single_values() -> None:
    random = np.random.default_rng(1)
    for _ in range(50):
        first, second = random.normal(size=800), random.normal(loc=0.2, size=500)
        known = column_profile(pd.Series(first))
        ours = kolmogorov_smirnov(reference_counts(known).counts, counts_of(pd.Series(second), known).counts)
        theirs = stats.ks_2samp(first, second, method="asymp")
        assert theirs.statistic - 1.5 / MOST_BINS <= ours.statistic <= theirs.statistic + 1e-12
        assert ours.p_value >= theirs.pvalue * 0.999


def test_kolmogorov_smirnov_sees_a_planted_shift() -> None:
    five, one = _rates(lambda random: kolmogorov_smirnov(*_numbers(random, 2000, 400, shift=0.3)), 200)
    assert (five, one) >= (0.99, 0.95)


@pytest.mark.parametrize(("n", "m"), [(3000, 400), (200, 60), (40, 25)])
def test_chi_squared_alarms_at_its_nominal_rate_however_rare_some_categories_are(n: int, m: int) -> None:
    shares = np.array([0.4, 0.3, 0.15, 0.1, 0.03, 0.015, 0.004, 0.001])

    def draw(random: np.random.Generator) -> Comparison:
        return homogeneity(random.multinomial(n, shares), random.multinomial(m, shares))

    five, one = _rates(draw)
    assert five <= _at_most(0.055)
    assert one <= _at_most(0.013)
    assert five >= 0.02


def test_chi_squared_sees_a_planted_shift_of_categories() -> None:
    before, after = [0.5, 0.3, 0.2], [0.4, 0.3, 0.3]
    five, _ = _rates(lambda random: homogeneity(random.multinomial(3000, before), random.multinomial(500, after)), 200)
    assert five >= 0.98


def test_where_no_cell_is_small_chi_squared_is_scipys() -> None:
    random = np.random.default_rng(3)
    first, second = random.multinomial(900, [0.25] * 4), random.multinomial(400, [0.25] * 4)
    ours, theirs = homogeneity(first, second), stats.chi2_contingency(np.stack([first, second]), correction=False)
    assert ours.test == "chi_squared"
    assert ours.p_value == pytest.approx(theirs.pvalue)
    assert ours.statistic == pytest.approx(theirs.statistic)


@given(PAIRS)
def test_pooling_keeps_every_row_and_holds_cochrans_rule(pair: tuple[list[int], list[int]]) -> None:
    first, second = pooled(*pair)
    assert (first.sum(), second.sum()) == (sum(pair[0]), sum(pair[1]))
    n, m = first.sum(), second.sum()
    if len(first) > 2 and n and m:
        expected = (first + second) * (min(n, m) / (n + m))
        assert expected.min() >= 1
        assert (expected < 5).mean() <= 0.2


@given(PAIRS, st.randoms())
def test_order_of_categories_and_of_sides_does_not_matter(pair: tuple[list[int], list[int]], shuffled: object) -> None:
    first, second = pair
    order = list(range(len(first)))
    shuffled.shuffle(order)  # type: ignore[attr-defined]
    there = homogeneity(first, second)
    assert homogeneity(second, first).p_value == pytest.approx(there.p_value, abs=1e-9)
    # Of equally rare categories any may be pooled, so only where none has to be is the order without any effect.
    if len(pooled(first, second)[0]) == sum(a + b > 0 for a, b in zip(first, second, strict=True)):
        again = homogeneity([first[place] for place in order], [second[place] for place in order])
        assert again.p_value == pytest.approx(there.p_value, abs=1e-9)


@given(COUNTS, st.integers(1, 5))
def test_a_window_like_its_reference_never_alarms(counts: list[int], times: int) -> None:
    more = [count * times for count in counts]
    assert kolmogorov_smirnov(counts, more).p_value == pytest.approx(1.0)
    assert kolmogorov_smirnov(counts, more).effect == pytest.approx(0.0)
    assert homogeneity(counts, more).effect == pytest.approx(0.0)
    index = stability(counts, more, alpha=0.01)
    assert index is None or index.value <= index.critical or index.bins == 1


@given(PAIRS)
def test_every_figure_is_within_its_bounds(pair: tuple[list[int], list[int]]) -> None:
    for one in (kolmogorov_smirnov(*pair), homogeneity(*pair)):
        assert 0 <= one.p_value <= 1
        assert -1e-12 <= one.effect <= 1 + 1e-12
    for ordered in (True, False):
        first, second = coarse(*pair, bins=4, ordered=ordered)
        assert len(first) <= 4
        assert (first.sum(), second.sum()) == (sum(pair[0]), sum(pair[1]))


@pytest.mark.parametrize(("n", "m"), [(5000, 500), (1000, 1000), (400, 200)])
def test_the_stability_index_is_by_chance_what_it_is_said_to_be(n: int, m: int) -> None:
    random = np.random.default_rng(5)
    found = [
        stability(random.multinomial(n, [0.1] * 10), random.multinomial(m, [0.1] * 10), alpha=0.05) for _ in range(1500)
    ]
    values = np.array([one.value for one in found if one is not None])
    (one, *_) = found
    assert one is not None
    assert one.expected == pytest.approx(9 * (1 / n + 1 / m))
    assert values.mean() == pytest.approx(one.expected, rel=0.1)
    assert (values > one.critical).mean() == pytest.approx(0.05, abs=0.02)


def test_the_usual_limits_mean_something_only_with_enough_rows() -> None:
    few, many = (stability([100] * 10, [rows // 10] * 10, alpha=0.01) for rows in (50, 1000))
    assert few is not None
    assert many is not None
    assert not few.can_tell(0.25)
    assert many.can_tell(0.1)


@pytest.mark.parametrize("share", [0.001, 0.02, 0.3])
def test_missing_rates_alarm_at_their_nominal_rate_and_see_a_rise(share: float) -> None:
    def draw(rise: float) -> Callable[[np.random.Generator], Comparison]:
        def drawn(random: np.random.Generator) -> Comparison:
            return missing_rate(
                (int(random.binomial(2000, share)), 2000), (int(random.binomial(400, share + rise)), 400)
            )

        return drawn

    assert _rates(draw(0.0))[0] <= _at_most(0.055)
    assert _rates(draw(0.15), 100)[1] >= 0.95


def test_new_categories_of_an_open_set_are_expected_and_more_of_them_are_not() -> None:
    shares = 1 / np.arange(1, 3001) ** 1.1
    shares /= shares.sum()

    def draw(random: np.random.Generator, new: int) -> Comparison:
        known = column_profile(pd.Series(random.choice(3000, 2000, p=shares).astype(str)))
        assert known.kind == "category"
        came = [*random.choice(3000, 300 - new, p=shares).astype(str), *(f"new{n}" for n in range(new))]
        counted = counts_of(pd.Series(came), known)
        return new_categories(known.singletons, known.rows, len(counted.new), counted.new_rows, counted.rows)

    five, one = _rates(lambda random: draw(random, 0), 200)
    assert five <= _at_most(0.05, 200)
    assert one <= _at_most(0.01, 200)
    assert _rates(lambda random: draw(random, 60), 40)[1] >= 0.9


def test_the_range_is_left_as_often_as_chance_leaves_it() -> None:
    def draw(random: np.random.Generator, scale: float) -> Comparison:
        first, second = random.normal(size=400), random.normal(size=900) * scale
        outside = int(((second < first.min()) | (second > first.max())).sum())
        return out_of_range(400, outside, 900)

    five, one = _rates(lambda random: draw(random, 1.0))
    assert 0.01 <= five <= _at_most(0.05)
    assert one <= _at_most(0.01)
    assert _rates(lambda random: draw(random, 2.0), 100)[1] >= 0.95


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_corrections_keep_the_order_and_never_make_anything_likelier(p_values: list[float]) -> None:
    for correct in (holm, benjamini_hochberg):
        adjusted = correct(p_values)
        assert all(after >= before - 1e-12 for before, after in zip(p_values, adjusted, strict=True))
        assert all(0 <= one <= 1 for one in adjusted)
        order = np.argsort(p_values, kind="stable")
        assert (np.diff(np.asarray(adjusted)[order]) >= -1e-12).all()
    assert min(holm(p_values)) == pytest.approx(min(1.0, min(p_values) * len(p_values)))


def test_counts_of_different_bins_are_not_compared() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        kolmogorov_smirnov([1, 2], [1, 2, 3])
