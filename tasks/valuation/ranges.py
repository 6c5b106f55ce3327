"""What a model cannot value: properties unlike any that it has learned from. They are refused, with the reason."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd

from models.valuation import SQUARE_METRES, Market, Units
from tasks.valuation.features import days
from tasks.valuation.market import feature_name

SUPPORT = 5
"""Sales that must be at least as extreme as what is still valued."""
STALE = 366
"""Days after the last sale until which the model may speak of prices."""
_FAR = 5.0
"""Times the distance within which 99 % of sales have another one."""
_WORDS = {"year_built": "year built"}
_KINDS = ("area", "lot", "bedrooms", "bathrooms", "year_built")
"""What makes a property another one: refused beyond what is usual. Other numbers are, beyond what was ever sold."""
_NO_LIMITS = ("price", "latitude", "longitude")


class Ranges:
    """The ranges of the sales that were learned from. Of plain values, so that it can be stored."""

    def fit(self, frame: pd.DataFrame, nearest_km: np.ndarray) -> Ranges:
        """Learn them from the sales and from how far the nearest other sale of each is, shape (n,)."""
        self.limits: dict[str, list[float]] = {}
        self.seen: dict[str, list[float]] = {}
        for name in (str(one) for one in frame.select_dtypes("number").columns if one not in _NO_LIMITS):
            known = np.sort(frame[name].dropna().to_numpy(np.float64))
            if len(known) >= 4 * SUPPORT:
                self.limits[name] = [float(known[SUPPORT - 1]), float(known[-SUPPORT])]
                # a home may be renovated later than any that was sold
                self.seen[name] = [float(known[0]), float("inf") if name == "renovated" else float(known[-1])]
        self.types = (
            [str(name) for name, count in frame["type"].value_counts().items() if count >= SUPPORT]
            if "type" in frame.columns
            else []
        )
        self.reach_km = max(1.0, _FAR * float(np.quantile(nearest_km, 0.99))) if nearest_km.any() else 0.0
        self.days = [float(days(frame["sold"]).min()), float(days(frame["sold"]).max())] if "sold" in frame else []
        return self

    def refusals(self, row: pd.DataFrame, distance_km: float, as_of: date, market: Market) -> dict[str, str]:
        """Why one property (a frame of one row) cannot be valued, by the input that is to blame; none: it can."""
        found = {
            name: words
            for name, words in self._beyond(row, market).items()
            if name in _KINDS or not self.seen[name][0] <= float(row[name].iloc[0]) <= self.seen[name][1]
        }
        given_type = row["type"].iloc[0] if "type" in row.columns else None
        if self.types and given_type is not None and str(given_type) not in self.types:
            found["type"] = f"type {given_type!r} was hardly ever sold; the model knows {', '.join(self.types[:8])}."
        if self.reach_km and distance_km > self.reach_km:
            found["location"] = (
                f"the nearest sale is {distance_km:.1f} km away; the model speaks of places within "
                f"{self.reach_km:.1f} km of one."
            )
        if self.days:
            day = float(days(pd.Series([pd.Timestamp(as_of)]))[0])
            first, last = (date(1970, 1, 1) + timedelta(days=int(one)) for one in self.days)
            if not self.days[0] <= day <= self.days[1] + STALE:
                found["date"] = (
                    f"{as_of} is outside of {first} to {last + timedelta(days=STALE)}: the sales are from {first} "
                    f"to {last}, and how prices moved beyond is not known."
                )
        return found

    def warnings(self, row: pd.DataFrame, market: Market) -> list[str]:
        """What of a property that can be valued hardly any sale had."""
        return [words for name, words in self._beyond(row, market).items() if name not in _KINDS]

    def _beyond(self, row: pd.DataFrame, market: Market) -> dict[str, str]:
        found: dict[str, str] = {}
        ratios = {feature_name(name) for name in market.ratios}
        for name, (low, high) in self.limits.items():
            given = float(row[name].iloc[0]) if name in row.columns else np.nan
            if np.isnan(given) or low <= given <= high:
                continue
            unit, word = _unit(name, market.units)
            word = f" {word}" if word else ""
            told = [_shown(float(np.exp(one)) if name in ratios else one / unit, name) for one in (given, low, high)]
            found[name] = (
                f"{_WORDS.get(name, name)} {told[0]}{word} is outside of {told[1]} to {told[2]}{word}, the range of "
                "the sales that the model has learned from."
            )
        return found


def _unit(name: str, units: Units) -> tuple[float, str]:
    if name in {"area", "lot"}:
        unit = units.area if name == "area" else units.lot
        return SQUARE_METRES[unit], unit
    return 1.0, ""


def _shown(number: float, name: str) -> str:
    return f"{number:.0f}" if name == "year_built" else f"{number:,.4g}" if number < 100 else f"{number:,.0f}"
