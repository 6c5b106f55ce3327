"""What is wrong with a table is found, above all columns that know the answer; what is merely good is left in peace."""

from __future__ import annotations

import asyncio

import numpy as np
import pandas as pd
import pytest

from models.report import Severity, Status
from models.training import Columns, TrainingTable, TrainParameters
from tasks.train.leakage import suspects_of
from tasks.train.quality import quality_of
from tasks.train.run import train
from tasks.train.subject import subject_of
from tests.train.data import asked, houses, leads

PRICE = Columns(target="price")


def found(frame: pd.DataFrame, columns: Columns = PRICE, task: str = "regression") -> dict[str, Severity]:
    return {one.key: one.severity for one in quality_of(subject_of(frame, columns, task)).findings}  # type: ignore[arg-type]


def suspected(frame: pd.DataFrame, columns: Columns = PRICE, task: str = "regression") -> set[str]:
    subject = subject_of(frame, columns, task)  # type: ignore[arg-type]
    return {one.columns[-1] for one in suspects_of(subject.frame, subject.y, columns, task)}  # type: ignore[arg-type]


def test_the_house_with_33_bedrooms() -> None:
    frame = houses(1_000)
    frame["bedrooms"] = np.random.default_rng(0).integers(1, 6, 1_000)
    assert not any(key.startswith("train.outliers") for key in found(frame))
    frame.loc[500, "bedrooms"] = 33
    quality = quality_of(subject_of(frame, PRICE, "regression"))
    (told,) = [one for one in quality.findings if one.key == "train.outliers:bedrooms"]
    assert "33" in told.title


def test_long_tails_are_no_outliers() -> None:
    frame = houses(2_000)
    frame["income"] = np.random.default_rng(0).lognormal(10, 1.5, 2_000)
    assert not any(key.startswith("train.outliers") for key in found(frame))


def test_columns_that_say_nothing_are_told() -> None:
    frame = houses(200)
    frame["nothing"] = np.nan
    frame["always"] = "x"
    frame["again"] = frame["area"]
    frame["remark"] = [f"a house, number {n}" for n in range(200)]
    frame["paid"] = [f"${n:,}" for n in range(1_000, 1_200)]
    told = found(frame)
    for key in ("constant:nothing", "constant:always", "same:again", "text:remark", "numbers:paid"):
        assert f"train.{key}" in told


def test_rows_that_repeat_are_told() -> None:
    frame = houses(200)
    frame = pd.concat([frame, frame.iloc[:30]], ignore_index=True)
    assert "train.rows:duplicates" in found(frame)


def _draw() -> np.random.Generator:
    return np.random.default_rng(7)


PLANTED = {
    "the target itself": lambda price, area: price,
    "in another currency": lambda price, area: price * 1.1 + 5,
    "rounded": lambda price, area: (price / 100).round() * 100,
    "its logarithm": lambda price, area: np.log(price),
    "its rank": lambda price, area: price.rank(),
    "turned around": lambda price, area: -price,
    "with some noise": lambda price, area: price + _draw().normal(0, 0.08 * price.std(), len(price)),
    "a price per area": lambda price, area: price / area,
    "the rest of a sum": lambda price, area: price - area,
    "missing now and then": lambda price, area: price.where(_draw().random(len(price)) > 0.1),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_leak_is_found_and_nothing_else(kind: str) -> None:
    frame = houses(1_500)
    frame["leak"] = PLANTED[kind](frame["price"], frame["area"])
    assert suspected(frame) == {"leak"}


def test_planted_leaks_of_classes_are_found() -> None:
    frame = leads(1_000)
    won = frame["won"] == "yes"
    frame["signed"] = np.where(won, "contract", "none")
    frame["invoice"] = np.where(won, _draw().integers(1_000, 9_999, 1_000), np.nan)
    assert suspected(frame, Columns(target="won"), "classification") == {"signed", "invoice"}


@pytest.mark.parametrize("positives", [12, 25, 400])
def test_what_tells_a_rare_class_is_found_in_a_large_table(positives: int) -> None:
    draw = _draw()
    frame = pd.DataFrame({"size": draw.normal(size=20_000), "won": "no"})
    won = draw.permutation(20_000)[:positives]
    frame.loc[won, "won"] = "yes"
    frame["total"] = np.where(frame["won"] == "yes", 900.0, 0.0) + draw.normal(0, 1, 20_000)
    frame["signed"] = np.where(frame["won"] == "yes", "contract", "none")
    frame["invoice"] = np.where(frame["won"] == "yes", draw.integers(1_000, 9_999, 20_000), np.nan)
    assert suspected(frame, Columns(target="won"), "classification") == {"total", "signed", "invoice"}


def test_what_tells_the_rarest_of_three_classes_is_found_in_a_large_table() -> None:
    draw = _draw()
    frame = pd.DataFrame({"size": draw.normal(size=20_000), "kind": draw.choice(["a", "b"], 20_000)})
    frame.loc[draw.permutation(20_000)[:25], "kind"] = "c"
    frame["stamp"] = np.where(frame["kind"] == "c", "sealed", "open")
    assert suspected(frame, Columns(target="kind"), "classification") == {"stamp"}


def test_where_leaks_cannot_be_looked_for_that_is_told() -> None:
    frame = pd.DataFrame({"size": _draw().normal(size=400), "won": ["yes"] * 8 + ["no"] * 392})
    quality = quality_of(subject_of(frame, Columns(target="won"), "classification"))
    (told,) = [one for one in quality.findings if one.key == "train.unlooked:leakage"]
    assert told.title == "Leakage was not looked for: fewer than 10 rows of a class."
    assert [one.area for one in quality.skipped] == ["leakage"]
    enough = frame.assign(won=["yes"] * 10 + ["no"] * 390)
    assert quality_of(subject_of(enough, Columns(target="won"), "classification")).skipped == ()
    few = quality_of(subject_of(houses(40), PRICE, "regression"))
    assert [one.reason for one in few.skipped] == ["fewer than 50 rows: give more."]


def test_a_report_of_what_was_not_looked_at_is_incomplete() -> None:
    frame = leads(300).assign(won="no")
    frame["size"] = _draw().normal(size=300)
    frame.loc[frame.index[:8], "won"] = "yes"
    table = TrainingTable(source="t.csv", columns=Columns(target="won"), task="classification")
    wanted = asked(table=table, parameters=TrainParameters(), dry_run=True)
    report = asyncio.run(train(wanted, frame, registry=None))
    assert report.status is Status.incomplete
    assert [one.area for one in report.skipped] == ["leakage"]


def test_a_date_after_the_moment_is_found() -> None:
    frame = houses(500)
    frame["registered"] = frame["sold"] + pd.Timedelta(days=30)
    frame["listed"] = frame["sold"] - pd.Timedelta(days=30)
    assert suspected(frame, Columns(target="price", time="sold")) == {"registered"}


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_innocent_strong_columns_are_left_in_peace(share: float) -> None:
    """A column that explains up to some 95 % of the target on its own is a good column."""
    frame = houses(1_500)
    noise = _draw().normal(0, np.sqrt(share) * frame["price"].std(), 1_500)
    frame["estimate"] = frame["price"] + noise
    assert suspected(frame) == set()
    strong = leads(1_500)
    strong["score"] = (strong["won"] == "yes") + _draw().normal(0, 0.6, 1_500)
    assert suspected(strong, Columns(target="won"), "classification") == set()


def test_noise_is_never_suspected() -> None:
    for seed in range(5):
        draw = np.random.default_rng(seed)
        frame = pd.DataFrame(draw.normal(size=(300, 8)), columns=list("abcdefgh")).assign(price=draw.normal(size=300))
        assert suspected(frame) == set()


def test_identifiers_are_left_out_and_years_are_not() -> None:
    frame = houses(300)
    frame["row"] = np.arange(300)
    frame["sale_id"] = _draw().permutation(10_000)[:300]
    frame["year"] = 2000 + np.arange(300) // 20
    assert suspected(frame) == {"row", "sale_id"}


def test_what_is_kept_all_the_same_weighs_more() -> None:
    frame = houses(300)
    frame["leak"] = frame["price"]
    subject = subject_of(frame, PRICE, "regression")
    (left,) = [one for one in quality_of(subject).findings if one.key == "train.leak:leak"]
    (kept,) = [one for one in quality_of(subject, keep_suspects=True).findings if one.key == "train.leak:leak"]
    assert (left.severity, kept.severity) == (Severity.medium, Severity.high)
