"""Conformal prediction intervals: from how wrong the model was about rows that it had not seen.

The scores are signed residuals of out-of-fold predictions, as in CV+ (Barber, Candès, Ramdas & Tibshirani, 2021, *Ann.
Statist.* 49(1)), laid around the one model that is served; each is divided by how wrong models are around that value
(normalised scores; Papadopoulos et al., 2008). Their quantiles have the finite-sample correction `ceil((n + 1) q) / n`.

Two hooks for time: scores may be weighted, recent ones more (weighted quantiles: Barber, Candès, Ramdas & Tibshirani,
2023, *Ann. Statist.* 51(2), eq. 11), and the level may follow what was covered so far (adaptive conformal inference:
Gibbs & Candès, 2021).
"""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

_BINS = 10
_LEAST_IN_BIN = 30


class ConformalIntervals:
    """Intervals around predictions.

    Args:
        log: whether residuals are differences of logarithms, and so shares of the value.
    """

    def __init__(self, *, log: bool = False) -> None:
        self.log = log

    def fit(self, predicted: Vector, truth: Vector, weights: Vector | None = None) -> Self:
        """Learn from predictions of rows that their models had not seen, all shape (n,).

        Args:
            predicted: what was said.
            truth: what was so.
            weights: how much each row is like those to come; by default all alike.
        """
        at = self._scaled(predicted)
        residuals = self._scaled(truth) - at
        bins = int(np.clip(len(at) // _LEAST_IN_BIN, 1, _BINS))
        order = np.argsort(at, kind="stable")
        parts = np.array_split(order, bins)
        self.places_ = np.array([at[part].mean() for part in parts])
        spread = np.array([np.median(np.abs(residuals[part])) for part in parts])
        floor = max(1e-12, 0.05 * float(np.median(spread)))
        self.spread_ = np.maximum(spread, floor)
        scores = residuals / self._spread_at(at)
        sort = np.argsort(scores, kind="stable")
        self.scores_ = scores[sort]
        self.weights_ = np.ones(len(scores)) if weights is None else np.asarray(weights, np.float64)[sort]
        return self

    def interval(self, predicted: Vector, coverage: float, *, weight_of_new: float = 1.0) -> tuple[Vector, Vector]:
        """Lower and upper ends around `predicted` (n,) that hold a share `coverage` of truths.

        With too few scores for a coverage as high, the widest that was seen is the end.
        """
        at = self._scaled(predicted)
        tail = (1.0 - coverage) / 2.0
        upper = _weighted_quantile(self.scores_, self.weights_, 1.0 - tail, weight_of_new)
        lower = -_weighted_quantile(-self.scores_[::-1], self.weights_[::-1], 1.0 - tail, weight_of_new)
        spread = self._spread_at(at)
        low, high = at + lower * spread, at + upper * spread
        return (np.exp(low), np.exp(high)) if self.log else (low, high)

    def deviation(self, predicted: Vector) -> Vector:
        """The standard deviation of the error around each prediction, in its own unit, shape (n,)."""
        low, high = self.interval(predicted, 0.6827)
        return np.asarray((high - low) / 2.0)

    def _scaled(self, values: Vector) -> Vector:
        values = np.asarray(values, np.float64)
        return np.asarray(np.log(np.maximum(values, 1e-12))) if self.log else values

    def _spread_at(self, at: Vector) -> Vector:
        return np.asarray(np.interp(at, self.places_, self.spread_))


def decay(age: Vector, half_life: float) -> Vector:
    """Weights of scores by their age: half as much every `half_life`, in the unit of `age`."""
    return np.asarray(0.5 ** (np.maximum(age, 0.0) / half_life))


def adapted(miscoverage: float, nominal: float, *, covered: bool, step: float = 0.01) -> float:
    """The miscoverage to ask for next: `alpha + step * (nominal - missed)` (Gibbs & Candès, 2021, eq. 2)."""
    return float(np.clip(miscoverage + step * (nominal - (0.0 if covered else 1.0)), 1e-4, 0.9999))


def _weighted_quantile(scores: Vector, weights: Vector, level: float, weight_of_new: float) -> float:
    """The smallest score at which the weight of those up to it, of all and the new row's, reaches `level`."""
    share = np.cumsum(weights) / (weights.sum() + weight_of_new)
    place = int(np.searchsorted(share, level - 1e-12))
    return float(scores[min(place, len(scores) - 1)])
