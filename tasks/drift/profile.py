"""The reference profile of a table: what is kept of it to compare later data with. No row is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from models.drift import CategoryProfile, ColumnProfile, NumericProfile, Profile, TimeProfile

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["numeric", "category", "time"]

MOST_BINS = 128
"""Bins of a numeric column. The Kolmogorov-Smirnov distance is looked for at their ends, which can only lessen it."""

MOST_DISCRETE = 20
"""A numeric column of at most so many different numbers is compared as categories: ties would make KS blind."""

MOST_CATEGORIES = 1000
_LONGEST_NAME = 80


def profile(frame: pd.DataFrame, *, leave_out: Collection[str] = ()) -> Profile:
    """The profile of the columns of `frame` (any number of rows; mixed types), but for those of `leave_out`.

    Numbers are counted over at most `MOST_BINS` bins between their quantiles, everything else by category; of times
    only whether they are there. Prediction and performance are added by whoever has held-out predictions.
    """
    columns = {str(name): column_profile(frame[name]) for name in frame.columns if str(name) not in leave_out}
    return Profile(rows=len(frame), columns=columns)


def column_profile(values: pd.Series) -> ColumnProfile:
    """The profile of one column."""
    kind = kind_of(values)
    if kind == "numeric":
        return _numeric(numbers(values)[0])
    if kind == "time":
        return TimeProfile(rows=len(values), missing=int(values.isna().sum()))
    return _category(values)


def kind_of(values: pd.Series) -> Kind:
    """What a column holds, by its type."""
    import pandas.api.types as kinds  # noqa: PLC0415

    if kinds.is_bool_dtype(values) or str(values.dtype) == "category":
        return "category"
    if kinds.is_datetime64_any_dtype(values):
        return "time"
    if kinds.is_numeric_dtype(values) or kinds.is_timedelta64_dtype(values):
        return "numeric"
    return "category"


def numbers(values: pd.Series) -> tuple[npt.NDArray[np.float64], int]:
    """The column as floats (NaN where there is none), and how many entries are something else than a number."""
    import pandas as pd  # noqa: PLC0415
    import pandas.api.types as kinds  # noqa: PLC0415

    if kinds.is_timedelta64_dtype(values):
        return values.dt.total_seconds().to_numpy(dtype=float, na_value=np.nan), 0
    if kinds.is_datetime64_any_dtype(values) or str(values.dtype) == "category":
        values = values.astype(object)
    found = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    invalid = int((np.isnan(found) & values.notna().to_numpy()).sum())
    return found, invalid


def category_names(values: pd.Series) -> pd.Series:
    """The categories as words, without those missing, as models read them; long ones are cut, with a digest."""
    from tasks.train.columns import as_word  # noqa: PLC0415

    present = as_word(values).dropna()
    return present.map({word: _shortened(str(word)) for word in present.unique()})


def _shortened(word: str) -> str:
    text = word.replace("\x00", "\ufffd")  # PostgreSQL's texts cannot hold it
    if len(text) <= _LONGEST_NAME:
        return text
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    return f"{text[: _LONGEST_NAME - 13]}~{digest}"


def _numeric(values: npt.NDArray[np.float64]) -> NumericProfile:
    present = values[~np.isnan(values)]
    finite = present[np.isfinite(present)]
    edges = _edges(present)
    return NumericProfile(
        rows=len(values),
        missing=len(values) - len(present),
        edges=tuple(edges.tolist()),
        counts=tuple(binned(present, edges).tolist()),
        low=float(finite.min()) if len(finite) else None,
        high=float(finite.max()) if len(finite) else None,
        mean=float(finite.mean()) if len(finite) else None,
        deviation=float(finite.std()) if len(finite) else None,
        discrete=len(edges) < MOST_DISCRETE and len(np.unique(present)) == len(edges) + 1,
    )


def binned(values: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """How many of `values` (no NaN) are in each of the `len(edges) + 1` bins; one on an edge is in the bin below."""
    return np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1).astype(np.int64)


def _edges(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    distinct = np.unique(values[np.isfinite(values)])
    if len(distinct) <= MOST_BINS:
        return distinct[:-1]
    # `inverted_cdf` gives values that are there, so that ties never straddle an edge.
    steps = np.arange(1, MOST_BINS) / MOST_BINS
    return np.unique(np.quantile(values[np.isfinite(values)], steps, method="inverted_cdf"))


def _category(values: pd.Series) -> CategoryProfile:
    names = category_names(values)
    counted = names.value_counts(sort=True)
    ordered = sorted(counted.items(), key=lambda item: (-int(item[1]), str(item[0])))
    kept = {str(name): int(count) for name, count in ordered[:MOST_CATEGORIES]}
    return CategoryProfile(
        rows=len(values),
        missing=len(values) - len(names),
        counts=kept,
        other=sum(int(count) for _, count in ordered[MOST_CATEGORIES:]),
        singletons=sum(1 for _, count in ordered if count == 1),
        complete=len(ordered) <= MOST_CATEGORIES,
    )
