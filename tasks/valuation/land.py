"""What of a value is land: by sales of land alone, where a market has enough of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasks.valuation.features import plane

Vector = NDArray[np.float64]

LEAST_SALES = 30
_NEAREST = 12
_MOST_SHARE = 0.9
"""Of the whole value: a house that stands is worth something."""


class LandValues:
    """Prices of land by size and place. Of arrays, so that it can be stored."""

    def fit(self, land: pd.DataFrame, middle: list[float], level: Vector) -> LandValues:
        """Learn from the sales of land; fewer than 30 teach nothing.

        Args:
            land: n rows with `price`, `lot`, perhaps coordinates.
            middle: latitude and longitude of the market's plane; empty without coordinates.
            level: of prices when each was sold, in logarithms, shape (n,).
        """
        sold = (land["lot"] > 0) & (land["price"] > 0) if "lot" in land.columns else np.zeros(len(land), bool)
        good, level = land[sold], level[np.asarray(sold)]
        self.middle = middle
        self.known = len(good) >= LEAST_SALES
        if not self.known:
            return self
        size, price = np.log(good["lot"].to_numpy(np.float64)), np.log(good["price"].to_numpy(np.float64)) - level
        spread = float(np.var(size))
        slope = float(np.cov(size, price, bias=True)[0, 1] / spread) if spread > 1e-9 else 1.0
        # more land is never worth less, nor more than in proportion
        self.elasticity = float(np.clip(slope, 0.0, 1.0))
        self.levels = price - self.elasticity * size
        self.place = self._place(good)
        return self

    def split(self, row: pd.DataFrame, value: float, level: float) -> tuple[float, float] | None:
        """Land and building of `value`, which they add up to, at a `level` of prices; None where it cannot be said."""
        if not self.known or "lot" not in row.columns or not float(row["lot"].iloc[0]) > 0:
            return None
        levels = self.levels
        if self.place is not None:
            here = self._place(row)
            if here is None or not np.isfinite(here).all():
                return None
            near = np.argsort(np.hypot(*(self.place - here).T))[:_NEAREST]
            levels = levels[near]
        land = float(np.exp(np.median(levels) + self.elasticity * np.log(float(row["lot"].iloc[0])) + level))
        return (land, value - land) if land <= _MOST_SHARE * value else None

    def _place(self, frame: pd.DataFrame) -> NDArray[np.float64] | None:
        if not self.middle or "latitude" not in frame.columns:
            return None
        return np.column_stack(
            plane(frame["latitude"].to_numpy(float), frame["longitude"].to_numpy(float), self.middle)
        )
