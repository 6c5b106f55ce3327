"""The parts of the model: the index, the neighbours, the intervals, the frame of sales."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import ConfigurationError
from tasks.valuation.comparables import money
from tasks.valuation.intervals import TimeAwareIntervals, levels, quantile
from tasks.valuation.land import LandValues
from tasks.valuation.market import feature_name, frame_of, is_land, row_of, sales_of
from tasks.valuation.model import ValuationModel
from tasks.valuation.neighbours import NAMES, Neighbourhood
from tasks.valuation.price_index import PriceIndex
from tests.valuation.making import HOME, MARKET, QUICK, sales


def test_the_index_finds_how_prices_moved() -> None:
    chance = np.random.default_rng(1)
    day = np.sort(chance.uniform(0, 360, 3000))
    design = chance.normal(size=(3000, 3))
    price = 12 + design @ [0.3, 0.1, -0.2] + 0.12 * np.clip(day - 200, 0, None) / 160 + chance.normal(0, 0.15, 3000)
    index = PriceIndex().fit(day, design, price)
    told = index.at(np.array([50.0, 200.0, 340.0]))
    assert told[2] - told[0] == pytest.approx(0.105, abs=0.03)
    assert told[1] - told[0] == pytest.approx(0.0, abs=0.03)


def test_beyond_the_last_sale_the_slope_goes_on_and_fades() -> None:
    chance = np.random.default_rng(1)
    day = np.sort(chance.uniform(0, 360, 3000))
    index = PriceIndex().fit(day, np.zeros((3000, 1)), 12 + 0.1 * day / 360 + chance.normal(0, 0.05, 3000))
    steps = np.diff(index.at(np.array([370.0, 400.0, 500.0, 2000.0, 4000.0])))
    assert (steps >= 0).all()
    assert steps[0] > 0
    assert steps[-1] < 1e-6


def test_few_sales_teach_no_index() -> None:
    index = PriceIndex().fit(np.arange(50.0), np.zeros((50, 1)), np.linspace(12, 13, 50))
    assert (index.at(np.array([0.0, 100.0])) == 0).all()


def test_a_property_is_no_neighbour_of_itself() -> None:
    chance = np.random.default_rng(2)
    place = chance.uniform(0, 3, (300, 2))
    price = chance.normal(12, 0.3, 300)
    own = np.arange(300.0)
    line = np.zeros((300, 1))
    near = Neighbourhood().fit(place, own, line, price, np.zeros(300))
    told = near.statistics(place, own, line)
    changed = price.copy()
    changed[7] += 5.0
    after = Neighbourhood().fit(place, own, line, changed, np.zeros(300)).statistics(place, own, line)
    # the level of all moved a little; the property's own price did not enter what is said of its place
    shift = 5.0 / 300
    valued = [n for n, name in enumerate(NAMES) if name.startswith("location value of")]
    assert after[7, valued] + shift == pytest.approx(told[7, valued], abs=1e-6)
    assert np.abs(after[:, valued] + shift - told[:, valued]).max() > 0.1


def test_prices_that_are_noise_are_not_learned_by_heart_through_neighbours() -> None:
    table = sales(400)
    table["paid"] = np.exp(np.random.default_rng(3).normal(12, 0.3, 400))
    table = pd.concat([table, table], ignore_index=True)  # each property twice, at the same price
    frame = frame_of(table, MARKET)
    model = ValuationModel(0, **QUICK).fit(frame.drop(columns="price"), frame["price"].to_numpy())
    fresh = sales(400, seed=9)
    price = np.exp(np.random.default_rng(4).normal(12, 0.3, 400))
    held = frame_of(fresh, MARKET).drop(columns="price")
    off = np.log(price) - model.predict_log(held)
    assert off.std() < 0.3 * 1.3  # a leak would have made it trust its neighbours


def test_contributions_add_up_to_the_value() -> None:
    frame = frame_of(sales(500), MARKET)
    features = frame.drop(columns="price")
    model = ValuationModel(0, **QUICK).fit(features, frame["price"].to_numpy())
    names, parts, base = model.contributions(features.iloc[:50])
    assert len(set(names)) == len(names)
    assert base + parts.sum(1) == pytest.approx(model.predict_log(features.iloc[:50]), abs=1e-8)


def test_the_same_seed_gives_the_same_model_and_rows_need_not_be_together() -> None:
    frame = frame_of(sales(400), MARKET)
    features, price = frame.drop(columns="price"), frame["price"].to_numpy()
    one, two = (ValuationModel(3, **QUICK).fit(features, price) for _ in range(2))
    assert [t.text for t in one.direct] == [t.text for t in two.direct]
    alone = np.concatenate([one.predict(features.iloc[[n]]) for n in range(5)])
    assert alone == pytest.approx(one.predict(features.iloc[:5]), rel=1e-9)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=12), st.floats(1e4, 1e7))
def test_money_of_parts_adds_up_and_keeps_signs(parts: list[float], start: float) -> None:
    amounts = money(np.array(parts), start)
    assert start + amounts.sum() == pytest.approx(start * np.exp(sum(parts)), rel=1e-9)
    assert (np.sign(amounts) == np.sign(parts)).all() or np.abs(amounts).min() < 1e-6


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50), st.floats(0.5, 0.99))
def test_a_quantile_of_equal_weights_covers_at_least_its_share(scores: list[float], coverage: float) -> None:
    found = quantile(np.array(scores), np.ones(len(scores)), coverage)
    count = len(scores)
    if coverage * (count + 1) <= count:
        assert np.mean(np.array(scores) <= found) >= coverage - 1e-9
    else:
        assert found == max(scores)


def test_the_level_knows_only_what_was_sold_a_week_before() -> None:
    day = np.repeat(np.arange(60.0), 5)
    residual = np.where(day < 30, 0.0, 0.2)
    told = levels(day, residual, np.array([36.0, 59.0]))
    assert told[0] == pytest.approx(0.0)
    assert told[1] > 0.1
    assert (levels(day, np.where(day > 52, 9.0, residual), np.array([59.0])) == told[1]).all()


def test_intervals_are_wide_where_residuals_are() -> None:
    chance = np.random.default_rng(0)
    inputs = chance.uniform(0, 1, (2000, 1))
    residual = chance.normal(0, 1, 2000) * np.where(inputs[:, 0] > 0.5, 0.3, 0.1)
    day = np.sort(chance.uniform(0, 90, 2000))
    made = TimeAwareIntervals().fit(day, residual, inputs)
    reach = made.reach(np.array([[0.2], [0.8]]), 0.9)
    assert reach[1] > 1.8 * reach[0]
    fresh = chance.uniform(0, 1, (4000, 1))
    off = chance.normal(0, 1, 4000) * np.where(fresh[:, 0] > 0.5, 0.3, 0.1)
    for coverage in (0.68, 0.8, 0.9):
        assert np.mean(np.abs(off) <= made.reach(fresh, coverage)) == pytest.approx(coverage, abs=0.03)
    chances = made.chance_within(np.array([[0.2], [0.8]]), 0.1)
    assert chances[0] > chances[1]


def test_a_table_is_read_in_its_units() -> None:
    frame = frame_of(sales(120), MARKET)
    assert frame["area"].iloc[0] == pytest.approx(sales(120)["sqft"].iloc[0] * 0.09290304)
    assert set(frame["condition"]) == {1.0, 2.0, 3.0, 4.0}
    assert str(frame["sold"].dtype).startswith("datetime64")


def test_impossible_sales_are_left_out_and_counted() -> None:
    table = sales(200)
    table.loc[0, "paid"] = -5
    table.loc[1, "sqft"] = 0
    table.loc[2, "beds"], table.loc[2, "sqft"] = 33, 1620
    table.loc[3, "when"] = "soon"
    table.loc[4, "lat"] = 4750.0
    kept, excluded = sales_of(table, MARKET)
    assert len(kept) == 195
    assert sum(excluded.values()) == 5
    assert excluded["more bedrooms than fit"] == 1


def test_bare_land_needs_no_area_and_its_prices_move_with_the_market() -> None:
    kept, excluded = sales_of(sales(300, land=60), MARKET)
    assert excluded == {}
    land = kept[is_land(kept, MARKET)]
    assert len(land) == 60
    assert not (land["area"] > 0).any()
    with pytest.raises(ConfigurationError, match="90 usable sales are too few"):
        sales_of(sales(90, land=60), MARKET)
    level = np.linspace(0.0, 0.4, 60)
    land = land.assign(price=1000 * land["lot"] ** 0.8 * np.exp(level))
    told = LandValues().fit(land, [47.6, -122.2], level)
    row = land.iloc[[30]]
    for now in (0.0, 0.4):
        split = told.split(row, 1e7, now)
        assert split is not None
        assert split[0] == pytest.approx(1000 * float(row["lot"].iloc[0]) ** 0.8 * np.exp(now), rel=0.01)


def test_what_is_wrong_with_a_table_is_said() -> None:
    with pytest.raises(ConfigurationError, match="no column 'sqft'"):
        frame_of(sales(120).drop(columns="sqft"), MARKET)
    with pytest.raises(ConfigurationError, match="too few"):
        sales_of(sales(50), MARKET)
    with pytest.raises(ConfigurationError, match="has no numbers"):
        frame_of(sales(120).assign(beds="many"), MARKET)
    with pytest.raises(ConfigurationError, match="numbers, not dates"):
        frame_of(sales(120).assign(when=20140101), MARKET)
    with pytest.raises(ConfigurationError, match="too few"):
        sales_of(sales(1), MARKET)


def test_a_property_is_a_row_like_those_of_the_table() -> None:
    row = row_of(HOME, MARKET, pd.Timestamp("2014-12-01").date())
    assert list(row.columns) == list(frame_of(sales(120), MARKET).columns)
    assert row["condition"].iloc[0] == 3.0
    with pytest.raises(ConfigurationError, match="its scale is"):
        row_of(HOME.model_copy(update={"condition": "great"}), MARKET, pd.Timestamp("2014-12-01").date())
    with pytest.raises(ConfigurationError, match="its scale is"):
        row_of(HOME.model_copy(update={"condition": 9.0}), MARKET, pd.Timestamp("2014-12-01").date())
    with pytest.raises(ConfigurationError, match="no feature 'view'"):
        row_of(HOME.model_copy(update={"features": {"view": 1.0}}), MARKET, pd.Timestamp("2014-12-01").date())


def test_a_sum_of_which_a_part_is_not_given_is_unknown_and_not_0() -> None:
    summed = MARKET.model_copy(update={"sums": {"rooms": ("beds", "baths", "attic")}})
    day = pd.Timestamp("2014-12-01").date()
    given = HOME.model_copy(update={"features": {"attic": 1.0}})
    assert row_of(given, summed, day)["rooms"].iloc[0] == 6.0
    assert np.isnan(row_of(HOME, summed, day)["rooms"].iloc[0])
    table = sales(120).assign(attic=1.0)
    table.loc[0, "attic"] = np.nan  # an empty cell of a table: there is none
    table.loc[1, ["beds", "baths", "attic"]] = np.nan
    rooms = frame_of(table, summed)["rooms"]
    assert rooms[0] == table.loc[0, "beds"] + table.loc[0, "baths"]
    assert np.isnan(rooms[1])


def test_a_further_column_never_takes_the_place_of_one_with_a_meaning() -> None:
    assert feature_name("price") == "price (further)"
    assert feature_name("view") == "view"
