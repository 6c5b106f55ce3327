"""Fits and judges models, fold by fold: pure, without Prefect, and the same for every family.

Everything that learns (encodings, scales, the logarithm of the target) is inside of the estimator and so is fitted on
the rows of its fold alone.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.training import Columns
from tasks.train.families import Family
from tasks.train.splits import Split
from tasks.train.threads import one_thread

Values = NDArray[Any]


@dataclass(frozen=True)
class FoldResult:
    """What one model said of rows that it had not seen."""

    family: str
    parameters: Mapping[str, Any]
    fold: str
    test: NDArray[np.intp]
    """Positions of the rows in the frame, shape (m,)."""
    predictions: NDArray[np.float64]
    """Shape (m,), or (m, classes) of probabilities in the order of `classes`."""
    classes: tuple[Any, ...] = ()
    seconds: float = 0.0
    detail: Mapping[str, float] = field(default_factory=dict)


def fit_folds(
    frame: pd.DataFrame,
    y: Values,
    splits: Sequence[Split],
    family: Family,
    parameters: Mapping[str, Any],
    seed: int,
    *,
    columns: Columns | None = None,
    weight: NDArray[np.float64] | None = None,
) -> list[FoldResult]:
    """Fit `family` on the training rows of each split, and let it predict the others.

    Args:
        frame: the table, n rows; columns that `columns` holds back are not shown to the model.
        y: the target, shape (n,).
        splits: from `splits_for`.
        family: what makes the estimator.
        parameters: its parameters.
        seed: of everything that is drawn.
        columns: what the columns are for; by default all are features.
        weight: of each row, shape (n,).
    """
    return [fit_fold(frame, y, split, family, parameters, seed, columns=columns, weight=weight) for split in splits]


def fit_fold(
    frame: pd.DataFrame,
    y: Values,
    split: Split,
    family: Family,
    parameters: Mapping[str, Any],
    seed: int,
    *,
    columns: Columns | None = None,
    weight: NDArray[np.float64] | None = None,
) -> FoldResult:
    """One of them."""
    began = time.perf_counter()
    columns = columns or Columns()
    model = fit(frame, y, split.train, family, parameters, seed, columns=columns, weight=weight)
    judged = features_of(frame, columns).iloc[split.test]
    with one_thread():
        probabilities = family.task == "classification"
        said = model.predict_proba(judged) if probabilities else model.predict(judged)
    classes = tuple(model.classes_.tolist()) if probabilities else ()
    return FoldResult(
        family.name, dict(parameters), split.name, split.test, np.asarray(said, np.float64), classes,
        time.perf_counter() - began,
    )  # fmt: skip


def fit(
    frame: pd.DataFrame,
    y: Values,
    rows: NDArray[np.intp],
    family: Family,
    parameters: Mapping[str, Any],
    seed: int,
    *,
    columns: Columns,
    weight: NDArray[np.float64] | None = None,
) -> Any:
    """A model of `family` that has learned from the `rows` (positions) of `frame`."""
    model = family.make(columns, parameters, seed)
    learned = features_of(frame, columns).iloc[rows]
    with one_thread():
        model.fit(learned, y[rows], sample_weight=None if weight is None else weight[rows])
    return model


def features_of(frame: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """The columns that may be learned from, in their order."""
    return frame[columns.features_of([str(name) for name in frame.columns])]


def out_of_fold(results: Sequence[FoldResult], count: int, classes: Sequence[Any] = ()) -> NDArray[np.float64]:
    """The predictions of all folds in the order of the rows: shape (count,) or (count, classes); NaN: none judged it.

    Folds may know different classes; those that a fold did not know have probability 0 there.
    """
    if not classes:
        joined = np.full(count, np.nan)
        for one in results:
            joined[one.test] = one.predictions
        return joined
    place = {name: number for number, name in enumerate(classes)}
    wide = np.full((count, len(classes)), np.nan)
    for one in results:
        block = np.zeros((len(one.test), len(classes)))
        block[:, [place[name] for name in one.classes]] = one.predictions
        wide[one.test] = block
    return wide


def parameters_key(family: str, parameters: Mapping[str, Any]) -> str:
    """A short stable name for a family with its parameters."""
    text = json.dumps([family, dict(parameters)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
