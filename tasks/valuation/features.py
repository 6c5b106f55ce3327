"""What properties are valued by: their columns as numbers, for trees and for a line.

A frame of sales has the columns that `tasks.valuation.market` makes: square metres, years, degrees, words. What is
learned here (levels, medians, scales) is learned from the rows that are fit, and from no others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

ROLES = ("price", "property", "address")
"""Columns of a sale that are no features."""

_RARE = 8
"""Sales of a level that a line needs to learn its effect; rarer ones it takes for unknown."""
_MOST_LEVELS = 200
_LEAST_VALUES_OF_A_CURVE = 6
_USUAL = 0.4
"""Share of sales with one value from which that is what a home has of which nothing is said."""
_KM = 111.195  # of a degree of latitude
_TURNS = (30.0, 60.0)


class PropertyFeatures:
    """Turns sales into matrices. Of plain values and arrays, so that it can be stored."""

    numbers: list[str]
    words: list[str]

    def fit(self, frame: pd.DataFrame) -> PropertyFeatures:
        """Learn which columns there are, their levels and their scales; n rows."""
        names = [str(name) for name in frame.columns if name not in ROLES and name != "sold"]
        self.numbers = [name for name in names if _is_number(frame[name]) and frame[name].notna().any()]
        self.words = [name for name in names if not _is_number(frame[name]) and frame[name].notna().any()]
        self.levels = [
            frame[name].dropna().astype(str).value_counts().index[:_MOST_LEVELS].tolist() for name in self.words
        ]
        located = {"latitude", "longitude"} <= set(self.numbers)
        self.middle = [float(frame[name].mean()) for name in ("latitude", "longitude")] if located else []
        self.fills = {name: fill for name in self.numbers if (fill := _fill(frame, name)) is not None}
        raw = self._numbers(frame)
        self.medians = np.nan_to_num(np.nanmedian(raw, axis=0)) if raw.shape[1] else np.zeros(0)
        filled = np.where(np.isfinite(raw), raw, self.medians)
        self.logged = (filled.min(0) >= 0) & (_skew(filled) > 0.75)
        bent = np.where(self.logged, np.log1p(np.maximum(filled, 0)), filled)
        self.centres, self.spreads = bent.mean(0), np.maximum(bent.std(0), 1e-9)
        self.gaps = np.flatnonzero((~np.isfinite(raw)).mean(0) > 0.01)
        several = np.array([len(np.unique(column)) >= _LEAST_VALUES_OF_A_CURVE for column in filled.T], bool)
        self.curved = np.flatnonzero(several)
        self.common: list[list[str]] = []
        for name, levels in zip(self.words, self.levels, strict=True):
            counts = frame[name].astype(str).value_counts()
            self.common.append([level for level in levels if counts.get(level, 0) >= _RARE])
        return self

    @property
    def names(self) -> list[str]:
        """The columns of `matrix`."""
        return [*self.numbers, *self._derived_names(), *self.words]

    @property
    def categorical(self) -> list[int]:
        """Which columns of `matrix` are codes of words."""
        return list(range(len(self.names) - len(self.words), len(self.names)))

    @property
    def sources(self) -> list[str]:
        """What each column of `matrix` tells of: the name under which its effect is shown."""
        return [_source(name) for name in self.names]

    @property
    def line_sources(self) -> list[str]:
        """The same for the columns of `line`."""
        numbers = [_source(name) for name in (*self.numbers, *self._derived_names())]
        told = [numbers[n] for n in range(len(numbers))]
        told += [numbers[n] for n in self.curved] + [numbers[n] for n in self.gaps]
        for name, levels in zip(self.words, self.common, strict=True):
            told += [_source(name)] * len(levels)
        return told

    def matrix(self, frame: pd.DataFrame) -> Matrix:
        """For trees, shape (n, len(names)): what is missing is NaN, words are numbers of their levels."""
        codes = [self._codes(frame, name, levels) for name, levels in zip(self.words, self.levels, strict=True)]
        return np.column_stack([self._numbers(frame), *codes]) if codes else self._numbers(frame)

    def line(self, frame: pd.DataFrame) -> Matrix:
        """For a line, shape (n, len(line_sources)): scaled, curves as squares, one column for each common level."""
        raw = self._numbers(frame)
        filled = np.where(np.isfinite(raw), raw, self.medians)
        bent = np.where(self.logged, np.log1p(np.maximum(filled, 0)), filled)
        scaled = np.clip((bent - self.centres) / self.spreads, -6, 6)
        parts = [scaled, 0.5 * (scaled[:, self.curved] ** 2 - 1), (~np.isfinite(raw[:, self.gaps])).astype(float)]
        for name, levels in zip(self.words, self.common, strict=True):
            values = _column(frame, name).astype(str).to_numpy()
            parts.append(np.column_stack([values == level for level in levels]).astype(float)
                         if levels else np.zeros((len(frame), 0)))  # fmt: skip
        return np.column_stack(parts)

    def _derived_names(self) -> list[str]:
        have = set(self.numbers)
        names = []
        if "year_built" in have:
            names.append("age")
        if "renovated" in have:
            names.append("years since renovation")
        if {"lot", "area"} <= have:
            names.append("built share of the lot")
        if {"bedrooms", "area"} <= have:
            names.append("area of a bedroom")
        if self.middle:
            names += [f"{way} at {turn:g} degrees" for turn in _TURNS for way in ("along", "across")]
        return names

    def _numbers(self, frame: pd.DataFrame) -> Matrix:
        given = {name: self._given(frame, name) for name in self.numbers}
        columns = list(given.values())
        derived = self._derived_names()
        if "sold" in frame.columns:
            sold = pd.to_datetime(frame["sold"])
            year = (sold.dt.year + (sold.dt.day_of_year - 1) / 365.25).to_numpy(np.float64)
        else:
            year = np.zeros(len(frame))
        if "age" in derived:
            columns.append(np.floor(year) - given["year_built"])
        if "years since renovation" in derived:
            renovated = given["renovated"]
            begun = given.get("year_built", np.full(len(frame), np.nan))
            columns.append(np.floor(year) - np.where(np.nan_to_num(renovated) > 0, renovated, begun))
        if "built share of the lot" in derived:
            columns.append(np.log(given["area"] / np.where(given["lot"] > 0, given["lot"], np.nan)))
        if "area of a bedroom" in derived:
            columns.append(given["area"] / (given["bedrooms"] + 1))
        if self.middle:
            east, north = plane(given["latitude"], given["longitude"], self.middle)
            for turn in np.deg2rad(_TURNS):
                columns += [east * np.cos(turn) + north * np.sin(turn), north * np.cos(turn) - east * np.sin(turn)]
        return np.column_stack(columns) if columns else np.zeros((len(frame), 0))

    def _given(self, frame: pd.DataFrame, name: str) -> Matrix:
        """A column; where no sale lacked it, trees know no missing values: what homes of that area have is taken."""
        found = _number(frame, name)
        fill = self.fills.get(name)
        lacking = ~np.isfinite(found)
        if fill is None or not lacking.any():
            return found
        start, slope, low, high = fill
        area = np.log(np.maximum(_number(frame, "area"), 1.0))
        expected = start + slope * np.where(np.isfinite(area), area, 0.0)
        return np.where(lacking, np.clip(expected, low, high), found)

    @staticmethod
    def _codes(frame: pd.DataFrame, name: str, levels: Sequence[str]) -> Matrix:
        column = _column(frame, name)
        codes = pd.Categorical(column.astype(str).where(column.notna()), categories=levels).codes.astype(np.float64)
        return np.where(codes < 0, np.nan, codes)


def _fill(frame: pd.DataFrame, name: str) -> list[float] | None:
    """Intercept, slope on the logarithm of the area, lowest and highest, of a column that no sale lacks; else None."""
    known = _number(frame, name)
    if name == "area" or not np.isfinite(known).all():
        return None
    values, counts = np.unique(known, return_counts=True)
    if counts.max() >= _USUAL * len(known):  # such as 0 for never renovated: a mean would be a year that never was
        usual = float(values[counts.argmax()])
        return [usual, 0.0, usual, usual]
    area = np.log(np.maximum(_number(frame, "area"), 1.0))
    spread = float(np.var(area))
    slope = float(np.cov(area, known, bias=True)[0, 1] / spread) if spread > 1e-9 else 0.0
    low, high = (float(one) for one in np.quantile(known, [0.01, 0.99]))
    return [float(known.mean() - slope * area.mean()), slope, low, high]


def plane(latitude: Matrix, longitude: Matrix, middle: Sequence[float]) -> tuple[Matrix, Matrix]:
    """East and north of `middle` (latitude, longitude) in kilometres: right to 1 % within some 100 km of it."""
    east = (longitude - middle[1]) * _KM * np.cos(np.deg2rad(middle[0]))
    return east, (latitude - middle[0]) * _KM


def days(sold: Any) -> Matrix:
    """Dates as days since 1970-01-01, shape (n,)."""
    found: Matrix = pd.to_datetime(sold).to_numpy("datetime64[D]").astype(np.int64).astype(np.float64)
    return found


def identities(frame: pd.DataFrame) -> NDArray[np.int64]:
    """A number for the property of each sale, shape (n,); one without an identity is a property of its own."""
    if "property" not in frame.columns:
        return np.arange(len(frame), dtype=np.int64)
    found: NDArray[np.int64] = pd.factorize(frame["property"])[0].astype(np.int64)
    lone = found < 0
    found[lone] = found.max(initial=-1) + 1 + np.arange(lone.sum())
    return found


_SOURCES = {
    "age": "year built", "year_built": "year built", "years since renovation": "renovation", "renovated": "renovation",
    "built share of the lot": "lot", "area of a bedroom": "bedrooms", "latitude": "location", "longitude": "location",
    "neighbourhood": "location",
}  # fmt: skip


def _source(name: str) -> str:
    return "location" if " degrees" in name else _SOURCES.get(name, name)


def _is_number(column: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype))


def _column(frame: pd.DataFrame, name: str) -> pd.Series:
    return frame[name] if name in frame.columns else pd.Series([None] * len(frame), index=frame.index, dtype=object)


def _number(frame: pd.DataFrame, name: str) -> Matrix:
    if name not in frame.columns:
        return np.full(len(frame), np.nan)
    found: Matrix = pd.to_numeric(frame[name], errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return found


def _skew(columns: Matrix) -> Matrix:
    centred = columns - columns.mean(0)
    spread = np.maximum(columns.std(0), 1e-12)
    skew: Matrix = (centred**3).mean(0) / spread**3
    return skew
