"""A market's sales made ready: in the words of `models.valuation.MarketColumns`, without what is no sale. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blocks.errors import ConfigurationError
from models.market import Length

if TYPE_CHECKING:
    import pandas as pd

    from models.valuation import Market

FREQUENCY: Mapping[Length, str] = {"month": "M", "quarter": "Q", "year": "Y"}
_MOST_PERIODS = 1200


@dataclass(frozen=True)
class Sales:
    """Sales of one market, in order of time."""

    frame: pd.DataFrame
    """Columns as `MarketColumns` names them, with `price` above 0 and `sold`; further features by their own names.
    `t` counts periods from 0."""
    periods: tuple[str, ...]
    """What each `t` is called; also periods without a sale are there."""
    features: tuple[str, ...]
    """The market's further features that the table has."""
    left_out: Mapping[str, int]

    @property
    def counts(self) -> list[int]:
        """Sales in each period."""
        found = self.frame["t"].value_counts()
        return [int(found.get(t, 0)) for t in range(len(self.periods))]


def sales_of(table: pd.DataFrame, market: Market, period: Length) -> Sales:
    """The sales of `table`, which is as the user has it.

    Raises:
        ConfigurationError: the market names no date, a column is not what it is said to be, or no sale is left.
    """
    import numpy as np  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    columns = market.columns
    if columns.sold is None:
        raise ConfigurationError(
            f"the market {market.name!r} does not say which column is the date of the sale.",
            component="market",
            remedy="Name it as columns.sold.",
        )
    named = {role: name for role, name in columns.model_dump().items() if name is not None}
    features = [name for name in market.features if name in table.columns]
    frame = table[[*named.values(), *features]].rename(columns={name: role for role, name in named.items()})
    frame = frame.reset_index(drop=True)
    frame["sold"] = dates(frame["sold"])
    frame["price"] = pd.to_numeric(frame["price"], errors="coerce")
    for role in ("area", "lot", "bedrooms", "bathrooms", "year_built", "latitude", "longitude"):
        if role in frame:
            frame[role] = pd.to_numeric(frame[role], errors="coerce").replace([np.inf, -np.inf], np.nan)
    left_out: dict[str, int] = {}
    for reason, good in (
        ("price is no amount above 0", np.isfinite(frame["price"]) & (frame["price"] > 0)),
        ("there is no date", frame["sold"].notna()),
    ):
        still = good.loc[frame.index]
        if not still.all():
            left_out[reason] = int((~still).sum())
            frame = frame[still]
    same = [role for role in ("property", "sold", "price") if role in frame]
    if "property" in frame:
        twice = frame.duplicated(same) & frame["property"].notna()
        if twice.any():
            left_out["the same sale again"] = int(twice.sum())
            frame = frame[~twice]
    if frame.empty:
        raise ConfigurationError(
            "no sale is left that has a price and a date.", component=market.name, remedy="Write dates as YYYY-MM-DD."
        )
    return _by_period(frame.sort_values("sold", kind="stable").reset_index(drop=True), period, features, left_out)


def dates(column: pd.Series[Any]) -> pd.Series[pd.Timestamp]:
    """A column of dates in ISO 8601, also where they are numbers such as 20250305; what is none becomes missing."""
    import pandas as pd  # noqa: PLC0415

    from tasks.valuation.market import dates_of  # noqa: PLC0415

    return dates_of(column if pd.api.types.is_datetime64_any_dtype(column) else column.astype("str"))


def _by_period(frame: pd.DataFrame, period: Length, features: list[str], left_out: dict[str, int]) -> Sales:
    import pandas as pd  # noqa: PLC0415

    of = frame["sold"].dt.to_period(FREQUENCY[period])
    ordinals = of.astype("int64")
    first, last = int(ordinals.min()), int(ordinals.max())
    if last - first >= _MOST_PERIODS:
        raise ConfigurationError(
            f"the sales reach from {of.min()} to {of.max()}: more than {_MOST_PERIODS} periods.",
            component="market",
            remedy="Look for dates that are wrong, or count in longer periods.",
        )
    frame["t"] = (ordinals - first).astype("int64")
    names = tuple(str(one) for one in pd.period_range(of.min(), of.max(), freq=FREQUENCY[period]))
    return Sales(frame, names, tuple(features), left_out)
