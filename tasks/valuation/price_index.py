"""How prices moved while the sales of a market were made, and where they may be soon after.

A line of the properties' features and one level for each period are fit together, robustly, with a penalty on the
steps from period to period (a random walk: the hedonic time-dummy index of the Handbook on Residential Property Price
Indices, Eurostat 2013, chapter 5, smoothed). Beyond the last sale, the recent slope goes on and fades.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

_PERIODS = (14.0, 30.0, 91.0, 365.0)  # days
_SALES_OF_A_PERIOD = 60
_LEAST_SPAN = 60.0
_LEAST_SALES = 200
_RECENT = 75.0
_FADES = 60.0
"""Days after which 63 % of what the recent slope promises has come: prices turn, and nobody knows when."""
_STEEPEST = 0.3 / 365.25 * 2
"""Of the slope, in logarithms a day: 60 % a year is taken for noise."""

_LEAST_A_YEAR = 0.05
"""Standard deviation of a year's change of prices, in logarithms, that no market is taken to be below."""


class PriceIndex:
    """The logarithm of the price level by day, 0 at the last period of the sales that were fit."""

    def __init__(self) -> None:
        self.middles: Vector = np.zeros(1)
        self.levels: Vector = np.zeros(1)
        self.errors: Vector = np.zeros(1)
        self.slope = 0.0
        self.knows_time = False

    def fit(self, day: Vector, design: NDArray[np.float64], log_price: Vector) -> PriceIndex:
        """Learn the levels.

        Args:
            day: of each sale, shape (n,).
            design: the properties' features for a line, shape (n, p), without time.
            log_price: shape (n,).
        """
        count, span = len(day), float(np.ptp(day)) if len(day) else 0.0
        if count < _LEAST_SALES or span < _LEAST_SPAN:
            return self
        step = next((s for s in _PERIODS if count / (span / s + 1) >= _SALES_OF_A_PERIOD), _PERIODS[-1])
        end = float(day.max())
        period = ((end - day) // step).astype(int)
        periods = int(period.max()) + 1
        if periods < 3:
            return self
        levels, spread = _fit(design, period, periods, log_price)
        sold = np.bincount(period, minlength=periods)[::-1]
        self.errors = np.array([spread / max(1, count) ** 0.5 for count in sold.tolist()], dtype=np.float64)
        self.middles = (end - (np.arange(periods, dtype=np.float64) + 0.5) * step)[::-1]
        self.levels = (levels - levels[0])[::-1]
        recent = self.middles > self.middles[-1] - max(_RECENT, 3 * step)
        if recent.sum() > 2:
            slope = np.polyfit(self.middles[recent], self.levels[recent], 1, w=1 / self.errors[recent])[0]
            self.slope = float(np.clip(slope, -_STEEPEST, _STEEPEST))
        self.knows_time = True
        return self

    def at(self, day: Vector) -> Vector:
        """The level on each day, shape (n,): between the periods in a line, beyond the last one fading."""
        if not self.knows_time:
            return np.zeros(len(day))
        found = np.interp(day, self.middles, self.levels)
        weights = 1 / self.errors[-2:] ** 2
        last_level = float(np.average(self.levels[-2:], weights=weights))
        last_day = float(np.average(self.middles[-2:], weights=weights))
        ahead = np.maximum(0.0, day - last_day)
        beyond = last_level + self.slope * _FADES * (1 - np.exp(-ahead / _FADES))
        return np.where(day > last_day, beyond, found)

    def may_move(self, ahead: float) -> float:
        """By how much the level may be off, one standard deviation in logarithms, `ahead` days after what is known.

        A random walk with the steps of the periods that were learned from, and not less than `_LEAST_A_YEAR`: that a
        level stood still, or was never measured, is no promise.
        """
        least = _LEAST_A_YEAR / math.sqrt(365.25)
        walk = 0.0
        if self.knows_time:
            walk = float(np.sqrt(np.mean(np.diff(self.levels) ** 2 / np.diff(self.middles))))
        return max(least, walk) * math.sqrt(max(0.0, ahead))

    @property
    def end(self) -> float:
        """The middle of the last period, in days."""
        return float(self.middles[-1])


def _fit(
    design: NDArray[np.float64], period: NDArray[np.int64], periods: int, log_price: Vector
) -> tuple[Vector, float]:
    count, width = len(design), design.shape[1]
    centred = design - design.mean(0)
    target = log_price - log_price.mean()
    steps = np.diff(np.eye(periods), axis=0)
    walk = 0.05 * steps.T @ steps * count / periods
    weights = np.ones(count)
    spread = 1.0
    levels = np.zeros(periods)
    for _ in range(3):
        weighted = centred * weights[:, None]
        mass = np.bincount(period, weights, periods)
        cross = np.zeros((periods, width))
        np.add.at(cross, period, weighted)
        moments = np.zeros((width + periods, width + periods))
        moments[:width, :width] = centred.T @ weighted + np.eye(width)
        moments[width:, :width], moments[:width, width:] = cross, cross.T
        moments[width:, width:] = np.diag(mass) + walk + 1e-6 * np.eye(periods)
        right = np.concatenate([weighted.T @ target, np.bincount(period, weights * target, periods)])
        solved = np.linalg.solve(moments, right)
        levels = solved[width:]
        rest = target - centred @ solved[:width] - levels[period]
        spread = max(1e-9, 1.4826 * float(np.median(np.abs(rest))))
        weights = 1 / np.maximum(1, np.abs(rest) / (2 * spread))  # Huber's
    return levels, spread
