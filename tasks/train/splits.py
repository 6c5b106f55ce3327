"""Which rows are learned from and which are judged by: by time, by group, by both, or at random.

A model is judged as it will be used. Where rows have a date, the past predicts the future; where rows belong together
(sales of one property, visits of one customer), no group is on both sides; rows that are the same in everything are
kept together, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from blocks.errors import ConfigurationError
from models.training import Columns

Indices = NDArray[np.intp]

_LEAST_KEPT = 0.5
"""Share of the training rows below which groups are taken out of the judged rows instead."""


@dataclass(frozen=True)
class Split:
    """Rows, by position, that are learned from and that are judged by."""

    name: str
    train: Indices
    test: Indices


def splits_for(
    frame: pd.DataFrame, columns: Columns, folds: int, seed: int, y: NDArray[np.generic] | None = None
) -> list[Split]:
    """`folds` splits of the rows of `frame`.

    With a time, the rows are cut into `folds + 1` windows at moments, so that equal moments stay together, and each
    window but the first is predicted from all before it. With a group (or rows that repeat), no group is on both sides.
    With both, the rows of groups that are judged are taken out of what is learned from. Otherwise k-fold, stratified
    when `y` holds classes.

    Args:
        frame: the whole table, columns without features included, n rows.
        columns: which of them are time and group.
        folds: how many; at least 2.
        seed: of the shuffling.
        y: the target, shape (n,); strings or booleans are classes.

    Raises:
        ConfigurationError: there are too few rows, moments or groups for so many folds.
    """
    count = len(frame)
    if count < 2 * folds:
        raise ConfigurationError(
            f"{count} rows are too few for {folds} folds.", component="train", remedy="Give more rows or fewer folds."
        )
    groups = groups_of(frame, columns)
    if columns.time is not None:
        return _by_time(moments_of(frame, columns.time), groups, folds)
    classes = None if y is None or y.dtype.kind in "fiu" else y
    if groups is not None and len(np.unique(groups)) < folds:
        raise ConfigurationError(
            f"{len(np.unique(groups))} groups are too few for {folds} folds.", component="train",
            remedy="Give fewer folds, or a column with more groups.",
        )  # fmt: skip
    return [
        Split(f"fold {number}", train, test)
        for number, (train, test) in enumerate(_k_fold(count, classes, groups, folds, seed))
    ]


def holdout_for(
    frame: pd.DataFrame, columns: Columns, share: float, seed: int, *, by: Sequence[str] | None = None
) -> Split:
    """The last word: rows that neither the search nor the fit sees.

    With a time, the latest `share` of the rows. Otherwise rows (or groups) whose hash says so: they stay held out when
    the table grows, so that versions of a model can be compared on rows that none of them has learned from. The hash is
    of the columns `by` (all of them, features or not): whatever two versions learn from, the same rows are held out.

    Raises:
        ConfigurationError: nothing would be left on one side.
    """
    count = len(frame)
    groups = groups_of(frame, columns)
    if columns.time is not None:
        moments = moments_of(frame, columns.time)
        cut = np.sort(moments)[min(count - 1, int(np.floor(count * (1 - share))))]
        test = moments >= cut
        if test.all():
            test = moments > cut
        train = ~test
        train, test = _apart(train, test, groups)
    else:
        drawn = _drawn(frame, columns, seed, by)
        test = drawn < share
        if not 0 < test.sum() <= count / 2:  # few rows, or one group with most of them
            test = drawn <= np.sort(np.unique(drawn))[int(share * len(np.unique(drawn)))]
        train = ~test
    if not test.any() or not train.any():
        raise ConfigurationError(
            "no rows can be held out: all of them belong to one moment or one group.", component="train",
            remedy="Leave out the time or the group, or give more rows.",
        )  # fmt: skip
    return Split("holdout", np.flatnonzero(train), np.flatnonzero(test))


def groups_of(frame: pd.DataFrame, columns: Columns) -> NDArray[np.int64] | None:
    """The group of each row as a number, shape (n,); rows that repeat are a group. None: nothing belongs together.

    Rows without a group are a group of their own each.
    """
    if columns.group is not None:
        found, _ = pd.factorize(frame[columns.group])
        lone = found < 0
        codes: NDArray[np.int64] = found.astype(np.int64)
        codes[lone] = codes.max(initial=0) + 1 + np.arange(lone.sum())
        return codes
    features = columns.features_of(list(frame.columns))
    hashes = hash_rows(frame[features])
    numbers, found = pd.factorize(hashes)
    grouped: NDArray[np.int64] = numbers.astype(np.int64)
    return grouped if len(found) < len(frame) else None


def hash_rows(frame: pd.DataFrame) -> NDArray[np.uint64]:
    """64 bits for the values of each row, shape (n,): equal values have equal ones, on every machine.

    However they are held: a whole number that became a float, because a later row has none, is the same number.
    """
    if not len(frame.columns):
        return np.zeros(len(frame), dtype=np.uint64)
    plain = pd.DataFrame({place: _plain(frame.iloc[:, place]) for place in range(frame.shape[1])})
    hashed: NDArray[np.uint64] = pd.util.hash_pandas_object(plain, index=False).to_numpy()
    return hashed


def _plain(column: pd.Series) -> pd.Series:
    column = column.reset_index(drop=True)
    if pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
        return pd.Series(column.to_numpy(np.float64, na_value=np.nan) + 0.0)  # there is one nought
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return pd.Series(column.to_numpy("datetime64[us]").astype(np.int64))
    if isinstance(column.dtype, pd.StringDtype):
        return column
    return column.astype(object).map(lambda value: value if isinstance(value, str) else str(value))


def describe(columns: Columns, groups: NDArray[np.int64] | None) -> str:
    """How rows are split, in words."""
    if columns.time is not None:
        apart = f", no {columns.group} on both sides" if columns.group is not None else ""
        return f"by time ({columns.time}): each window is predicted from what was before it{apart}"
    if columns.group is not None:
        return f"by group: no {columns.group} is on both sides"
    return "at random" + (", rows that repeat kept together" if groups is not None else "")


def sampled(frame: pd.DataFrame, columns: Columns, most: int, seed: int) -> Indices:
    """About `most` of the rows, whole groups of them, in their order; all when there are no more."""
    if len(frame) <= most:
        return np.arange(len(frame))
    # another salt than the holdout's, or one of the two would be cut out of the other
    return np.flatnonzero(_drawn(frame, columns, seed + (1 << 32)) < most / len(frame))


def _drawn(frame: pd.DataFrame, columns: Columns, seed: int, by: Sequence[str] | None = None) -> NDArray[np.float64]:
    """A number from 0 to 1 for each row, by its group or all of its values: the same in a table that has grown."""
    hashes = hash_rows(frame if by is None else frame[list(by)])
    if columns.group is not None:
        named = frame[[columns.group]].astype("str")
        hashes = np.where(frame[columns.group].notna().to_numpy(), hash_rows(named), hashes)
    elif (groups := groups_of(frame, columns)) is not None:  # rows that repeat share a fate: that of one of them
        lowest = np.full(int(groups.max()) + 1, np.iinfo(np.uint64).max, dtype=np.uint64)
        np.minimum.at(lowest, groups, hashes)
        hashes = lowest[groups]
    salt = int.from_bytes(hashlib.blake2b(str(seed).encode(), digest_size=8).digest(), "little")
    mixed = hashes ^ np.uint64(salt)
    # one round of a multiplicative mix: hashes that differ in few bits must not draw alike
    with np.errstate(over="ignore"):
        mixed = (mixed ^ (mixed >> np.uint64(31))) * np.uint64(0x9E3779B97F4A7C15)
    return (mixed >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def moments_of(frame: pd.DataFrame, name: str) -> NDArray[np.float64]:
    """The column `name` as numbers in the order of time, shape (n,): microseconds since 1970, or its own numbers.

    Raises:
        ConfigurationError: a row has none.
    """
    column = frame[name]
    moments: NDArray[np.float64]
    if pd.api.types.is_numeric_dtype(column.dtype):
        moments = column.to_numpy(np.float64, na_value=np.nan)
    else:
        parsed = column if pd.api.types.is_datetime64_any_dtype(column.dtype) else _dates(column, name)
        moments = parsed.to_numpy("datetime64[us]").astype(np.int64).astype(np.float64)
        moments[parsed.isna().to_numpy()] = np.nan
    if np.isnan(moments).any():
        raise ConfigurationError(
            f"{int(np.isnan(moments).sum())} rows have no {name!r}; a split by time needs it in each.",
            component="train",
            remedy="Leave those rows out, or name no time.",
        )
    return moments


def _dates(column: pd.Series, name: str) -> pd.Series:
    try:
        return pd.to_datetime(column, utc=True).dt.tz_localize(None)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"{name!r} is no date: {error}", component="train") from error


def _by_time(moments: NDArray[np.float64], groups: NDArray[np.int64] | None, folds: int) -> list[Split]:
    unique = np.unique(moments)
    if len(unique) <= folds:
        raise ConfigurationError(
            f"{len(unique)} different moments are too few for {folds} folds by time.", component="train",
            remedy="Give fewer folds, or name no time.",
        )  # fmt: skip
    edges = np.quantile(moments, np.linspace(0, 1, folds + 2)[1:-1], method="higher")
    edges = np.unique(edges)
    edges = edges[edges > unique[0]]
    if len(edges) < folds:  # most rows share few moments: cut the moments themselves
        edges = unique[np.linspace(0, len(unique), folds + 2).astype(int)[1:-1]]
    splits = []
    for number, edge in enumerate(edges):
        until = edges[number + 1] if number + 1 < len(edges) else np.inf
        train, test = _apart(moments < edge, (moments >= edge) & (moments < until), groups)
        splits.append(Split(f"window {number}", np.flatnonzero(train), np.flatnonzero(test)))
    return [split for split in splits if len(split.train) and len(split.test)]


def _apart(
    train: NDArray[np.bool_], test: NDArray[np.bool_], groups: NDArray[np.int64] | None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The same without groups on both sides."""
    if groups is None:
        return train, test
    kept = train & ~np.isin(groups, groups[test])
    if kept.sum() >= _LEAST_KEPT * train.sum():
        return kept, test
    return train, test & ~np.isin(groups, groups[train])


def _k_fold(
    count: int, classes: NDArray[np.generic] | None, groups: NDArray[np.int64] | None, folds: int, seed: int
) -> Sequence[tuple[Indices, Indices]]:
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold  # noqa: PLC0415

    rows = np.zeros(count)
    if classes is not None and np.unique(classes, return_counts=True)[1].min() >= folds:
        kind = StratifiedKFold if groups is None else StratifiedGroupKFold
        splitter = kind(folds, shuffle=True, random_state=seed)
        return list(splitter.split(rows, classes, *(() if groups is None else (groups,))))
    if groups is not None:
        return list(GroupKFold(folds, shuffle=True, random_state=seed).split(rows, groups=groups))
    return list(KFold(folds, shuffle=True, random_state=seed).split(rows))
