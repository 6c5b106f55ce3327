"""Valuing a property: near the truth, with an honest range, comparables that add up, and refusals that say why."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from blocks.errors import ConfigurationError
from tasks.train import artifact
from tasks.train.trusted import OURS
from tasks.valuation import page, plots
from tasks.valuation.appraise import appraise
from tasks.valuation.asked import Asked
from tasks.valuation.backtest import windows_of
from tasks.valuation.features import days
from tasks.valuation.market import frame_of
from tasks.valuation.market_model import STORED
from tasks.valuation.model import ValuationModel
from tasks.valuation.run import new_study, report_of_study, rival, study_findings
from tasks.valuation.training import Trained, train_market
from tests.valuation.making import HOME, MARKET, QUICK, sales, truth


def test_a_home_is_valued_near_what_the_market_pays(market: Trained) -> None:
    answer = appraise(market.model, HOME, name="testville@1").valuation
    assert answer is not None
    assert answer.value == pytest.approx(truth(HOME, 365), rel=0.08)
    assert answer.interval.low < answer.value < answer.interval.high
    widths = [one.high - one.low for one in answer.intervals]
    assert widths == sorted(widths)
    assert 0.05 < answer.fsd < 0.2
    assert 40 <= answer.confidence <= 95
    assert answer.model == "testville@1"


def test_reasons_add_up_to_the_value(market: Trained) -> None:
    answer = appraise(market.model, HOME).valuation
    assert answer is not None
    assert answer.typical + sum(one.amount for one in answer.contributions) == pytest.approx(answer.value, abs=0.01)
    factors = np.prod([one.factor for one in answer.contributions])
    assert answer.typical * factors == pytest.approx(answer.value, rel=1e-9)


def test_comparables_are_sales_before_that_day_near_alike_and_their_grids_add_up(market: Trained) -> None:
    as_of = date(2014, 11, 1)
    answer = appraise(market.model, HOME, as_of=as_of).valuation
    assert answer is not None
    assert 3 <= len(answer.comparables) <= 6
    for one in answer.comparables:
        assert one.sold is not None
        assert one.sold < as_of
        assert one.price + sum(a.amount for a in one.adjustments) == pytest.approx(one.adjusted, abs=0.01)
        assert abs(np.log(one.area / HOME.area)) < 0.35
    assert sum(one.weight for one in answer.comparables) == pytest.approx(1)
    assert answer.indicated == pytest.approx(answer.value, rel=0.1)


def test_a_property_is_no_comparable_of_itself(market: Trained) -> None:
    sale = market.model.sales.iloc[400]
    subject = HOME.model_copy(update={
        "property": sale["property"], "area": float(sale["area"]) / 0.09290304, "lot": float(sale["lot"]) / 0.09290304,
        "latitude": float(sale["latitude"]), "longitude": float(sale["longitude"]),
        "year_built": int(sale["year_built"]), "bedrooms": float(sale["bedrooms"]),
    })  # fmt: skip
    answer = appraise(market.model, subject).valuation
    assert answer is not None
    assert sale["property"] not in {one.property for one in answer.comparables}


@pytest.mark.parametrize(
    ("change", "input_", "words"),
    [
        ({"bedrooms": 33}, "bedrooms", "bedrooms 33 is outside of 1 to"),
        ({"area": 90_000}, "area", "sqft is outside of"),
        ({"year_built": 1700}, "year_built", "year built 1700 is outside of 19"),
        ({"latitude": 40.0}, "location", "km away"),
        ({"type": "castle"}, "type", "the model knows house"),
    ],
)
def test_what_is_unlike_all_sales_is_refused_with_the_input_that_is_to_blame(
    market: Trained, change: dict[str, object], input_: str, words: str
) -> None:
    answer = appraise(market.model, HOME.model_copy(update=change))
    assert answer.valuation is None
    assert words in answer.refused[input_]


@pytest.fixture(scope="module")
def quality() -> Trained:
    """A market whose condition is a number, with two further numbers."""
    table = sales(400)
    table["grade"] = table["grade"].map({"poor": 1, "fair": 2, "good": 3, "fine": 4})
    table["view"] = np.arange(400) % 5
    table.loc[0, "view"] = 9
    table["around"] = table["sqft"] * np.random.default_rng(0).uniform(0.8, 1.2, 400)
    numbered = MARKET.model_copy(
        update={"scales": {}, "features": ("view",), "ratios": {"relative": ("sqft", "around")}}
    )
    return train_market(table, numbered, candidates=(QUICK,))


def test_words_where_numbers_were_learned_from_are_refused(quality: Trained) -> None:
    home = HOME.model_copy(update={"condition": 3.0, "features": {"view": 1.0, "around": 1800.0}})
    assert appraise(quality.model, home).valuation is not None
    with pytest.raises(ConfigurationError, match="condition is 'poor'"):
        appraise(quality.model, home.model_copy(update={"condition": "poor"}))
    for given in ({"view": "sea"}, {"view": float("inf")}, {"around": "much"}):
        with pytest.raises(ConfigurationError, match="number"):
            appraise(quality.model, home.model_copy(update={"features": given}))


def test_numbers_that_no_sale_had_are_refused_and_hardly_sold_ones_warned_of(quality: Trained) -> None:
    home = HOME.model_copy(update={"condition": 3.0, "features": {"view": 70.0}})
    assert "view 70 is outside of 0 to 4" in appraise(quality.model, home).refused["view"]
    rare = appraise(quality.model, home.model_copy(update={"features": {"view": 8.0}})).valuation
    assert rare is not None
    assert any("view 8 is outside of 0 to 4" in one for one in rare.warnings)
    unlike = appraise(quality.model, home.model_copy(update={"features": {"around": 180.0}}))
    assert "relative 10 is outside of 0.8" in unlike.refused["relative"]


def test_what_a_market_has_no_column_for_is_told(quality: Trained) -> None:
    home = HOME.model_copy(update={"condition": 3.0, "neighbourhood": "West"})
    told = appraise(quality.model, home).valuation
    assert told is not None
    assert any(one.startswith("Given, and not used") and "neighbourhood" in one for one in told.warnings)


def test_a_day_too_far_from_the_sales_is_refused_and_one_a_little_late_is_warned_of(market: Trained) -> None:
    assert "date" in appraise(market.model, HOME, as_of=date(2030, 1, 1)).refused
    assert "date" in appraise(market.model, HOME, as_of=date(2010, 1, 1)).refused
    late = appraise(market.model, HOME, as_of=date(2014, 12, 31) + timedelta(days=150)).valuation
    assert late is not None
    assert any("last known sale" in one for one in late.warnings)


def test_a_range_grows_with_the_age_of_what_is_known(market: Trained) -> None:
    """Half a year, and more, after the last sale nobody knows how prices moved."""
    ages = [date(2014, 12, 31) + timedelta(days=age) for age in (1, 150, 350)]
    answers = [told for day in ages if (told := appraise(market.model, HOME, as_of=day).valuation) is not None]
    widths = [np.log(one.interval.high / one.interval.low) for one in answers]
    assert widths[0] < widths[1] < widths[2]
    assert widths[2] > 1.05 * widths[0]
    assert answers[0].fsd < answers[1].fsd < answers[2].fsd
    assert answers[2].confidence < answers[0].confidence


def test_a_coverage_that_few_judged_sales_cannot_tell_of_is_refused_and_a_markets_own_is_lowered() -> None:
    wide = MARKET.model_copy(update={"coverage": 0.98})
    few = train_market(sales(150), wide, candidates=(QUICK,)).model
    with pytest.raises(ConfigurationError, match="too few recent sales were judged for an interval of 99%"):
        appraise(few, HOME, coverage=0.99)
    told = appraise(few, HOME).valuation
    assert told is not None
    assert 0.9 < told.interval.coverage < 0.96
    assert any("too few recent sales were judged" in one for one in told.warnings)


def test_intervals_that_did_not_hold_without_being_kept_up_to_date_are_told(market: Trained) -> None:
    study = market.backtest.study
    off = study.coverage[1].model_copy(update={"found": 0.6, "rolling": 0.8})
    told = study_findings("testville", study.model_copy(update={"coverage": (off,)}))
    assert any("held 60.0%" in one.title and "80.0%" in one.title for one in told)
    answer = appraise(market.model, HOME).valuation
    assert answer is not None
    assert "60.0% at 80%" in page.to_markdown(HOME, answer, study.model_copy(update={"coverage": (off,)}))


def test_what_is_not_given_is_told_and_a_place_is_asked_for(market: Trained) -> None:
    answer = appraise(market.model, HOME.model_copy(update={"year_built": None})).valuation
    assert answer is not None
    assert any("year_built" in one for one in answer.warnings)
    with pytest.raises(ConfigurationError, match="coordinates"):
        appraise(market.model, HOME.model_copy(update={"latitude": None, "longitude": None}))
    with pytest.raises(ConfigurationError, match="no coverage"):
        appraise(market.model, HOME, coverage=1.5)


@pytest.mark.parametrize("name", ["bathrooms", "bedrooms", "lot", "year_built", "condition", "renovated"])
def test_what_is_not_given_is_taken_as_such_homes_have_it(market: Trained, name: str) -> None:
    """Trees that never saw a missing value would take it for 0."""
    given = appraise(market.model, HOME).valuation
    without = appraise(market.model, HOME.model_copy(update={name: None})).valuation
    assert given is not None
    assert without is not None
    assert without.value == pytest.approx(given.value, rel=0.12)  # HOME is an ordinary home; a good one is 6 % dearer


def test_land_and_building_are_told_where_land_is_sold(market: Trained) -> None:
    answer = appraise(market.model, HOME).valuation
    assert answer is not None
    assert answer.land is not None
    assert answer.building is not None
    assert answer.land == pytest.approx(40 * (HOME.lot or 0) ** 0.8 * np.exp(0.1), rel=0.06)
    assert answer.land + answer.building == pytest.approx(answer.value)
    without = train_market(sales(400), MARKET, candidates=(QUICK,))
    bare = appraise(without.model, HOME).valuation
    assert bare is not None
    assert bare.land is None


def test_a_market_is_judged_out_of_time(market: Trained) -> None:
    frame = frame_of(sales(), MARKET)
    windows = windows_of(frame)
    day = days(frame["sold"])
    assert day[windows.train].max() < day[windows.validation].min()
    assert day[windows.validation].max() < day[windows.test].min()
    assert len(windows.train) + len(windows.validation) + len(windows.test) == len(frame)
    study = market.backtest.study
    assert "out of time" in study.split
    assert study.overall.median.value == pytest.approx(1.0, abs=0.05)  # 45 sales a month: an index of +- .012
    assert study.mdape < 0.09
    for one in study.coverage:
        assert one.rolling == pytest.approx(one.nominal, abs=0.12)  # 130 sales
    assert {one.stratum.partition(":")[0] for one in study.strata} >= {"time"}


def test_without_dates_properties_are_never_on_both_sides() -> None:
    frame = frame_of(sales(300), MARKET).drop(columns="sold")
    frame["property"] = [f"p{n // 2}" for n in range(300)]
    windows = windows_of(frame)
    parts = [set(frame["property"].iloc[rows]) for rows in (windows.train, windows.validation, windows.test)]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]


def test_few_sales_with_dates_are_cut_by_time_too() -> None:
    frame = frame_of(sales(150), MARKET)
    windows = windows_of(frame)
    day = days(frame["sold"])
    assert day[windows.train].max() < day[windows.validation].min()
    assert day[windows.validation].max() < day[windows.test].min()
    assert "out of time" in windows.split
    frame["sold"] = np.where(np.arange(150) < 20, np.datetime64("2014-01-01"), np.datetime64("2014-06-01"))
    with pytest.raises(ConfigurationError, match="windows of 20, 0, 130"):
        windows_of(frame)


def test_sales_without_an_identity_are_properties_of_their_own() -> None:
    frame = frame_of(sales(300), MARKET).drop(columns="sold")
    frame["property"] = None
    for part in ("train", "validation", "test"):
        assert len(getattr(windows_of(frame), part)) >= 30
    # the price of a sale is not told to it as that of a neighbour
    near = ValuationModel(0, **QUICK).fit(frame.drop(columns="price"), frame["price"].to_numpy()).near
    assert near is not None
    assert len(set(near.own)) == 300
    assert near.own.min() >= 0


def test_few_judged_sales_are_told() -> None:
    few = train_market(sales(150), MARKET, candidates=(QUICK,))
    assert any(one.key.startswith("value.few") for one in study_findings("testville", few.backtest.study))


def test_a_champion_is_asked_as_it_answers_about_sales_newer_than_its_own(market: Trained) -> None:
    older = train_market(sales().iloc[:780], MARKET, candidates=(QUICK,)).model
    asked, judged, aside = rival(older, market)
    assert asked is older.estimator
    assert len(judged) >= 100
    assert days(judged["sold"]).min() > older.ranges.days[1]
    assert aside == ""
    asked, judged, aside = rival(market.model, market)
    assert asked is market.model.measured
    assert len(judged) == len(market.backtest.windows.test)
    assert "fewer than 30" in aside


def test_new_sales_are_judged_as_training_would_take_them(market: Trained) -> None:
    table = sales(200, seed=5, rise=0.0)
    table["when"], table["paid"] = "2015-01-20", table["paid"] * np.exp(0.1)
    table.loc[0, "lat"] = 4750.0
    table.loc[1, "beds"] = 33
    table.loc[1, "sqft"] = 1620
    table.loc[2, "sqft"] = 90_000
    table.loc[3, "kind"] = "castle"
    table.loc[4, "when"] = "2014-06-01"
    study, excluded = new_study(market.model, table)
    assert study is not None
    assert excluded["no place on earth"] == 1
    assert excluded["more bedrooms than fit"] == 1
    assert excluded["area that the model refuses"] >= 1
    assert excluded["type that the model refuses"] == 1
    assert study.overall.rows == 199 - sum(excluded.values())
    assert study.overall.median.value == pytest.approx(1.0, abs=0.06)
    area = next(one.stratum for one in study.strata if one.stratum.startswith("area: 5)"))
    assert int(area.split()[-1].replace(",", "")) > 2000  # sq ft, as the market has it, and not m2
    assert new_study(market.model, table.iloc[:20])[0] is None
    report = report_of_study(market.model, "x@1", Asked(datetime.now(UTC), "r"), study, excluded)
    assert any("castle" not in one.title and "type that the model refuses" in one.title for one in report.findings)


def test_a_stored_market_says_the_same_and_holds_nothing_but_plain_values(market: Trained) -> None:
    content = artifact.dump(market.model)
    again = artifact.load(content, artifact.hash_of(content))
    assert appraise(again, HOME) == appraise(market.model, HOME)
    assert artifact.dump(again) == content
    assert set(STORED) <= OURS


def test_the_page_holds_what_others_wrote_as_text(market: Trained) -> None:
    hostile = HOME.model_copy(update={"address": "<script>x</script> | [a](http://b) \x1b[2J"})
    answer = appraise(market.model, hostile).valuation
    assert answer is not None
    text = page.to_markdown(hostile, answer, market.model.study)
    assert "<script>" not in text
    assert "[a](http" not in text
    assert "\x1b" not in text
    assert "Comparable sales" in text


def test_the_pdf_is_one_page_and_the_same_twice(market: Trained) -> None:
    subject = HOME.model_copy(update={"address": "1 Elm <b>St & Rue de l'Été"})
    answer = appraise(market.model, subject).valuation
    assert answer is not None
    pictures = {"place": plots.map_of(subject, answer), "reasons": plots.reasons_of(answer)}
    assert all(one.startswith(b"\x89PNG") for one in pictures.values())
    content = page.to_pdf(subject, answer, market.model.study, **pictures)
    assert content.startswith(b"%PDF")
    assert content.count(b"/Type /Page\n") == 1
    assert page.to_pdf(subject, answer, market.model.study, **pictures) == content
    assert plots.ratios_of(market.backtest.values, market.backtest.prices).startswith(b"\x89PNG")
    assert plots.strata_of(market.backtest.study).startswith(b"\x89PNG")
