"""Small trained models in a registry of the tests' own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from models.drift import Profile
from models.training import CHAMPION, Columns, ModelVersion, TaskType
from tasks.drift.reference import reference
from tasks.train import registry as registered
from tasks.train.engine import fit
from tasks.train.families import families_for
from tasks.train.intervals import ConformalIntervals
from tasks.train.model import TrainedModel
from tasks.train.predict import Predictor
from tasks.train.registry import Loaded
from tasks.train.schema import schema_of

COLUMNS = Columns(target="price", ignore=("id",))


def houses(rows: int, seed: int = 0, *, shift: float = 0.0, noise: float = 10.0) -> pd.DataFrame:
    """Houses with a price that area, age and town make; `shift` moves areas, `noise` is the price's deviation."""
    random = np.random.default_rng(seed)
    area = random.normal(120 + 40 * shift, 30, rows)
    town = random.choice(["Ade", "Bor", "Cam", "Dun"], rows, p=[0.4, 0.3, 0.2, 0.1])
    age = random.integers(0, 80, rows).astype(float)
    price = 3 * area - age + pd.Series(town).map({"Ade": 0, "Bor": 20, "Cam": 50, "Dun": 90}).to_numpy()
    frame = pd.DataFrame({"id": [f"h{n}" for n in range(rows)], "area": area, "age": age, "town": town})
    frame["price"] = price + random.normal(0, noise, rows)
    return frame


def trained(
    task: TaskType = "regression", *, family: str | None = None, seed: int = 0
) -> tuple[TrainedModel, Profile, ModelVersion]:
    """A model of houses, what it was trained on, and what is to be registered of it."""
    frame = houses(2000, seed)
    if task == "classification":
        frame["price"] = np.where(frame["price"] > frame["price"].median(), "dear", "cheap")
    train, held = frame.iloc[:1400], frame.iloc[1400:]
    chosen: Any = families_for(task, [family] if family else [])[0]
    features = COLUMNS.features_of(list(frame.columns))
    rows = np.arange(len(train))
    estimator = fit(train, train["price"].to_numpy(), rows, chosen, {}, seed, columns=COLUMNS)
    intervals = None
    if task == "regression":
        said = np.asarray(estimator.predict(held[features]))
        intervals = ConformalIntervals().fit(said, held["price"].to_numpy())
    model = TrainedModel(estimator, task, COLUMNS, schema_of(train, COLUMNS), intervals=intervals)
    version = ModelVersion(
        name="houses", task=task, created_at=datetime(2026, 11, 1, tzinfo=UTC), data_hash="0" * 64,
        code_version="test", columns=COLUMNS,
    )  # fmt: skip
    said_held, _ = Predictor(Loaded(model, version)).predict_frame(held)
    return model, reference(train[features], said_held, held["price"]), version


def registered_champion(registry: Any, name: str, task: TaskType = "regression", **how: Any) -> tuple[int, Profile]:
    """A model of houses in the registry, as the champion `name`; its version and profile."""
    model, profile, version = trained(task, **how)
    made = registered.register(registry, model, version.model_copy(update={"name": name}))
    registered.promote(registry, name, made.version, force=True, reason="a test")
    assert registered.find(registry, name, CHAMPION).version == made.version
    return made.version, profile
