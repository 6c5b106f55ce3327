"""Conformal prediction intervals: from how wrong the model was about rows that it had not seen.

The scores are signed residuals of out-of-fold predictions, as in CV+ (Barber, Candès, Ramdas & Tibshirani, 2021, *Ann.
Statist.* 49(1)), laid around the one model that is served; each is divided by how wrong models are around that value
(normalised scores; Papadopoulos et al., 2008). Their quantiles have the finite-sample correction `ceil((n + 1) q) / n`.
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

    def fit(self, predicted: Vector, truth: Vector) -> Self:
        """Learn from predictions of rows that their models had not seen, all shape (n,).

        Args:
            predicted: what was said.
            truth: what was so.
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
        self.scores_ = np.sort(residuals / self._spread_at(at))
        return self

    def interval(self, predicted: Vector, coverage: float) -> tuple[Vector, Vector]:
        """Lower and upper ends around `predicted` (n,) that hold a share `coverage` of truths.

        With too few scores for a coverage as high, the widest that was seen is the end.
        """
        at = self._scaled(predicted)
        tail = (1.0 - coverage) / 2.0
        upper = _quantile(self.scores_, 1.0 - tail)
        lower = -_quantile(-self.scores_[::-1], 1.0 - tail)
        spread = self._spread_at(at)
        low, high = at + lower * spread, at + upper * spread
        return (np.exp(low), np.exp(high)) if self.log else (low, high)

    def _scaled(self, values: Vector) -> Vector:
        values = np.asarray(values, np.float64)
        return np.asarray(np.log(np.maximum(values, 1e-12))) if self.log else values

    def _spread_at(self, at: Vector) -> Vector:
        return np.asarray(np.interp(at, self.places_, self.spread_))


def _quantile(scores: Vector, level: float) -> float:
    """The smallest of the sorted scores that a share `level` of all and the new row's does not exceed."""
    place = int(np.ceil(level * (len(scores) + 1) - 1e-9)) - 1
    return float(scores[min(max(place, 0), len(scores) - 1)])
