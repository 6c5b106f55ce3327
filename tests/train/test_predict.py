"""Asking a model: rows are checked, oddities told, and one row is answered in milliseconds."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from models.training import Columns, ModelVersion, TrainingTable
from tasks.train.artifact import dump, hash_of, load
from tasks.train.families import REGRESSION, blend_of
from tasks.train.model import TrainedModel, frame_of
from tasks.train.predict import Predictor, RowError
from tasks.train.registry import Loaded
from tasks.train.run import Parts, train
from tasks.train.schema import schema_of
from tests.train.data import LINEAR, asked, houses, leads

ROW = {"area": 100.0, "district": "north", "built": 1990, "sold": "2022-05-01"}


def predictor(task: str = "regression") -> Predictor:
    kept = []

    async def register(_: object, model: TrainedModel, version: ModelVersion, card: str) -> ModelVersion:
        kept.append(Loaded(model, version.model_copy(update={"version": 4})))
        raise RuntimeError("that is enough")

    columns = Columns(target="price", ignore=("property",)) if task == "regression" else Columns(target="won")
    table = TrainingTable(source="t.csv", columns=columns, task=task)  # type: ignore[arg-type]
    frame = houses(300) if task == "regression" else leads(400)
    families = ("linear",) if task == "regression" else ("logistic",)
    wanted = asked(name="m", table=table, parameters=LINEAR.model_copy(update={"families": families}))
    with pytest.raises(RuntimeError, match="enough"):
        asyncio.run(train(wanted, frame, registry=object(), parts=Parts(register=register)))  # type: ignore[arg-type]
    (loaded,) = kept
    content = dump(loaded.model)
    return Predictor(Loaded(load(content, hash_of(content)), loaded.version))


@pytest.fixture(scope="module")
def prices() -> Predictor:
    return predictor()


@pytest.fixture(scope="module")
def wins() -> Predictor:
    return predictor("classification")


def test_an_answer_has_a_value_a_range_and_who_said_it(prices: Predictor) -> None:
    said = prices.predict(ROW)
    assert isinstance(said.value, float)
    assert said.interval is not None
    assert said.interval.low < said.value < said.interval.high
    assert said.interval.coverage == 0.9
    assert said.model == "m@4"
    assert said.warnings == ()
    wide = prices.predict(ROW, coverage=0.95).interval
    assert wide is not None
    assert wide.high > said.interval.high
    assert wide.coverage == 0.95


def test_of_classes_it_has_probabilities(wins: Predictor) -> None:
    said = wins.predict({"visits": 9, "source": "phone"})
    assert said.value == "yes"
    assert said.probabilities is not None
    assert sum(said.probabilities.values()) == pytest.approx(1)
    assert wins.predict({"visits": 0, "source": "web"}).value == "no"


def test_what_is_odd_about_a_row_is_told(prices: Predictor) -> None:
    odd = {**ROW, "district": "the moon", "built": None, "area": 1e6, "colour": "red", "price": 5, "property": 3}
    told = prices.predict(odd).warnings
    assert len(told) == 4
    for words in ("'district' has a category", "'built' is missing", "'area' is outside", "'colour' is not a column"):
        assert any(one.startswith(words) for one in told), words


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({key: ROW[key] for key in ("area", "built")}, "lacks 'district', 'sold'; give null"),
        ({**ROW, "area": "large"}, "'area' is no number: 'large'"),
        ({**ROW, "sold": "yesterday"}, "'sold' is no date in ISO 8601: 'yesterday'"),
        ({**ROW, "area": [1, 2]}, "'area' is no number"),
        ({}, "lacks"),
    ],
)
def test_a_row_that_cannot_be_used_is_refused(prices: Predictor, row: dict[str, object], said: str) -> None:
    with pytest.raises(RowError, match=f"row 1: .*{said}"):
        prices.predict_rows([ROW, row])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, "", True, "1e999", np.int64(3), b"\xff"])
def test_no_value_breaks_it(prices: Predictor, value: object) -> None:
    for name in ROW:
        try:
            said = prices.predict({**ROW, name: value})
        except RowError:
            continue
        assert np.isfinite(said.value)  # type: ignore[arg-type]


def test_rows_and_frames_are_told_the_same(prices: Predictor, wins: Predictor) -> None:
    frame = houses(80, seed=5)
    frame.index = pd.Index(range(1_000, 1_080))
    said, told = prices.predict_frame(frame)
    assert said.index.equals(frame.index)
    rows = prices.predict_rows(frame.to_dict("records"))
    assert np.allclose(said["prediction"], [one.value for one in rows])
    assert np.allclose(said["low"], [one.interval.low for one in rows if one.interval])
    assert set(said["model"]) == {"m@4"}
    assert any("'built'" in one and "no value" in one for one in told)
    classes, _ = wins.predict_frame(leads(50, seed=2))
    assert {"prediction", "probability_yes", "probability_no", "model"} == set(classes.columns)


def test_a_table_that_cannot_be_used_is_refused(prices: Predictor) -> None:
    frame = houses(30)
    with pytest.raises(RowError, match="lacks 'area'"):
        prices.predict_frame(frame.drop(columns="area"))
    with pytest.raises(RowError, match=r"'area' holds 1 values that are no number, such as 'big'"):
        prices.predict_frame(frame.astype({"area": object}).assign(area=["big", *frame["area"][1:]]))
    told = prices.predict_frame(frame.assign(district="nowhere", area=1e9))[1]
    assert any("30 rows have categories" in one for one in told)
    assert any("'area': 30 rows are outside" in one for one in told)


def test_an_answer_is_json(prices: Predictor) -> None:
    assert json.loads(prices.predict(ROW).model_dump_json())["model"] == "m@4"


def test_an_estimator_that_takes_frames_only_is_asked_by_one() -> None:
    class OfFrames:
        def predict(self, frame: pd.DataFrame) -> np.ndarray:
            assert frame["sold"].dtype.kind == "M"
            return frame["area"].to_numpy() * 2

    frame = houses(60)[["area", "district", "sold"]]
    schema = schema_of(frame, Columns())
    version = ModelVersion(
        name="m", version=1, task="regression", created_at=datetime.now(UTC), data_hash="", code_version=""
    )
    made = TrainedModel(OfFrames(), "regression", Columns(), schema)
    assert Predictor(Loaded(made, version)).predict({**ROW, "area": "7"}).value == 14.0
    assert list(frame_of([ROW], schema).columns) == ["area", "district", "sold"]


def test_one_row_takes_less_than_ten_milliseconds() -> None:
    """A wide table, and the slowest model there is: a blend of all families at their defaults."""
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({f"n{n}": draw.normal(size=400) for n in range(50)})
    for n in range(30):
        frame[f"c{n}"] = draw.choice(list("abcdefgh"), 400)
    y = np.exp(frame["n0"].to_numpy() + draw.normal(0, 0.1, 400) + 3)
    made = blend_of([(family, {}) for family in REGRESSION], [0.2, 0.3, 0.5]).make(Columns(), {}, 0)
    model = TrainedModel(made.fit(frame, y), "regression", Columns(), schema_of(frame, Columns()))
    version = ModelVersion(
        name="m", version=1, task="regression", created_at=datetime.now(UTC), data_hash="", code_version=""
    )
    asking = Predictor(Loaded(model, version))
    row = frame.iloc[0].to_dict()
    asking.predict(row)
    took = []
    for _ in range(50):
        began = time.perf_counter()
        asking.predict(row)
        took.append(time.perf_counter() - began)
    assert np.median(took) < 0.01
    print(f"\none row: {np.median(took) * 1e3:.2f} ms")
