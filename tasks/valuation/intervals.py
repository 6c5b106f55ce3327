"""How wide of the price a value may be: conformal intervals that know of time.

Prices drift. Residuals of the very rows that a model was fit on, or of a random split of them, say nothing of that.
Here the residuals are those of a model on later sales, each after the level was put right with what was sold until
a week before it, as it will be in use; recent ones count more (weighted conformal prediction: Barber and others, Annals
of Statistics 51(2), 2023). They are normalised by a model of their size: a range is wide only where it must be.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasks.valuation.trees import Trees

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

LAG = 7.0
"""Days until a sale is known."""
LEVEL_HALF_LIFE = 21.0
SCORE_HALF_LIFE = 90.0
_LEAST_KNOWN = 30
_SCALE = {
    "objective": "regression_l1", "rounds": 60, "learning_rate": 0.05, "num_leaves": 8, "min_data_in_leaf": 40,
    "feature_fraction": 0.6, "bagging_fraction": 0.8,
}  # fmt: skip
_LEAST_SIZE = 0.01


class TimeAwareIntervals:
    """Intervals of values, in logarithms. Of arrays and text, so that it can be stored."""

    def fit(self, day: Vector, residual: Vector, inputs: Matrix, seed: int = 0) -> TimeAwareIntervals:
        """Learn from a model's residuals on sales that are later than those it learned from.

        Args:
            day: of each sale, shape (n,), in any order.
            residual: log price less log value, shape (n,).
            inputs: what the model's trees were given, shape (n, p).
            seed: of what is drawn.
        """
        order = np.argsort(day, kind="stable")
        self.day, residual, inputs = day[order], residual[order], inputs[order]
        self.timed = bool(np.ptp(day) > 0)
        centred = residual - (levels(self.day, residual, self.day) if self.timed else np.median(residual))
        sizes = np.log(np.abs(centred) + _LEAST_SIZE)
        folds = np.arange(len(sizes)) % 5
        size = np.empty(len(sizes))
        for fold in range(5):  # a row's own residual has no say in its own scale
            rest = folds != fold
            model = Trees(_SCALE, seed).fit(inputs[rest], sizes[rest])
            size[~rest] = np.exp(model.predict(inputs[~rest]))
        self.scale = Trees(_SCALE, seed).fit(inputs, sizes)
        self.scores = np.abs(centred) / size
        return self

    def sizes(self, inputs: Matrix) -> Vector:
        """How large residuals of such properties are, shape (n,)."""
        return np.exp(self.scale.predict(inputs))

    def reach(self, inputs: Matrix, coverage: float, day: float | None = None) -> Vector:
        """Half the width of the interval in logarithms, shape (n,), as of `day` (by default the last one known)."""
        weights = self._weights(self.day[-1] if day is None else day)
        return quantile(self.scores, weights, coverage) * self.sizes(inputs)

    def attainable(self) -> float:
        """The widest coverage that the judged sales can speak of: beyond it lies the score of the row asked of."""
        known = float(self._weights(self.day[-1]).sum())
        return known / (known + 1.0)

    def chance_within(self, inputs: Matrix, share: float, stretch: float = 1.0) -> Vector:
        """The chance that the price is within `share` of the value, shape (n,), when errors are `stretch` as large."""
        weights = self._weights(self.day[-1])
        order = np.argsort(self.scores)
        mass = np.cumsum(weights[order]) / weights.sum()
        at = np.searchsorted(self.scores[order], np.log1p(share) / (stretch * self.sizes(inputs)), side="right")
        found: Vector = np.concatenate([[0.0], mass])[at]
        return found

    def _weights(self, day: float) -> Vector:
        return halved(day - self.day, SCORE_HALF_LIFE) if self.timed else np.ones(len(self.day))


def quantile(scores: Vector, weights: Vector, coverage: float) -> float:
    """The `coverage` quantile of weighted scores, with one more of weight 1 at infinity: that of the row asked of."""
    order = np.argsort(scores)
    mass = np.cumsum(weights[order]) / (weights.sum() + 1.0)
    at = int(np.searchsorted(mass, coverage))
    return float(scores[order][min(at, len(scores) - 1)])


def halved(age: Vector, half_life: float) -> Vector:
    """The weight of what is `age` days old, shape (n,)."""
    weights: Vector = np.exp2(-np.maximum(0.0, age) / half_life)
    return weights


def levels(known_day: Vector, residual: Vector, asked: Vector) -> Vector:
    """By how much values were off, in logarithms, as could be known on each of the days `asked`, shape (m,).

    The weighted median of the residuals of sales at least `LAG` days before; 0 until 30 of them are known.

    Args:
        known_day: of the sales, ascending, shape (n,).
        residual: shape (n,).
        asked: days, shape (m,).
    """
    days, back = np.unique(asked, return_inverse=True)
    found = np.zeros(len(days))
    for number, day in enumerate(days):
        count = int(np.searchsorted(known_day, day - LAG, side="right"))
        if count >= _LEAST_KNOWN:
            begin = int(np.searchsorted(known_day, day - LAG - 6 * LEVEL_HALF_LIFE))
            weights = halved(day - LAG - known_day[begin:count], LEVEL_HALF_LIFE)
            found[number] = _weighted_median(residual[begin:count], weights) * (1 - np.exp2(-count / _LEAST_KNOWN))
    return found[back]


def rolling_reach(
    calibrated: TimeAwareIntervals, day: Vector, residual: Vector, inputs: Matrix, coverage: float
) -> Vector:
    """Half widths, shape (n,), when scores of the judged sales join those of `calibrated` a week after each.

    Args:
        calibrated: what was known at first.
        day: of the judged sales, ascending, shape (n,).
        residual: of them, shape (n,), after the level was put right.
        inputs: shape (n, p).
        coverage: nominal.
    """
    sizes = calibrated.sizes(inputs)
    scores = np.concatenate([calibrated.scores, np.abs(residual) / sizes])
    known = np.concatenate([calibrated.day, day])
    found = np.empty(len(day))
    for one in np.unique(day):
        seen = np.concatenate([np.ones(len(calibrated.day), bool), day <= one - LAG])
        found[day == one] = quantile(scores[seen], halved(one - known[seen], SCORE_HALF_LIFE), coverage)
    return found * sizes


def _weighted_median(numbers: Vector, weights: Vector) -> float:
    order = np.argsort(numbers)
    mass = np.cumsum(weights[order])
    return float(numbers[order][np.searchsorted(mass, mass[-1] / 2)])
