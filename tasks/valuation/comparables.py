"""Comparable sales: those that the model can hardly tell from the property, near in place, time and size.

Likeness is the model's own: the share of its trees in which both end in the same leaf (Breiman's proximity). Candidates
are sought within growing limits, so that a village gets comparables as well as a city, and says how far they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.valuation import SQUARE_METRES, Adjustment, Comparable, Units
from tasks.valuation.features import days, plane
from tasks.valuation.model import TIME, ValuationModel

Vector = NDArray[np.float64]

LEAST, MOST = 3, 6
_CANDIDATES = 250
_LIMITS = ((1.0, 183, 0.15), (2.0, 365, 0.20), (4.0, 365, 0.25), (8.0, 730, 0.30), (20.0, 1095, 0.40))
"""Kilometres, days before, and share of the area by which a comparable may differ."""
_MOST_NET = 0.35
"""Of the price, in logarithms: what needs more adjustment is no comparable."""


@dataclass(frozen=True)
class Grid:
    """The comparables and what they say."""

    comparables: tuple[Comparable, ...]
    indicated: float | None
    limits: str
    """Within which they were found, in words."""


def comparables_of(model: ValuationModel, sales: pd.DataFrame, row: pd.DataFrame, as_of: date, units: Units) -> Grid:
    """3 to 6 comparables of the property `row` (a frame of one row), best first; none where there are fewer than 3.

    Args:
        model: says what is alike, and what differences are worth.
        sales: the frame of all sales, with `price`.
        row: the property.
        as_of: sales of that day and later are not known yet.
        units: of what is shown.
    """
    distance = _distances(model, sales, row)
    age = (days(pd.Series([pd.Timestamp(as_of)]))[0] - days(sales["sold"])) if "sold" in sales else None
    own = str(row["property"].iloc[0]) if "property" in row and row["property"].iloc[0] is not None else None
    others = np.ones(len(sales), bool) if own is None else (sales["property"].astype(str) != own).to_numpy().copy()
    if "type" in row and row["type"].iloc[0] is not None:
        others &= (sales["type"] == row["type"].iloc[0]).to_numpy()
    size = np.abs(np.log(sales["area"].to_numpy(np.float64) / float(row["area"].iloc[0])))
    for km, recent, share in _LIMITS:
        rows = others & (size <= np.log1p(share))
        words = [f"area within {share:.0%}"]
        if distance is not None:
            rows &= distance <= km
            words.append(f"within {km:g} km")
        if age is not None:
            rows &= (age > 0) & (age <= recent)
            words.append(f"sold within {recent} days before")
        found = np.flatnonzero(rows)
        if len(found) < LEAST:
            continue
        if len(found) > _CANDIDATES:
            far = np.zeros(len(found)) if distance is None else distance[found] / km
            late = np.zeros(len(found)) if age is None else age[found] / recent
            found = found[np.argsort(far + late + size[found] / share, kind="stable")[:_CANDIDATES]]
        grid = _grid(model, sales, row, found, distance, units)
        if len(grid[0]) >= LEAST:
            return Grid(grid[0], grid[1], ", ".join(words))
    return Grid((), None, "there are not three comparable sales")


def _grid(
    model: ValuationModel, sales: pd.DataFrame, row: pd.DataFrame, found: NDArray[np.intp], distance: Vector | None,
    units: Units,
) -> tuple[tuple[Comparable, ...], float | None]:  # fmt: skip
    candidates = sales.iloc[found]
    alike = (model.leaves(candidates) == model.leaves(row)).mean(1)
    names, theirs, _ = model.contributions(candidates)
    _, ours, _ = model.contributions(row)
    differences = ours - theirs
    fit = np.abs(differences.sum(1)) <= _MOST_NET
    if fit.sum() < LEAST:
        return (), None
    best = np.flatnonzero(fit)[np.argsort(-alike[fit], kind="stable")[:MOST]]
    weights = alike[best] ** 2
    weights = weights / weights.sum() if weights.sum() > 0 else np.full(len(best), 1 / len(best))
    told = []
    for place, weight in zip(best, weights, strict=True):
        sale = candidates.iloc[place]
        price = float(sale["price"])
        amounts = money(differences[place], price)
        told.append(
            Comparable(
                property=str(sale.get("property", found[place])),
                address=str(sale.get("address") or ""),
                price=price,
                sold=sale["sold"].date() if "sold" in sales else None,
                distance_m=None if distance is None else round(1000 * float(distance[found[place]])),
                area=float(sale["area"]) / SQUARE_METRES[units.area],
                latitude=None if distance is None else float(sale["latitude"]),
                longitude=None if distance is None else float(sale["longitude"]),
                similarity=float(alike[place]),
                adjustments=_adjustments(names, amounts, sale, row.iloc[0], units),
                adjusted=price + float(amounts.sum()),
                weight=float(weight),
            )
        )
    indicated = float(np.exp(np.average(np.log([one.adjusted for one in told]), weights=weights)))
    return tuple(told), indicated


def money(parts: Vector, start: float) -> Vector:
    """What parts in logarithms, shape (k,), add to an amount of money `start`, shape (k,).

    Each is its share of the whole by the logarithmic mean of both ends (the decomposition of Ang, Energy Policy 32,
    2004): it depends on no order, leaves nothing over, and `start` and all of them add up to `start * exp(sum)`.
    """
    total = float(parts.sum())
    mean = start if abs(total) < 1e-12 else start * float(np.expm1(total)) / total
    return parts * mean


def _adjustments(
    names: Sequence[str], amounts: Vector, sale: pd.Series, subject: pd.Series, units: Units
) -> tuple[Adjustment, ...]:
    """The grid of one comparable: the larger adjustments first, those below half a unit together, nothing left out."""
    order = np.argsort(-np.abs(amounts), kind="stable")
    kept = [n for n in order if abs(amounts[n]) >= 0.5]
    told = [
        Adjustment(feature=names[n], comparable=shown(names[n], sale, units), subject=shown(names[n], subject, units),
                   amount=float(amounts[n]))
        for n in kept
    ]  # fmt: skip
    rest = float(amounts.sum() - sum(one.amount for one in told))
    return (*told, Adjustment(feature="all else", amount=rest)) if abs(rest) > 1e-9 else tuple(told)


_BACK = {"year built": "year_built", "renovation": "renovated", "location": "neighbourhood", TIME: "sold"}


def shown(feature: str, sale: pd.Series, units: Units) -> str:
    """What a property has in a feature, in the market's units; empty where that is no single figure."""
    value = sale.get(_BACK.get(feature, feature))
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    if isinstance(value, pd.Timestamp):
        return "" if pd.isna(value) else str(value.date())
    if feature in {"area", "lot"}:
        unit = units.area if feature == "area" else units.lot
        return f"{float(value) / SQUARE_METRES[unit]:,.0f} {unit}"
    return f"{value:g}" if isinstance(value, int | float | np.number) else str(value)[:60]


def _distances(model: ValuationModel, sales: pd.DataFrame, row: pd.DataFrame) -> Vector | None:
    if not model.features.middle or "latitude" not in row or not np.isfinite(float(row["latitude"].iloc[0])):
        return None
    here = plane(row["latitude"].to_numpy(float), row["longitude"].to_numpy(float), model.features.middle)
    there = plane(sales["latitude"].to_numpy(float), sales["longitude"].to_numpy(float), model.features.middle)
    found: Vector = np.hypot(there[0] - here[0], there[1] - here[1])
    return found
