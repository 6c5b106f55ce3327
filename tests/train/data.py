"""Tables for the tests: small, seeded, with a signal that is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from models.training import Columns, TrainingTable, TrainParameters
from tasks.train.story import Asked

QUICK = TrainParameters(folds=3, trials=1, families=("linear", "lightgbm"), workers=2)
LINEAR = TrainParameters(folds=3, trials=1, families=("linear",), workers=2)


def houses(count: int = 400, seed: int = 0, noise: float = 0.1) -> pd.DataFrame:
    """Sales whose price is lognormal about area, district and year."""
    draw = np.random.default_rng(seed)
    area = draw.lognormal(4.6, 0.4, count).round(1)
    district = draw.choice(["north", "south", "east"], count, p=[0.5, 0.3, 0.2])
    built = draw.integers(1900, 2020, count)
    day = draw.integers(0, 1500, count)
    worth = 7 + 0.9 * np.log(area) + 0.3 * (district == "north") + 0.002 * (built - 1950) + 0.0001 * day
    frame = pd.DataFrame(
        {
            "area": area,
            "district": district,
            "built": built.astype(float),
            "sold": pd.Timestamp("2020-01-01") + pd.to_timedelta(day, unit="D"),
            "property": draw.integers(0, count * 2 // 3, count),
            "price": np.exp(worth + draw.normal(0, noise, count)).round(),
        }
    )
    frame.loc[draw.random(count) < 0.1, "built"] = np.nan
    return frame


def leads(count: int = 500, seed: int = 0) -> pd.DataFrame:
    """Leads of two classes whose odds depend on visits and source."""
    draw = np.random.default_rng(seed)
    visits = draw.poisson(3, count)
    source = draw.choice(["web", "mail", "phone"], count)
    odds = -1.5 + 0.5 * visits + 1.0 * (source == "phone")
    won = draw.random(count) < 1 / (1 + np.exp(-odds))
    return pd.DataFrame({"visits": visits, "source": source, "won": np.where(won, "yes", "no")})


def asked(frame_columns: Columns | None = None, **more: object) -> Asked:
    """A quick training of the houses' prices."""
    columns = frame_columns or Columns(target="price", ignore=("property", "sold"))
    given: dict[str, object] = {
        "name": "houses",
        "table": TrainingTable(source="houses.csv", columns=columns),
        "parameters": LINEAR,
        "run_id": "run",
    }
    return Asked(**(given | more))  # type: ignore[arg-type]


def as_csv(frame: pd.DataFrame, path: Path) -> str:
    """The frame as a CSV file; its path."""
    frame.to_csv(path, index=False)
    return str(path)
