"""Rows that came one by one look like the table of the training where nothing has changed."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
import pytest

from blocks.model_registry import ModelRegistry
from blocks.postgres import Postgres
from blocks.settings import Settings
from flows.drift import drift
from models.report import Status
from tasks.drift import store
from tasks.drift.judge import PREDICTION
from tasks.predict.recorder import Recorder
from tasks.train import registry as registered
from tasks.train.predict import Predictor
from tasks.train.registry import Loaded
from tests.predict.training import houses, trained


def _with_garden(rows: int, seed: int) -> pd.DataFrame:
    garden = np.random.default_rng(seed).random(rows) < 0.4
    remark = [f"seen on {seed}/{n}" for n in range(rows)]
    frame = houses(rows, seed).assign(garden=garden, remark=remark, country="Nod")
    return frame.assign(price=frame["price"] + 40 * garden)


@pytest.mark.usefixtures("configured")
async def test_booleans_and_texts_that_are_not_learned_are_no_drift(migrated: Settings, tmp_path: Path) -> None:
    from flows.train import train

    name = f"rows-{uuid4().hex[:8]}"
    _with_garden(900, 51).to_parquet(tmp_path / "sold.parquet")
    trained = await train(
        str(tmp_path / "sold.parquet"), target="price", name=name, ignore=["id"], families=["linear"], folds=3, trials=1
    )
    assert trained.model == f"{name}@1", trained.summary
    registry = ModelRegistry.of(migrated)
    predictor = Predictor(await asyncio.to_thread(registered.load, registry, name, 1))
    asked = _with_garden(600, 52).drop(columns=["price", "id", "remark", "country"]).to_dict("records")
    recorder = Recorder(Postgres.of(migrated))
    recorder.add(predictor, asked, predictor.predict_rows(asked), [None] * len(asked))
    assert await recorder.flush() == 600
    report = await drift(models=[name], train=False)
    assert (report.status, report.findings) == (Status.ok, ()), report.summary
    (model,) = report.models
    kinds = {column.column: column.kind for column in model.columns}
    assert set(kinds) == {"area", "age", "town", "garden", PREDICTION}
    assert kinds["garden"] == "numeric"


@pytest.mark.usefixtures("configured")
async def test_another_coverage_changes_nothing_of_what_performance_is_estimated_from(
    migrated: Settings, tmp_path: Path
) -> None:
    from flows.predict import predict

    name = f"wide-{uuid4().hex[:8]}"
    model, profile, version = trained()
    registry = ModelRegistry.of(migrated)
    made = await asyncio.to_thread(registered.register, registry, model, version.model_copy(update={"name": name}))
    assert profile.expected_loss is not None
    assert profile.expected_loss.width_edges, "otherwise widths could not matter"
    database = Postgres.of(migrated)
    predictor = Predictor(Loaded(model, made))
    frame = houses(600, 53)
    asked: list[dict[str, Any]] = frame.drop(columns=["price", "id"]).to_dict("records")
    async with await database.get_async_client(autocommit=True) as connection:
        await store.keep_profile(connection, name, made.version, profile, now=datetime.now(UTC))
        for coverage in (None, 0.5):
            recorder = Recorder(database)
            recorder.add(predictor, asked, predictor.predict_rows(asked, coverage=coverage), [None] * len(asked))
            assert await recorder.flush() == 600
        frame.to_parquet(tmp_path / "asked.parquet")
        await predict(f"{name}@1", str(tmp_path / "asked.parquet"), str(tmp_path / "said.csv"), coverage=0.5)
        since, until = datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC)
        kept = await store.sketches(connection, name, made.version, since, until)
    first, *others = [one.outlook for one in kept]
    assert len(others) == 2
    assert others == [first, first]
