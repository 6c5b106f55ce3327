"""A market whose rules are known: sales with a place, sizes, a quality, land, and prices that rise."""

from __future__ import annotations

import numpy as np
import pandas as pd

from models.valuation import Market, MarketColumns, Property, Units

QUICK = {"rounds": 120, "learning_rate": 0.1}
NOISE = 0.08


def sales(count: int = 900, seed: int = 0, *, rise: float = 0.10, land: int = 0) -> pd.DataFrame:
    """`count` sales of a year, in sq ft and dollars; prices rise by `rise` over its second half."""
    chance = np.random.default_rng(seed)
    area = np.exp(chance.normal(7.5, 0.35, count)).round()
    lot = np.exp(chance.normal(8.8, 0.5, count)).round()
    bedrooms = np.clip((area / 600 + chance.normal(0, 0.7, count)).round(), 1, 7)
    baths = np.clip((bedrooms * 0.6 + chance.normal(0, 0.4, count)).round(), 1, 5)
    built = chance.integers(1920, 2015, count)
    grade = chance.choice(["poor", "fair", "good", "fine"], count, p=[0.1, 0.4, 0.4, 0.1])
    north, east = chance.uniform(0, 0.2, count), chance.uniform(0, 0.2, count)
    day = np.sort(chance.integers(0, 365, count))
    worth = {"poor": -0.15, "fair": 0.0, "good": 0.12, "fine": 0.3}
    log_price = (
        5.9 + 0.75 * np.log(area) + 0.1 * np.log(lot) + 0.03 * baths - 0.002 * (2015 - built)
        + np.array([worth[one] for one in grade]) + 0.5 * np.exp(-((north - 0.1) ** 2 + (east - 0.1) ** 2) / 0.003)
        + rise * np.clip((day - 182) / 183, 0, None) + chance.normal(0, NOISE, count)
    )  # fmt: skip
    frame = pd.DataFrame({
        "parcel": [f"p{n}" for n in range(count)], "where": [f"{n} Oak St" for n in range(count)],
        "when": (pd.Timestamp("2014-01-01") + pd.to_timedelta(day, unit="D")).strftime("%Y-%m-%d"),
        "paid": np.exp(log_price).round(), "sqft": area, "lot": lot, "beds": bedrooms, "baths": baths, "built": built,
        "renewed": np.where(chance.random(count) < 0.05, 2005, 0), "grade": grade,
        "kind": "house", "lat": 47.5 + north, "lon": -122.3 + east,
    })  # fmt: skip
    if not land:
        return frame
    some = np.linspace(0, count - 1, land).astype(int)
    bare = frame.iloc[some].copy()
    bare["parcel"], bare["kind"] = [f"l{n}" for n in range(land)], "land"
    # nothing stands there: some tables say 0, others leave it empty
    bare["sqft"] = np.where(np.arange(land) % 2, 0.0, np.nan)
    bare[["beds", "baths", "built", "renewed", "grade"]] = None
    bare["paid"] = (40 * bare["lot"] ** 0.8 * np.exp(rise * np.clip((day[some] - 182) / 183, 0, None))).round()
    return pd.concat([frame, bare], ignore_index=True)


MARKET = Market(
    name="testville",
    source="sales.csv",
    columns=MarketColumns(
        price="paid", area="sqft", sold="when", property="parcel", address="where", type="kind", bedrooms="beds",
        bathrooms="baths", year_built="built", renovated="renewed", lot="lot", condition="grade",
        latitude="lat", longitude="lon",
    ),
    units=Units(area="sqft", lot="sqft", currency="USD"),
    scales={"grade": ("poor", "fair", "good", "fine")},
    land_types=("land",),
)  # fmt: skip

HOME = Property(
    address="1 Elm St", area=1800, type="house", bedrooms=3, bathrooms=2, year_built=1980, lot=6600, condition="good",
    latitude=47.58, longitude=-122.21, renovated=0,
)  # fmt: skip


def truth(subject: Property, day: int, rise: float = 0.10) -> float:
    """What `subject` sells for by the market's rules, without noise."""
    worth = {"poor": -0.15, "fair": 0.0, "good": 0.12, "fine": 0.3}
    north, east = (subject.latitude or 0) - 47.5, (subject.longitude or 0) + 122.3
    return float(np.exp(
        5.9 + 0.75 * np.log(subject.area) + 0.1 * np.log(subject.lot or 1) + 0.03 * (subject.bathrooms or 0)
        - 0.002 * (2015 - (subject.year_built or 0)) + worth[str(subject.condition)]
        + 0.5 * np.exp(-((north - 0.1) ** 2 + (east - 0.1) ** 2) / 0.003) + rise * max(0, (day - 182) / 183)
    ))  # fmt: skip
