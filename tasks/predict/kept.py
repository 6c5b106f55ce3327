"""What is kept of predictions: a sketch of their rows, and by key what was said of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from models.drift import Profile, Sketch
from models.training import Prediction
from tasks.drift.reference import window_sketch
from tasks.drift.store import Kept


def sketch_of(frame: pd.DataFrame, said: pd.DataFrame, profile: Profile | None) -> Sketch:
    """The sketch of rows and predictions; without a profile to count by, only how many there were."""
    return Sketch(rows=len(frame)) if profile is None else window_sketch(frame, said, profile)


def frame_of_predictions(said: Sequence[Prediction]) -> pd.DataFrame:
    """Single predictions, one or more, as the frame that a whole table's would be."""
    columns: dict[str, list[object]] = {"prediction": [one.value for one in said]}
    if said[0].interval is not None:
        columns["low"] = [None if one.interval is None else one.interval.low for one in said]
        columns["high"] = [None if one.interval is None else one.interval.high for one in said]
    for name in said[0].probabilities or {}:
        columns[f"probability_{name}"] = [(one.probabilities or {}).get(name) for one in said]
    return pd.DataFrame(columns)


def rows_of(said: pd.DataFrame, keys: pd.Series, *, start: int = 0) -> list[Kept]:
    """What is kept of each prediction that has a key; `start` is the place of the first one in its batch."""
    shares = [name for name in said.columns if str(name).startswith("probability_")]
    confidence = said[shares].to_numpy(dtype=float).max(axis=1) if shares else None
    numbers = None if shares else pd.to_numeric(said["prediction"], errors="coerce").to_numpy(dtype=float)
    labels = [class_text(one) for one in said["prediction"].to_list()] if shares else []
    low = said["low"].to_numpy(dtype=float) if "low" in said else None
    high = said["high"].to_numpy(dtype=float) if "high" in said else None
    kept = []
    for place, key in enumerate(keys.to_list()):
        if key is None or key != key:  # noqa: PLR0124 - NaN, which a missing key becomes
            continue
        kept.append(
            Kept(
                place=start + place,
                key=key_text(key),
                value=None if numbers is None or not np.isfinite(numbers[place]) else float(numbers[place]),
                label=labels[place] if shares else None,
                low=None if low is None else float(low[place]),
                high=None if high is None else float(high[place]),
                confidence=None if confidence is None else float(confidence[place]),
            )
        )
    return kept


def class_text(label: object) -> str:
    """A class as text: the same for 1 and 1.0, since the truth's column may have gaps where the training's had none."""
    text = str(label).strip()
    whole = text.removesuffix(".0")
    return whole if whole.lstrip("-").isdigit() else text


def key_text(key: object) -> str:
    """A key as text: the same for 7, 7.0 and "7", since a column with a gap turns whole numbers into floats."""
    if isinstance(key, float | np.floating) and float(key).is_integer():
        key = int(key)
    return str(key).strip()
