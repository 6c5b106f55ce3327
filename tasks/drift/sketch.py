"""Counts a window of data by the bins and categories of a profile. Sketches add up; no row is in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from models.drift import CategoryProfile, ColumnCounts, ColumnProfile, NumericProfile, Outlook, Profile, Sketch
from tasks.drift.profile import binned, category_names, numbers

if TYPE_CHECKING:
    import pandas as pd

MOST_NEW = 100
"""New categories that are named; of further ones the rows are counted."""


def sketch(frame: pd.DataFrame, profile: Profile, *, predictions: pd.Series | None = None) -> Sketch:
    """What is in `frame` (any number of rows), by the columns of `profile`; a column that is not there is missing.

    Args:
        frame: the features as they came.
        profile: of the version that they came to.
        predictions: what that version said to each row: numbers, or classes.
    """
    import pandas as pd  # noqa: PLC0415

    columns = {
        name: counts_of(frame[name] if name in frame.columns else pd.Series([None] * len(frame), dtype=object), known)
        for name, known in profile.columns.items()
    }
    predicted = None
    if predictions is not None and profile.prediction is not None:
        predicted = counts_of(predictions, profile.prediction)
    return Sketch(rows=len(frame), columns=columns, prediction=predicted)


def counts_of(values: pd.Series, profile: ColumnProfile) -> ColumnCounts:
    """One column, counted as its `profile` is."""
    if isinstance(profile, NumericProfile):
        return _of_numbers(values, profile)
    if isinstance(profile, CategoryProfile):
        return _of_categories(values, profile)
    return ColumnCounts(rows=len(values), missing=int(values.isna().sum()))


def reference_counts(profile: ColumnProfile) -> ColumnCounts:
    """The rows of the profile itself, counted the same way."""
    if isinstance(profile, NumericProfile):
        return ColumnCounts(rows=profile.rows, missing=profile.missing, counts=profile.counts)
    if isinstance(profile, CategoryProfile):
        counts = (*profile.counts.values(), profile.other)
        return ColumnCounts(rows=profile.rows, missing=profile.missing, counts=counts)
    return ColumnCounts(rows=profile.rows, missing=profile.missing)


def merged(sketches: Iterable[Sketch]) -> Sketch:
    """One sketch of everything that is in `sketches`, which are by one profile."""
    together = list(sketches)
    if not together:
        return Sketch()
    names = dict.fromkeys(name for one in together for name in one.columns)
    predicted = [one.prediction for one in together if one.prediction is not None]
    return Sketch(
        rows=sum(one.rows for one in together),
        columns={name: _added([one.columns[name] for one in together if name in one.columns]) for name in names},
        prediction=_added(predicted) if predicted else None,
        outlook=_outlooks([one.outlook for one in together]),
    )


def _of_numbers(values: pd.Series, profile: NumericProfile) -> ColumnCounts:
    found, invalid = numbers(values)
    present = found[~np.isnan(found)]
    return ColumnCounts(
        rows=len(values),
        missing=len(found) - len(present) - invalid,
        invalid=invalid,
        counts=tuple(binned(present, np.asarray(profile.edges, dtype=float)).tolist()),
        below=0 if profile.low is None else int((present < profile.low).sum()),
        above=0 if profile.high is None else int((present > profile.high).sum()),
    )


def _of_categories(values: pd.Series, profile: CategoryProfile) -> ColumnCounts:
    names = category_names(values)
    counted = {str(name): int(count) for name, count in names.value_counts().items()}
    unknown = {name: count for name, count in counted.items() if name not in profile.counts}
    new = unknown if profile.complete else {}
    return ColumnCounts(
        rows=len(values),
        missing=len(values) - len(names),
        counts=(*(counted.get(name, 0) for name in profile.counts), sum(unknown.values())),
        new=dict(sorted(new.items(), key=lambda item: (-item[1], item[0]))[:MOST_NEW]),
        new_rows=sum(new.values()),
    )


def _added(counted: list[ColumnCounts]) -> ColumnCounts:
    new: Counter[str] = Counter()
    for one in counted:
        new.update(one.new)
    return ColumnCounts(
        rows=sum(one.rows for one in counted),
        missing=sum(one.missing for one in counted),
        invalid=sum(one.invalid for one in counted),
        counts=tuple(map(sum, zip(*(one.counts for one in counted), strict=True))),
        below=sum(one.below for one in counted),
        above=sum(one.above for one in counted),
        new=dict(sorted(new.items(), key=lambda item: (-item[1], item[0]))[:MOST_NEW]),
        new_rows=sum(one.new_rows for one in counted),
    )


def _outlooks(outlooks: list[Outlook]) -> Outlook:
    cells: Counter[str] = Counter()
    for one in outlooks:
        cells.update(one.cells)
    return Outlook(
        rows=sum(one.rows for one in outlooks),
        confidence=sum(one.confidence for one in outlooks),
        doubt=sum(one.doubt for one in outlooks),
        cells=dict(cells),
    )
