"""The valuation model: a price index, a line, and trees, all of whose parts add up in logarithms.

    log value = index(day) + half of (trees) + half of (line + trees on what the line leaves)

Each part is exactly additive in the features, so that what a feature does to a value can be said without guessing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasks.valuation.features import PropertyFeatures, days, plane
from tasks.valuation.neighbours import NAMES, Neighbourhood
from tasks.valuation.price_index import PriceIndex
from tasks.valuation.trees import Trees

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

LARGE: Mapping[str, Any] = {
    "rounds": 1500, "learning_rate": 0.03, "num_leaves": 20, "min_data_in_leaf": 12, "feature_fraction": 0.3,
    "bagging_fraction": 0.8, "lambda_l2": 2.0, "penalty": 10.0, "seeds": 1,
}  # fmt: skip
"""For markets of many sales."""
SMALL: Mapping[str, Any] = {
    "rounds": 1200, "learning_rate": 0.02, "num_leaves": 8, "min_data_in_leaf": 5, "feature_fraction": 0.25,
    "bagging_fraction": 0.7, "lambda_l2": 1.0, "penalty": 20.0, "seeds": 1, "cat_smooth": 10, "min_data_per_group": 10,
}  # fmt: skip
"""For markets of few."""
_MANY = 5_000
_TREES = ("rounds", "learning_rate", "num_leaves", "min_data_in_leaf", "feature_fraction", "bagging_fraction",
          "lambda_l2", "cat_smooth", "min_data_per_group")  # fmt: skip
TIME = "time of sale"
LOCATION = "location"


class ValuationModel:
    """Values properties, for frames as `tasks.valuation.market` makes them.

    Args:
        seed: of everything that is drawn.
        parameters: those that shall differ from `LARGE`, or from `SMALL` below 5,000 sales. `seeds`: how many of each
            kind of trees are averaged.
    """

    def __init__(self, seed: int = 0, **parameters: Any) -> None:
        self.seed = seed
        self.given = parameters

    def fit(self, frame: pd.DataFrame, y: Vector, sample_weight: Vector | None = None) -> Self:
        """Learn from the sales `frame` (n rows) with prices `y` (n,), above 0."""
        self.parameters = {**(LARGE if len(frame) >= _MANY else SMALL), **self.given}
        self.features = PropertyFeatures().fit(frame)
        log_price = np.log(np.asarray(y, np.float64))
        self.timed = "sold" in frame.columns
        day = days(frame["sold"]) if self.timed else np.zeros(len(frame))
        line = self.features.line(frame)
        self.index = PriceIndex().fit(day, line, log_price)
        level = log_price - self.index.at(day)
        self.codes = _names(frame)
        self.near: Neighbourhood | None = None
        if self.features.middle:
            self.near = Neighbourhood().fit(
                self._place(frame), self._own(frame, fit=True), line[:, self._alike()], level,
                np.log(np.maximum(frame["area"].to_numpy(np.float64), 1.0)),
            )  # fmt: skip
        matrix, line = self._inputs(frame, fit=True)
        self.slopes, self.intercept = _robust_ridge(line, level, self.parameters["penalty"], sample_weight)
        self.line_means = line.mean(0)
        rest = level - line @ self.slopes - self.intercept
        chosen = {name: self.parameters[name] for name in _TREES if name in self.parameters}
        count = int(self.parameters["seeds"])
        words = self.features.categorical
        self.direct = [Trees(chosen, self.seed + n, words).fit(matrix, level, sample_weight) for n in range(count)]
        self.beyond = [
            Trees({**chosen, "rounds": int(0.7 * chosen["rounds"])}, self.seed + 1000 + n).fit(
                matrix, rest, sample_weight
            )
            for n in range(count)
        ]
        return self

    def predict(self, frame: pd.DataFrame) -> Vector:
        """Values in the currency of the prices, shape (n,)."""
        return np.exp(self.predict_log(frame))

    def predict_log(self, frame: pd.DataFrame) -> Vector:
        """The same in logarithms."""
        matrix, line = self._inputs(frame)
        direct = np.mean([one.predict(matrix) for one in self.direct], axis=0)
        beyond = np.mean([one.predict(matrix) for one in self.beyond], axis=0)
        found: Vector = 0.5 * direct + 0.5 * (line @ self.slopes + self.intercept + beyond) + self.index_at(frame)
        return found

    def index_at(self, frame: pd.DataFrame) -> Vector:
        """The price level at each sale, in logarithms, shape (n,)."""
        return self.index.at(days(frame["sold"])) if self.timed else np.zeros(len(frame))

    def contributions(self, frame: pd.DataFrame) -> tuple[list[str], Matrix, float]:
        """What each feature does, in logarithms.

        Returns:
            The names of k features; their contributions, shape (n, k); and the base. Base and contributions of a row
            add up to `predict_log`.
        """
        matrix, line = self._inputs(frame)
        sources = [*self._matrix_sources(), ""]
        names = list(dict.fromkeys([*sources[:-1], *self._line_sources()]))
        place = {name: number for number, name in enumerate(names)}
        found = np.zeros((len(frame), len(names)))
        base = 0.5 * (self.intercept + float(self.line_means @ self.slopes))
        for group in (self.direct, self.beyond):
            told = np.mean([one.contributions(matrix) for one in group], axis=0)
            base += 0.5 * float(told[0, -1])
            for number, source in enumerate(sources[:-1]):
                found[:, place[source]] += 0.5 * told[:, number]
        parts = 0.5 * (line - self.line_means) * self.slopes
        for number, source in enumerate(self._line_sources()):
            found[:, place[source]] += parts[:, number]
        if self.timed:
            return [*names, TIME], np.column_stack([found, self.index_at(frame)]), base
        return names, found, base

    def leaves(self, frame: pd.DataFrame) -> NDArray[np.int64]:
        """In which leaves the properties end, shape (n, trees)."""
        matrix, _ = self._inputs(frame)
        return np.column_stack([one.leaves(matrix) for one in (*self.direct, *self.beyond)])

    def tree_inputs(self, frame: pd.DataFrame) -> Matrix:
        """What the trees are given, shape (n, p)."""
        return self._inputs(frame)[0]

    def nearest_km(self, frame: pd.DataFrame) -> Vector:
        """How far the nearest sale is, in kilometres; 0 where there are no coordinates."""
        return np.zeros(len(frame)) if self.near is None else self.near.nearest_km(self._place(frame))

    def _inputs(self, frame: pd.DataFrame, *, fit: bool = False) -> tuple[Matrix, Matrix]:
        matrix, line = self.features.matrix(frame), self.features.line(frame)
        if self.near is None:
            return matrix, line
        told = self.near.statistics(self._place(frame), self._own(frame, fit=fit), line[:, self._alike()])
        if fit:
            self.near_centre, self.near_spread = told.mean(0), np.maximum(told.std(0), 1e-9)
        scaled = np.clip((told - self.near_centre) / self.near_spread, -6, 6)
        words = len(self.features.words)
        cut = matrix.shape[1] - words
        # words stay the last columns: their places were given to the trees
        return np.column_stack([matrix[:, :cut], told, matrix[:, cut:]]), np.column_stack([line, scaled])

    def _matrix_sources(self) -> list[str]:
        names = self.features.sources
        if self.near is None:
            return names
        cut = len(names) - len(self.features.words)
        return [*names[:cut], *[LOCATION] * len(NAMES), *names[cut:]]

    def _line_sources(self) -> list[str]:
        return [*self.features.line_sources, *([LOCATION] * len(NAMES) if self.near is not None else [])]

    def _alike(self) -> list[int]:
        """The columns of the line that are not of location."""
        return [number for number, source in enumerate(self.features.line_sources) if source != LOCATION]

    def _place(self, frame: pd.DataFrame) -> Matrix:
        filled = [frame[name].to_numpy(np.float64, na_value=np.nan) if name in frame.columns
                  else np.full(len(frame), np.nan) for name in ("latitude", "longitude")]  # fmt: skip
        filled = [
            np.where(np.isfinite(one), one, middle) for one, middle in zip(filled, self.features.middle, strict=True)
        ]
        return np.column_stack(plane(filled[0], filled[1], self.features.middle))

    def _own(self, frame: pd.DataFrame, *, fit: bool = False) -> Vector:
        """A number for each property; of those without an identity it is their own while they are learned from."""
        found = np.full(len(frame), -1.0)
        if "property" in frame.columns and self.codes:
            known = frame["property"].notna().to_numpy()
            found[known] = pd.Index(self.codes).get_indexer(frame["property"][known].astype(str))
        if fit:  # otherwise a sale would be told its own price as that of a neighbour
            lone = found < 0
            found[lone] = len(self.codes) + np.arange(lone.sum())
        return found


def _names(frame: pd.DataFrame) -> list[str]:
    return sorted(set(frame["property"].dropna().astype(str))) if "property" in frame.columns else []


def _robust_ridge(line: Matrix, target: Vector, penalty: float, weight: Vector | None) -> tuple[Vector, float]:
    """Slopes and intercept of a ridge regression in which far-off sales count less (Huber)."""
    outer = np.ones(len(target)) if weight is None else weight / weight.mean()
    weights = outer
    slopes, intercept = np.zeros(line.shape[1]), 0.0
    for _ in range(4):
        total = weights.sum()
        means = weights @ line / total
        middle = float(weights @ target / total)
        centred = line - means
        moments = centred.T @ (centred * weights[:, None]) + penalty * np.eye(line.shape[1])
        slopes = np.linalg.solve(moments, centred.T @ (weights * (target - middle)))
        intercept = middle - float(means @ slopes)
        rest = target - line @ slopes - intercept
        spread = max(1e-9, 1.4826 * float(np.median(np.abs(rest))))
        weights = outer / np.maximum(1, np.abs(rest) / (2 * spread))
    return slopes, intercept
