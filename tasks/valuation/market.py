"""The sales of a market as one frame, whatever the user's table looks like: metres, years, degrees, dates.

Columns of the frame: `price`, `sold`, `property`, `address`, `area` and `lot` in m2, `bedrooms`, `bathrooms`,
`year_built`, `renovated`, `condition`, `type`, `neighbourhood`, `latitude`, `longitude`, those of them that the market
has; and its further features under their own names.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from blocks.errors import ConfigurationError
from models.training import Columns
from models.valuation import SQUARE_METRES, Market, Property

_NUMBERS = ("price", "area", "lot", "bedrooms", "bathrooms", "year_built", "renovated", "latitude", "longitude")
_WORDS = ("type", "neighbourhood")
_LEAST_SALES = 100


def columns_of(market: Market) -> Columns:
    """What the columns of a frame of sales are for, for the training engine."""
    named = market.columns
    return Columns(
        target="price",
        time="sold" if named.sold else None,
        location=("latitude", "longitude") if named.latitude else None,
        ignore=("address",) if named.address else (),
    )


def sales_of(table: pd.DataFrame, market: Market) -> tuple[pd.DataFrame, dict[str, int]]:
    """The sales that can be learned from, and how many cannot, by reason.

    Args:
        table: the user's, as it was read.
        market: what its columns mean.

    Raises:
        ConfigurationError: a column is not there, is of the wrong kind, or hardly a sale is left.
    """
    kept, excluded = usable(table, market)
    built = int((~is_land(kept, market)).sum())
    if built < _LEAST_SALES:
        raise ConfigurationError(
            f"{built} usable sales are too few; {_LEAST_SALES} are needed"
            + (f" ({', '.join(f'{count} with {reason}' for reason, count in excluded.items())})" if excluded else "")
            + ".",
            component=market.name,
        )  # fmt: skip
    return kept, excluded


def is_land(frame: pd.DataFrame, market: Market) -> NDArray[np.bool_]:
    """Which sales of a frame are of land alone, shape (n,)."""
    if not market.land_types or "type" not in frame.columns:
        return np.zeros(len(frame), bool)
    found: NDArray[np.bool_] = frame["type"].isin(market.land_types).to_numpy(bool)
    return found


def usable(table: pd.DataFrame, market: Market) -> tuple[pd.DataFrame, dict[str, int]]:
    """The sales that can be right, however few, and how many cannot, by reason.

    Raises:
        ConfigurationError: a column is not there, or is of the wrong kind.
    """
    frame = frame_of(table, market)
    reasons = _reasons(frame, is_land(frame, market))
    excluded = {reason: int(bad.sum()) for reason, bad in reasons.items() if bad.any()}
    bad = np.zeros(len(frame), bool)
    for rows in reasons.values():
        bad |= rows
    return frame[~bad].reset_index(drop=True), excluded


def frame_of(table: pd.DataFrame, market: Market, *, whole_sums: bool = False) -> pd.DataFrame:
    """All rows of `table` in the columns and units of a frame of sales; what is no number becomes missing.

    Args:
        table: the user's.
        market: what its columns mean.
        whole_sums: a sum is missing when one of its parts is; otherwise only when all are, as an empty cell of a table
            of sales says that there is none of it.

    Raises:
        ConfigurationError: a column is not there, or none of its values is what it should be.
    """
    named = {role: name for role, name in market.columns.model_dump().items() if name is not None}
    needed = [*named.values(), *market.features, *(n for names in market.sums.values() for n in names),
              *(n for names in market.ratios.values() for n in names)]  # fmt: skip
    lacking = sorted({name for name in needed if name not in table.columns and name not in market.sums})
    if lacking:
        raise ConfigurationError(
            f"the table has no column {', '.join(map(repr, lacking[:8]))}; "
            f"it has {', '.join(map(str, table.columns[:40]))}.",
            component=market.name,
        )
    made: dict[str, Any] = {}
    for role, name in named.items():
        column = _scaled(table[name], market.scales.get(name))
        if role in _NUMBERS:
            made[role] = _as_number(column, f"{role} ({name})", market.name)
        elif role == "sold":
            made[role] = _as_date(column, name, market.name)
        elif role in _WORDS or role in {"property", "address"}:
            made[role] = _as_word(column)
        else:
            made[role] = column if pd.api.types.is_numeric_dtype(column.dtype) else _as_word(column)
    made["area"] = made["area"] * SQUARE_METRES[market.units.area]
    if "lot" in made:
        made["lot"] = made["lot"] * SQUARE_METRES[market.units.lot]
    for name in market.features:
        column = _scaled(table[name], market.scales.get(name))
        number = pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype)
        made[feature_name(name)] = column.astype(np.float64) if number else _as_word(column)
    sums = {
        name: pd.concat([_as_number(table[one], one, market.name) for one in parts], axis=1).sum(
            axis=1, min_count=len(parts) if whole_sums else 1
        )
        for name, parts in market.sums.items()
    }
    for name, total in sums.items():
        made[feature_name(name)] = total
    for name, (above, below) in market.ratios.items():
        over = sums[above] if above in sums else _as_number(table[above], above, market.name)
        under = sums[below] if below in sums else _as_number(table[below], below, market.name)
        made[feature_name(name)] = np.log(over.where(over > 0) / under.where(under > 0))
    return pd.DataFrame(made)


def feature_name(name: str) -> str:
    """Under which name a further feature is in the frame: its own, unless that has a meaning there."""
    return f"{name} (further)" if name in {*_NUMBERS, *_WORDS, "sold", "property", "address", "condition"} else name


def row_of(subject: Property, market: Market, as_of: date) -> pd.DataFrame:
    """One property as a frame of one row, as of a day.

    Raises:
        ConfigurationError: it names a feature that the market does not have, or a word that its scale does not know.
    """
    named = market.columns.model_dump()
    raw = {
        name: getattr(subject, role)
        for role, name in named.items()
        if name is not None and role not in {"price", "sold"}
    }
    known = {*market.features, *(n for parts in market.sums.values() for n in parts),
             *(n for parts in market.ratios.values() for n in parts)}  # fmt: skip
    unknown = sorted(set(subject.features) - known)
    if unknown:
        raise ConfigurationError(
            f"there is no feature {', '.join(map(repr, unknown[:8]))}; there are {', '.join(sorted(known)) or 'none'}.",
            component=market.name,
        )
    for name in known - set(raw):
        raw[name] = subject.features.get(name)
    for name, scale in market.scales.items():
        given = raw.get(name)
        if given is not None and _plain(given) not in scale:
            raise ConfigurationError(f"{name} is {given!r}; its scale is {', '.join(scale)}.", component=market.name)
    for name in sorted({n for parts in (*market.sums.values(), *market.ratios.values()) for n in parts}):
        if (given := raw.get(name)) is not None and not np.isfinite(pd.to_numeric(given, errors="coerce")):
            raise ConfigurationError(f"{name} is {given!r}, which is no number.", component=market.name)
    raw[market.columns.price] = np.nan
    if market.columns.sold is not None:
        raw[market.columns.sold] = pd.Timestamp(as_of)
    table = pd.DataFrame({name: [value] for name, value in raw.items()})
    for name in table.columns:
        if table[name].isna().all() and name != market.columns.sold:
            table[name] = table[name].astype(np.float64)
    return frame_of(table, market, whole_sums=True)  # nobody said that what is not given is 0


def _reasons(frame: pd.DataFrame, land: NDArray[np.bool_]) -> Mapping[str, Any]:
    """Which rows cannot be learned from, by why; `land` is which are of land alone: nothing stands there."""
    found: dict[str, Any] = {
        "a price that is not above 0": ~(frame["price"] > 0).to_numpy(),
        "an area that is not above 0": ~(frame["area"] > 0).to_numpy() & ~land,
    }
    if "sold" in frame:
        found["no date of sale"] = frame["sold"].isna().to_numpy()
    if "latitude" in frame:
        inside = frame["latitude"].between(-90, 90) & frame["longitude"].between(-180, 180)
        found["no place on earth"] = ~inside.to_numpy()
    if "bedrooms" in frame:
        # less than 7 m2 of living area a bedroom: one digit too many, and not a house
        crowded = (frame["bedrooms"] > 6) & (frame["area"] / frame["bedrooms"] < 7)
        found["more bedrooms than fit"] = crowded.to_numpy()
    return found


def _scaled(column: pd.Series, scale: tuple[str, ...] | None) -> pd.Series:
    if scale is None:
        return column
    ranks = {word: float(number + 1) for number, word in enumerate(scale)}
    return column.map(lambda value: np.nan if pd.isna(value) else ranks.get(_plain(value), np.nan)).astype(np.float64)


def _as_number(column: pd.Series, name: str, market: str) -> pd.Series:
    numbers = pd.to_numeric(column, errors="coerce").astype(np.float64).replace([np.inf, -np.inf], np.nan)
    if len(column) > 1 and column.notna().any() and not numbers.notna().any():
        raise ConfigurationError(f"{name} has no numbers, but {column.dropna().iloc[0]!r}.", component=market)
    return numbers


def _as_date(column: pd.Series, name: str, market: str) -> pd.Series:
    if pd.api.types.is_numeric_dtype(column.dtype):
        raise ConfigurationError(f"sold ({name}) has numbers, not dates.", component=market, remedy="Use YYYY-MM-DD.")
    dates = dates_of(column)
    if len(column) > 1 and not dates.notna().any():
        raise ConfigurationError(f"sold ({name}) has no dates.", component=market, remedy="Use YYYY-MM-DD.")
    return dates.astype("datetime64[us]")


def dates_of(column: pd.Series) -> pd.Series:
    """The dates of a column in ISO 8601, those of other zones in UTC, without a zone; what is none becomes missing.

    In no other format: `05.03.2025` is the third of May or the fifth of March, and each value would be read by itself.
    """
    return pd.to_datetime(column, errors="coerce", utc=True, format="ISO8601").dt.tz_localize(None)


def _as_word(column: pd.Series) -> pd.Series:
    text = column.astype(object).where(column.notna(), None)
    return text.map(lambda value: None if value is None else _plain(value)).astype(object)


def _plain(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
