"""Probabilities that are what they say: learned from out-of-fold probabilities, and only where that helps.

Two classes: Platt's scaling of the log-odds (Platt, 1999). More: one temperature (Guo et al., 2017).
"""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
_EPSILON = 1e-12
_FOLDS = 5


class Calibrator:
    """Maps a model's probabilities to calibrated ones; the identity until `fit` finds something better."""

    def __init__(self) -> None:
        self.slope = 1.0
        self.shift = 0.0

    def fit(self, probabilities: Matrix, truth: NDArray[np.intp], seed: int = 0) -> Self:
        """Learn from probabilities (n, classes) of rows that their models had not seen, and the true classes (n,).

        The identity stays where calibration does not lower the log loss of rows that it did not learn from.
        """
        if len(truth) < 10 * _FOLDS or probabilities.shape[1] < 2:
            return self
        fold = np.random.default_rng(seed).permutation(len(truth)) % _FOLDS
        before, after = 0.0, 0.0
        for number in range(_FOLDS):
            held = fold == number
            slope, shift = _best(probabilities[~held], truth[~held])
            before += _loss(1.0, 0.0, probabilities[held], truth[held]) * held.sum()
            after += _loss(slope, shift, probabilities[held], truth[held]) * held.sum()
        if after < before:
            self.slope, self.shift = _best(probabilities, truth)
        return self

    @property
    def changes(self) -> bool:
        """Whether it is not the identity."""
        return (self.slope, self.shift) != (1.0, 0.0)

    def apply(self, probabilities: Matrix) -> Matrix:
        """Calibrated probabilities, shape (n, classes)."""
        return _mapped(self.slope, self.shift, probabilities) if self.changes else probabilities


def _mapped(slope: float, shift: float, probabilities: Matrix) -> Matrix:
    scores = slope * np.log(np.clip(probabilities, _EPSILON, 1.0))
    scores[:, -1] += shift if probabilities.shape[1] == 2 else 0.0
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def _loss(slope: float, shift: float, probabilities: Matrix, truth: NDArray[np.intp]) -> float:
    mapped = _mapped(slope, shift, probabilities)
    return float(-np.log(np.clip(mapped[np.arange(len(truth)), truth], _EPSILON, 1.0)).mean())


def _best(probabilities: Matrix, truth: NDArray[np.intp]) -> tuple[float, float]:
    from scipy.optimize import minimize  # noqa: PLC0415

    binary = probabilities.shape[1] == 2
    start = [0.0, 0.0] if binary else [0.0]

    def loss(chosen: NDArray[np.float64]) -> float:
        # the slope's logarithm, so that a calibration never turns the order around
        return _loss(
            float(np.exp(np.clip(chosen[0], -4, 4))), float(chosen[1]) if binary else 0.0, probabilities, truth
        )

    found = minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-5, "fatol": 1e-9, "maxiter": 400}).x
    return float(np.exp(np.clip(found[0], -4, 4))), float(found[1]) if binary else 0.0


def calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_], bins: int = 10) -> float:
    """Expected calibration error over bins of equal count: mean distance of said and true shares, weighted by rows."""
    if not len(confidence):
        return 0.0
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, min(bins, len(order))) if len(part)]
    return float(sum(abs(confidence[p].mean() - right[p].mean()) * len(p) for p in parts) / len(order))
