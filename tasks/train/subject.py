"""A table made ready: its target, weights and features checked, before anything is learned."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from blocks.errors import ConfigurationError
from models.report import Finding, Severity
from models.training import Columns, TaskType
from tasks.train.columns import as_word
from tasks.train.splits import hash_rows

LEAST_ROWS = 20
_MOST_CLASSES = 100


@dataclass(frozen=True)
class Subject:
    """What a training is about."""

    frame: pd.DataFrame
    """The table without rows that have no target; its index counts from 0."""
    y: NDArray[Any] | None
    """The target, shape (n,): numbers, or classes as words. None when clustering."""
    weight: NDArray[np.float64] | None
    columns: Columns
    task: TaskType
    data_hash: str
    findings: tuple[Finding, ...] = ()


def subject_of(frame: pd.DataFrame, columns: Columns, task: TaskType) -> Subject:
    """The table `frame` as something to learn from.

    Raises:
        ConfigurationError: its target or weights cannot be used, or too little is left.
    """
    data_hash = hash_of_table(frame)
    findings: list[Finding] = []
    if len(frame) < LEAST_ROWS:
        raise ConfigurationError(
            f"{len(frame)} row{'s are' if len(frame) != 1 else ' is'} too few; give {LEAST_ROWS} or more.",
            component="train",
        )
    if columns.target is not None:
        missing = _without_target(frame[columns.target], task)
        if missing.any():
            findings.append(
                Finding(
                    key=f"train.target:{columns.target}/missing",
                    severity=Severity.low,
                    component=columns.target,
                    title=f"{int(missing.sum())} of {len(frame)} rows have no {columns.target!r} and were left out.",
                )
            )
            frame = frame[~missing].reset_index(drop=True)
    if len(frame) < LEAST_ROWS:
        raise ConfigurationError(
            f"{len(frame)} rows with a target are too few to learn from; give {LEAST_ROWS} or more.", component="train"
        )
    y = None if columns.target is None else _target(frame[columns.target], task, findings)
    return Subject(frame, y, _weight(frame, columns), columns, task, data_hash, tuple(findings))


def hash_of_table(frame: pd.DataFrame) -> str:
    """SHA-256 over names, types and values, in their order: the same table has the same one, wherever it came from."""
    digest = hashlib.sha256()
    for name in frame.columns:
        digest.update(f"{name}\0{frame[name].dtype}\0".encode())
    digest.update(hash_rows(frame).tobytes())
    return digest.hexdigest()


def _without_target(column: pd.Series, task: TaskType) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (column.isna() if task == "regression" else as_word(column).isna()).to_numpy()
    return found


def _target(column: pd.Series, task: TaskType, findings: list[Finding]) -> NDArray[Any]:
    name = str(column.name)
    if task == "classification":
        words: NDArray[Any] = as_word(column).to_numpy(dtype=object).astype(str)
        classes, counts = np.unique(words, return_counts=True)
        if len(classes) < 2:
            raise ConfigurationError(
                f"{name!r} has one class, {classes[0][:60]!r}: there is nothing to tell apart.", component="train"
            )
        if len(classes) > _MOST_CLASSES:
            raise ConfigurationError(
                f"{name!r} has {len(classes)} classes; {_MOST_CLASSES} are the most.", component="train",
                remedy="Is it a number? Then the task is regression.",
            )  # fmt: skip
        rare = [str(one) for one, count in zip(classes, counts, strict=True) if count < 10]
        if rare:
            findings.append(
                Finding(
                    key=f"train.target:{name}/rare",
                    severity=Severity.low,
                    component=name,
                    title=f"Classes with fewer than 10 rows: {', '.join(rare[:10])}.",
                    detail="What is said of them is hardly more than a guess.",
                )
            )
        return words
    if not (pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype)):
        raise ConfigurationError(
            f"{name!r} holds words, such as {str(column.iloc[0])[:60]!r}; regression needs numbers.", component="train",
            remedy="Clean the column, or train a classification.",
        )  # fmt: skip
    values: NDArray[np.float64] = column.to_numpy(np.float64, na_value=np.nan)
    if not np.isfinite(values).all():
        raise ConfigurationError(f"{name!r} holds infinities.", component="train")
    if values.min() == values.max():
        raise ConfigurationError(f"{name!r} is {values[0]:g} in every row: nothing to learn.", component="train")
    below = int((values < 0).sum())
    if 0 < below <= len(values) // 20:
        findings.append(
            Finding(
                key=f"train.target:{name}/negative",
                severity=Severity.medium,
                component=name,
                title=f"{below} of {len(values)} rows have a {name!r} below 0, the others have not.",
                detail=f"The lowest is {values.min():g}. They were learned from as they are.",
                remedy="If they are mistakes or corrections, leave them out of the table.",
            )
        )
    return values


def _weight(frame: pd.DataFrame, columns: Columns) -> NDArray[np.float64] | None:
    if columns.weight is None:
        return None
    weight: NDArray[np.float64] = pd.to_numeric(frame[columns.weight], errors="coerce").to_numpy(np.float64)
    if not np.isfinite(weight).all() or (weight <= 0).any():
        raise ConfigurationError(f"weights are above 0; {columns.weight!r} is not in every row.", component="train")
    return weight
