"""Indices find the prices that were planted, equal published examples, and refuse what is too thin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from blocks.errors import ConfigurationError
from models.market import Listings, MarketSettings
from models.valuation import Market
from tasks.market.analyse import analyse, unbroken
from tasks.market.figures import constant_mix, inventory, medians, seasonality
from tasks.market.hedonic import TooThinError, chained, design_of, hedonic
from tasks.market.repeat import Pairs, arithmetic, geometric, pairs_of, repeat_sales
from tasks.market.sales import Sales, sales_of

COLUMNS = {"price": "paid", "area": "sqm", "sold": "day", "property": "id", "neighbourhood": "quarter"}
MARKET = Market.model_validate({"name": "town", "source": "x.csv", "columns": COLUMNS})


def planted(
    periods: int = 20, per_period: int = 120, *, noise: float = 0.15, repeats: float = 0.5, seed: int = 1
) -> tuple[pd.DataFrame, np.ndarray]:
    """Sales whose prices follow a known index, while what is sold gets larger; the index, first period at 1."""
    draw = np.random.default_rng(seed)
    index = np.exp(np.cumsum(np.r_[0, draw.normal(0.012, 0.02, periods - 1)]))
    pool = 60 + int(4000 * (1 - repeats))
    areas, quality = np.exp(4.4 + draw.normal(0, 0.3, pool)), draw.normal(0, 0.1, pool)
    rows = []
    for t in range(periods):
        for _ in range(per_period):
            one, other = (int(draw.integers(0, pool)) for _ in range(2))
            home = max(one, other, key=areas.__getitem__) if draw.random() < t / periods else one
            level = 8 + 0.8 * np.log(areas[home]) + 0.1 * (home % 5) + quality[home]
            price = float(np.exp(level + draw.normal(0, noise)) * index[t])
            month = pd.Timestamp("2018-01-01") + pd.DateOffset(months=3 * t + int(draw.integers(0, 3)))
            day = month + pd.Timedelta(days=int(draw.integers(0, 27)))
            rows.append((price, float(areas[home]), day, home, f"q{home % 5}"))
    return pd.DataFrame(rows, columns=["paid", "sqm", "day", "id", "quarter"]), index


def sales(table: pd.DataFrame, period: Any = "quarter") -> Sales:
    return sales_of(table, MARKET, period)


def test_the_hedonic_index_finds_what_was_planted_within_its_interval_though_the_mix_changes() -> None:
    covered, naive_bias = [], []
    for seed in range(6):
        table, index = planted(seed=seed)
        found = sales(table)
        told = hedonic(found, design_of(found), least_sales=10, coverage=0.9)
        for point, true in zip(told.points[1:], index[1:], strict=True):
            assert point.low is not None
            assert point.high is not None
            assert point.value == pytest.approx(100 * true, rel=0.08)
            covered.append(point.low <= 100 * true <= point.high)
        middle = medians(found, least_sales=10, coverage=0.9, currency="EUR")
        naive_bias.append((middle.points[-1].value or 0) / (middle.points[0].value or 1) / index[-1])
    assert 0.82 <= np.mean(covered) <= 0.97, "an interval of 90 % holds about 90 % of the truth"
    assert np.mean(naive_bias) > 1.08, "the median takes larger homes for dearer ones"


def test_characteristics_that_say_when_it_was_sold_or_repeat_each_other_do_not_move_the_index() -> None:
    table, index = planted(periods=12, per_period=80, noise=0.05)
    day = pd.to_datetime(table["day"])
    table = table.assign(
        year=day.dt.year, month=day.dt.month, again=table["sqm"] * 10.764, rooms=table["sqm"].round(-1), half=1.0
    )
    features = ("year", "month", "again", "rooms", "half")
    told = sales_of(table, MARKET.model_copy(update={"features": features}), "quarter")
    design = design_of(told)
    assert not {"year", "month", "half"} & set(design.names)
    found = hedonic(told, design, least_sales=10, coverage=0.9)
    assert [point.value for point in found.points] == pytest.approx(list(100 * index), rel=0.05)


def test_the_repeat_sales_index_finds_what_was_planted_within_its_interval() -> None:
    covered = []
    for seed in range(6):
        table, index = planted(seed=seed, repeats=0.9)
        found = sales(table)
        weighted, by_value = repeat_sales(found, pairs_of(found, least_days=90), least_pairs=10, coverage=0.9)
        for point, other, true in zip(weighted.points[1:], by_value.points[1:], index[1:], strict=True):
            assert point.low is not None
            assert point.high is not None
            covered.append(point.low <= 100 * true <= point.high)
            assert other.value == pytest.approx(100 * true, rel=0.12)
    assert 0.80 <= np.mean(covered) <= 0.97


def test_repeat_sales_indices_equal_a_published_worked_example() -> None:
    """Two properties in three periods, sold for 1, 3, 2 and for 1, -, 1.

    The figures are those that the R package rsmatrix (Martin; README) prints for the index of Bailey, Muth and Nourse
    (1963), 238.1102 and 125.9921, and for Shiller's (1991), 240 and 133.3333.
    """
    pairs = Pairs(np.array([1, 2, 1]), np.array([2, 3, 3]), np.array([1.0, 3.0, 1.0]), np.array([3.0, 2.0, 1.0]))
    assert [100 * value for value in geometric(pairs, [1, 2, 3]).values()] == pytest.approx([100, 238.1102, 125.9921])
    assert [100 * value for value in arithmetic(pairs, [1, 2, 3]).values()] == pytest.approx([100, 240, 133.3333])


def test_with_two_periods_the_indices_are_the_means_that_they_are_called_after() -> None:
    """The geometric mean of the price relatives, and the ratio of sums (Shiller, 1991, section II)."""
    before, after = np.array([100.0, 200, 50]), np.array([150.0, 220, 40])
    pairs = Pairs(np.zeros(3, int), np.ones(3, int), before, after)
    assert geometric(pairs, [0, 1])[1] == pytest.approx(float(np.prod(after / before)) ** (1 / 3))
    assert arithmetic(pairs, [0, 1])[1] == pytest.approx(after.sum() / before.sum())


def test_the_chained_index_is_close_to_the_whole_and_its_past_never_changes() -> None:
    table, index = planted(periods=24)
    found = sales(table)
    whole = chained(found, design_of(found), least_sales=10, window=8)
    assert [point.value for point in whole.points] == pytest.approx(list(100 * index), rel=0.06)
    days = pd.Timestamp("2018-01-01") + pd.DateOffset(months=3 * 18)
    earlier = sales(table[table["day"] < days])
    before = chained(earlier, design_of(earlier), least_sales=10, window=8)
    told = [point.value for point in before.points]
    assert told == pytest.approx([point.value for point in whole.points[: len(told)]], rel=1e-9)
    one = hedonic(found, design_of(found), least_sales=10, coverage=0.9)
    two = hedonic(earlier, design_of(earlier), least_sales=10, coverage=0.9)
    assert [p.value for p in two.points[1:]] != pytest.approx([p.value for p in one.points[1 : len(told)]], rel=1e-6)


@examples(max_examples=15)
@given(st.floats(0.01, 1000), st.integers(0, 5))
def test_no_index_depends_on_the_currency(scale: float, seed: int) -> None:
    table, _ = planted(periods=6, per_period=60, seed=seed, repeats=0.97)
    other = table.assign(paid=table["paid"] * scale)
    for one, two in zip(_all(sales(table)), _all(sales(other)), strict=True):
        assert [p.value for p in one.points] == pytest.approx([p.value for p in two.points], rel=1e-6)


def _all(found: Sales) -> list[Any]:
    design = design_of(found)
    return [
        hedonic(found, design, least_sales=5, coverage=0.9),
        chained(found, design, least_sales=5, window=4),
        *repeat_sales(found, pairs_of(found, least_days=0), least_pairs=5, coverage=0.9),
        constant_mix(found, least_sales=5),
    ]


def test_thin_periods_have_no_figure_and_the_report_says_which() -> None:
    table, _ = planted(periods=20, per_period=40)
    quarter = table["day"].dt.to_period("Q").astype(str)
    table = pd.concat([table[quarter != "2019Q2"], table[quarter == "2019Q2"].head(3)])
    found = sales(table)
    told = analyse(found, MarketSettings(least_pairs=4), currency="EUR")
    one = told.series[0]
    assert [(p.period, p.count) for p in one.points if p.value is None] == [("2019Q2", 3)]
    (skip,) = [skip for skip in told.skipped if skip.component == "hedonic: thin periods"]
    assert skip.reason == "1 period is too thin (2019Q2): fewer than 10 sales. They have no figure."
    assert unbroken(one.points)[0].period == "2019Q3"


def test_what_cannot_be_given_at_all_says_what_it_needs() -> None:
    table, _ = planted(periods=3, per_period=15)
    bare = Market.model_validate(
        {"name": "t", "source": "x", "columns": {"price": "paid", "area": "sqm", "sold": "day"}}
    )
    told = analyse(sales_of(table, bare, "quarter"), MarketSettings(), currency="EUR")
    reasons = {skip.component: skip.reason for skip in told.skipped}
    assert "columns.property" in reasons["repeat-sales index"]
    assert "neither neighbourhood nor type" in reasons["constant mix"]
    assert "needs 14 periods without a gap; there are 3" in reasons["forecast"]
    assert told.forecast is None
    tiny = analyse(sales_of(table.head(3), bare, "quarter"), MarketSettings(), currency="EUR")
    assert [one.name for one in tiny.series] == ["median"]
    assert {skip.component for skip in tiny.skipped} >= {"hedonic index", "chained index", "forecast"}
    few = sales_of(table.iloc[[0, 15, 30]], bare, "quarter")
    with pytest.raises(TooThinError, match="3 sales are too few for 3 figures to be estimated; 6 are needed"):
        hedonic(few, design_of(few), least_sales=1, coverage=0.9)


def test_rows_that_are_no_sales_are_counted_and_left_out() -> None:
    table, _ = planted(periods=4, per_period=30)
    bad = table.head(6).copy()
    bad["paid"] = [0.0, -5, np.nan, np.inf, 100, 100]
    bad["day"] = bad["day"].astype(object)
    bad.loc[bad.index[4:], "day"] = None
    found = sales(pd.concat([table.astype({"day": object}), bad, table.iloc[[7]].astype({"day": object})]))
    assert found.left_out == {"price is no amount above 0": 4, "there is no date": 2, "the same sale again": 1}
    assert len(found.frame) == 120
    with pytest.raises(ConfigurationError, match="no sale is left"):
        sales(table.assign(paid=-1.0))
    with pytest.raises(ConfigurationError, match="more than 1200 periods"):
        sales(pd.concat([table, table.head(1).assign(day=pd.Timestamp("1700-01-01"))]), "month")


def test_flips_and_rebuilt_properties_are_no_repeat_sales() -> None:
    rows = [(100.0, 50.0, "2020-01-15", 1), (110.0, 50, "2020-04-15", 1), (140.0, 50, "2021-04-20", 1),
            (100.0, 50, "2020-01-10", 2), (900.0, 50, "2021-01-10", 2)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["paid", "sqm", "day", "id"]).assign(quarter="a")
    pairs = pairs_of(sales(table), least_days=180)
    assert (list(pairs.price_before), list(pairs.price_after), pairs.left_out) == ([110.0], [140.0], 2)


def test_periods_that_no_pair_connects_are_refused() -> None:
    pairs = Pairs(np.array([0] * 9 + [2] * 9), np.array([1] * 9 + [3] * 9), np.ones(18), np.ones(18))
    found = sales(planted(periods=4, per_period=20)[0])
    with pytest.raises(TooThinError, match="no chain"):
        repeat_sales(found, pairs, least_pairs=5, coverage=0.9)


def test_a_median_lies_between_its_order_statistics_and_covers_the_truth() -> None:
    draw = np.random.default_rng(5)
    hits = []
    for _ in range(300):
        table = pd.DataFrame({"paid": draw.lognormal(12, 0.5, 41), "sqm": 1.0, "day": "2020-01-05", "id": range(41)})
        (point,) = medians(sales(table.assign(quarter="a")), least_sales=10, coverage=0.9, currency="EUR").points
        hits.append((point.low or 0) <= np.exp(12) <= (point.high or 0))
    assert 0.87 <= np.mean(hits) <= 0.96


def test_inventory_counts_what_is_on_offer_and_how_long_it_lasts() -> None:
    table, _ = planted(periods=4, per_period=30)
    offers = pd.DataFrame(
        {"from": ["2017-12-01", "2018-02-01", "2018-05-01", "2018-05-02", None, "2018-09-01"],
         "to": [None, "2018-03-31", "2018-06-15", "2018-12-31", "2018-01-01", "2018-01-01"]}
    )  # fmt: skip
    chosen = Listings(market="town", source="x", listed="from", ended="to")
    active, supply, left_out = inventory(offers, chosen, sales(table), "quarter")
    assert [point.value for point in active.points] == [1, 2, 2, 1]
    assert left_out == {"there is no day on which it began": 1, "it ended before it began": 1}
    assert supply.points[0].value == pytest.approx(1 / 10)
    assert supply.points[3].value == pytest.approx(1 / 10)


def test_an_offer_whose_end_cannot_be_read_is_not_still_there() -> None:
    table, _ = planted(periods=4, per_period=30)
    days = {
        "from": ["2018-01-05", "2018-01-05", "5.1.2018", "2018-01-05", ""],
        "to": ["sold", "31.3.2018", "", " ", ""],
    }
    chosen = Listings(market="town", source="x", listed="from", ended="to")
    told = analyse(sales(table), MarketSettings(), currency="EUR", listings=(chosen, pd.DataFrame(days)))
    (active,) = [one for one in told.series if one.name == "inventory"]
    assert [point.value for point in active.points] == [1, 1, 1, 1]
    assert told.offers == 5
    assert told.offers_left_out == {
        "the day it began is no date": 1, "there is no day on which it began": 1, "the day it ended is no date": 2,
    }  # fmt: skip


def test_days_and_months_are_never_guessed() -> None:
    """In one column, `05.03.2025` would be the third of May and `15.03.2025` the fifteenth of March."""
    table, _ = planted(periods=4, per_period=30)
    days = ["05.03.2025", "15.03.2025", "03/05/2025", "2018-02-03T00:00:00", "20180304", "2018-02-03T23:00:00-05:00"]
    odd = table.head(6).assign(day=days, id=range(90_000, 90_006))
    found = sales(pd.concat([table.astype({"day": str}), odd]))
    assert found.left_out == {"there is no date": 3}
    read = found.frame[found.frame["property"] >= 90_000]
    assert sorted(str(day) for day in read["sold"]) == [
        "2018-02-03 00:00:00", "2018-02-04 04:00:00", "2018-03-04 00:00:00",
    ]  # fmt: skip
    with pytest.raises(ConfigurationError, match="no sale is left"):
        sales(table.assign(day="05.03.2025"))


def test_a_season_is_found_where_there_is_one_and_not_where_there_is_none() -> None:
    draw = np.random.default_rng(2)
    trend = np.exp(0.01 * np.arange(40) + draw.normal(0, 0.004, 40))
    season = np.tile([0.97, 1.01, 1.04, 0.98], 10)
    found = seasonality(list(100 * trend * season), "2016Q1", "quarter")
    assert list(found.factors) == ["Q1", "Q2", "Q3", "Q4"]
    assert list(found.factors.values()) == pytest.approx([0.97, 1.01, 1.04, 0.98], abs=0.006)
    assert found.strength > 0.9
    assert found.p_value < 1e-6
    later = seasonality(list((100 * trend * season)[2:]), "2016Q3", "quarter")
    assert later.factors["Q3"] == pytest.approx(1.04, abs=0.01)
    none = [seasonality(list(100 * np.exp(np.cumsum(draw.normal(0, 0.02, 40)))), "2016Q1", "quarter").p_value
            for _ in range(40)]  # fmt: skip
    assert np.mean(np.array(none) < 0.05) < 0.2
    with pytest.raises(TooThinError):
        seasonality([100.0] * 11, "2016Q1", "quarter")
