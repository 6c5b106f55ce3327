"""What a model's rows look like, and what is wrong with a row that it is asked about."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from models.training import Columns, ColumnSchema, TableSchema
from tasks.train.columns import Kind, as_day, as_number, as_word, kind_of, learnable

_MOST_LEVELS = 2_000


def schema_of(frame: pd.DataFrame, columns: Columns) -> TableSchema:
    """The features of `frame` as they are in the rows learned from."""
    return TableSchema(
        columns=tuple(_column(frame[name]) for name in columns.features_of([str(n) for n in frame.columns]))
    )


def as_learned(frame: pd.DataFrame, schema: TableSchema) -> pd.DataFrame:
    """The columns of `frame` (n rows) that a model of `schema` learns from, as it reads them in frames and in rows.

    Numbers and booleans as floats, categories as words, dates as they are; texts and constants, which rows may leave
    out, are not among them.
    """
    read = {
        one.name: as_number(frame[one.name])
        if one.kind == Kind.number
        else as_word(frame[one.name])
        if one.kind == Kind.category
        else frame[one.name]
        for one in schema.columns
        if learnable(Kind(one.kind))
    }
    return pd.DataFrame(read, index=frame.index)


def _column(column: pd.Series) -> ColumnSchema:
    kind = kind_of(column)
    low = high = None
    levels: tuple[str, ...] = ()
    missing = float(column.isna().mean())
    if kind in {Kind.number, Kind.date}:
        values = as_number(column) if kind is Kind.number else as_day(column) * 86_400
        missing = float(np.isnan(values).mean())
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
    elif kind is Kind.category:
        counts = as_word(column).value_counts()
        levels = tuple(level for _, level in sorted((-int(n), str(name)) for name, n in counts.items()))[:_MOST_LEVELS]
    return ColumnSchema(name=str(column.name), kind=kind.value, missing=missing, low=low, high=high, levels=levels)


class RowCheck:
    """Checks rows against a schema, quickly: what is an error, and what is only to be told."""

    def __init__(self, schema: TableSchema, ignored: frozenset[str]) -> None:
        self._columns = [(one.name, one.kind, one.low, one.high, frozenset(one.levels)) for one in schema.columns]
        self._names = frozenset(schema.names)
        self._ignored = ignored

    def problems(self, row: Mapping[str, object]) -> list[str]:
        """Why the row cannot be used; none: it can."""
        from tasks.train.cells import day_of, number_of, word_of  # noqa: PLC0415

        absent = [name for name, kind, *_ in self._columns if name not in row and kind not in {"constant", "text"}]
        found = []
        if absent:
            shown = ", ".join(repr(name) for name in absent[:5])
            more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
            found.append(f"it lacks {shown}{more}; give null where the value is not known")
        for name, kind, *_ in self._columns:
            value = row.get(name)
            if value is None or kind not in {"number", "date"} or word_of(value) is None:
                continue
            if kind == "number" and np.isnan(number_of(value)):
                found.append(f"{name!r} is no number: {str(value)[:60]!r}")
            elif kind == "date" and np.isnan(day_of(value)):
                found.append(f"{name!r} is no date in ISO 8601: {str(value)[:60]!r}")
        return found

    def warnings(self, row: Mapping[str, object]) -> list[str]:
        """What the reader of the answer should know."""
        from tasks.train.cells import day_of, number_of, word_of  # noqa: PLC0415

        found = []
        for name, kind, low, high, levels in self._columns:
            value = row.get(name)
            word = None if value is None else word_of(value)
            if word is None:
                if kind not in {"constant", "text"}:
                    found.append(f"{name!r} is missing")
            elif kind == "category":
                if word not in levels:
                    found.append(f"{name!r} has a category that the model does not know: {word[:60]!r}")
            elif kind in {"number", "date"} and low is not None and high is not None:
                number = number_of(value) if kind == "number" else day_of(value) * 86_400
                if not low <= number <= high:
                    found.append(f"{name!r} is outside of what the model has seen: {word[:60]}")
        found += [f"{name!r} is not a column of the model, and was not looked at"
                  for name in row if name not in self._names and name not in self._ignored]  # fmt: skip
        return found
