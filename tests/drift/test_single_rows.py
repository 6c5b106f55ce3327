"""Rows that came one by one look like the table of the training where nothing has changed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import uuid4

import numpy as np
import pandas as pd
import pytest

from blocks.model_registry import ModelRegistry
from blocks.postgres import Postgres
from blocks.settings import Settings
from flows.drift import drift
from models.report import Status
from tasks.drift.judge import PREDICTION
from tasks.predict.recorder import Recorder
from tasks.train import registry as registered
from tasks.train.predict import Predictor
from tests.predict.training import houses


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
