"""The statistics of ratio studies: the IAAO's own examples, and what must hold for all numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import ConfigurationError
from models.training import Measure
from models.valuation import RatioStudy
from tasks.valuation.ratio_study import (
    STATISTICS,
    _is_outside,
    bands,
    cod,
    largest,
    left_out,
    median_ratio,
    mki,
    prb,
    prd,
    statistics_of,
    strata_of,
)  # fmt: skip
from tasks.valuation.run import study_findings

# IAAO, Standard on Ratio Studies (April 2013): appraised values and sale prices of tables 1-1, 1-4 and D-2, with the
# statistics printed there.
TABLES = {
    "1-1": (
        [48000, 28800, 78400, 39840, 68160, 94400, 67200, 56960, 87200, 38240, 96320, 67680, 32960, 50560, 61360, 47360,
         58080, 47040, 136000, 103200, 59040, 168000, 128000, 132000, 160000, 160000, 200000, 184000, 160000, 157200,
         99200, 200000, 64000, 192000, 190400, 65440],
        [138000, 59250, 157500, 74400, 114900, 159000, 111900, 93000, 138720, 59700, 146400, 99000, 47400, 70500, 78000,
         60000, 69000, 55500, 154500, 109500, 60000, 168000, 124500, 127500, 150000, 141000, 171900, 157500, 129600,
         126000, 77700, 153000, 48750, 144000, 141000, 48000],
        {"median": 0.864, "cod": 29.8, "prd": 0.98, "prb": 0.232},
    ),
    "1-4": (
        [87200, 38240, 96320, 68610, 32960, 50560, 61360, 47360, 56580, 47040, 136000, 98000, 56000, 159100, 128000,
         132000, 160000],
        [138720, 59700, 146400, 99000, 47400, 70500, 78000, 60000, 69000, 55500, 154500, 109500, 60000, 168000, 124500,
         127500, 150000],
        {"median": 0.82, "cod": 14.5, "prd": 0.98, "prb": 0.135},
    ),
    "D-2": (
        [45000, 100000, 165000, 180000, 250000, 330000, 315000, 400000, 495000, 450000, 550000, 660000, 585000, 700000,
         825000, 1875000],
        [50000, 100000, 150000, 200000, 250000, 300000, 350000, 400000, 450000, 500000, 550000, 600000, 650000, 700000,
         750000, 2500000],
        {"median": 1.0, "cod": 7.8, "prd": 1.056, "prb": -0.011},
    ),
}  # fmt: skip
_DIGITS = {"median": 3, "cod": 1, "prd": 3, "prb": 3}

# Quintos' example of the modified Kakwani index (Journal of Property Tax Assessment & Administration 17(2), 2020).
QUINTOS_PRICES = [32900, 36000, 54000, 64500, 68000, 70000, 74000, 80000, 84900, 89000, 89000, 89000, 105900, 109000,
                  115000, 124500, 129900, 135000, 149000, 155800, 163500, 175000, 179000, 185600, 199900, 215000,
                  235000, 250000, 279000, 295000]  # fmt: skip
QUINTOS_VALUES = [37299.37, 40165.89, 56317.42, 66183.77, 69486.97, 71514.53, 75338.29, 81035.95, 85672.86, 85021.09,
                  90046.34, 94088.94, 100227.09, 103156.75, 108290.13, 117098.76, 115346.98, 119678.42, 131630.95,
                  137321.21, 143973.56, 153571.86, 148456.89, 153488.39, 165039.83, 176939.58, 192959.31, 180046.12,
                  200240.24, 211445.29]  # fmt: skip

pairs = st.lists(st.tuples(st.floats(1e4, 1e7), st.floats(0.5, 2.0)), min_size=5, max_size=40)


@pytest.mark.parametrize("table", TABLES)
def test_the_iaaos_own_examples_come_out_as_they_are_printed(table: str) -> None:
    values, prices, printed = TABLES[table]
    for name, expected in printed.items():
        found = STATISTICS[name](np.array(values, float), np.array(prices, float))
        digits = len(str(expected).partition(".")[2])
        assert round(found, digits) == pytest.approx(expected, abs=0.51 * 10**-digits), (table, name)


def test_the_modified_kakwani_index_of_quintos_example() -> None:
    # printed: .794; the published values are rounded, and three prices are equal
    assert mki(np.array(QUINTOS_VALUES), np.array(QUINTOS_PRICES, float)) == pytest.approx(0.794, rel=0.01)


@given(pairs, st.floats(0.1, 10.0))
def test_another_currency_changes_nothing(drawn: list[tuple[float, float]], rate: float) -> None:
    prices = np.array([price for price, _ in drawn])
    values = prices * [ratio for _, ratio in drawn]
    for name, of in STATISTICS.items():
        assert of(values * rate, prices * rate) == pytest.approx(of(values, prices), rel=1e-6, abs=1e-7), name


@given(pairs, st.floats(0.2, 5.0))
def test_values_at_another_level_change_the_median_and_nothing_else(
    drawn: list[tuple[float, float]], level: float
) -> None:
    prices = np.array([price for price, _ in drawn])
    values = prices * [ratio for _, ratio in drawn]
    assert median_ratio(values * level, prices) == pytest.approx(level * median_ratio(values, prices))
    for of in (cod, prd, prb, mki):
        assert of(values * level, prices) == pytest.approx(of(values, prices), rel=1e-6, abs=1e-7)


@given(pairs, st.randoms(use_true_random=False))
def test_the_order_of_sales_changes_nothing(drawn: list[tuple[float, float]], chance: object) -> None:
    mixed = list(drawn)
    chance.shuffle(mixed)  # type: ignore[attr-defined]
    one, other = ([np.array([p for p, _ in x]), np.array([p * r for p, r in x])] for x in (drawn, mixed))
    for name, of in STATISTICS.items():
        assert of(one[1], one[0]) == pytest.approx(of(other[1], other[0]), rel=1e-9, abs=1e-9), name


@given(st.lists(st.floats(1e4, 1e7), min_size=5, max_size=40))
def test_perfect_values_are_perfect(drawn: list[float]) -> None:
    prices = np.array(drawn)
    told = [of(prices, prices) for of in STATISTICS.values()]
    assert told == pytest.approx([1, 0, 1, 0, 1], abs=1e-9)


def test_dear_homes_that_are_valued_too_low_are_told_by_each_statistic() -> None:
    prices = np.geomspace(1e5, 1e6, 200)
    told = statistics_of(prices * (prices / prices.mean()) ** -0.2, prices)
    assert told.prd.value > 1.03
    assert told.prb.value < -0.05
    assert told.mki.value < 0.95
    assert {"prb", "mki"} <= set(told.outside)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    chance = np.random.default_rng(5)
    held = 0
    for number in range(200):
        prices = np.exp(chance.normal(12, 0.4, 80))
        told = statistics_of(prices * np.exp(chance.normal(0, 0.15, 80)), prices, seed=number, resamples=50)
        held += (told.median.low or 0) <= 1.0 <= (told.median.high or 0)
    assert 0.91 <= held / 200 <= 0.995


def test_what_chance_may_have_done_is_not_held_against_a_model() -> None:
    assert not _is_outside(Measure(value=0.94, low=0.89, high=1.0), (0.95, 1.05))
    assert _is_outside(Measure(value=0.90, low=0.89, high=0.92), (0.95, 1.05))


@pytest.mark.parametrize(
    ("values", "prices"), [([1.0] * 4, [1.0] * 4), ([1.0] * 5, [1.0] * 6), ([1.0] * 5, [1, 1, 1, 1, 0.0]),
                           ([1, 1, 1, 1, float("nan")], [1.0] * 5), ([1, 1, 1, 1, -1.0], [1.0] * 5)],
)  # fmt: skip
def test_what_is_no_study_is_refused(values: list[float], prices: list[float]) -> None:
    with pytest.raises(ConfigurationError):
        statistics_of(np.array(values), np.array(prices))


def test_strata_say_where_it_is_unfair() -> None:
    chance = np.random.default_rng(0)
    prices = np.exp(chance.normal(12, 0.4, 300))
    side = np.where(np.arange(300) < 150, "east", "west")
    told, apart, _ = strata_of(prices * np.where(side == "east", 0.85, 1.05), prices, {"side": side})
    assert [one.stratum for one in told] == ["side: east", "side: west"]
    assert apart["side"] == pytest.approx(0.2)
    assert "median" in told[0].outside


def test_every_stratum_of_enough_sales_is_judged_and_the_others_are_counted() -> None:
    chance = np.random.default_rng(0)
    sizes = [60] * 14 + [31, 29, 10]  # the smallest that is judged is valued 40 % too high
    place = np.repeat([f"n{number:02}" for number in range(17)], sizes)
    prices = np.exp(chance.normal(12, 0.4, len(place)))
    values = prices * np.where(place == "n14", 1.4, 1.0)
    told, apart, small = strata_of(values, prices, {"neighbourhood": place})
    assert apart["neighbourhood"] == pytest.approx(0.4)
    assert [one.stratum for one in told if "median" in one.outside] == ["neighbourhood: n14"]
    assert [(one.by, one.strata, one.rows) for one in small] == [("neighbourhood", 2, 39)]
    shown, hidden = largest(told)
    assert (len(shown), hidden) == (12, 3)
    study = RatioStudy(split="", overall=statistics_of(values, prices), strata=told, unjudged=small,
                       rmse_log=0, mae=0, mdape=0)  # fmt: skip
    assert "3 smaller strata" in left_out(study)
    assert "2 of fewer than 30 sales (39 in all)" in left_out(study)
    assert any(one.key.endswith("ratio-median:x/neighbourhood: n14") for one in study_findings("x", study))


def test_bands_hold_equal_shares_and_unknown_is_a_band_of_its_own() -> None:
    told = bands(np.array([*range(100), np.nan], float), 4)
    names, counts = np.unique(told, return_counts=True)
    assert dict(zip(names, counts, strict=True))["unknown"] == 1
    assert max(counts) - 1 <= 26
    assert len(names) == 5
