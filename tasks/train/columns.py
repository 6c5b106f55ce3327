"""What kind of thing each column of a table holds."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_TEXT_SHARE = 0.5
"""A word column with more distinct values than this share of its rows (and more than `_TEXT_LEVELS`) is text."""
_TEXT_LEVELS = 50
_MOST_LEVELS = 2_000


class Kind(StrEnum):
    """What a column holds."""

    number = "number"
    category = "category"
    date = "date"
    text = "text"
    """Words that hardly repeat: names, remarks, keys."""
    constant = "constant"
    """One value, or none at all."""


def learnable(kind: Kind) -> bool:
    """Whether the families of tables learn from it."""
    return kind in {Kind.number, Kind.category, Kind.date}


def kinds_of(frame: pd.DataFrame) -> dict[str, Kind]:
    """The kind of each column, by what its values say."""
    return {str(name): kind_of(frame[name]) for name in frame.columns}


def kind_of(column: pd.Series) -> Kind:
    """The kind of one column."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return Kind.category if column.nunique() > 1 else Kind.constant
    if pd.api.types.is_bool_dtype(column.dtype) or pd.api.types.is_numeric_dtype(column.dtype):
        known = column.to_numpy(np.float64, na_value=np.nan)
        known = known[np.isfinite(known)]
        return Kind.number if known.size and bool((known != known[0]).any()) else Kind.constant
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return Kind.date if column.nunique() > 1 else Kind.constant
    words = as_word(column)
    levels = words.nunique()
    if levels <= 1:
        return Kind.constant
    filled = int(words.notna().sum())
    if levels > _MOST_LEVELS or (levels > _TEXT_LEVELS and levels > _TEXT_SHARE * filled):
        return Kind.text
    return Kind.category


def as_number(column: pd.Series) -> NDArray[np.float64]:
    """Its numbers, shape (n,): NaN for what is none, and for infinities."""
    if pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
        numbers = column.to_numpy(np.float64, na_value=np.nan)
    else:
        numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def as_day(column: pd.Series) -> NDArray[np.float64]:
    """Days since 1970 with their fraction, shape (n,): NaN where there is no date."""
    if not pd.api.types.is_datetime64_any_dtype(column.dtype):
        column = pd.to_datetime(column, errors="coerce", utc=True, format="ISO8601")
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    moments = column.to_numpy("datetime64[us]").astype(np.int64) / 86_400e6
    return np.where(column.isna().to_numpy(), np.nan, moments)


def as_word(column: pd.Series) -> pd.Series:
    """Its values as words, None where there is none: what a category is compared by, in frames and in rows."""
    from tasks.train.cells import word_of  # noqa: PLC0415

    if isinstance(column.dtype, pd.CategoricalDtype):
        categories = {value: word_of(value) for value in column.cat.categories}
        return column.astype(object).map(categories)
    if isinstance(column.dtype, pd.StringDtype) or column.dtype == object:
        distinct = {value: word_of(value) for value in column.dropna().unique()}
        return column.astype(object).map(distinct)
    return column.astype(object).map(word_of)
