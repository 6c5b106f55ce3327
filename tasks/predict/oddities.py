"""What is odd about rows that a model is asked about, counted by column. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
import pandas as pd

from models.training import TableSchema
from tasks.predict.report import Oddities
from tasks.train.columns import as_day, as_number, as_word

_SECONDS_A_DAY = 86_400


def oddities(frame: pd.DataFrame, schema: TableSchema) -> Oddities:
    """How many rows of `frame` have what the model of `schema` has not seen, or have nothing."""
    found: dict[str, Counter[str]] = {"unknown": Counter(), "missing": Counter(), "out_of_range": Counter()}
    for column in schema.columns:
        if column.kind in {"constant", "text"} or column.name not in frame.columns:
            continue
        values = frame[column.name]
        if column.kind == "category":
            words = as_word(values).dropna()
            found["missing"][column.name] = len(values) - len(words)
            found["unknown"][column.name] = int((~words.isin(column.levels)).sum())
            continue
        numbers = as_number(values) if column.kind == "number" else as_day(values) * _SECONDS_A_DAY
        found["missing"][column.name] = int(np.isnan(numbers).sum())
        if column.low is not None and column.high is not None:
            outside = (numbers < column.low) | (numbers > column.high)
            found["out_of_range"][column.name] = int(outside.sum())
    return {kind: dict(+counts) for kind, counts in found.items()}


def together(all_of: Iterable[Oddities]) -> Oddities:
    """The oddities of several chunks, added up."""
    total: dict[str, Counter[str]] = {}
    for one in all_of:
        for kind, counts in one.items():
            total.setdefault(kind, Counter()).update(counts)
    return {kind: dict(counts) for kind, counts in total.items()}
