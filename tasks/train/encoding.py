"""From a table of numbers, words and dates to a matrix, learned from the rows of one fold and from no others.

Two stages. *Raw*: every column becomes one number (a category its code, a date its day). *Expanded*: what the model
needs of it, in a few operations on whole matrices, so that one row takes microseconds and not the milliseconds that
frames take. The first stage has two doors, one for frames and one for plain rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasks.train.columns import Kind, as_day, as_number, as_word, kinds_of, learnable

Matrix = NDArray[np.float64]

_MISSING, _UNKNOWN = 0.0, np.nan
_FEW = 15
"""Most values of a whole number that a linear model is given one by one, too."""
_CROSS_FIT = 5
_SMOOTHING = 10.0


class TableEncoder:
    """Learns how a table becomes a matrix.

    Args:
        style: `tree`: numbers and codes as they are, missing values as NaN, and for each category the smoothed mean of
            the target among its rows, cross-fitted so that no row tells its own target (Micci-Barreca, 2001).
            `linear`: everything standardised, missing values imputed and marked, categories and small whole numbers
            one by one, skewed amounts as logarithms.
        least: rows that a category needs in order to count for itself.
    """

    def __init__(self, style: Literal["tree", "linear"] = "tree", least: int = 5) -> None:
        self.style = style
        self.least = least

    def fit_transform(self, frame: pd.DataFrame, y: NDArray[Any] | None, seed: int = 0) -> Matrix:
        """Learn from `frame` (n rows) and its target (n,), and give its matrix."""
        self._learn(frame)
        raw = self._raw_of_frame(frame)
        if self.style == "linear":
            self._learn_linear(raw)
            return self._expand(raw)
        self._learn_tree(raw)
        expanded = self._expand(raw)
        if y is not None and self.coded_.size:
            expanded = np.hstack([expanded, self._learn_means(raw, np.asarray(y, np.float64), seed)])
        return expanded

    def transform(self, frame: pd.DataFrame) -> Matrix:
        """The matrix of other rows, which must have the columns learned from."""
        return self._with_means(self._raw_of_frame(frame))

    def transform_rows(self, rows: Sequence[Mapping[str, object]]) -> Matrix:
        """The same for plain rows: fast for few."""
        return self._with_means(self._raw_of_rows(rows))

    @property
    def categorical(self) -> list[int]:
        """Positions in the matrix (style `tree`) that hold codes of categories."""
        return [int(place) for place in self.coded_]

    def _with_means(self, raw: Matrix) -> Matrix:
        expanded = self._expand(raw)
        if self.style == "tree" and self.means_.size:
            codes = np.nan_to_num(raw[:, self.coded_], nan=0.0).astype(np.intp)
            means = self.means_[np.arange(len(self.coded_)), codes]
            means[np.isnan(raw[:, self.coded_])] = self.mean_
            expanded = np.hstack([expanded, means])
        return expanded

    # What the columns are.

    def _learn(self, frame: pd.DataFrame) -> None:
        kinds = kinds_of(frame)
        self.names_ = [name for name in frame.columns if learnable(kinds[name])]
        self.kinds_ = [kinds[name].value for name in self.names_]
        self.levels_: list[list[str]] = []
        for name, kind in zip(self.names_, self.kinds_, strict=True):
            levels: list[str] = []
            if kind == Kind.category.value:
                counts = as_word(frame[name]).value_counts()
                common = counts[counts >= min(self.least, max(1, len(frame) // 20))]
                # by count and then by name: the same whatever order the rows come in
                levels = [level for _, level in sorted((-int(n), str(level)) for level, n in common.items())]
            self.levels_.append(levels)
        is_category = np.array([kind == Kind.category.value for kind in self.kinds_], dtype=bool)
        self.coded_ = np.flatnonzero(is_category)
        self.means_: Matrix = np.zeros((0, 0))
        self.mean_ = 0.0

    def _raw_of_frame(self, frame: pd.DataFrame) -> Matrix:
        """Shape (n, columns). A missing category has code 0, known ones 1, 2, ..., unknown ones NaN."""
        raw = np.empty((len(frame), len(self.names_)), dtype=np.float64)
        for place, (name, kind) in enumerate(zip(self.names_, self.kinds_, strict=True)):
            column = frame[name]
            if kind == Kind.category.value:
                words = as_word(column)
                codes = pd.Index(self.levels_[place]).get_indexer(pd.Index(words)) + 1.0
                codes[codes == 0] = _UNKNOWN
                codes[words.isna().to_numpy()] = _MISSING
                raw[:, place] = codes
            elif kind == Kind.date.value:
                raw[:, place] = as_day(column)
            else:
                raw[:, place] = as_number(column)
        return raw

    def _raw_of_rows(self, rows: Sequence[Mapping[str, object]]) -> Matrix:
        from tasks.train.cells import day_of, number_of, word_of  # noqa: PLC0415

        codes = self._codes()
        return np.array(
            [
                [
                    (_MISSING if (word := word_of(row.get(name))) is None else codes[place].get(word, _UNKNOWN))
                    if kind == Kind.category.value
                    else day_of(row.get(name))
                    if kind == Kind.date.value
                    else number_of(row.get(name))
                    for place, (name, kind) in enumerate(zip(self.names_, self.kinds_, strict=True))
                ]
                for row in rows
            ],
            dtype=np.float64,
        ).reshape(len(rows), len(self.names_))

    def _codes(self) -> list[dict[str, float]]:
        found: list[dict[str, float]] | None = self.__dict__.get("_lookup")
        if found is None:
            found = [{level: n + 1.0 for n, level in enumerate(levels)} for levels in self.levels_]
            self.__dict__["_lookup"] = found
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_lookup"}

    # For trees.

    def _learn_tree(self, raw: Matrix) -> None:
        self.months_ = np.flatnonzero(np.array([kind == Kind.date.value for kind in self.kinds_], dtype=bool))

    def _learn_means(self, raw: Matrix, y: Matrix, seed: int) -> Matrix:
        """The cross-fitted means of the rows learned from; those of all of them are kept for other rows."""
        self.mean_ = float(y.mean())
        self.means_ = self._means(raw, y)
        fold = np.random.default_rng(seed).permutation(len(y)) % _CROSS_FIT
        out = np.empty((len(y), len(self.coded_)))
        for number in range(_CROSS_FIT):
            held = fold == number
            rest = ~held if (~held).any() else held
            means = self._means(raw[rest], y[rest])
            codes = raw[held][:, self.coded_]
            found = means[np.arange(len(self.coded_)), np.nan_to_num(codes, nan=0.0).astype(np.intp)]
            found[np.isnan(codes)] = float(y[rest].mean())
            out[held] = found
        return out

    def _means(self, raw: Matrix, y: Matrix) -> Matrix:
        width = 1 + max((len(self.levels_[place]) for place in self.coded_), default=0)
        mean = float(y.mean())
        means = np.full((len(self.coded_), width), mean)
        for row, place in enumerate(self.coded_):
            known = ~np.isnan(raw[:, place])
            codes = raw[known, place].astype(np.intp)
            counts = np.bincount(codes, minlength=width)
            sums = np.bincount(codes, weights=y[known], minlength=width)
            means[row] = (sums + _SMOOTHING * mean) / (counts + _SMOOTHING)
        return means

    # Both.

    def _expand(self, raw: Matrix) -> Matrix:
        if self.style == "tree":
            if not self.months_.size:
                return raw
            return np.hstack([raw, _month(raw[:, self.months_])])
        with np.errstate(invalid="ignore"):
            numbers = raw[:, self.numeric_]
            numbers = np.where(self.log_, np.sign(numbers) * np.log1p(np.abs(numbers)), numbers)
            missing = np.isnan(numbers)
            numbers = (np.where(missing, self.fill_, numbers) - self.centre_) / self.scale_
        # what is far outside of what was learned from is drawn in: a line must not run away with a typing error
        numbers = np.clip(numbers, -_FAR, _FAR)
        ones = (raw[:, self.one_of_] == self.one_is_).astype(np.float64)
        ones = (ones - self.one_mean_) / self.one_scale_
        cycles = _month(raw[:, self.dates_]) * (2 * np.pi / 12)
        cycles = np.nan_to_num(np.hstack([np.sin(cycles), np.cos(cycles)]), nan=0.0)
        return np.hstack([numbers, missing[:, self.marked_].astype(np.float64), ones, cycles])

    # For lines.

    def _learn_linear(self, raw: Matrix) -> None:
        kinds = np.array(self.kinds_)
        self.numeric_ = np.flatnonzero(kinds != Kind.category.value)
        self.dates_ = np.flatnonzero(kinds == Kind.date.value)
        numbers = raw[:, self.numeric_]
        missing = np.isnan(numbers)
        self.marked_ = np.flatnonzero(missing.any(axis=0) & ~missing.all(axis=0))
        self.log_ = np.array([_skewed(numbers[~missing[:, n], n]) for n in range(numbers.shape[1])], dtype=bool)
        shaped = np.where(self.log_, np.sign(numbers) * np.log1p(np.abs(numbers)), numbers)
        filled = [shaped[~missing[:, n], n] for n in range(shaped.shape[1])]
        self.fill_ = np.array([np.median(column) if column.size else 0.0 for column in filled])
        shaped = np.where(missing, self.fill_, shaped)
        self.centre_ = shaped.mean(axis=0)
        spread = shaped.std(axis=0)
        self.scale_ = np.where(spread > 1e-12 * (1 + np.abs(self.centre_)), spread, 1.0)
        of, is_ = [], []
        for place, kind in enumerate(self.kinds_):
            if kind == Kind.category.value:
                values = [float(n) for n in range(len(self.levels_[place]) + 1)]
            else:
                found = np.unique(raw[~np.isnan(raw[:, place]), place])
                small = kind == Kind.number.value and 2 < len(found) <= _FEW and bool((found % 1 == 0).all())
                values = [float(one) for one in found] if small else []
            values = [one for one in values if (raw[:, place] == one).sum() >= min(self.least, len(raw) // 20 + 1)]
            of += [place] * len(values)
            is_ += values
        self.one_of_, self.one_is_ = np.array(of, dtype=np.intp), np.array(is_, dtype=np.float64)
        ones = raw[:, self.one_of_] == self.one_is_
        self.one_mean_ = ones.mean(axis=0)
        # half way between raw and standardised: rare categories are not blown up
        self.one_scale_ = np.sqrt(np.maximum(ones.std(axis=0), 1e-6))


_FAR = 8.0
"""Standard deviations beyond which a linear model is not given more."""


def _month(days: Matrix) -> Matrix:
    """The month, 0 to 11, of days since 1970; NaN where there is none."""
    out = np.full(days.shape, np.nan)
    known = np.isfinite(days)
    out[known] = days[known].astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12
    return out


def _skewed(values: NDArray[np.float64]) -> bool:
    """Whether the logarithm of these (never negative) amounts is the more even one."""
    if values.size < 10 or values.min() < 0 or len(np.unique(values)) <= _FEW:
        return False
    return _skewness(values) > max(1.0, 2 * abs(_skewness(np.log1p(values))))


def _skewness(values: NDArray[np.float64]) -> float:
    spread = float(values.std())
    return float((((values - values.mean()) / spread) ** 3).mean()) if spread > 0 else 0.0
