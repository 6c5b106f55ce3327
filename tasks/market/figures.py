"""Medians, inventory and the season. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from models.market import PER_YEAR, Length, Listings, Point, Seasonality, Series
from tasks.market.hedonic import TooThinError
from tasks.market.sales import FREQUENCY, Sales, dates

if TYPE_CHECKING:
    import pandas as pd

_LEAST_OF_STRATUM = 3
_LEAST_YEARS = 3


def medians(sales: Sales, *, least_sales: int, coverage: float, currency: str) -> Series:
    """The median price of each period, with the interval between order statistics, which assumes no distribution.

    David, Nagaraja (2003), Order Statistics, 7.1: the ranks are quantiles of the binomial distribution.
    """
    import numpy as np  # noqa: PLC0415
    from scipy.stats import binom  # noqa: PLC0415

    points = []
    groups = sales.frame.groupby("t")["price"]
    for t, name in enumerate(sales.periods):
        prices = np.sort(groups.get_group(t).to_numpy(float)) if t in groups.groups else np.empty(0)
        count = len(prices)
        if count < least_sales:
            points.append(Point(period=name, count=count))
            continue
        low = int(binom.ppf((1 - coverage) / 2, count, 0.5))
        points.append(
            Point(
                period=name,
                value=float(np.median(prices)),
                low=float(prices[max(0, low - 1)]),
                high=float(prices[min(count - 1, count - low)]),
                count=count,
            )
        )
    method = "of all sales; what is sold changes, so this is no price index."
    return Series(name="median", unit=currency, method=method, points=tuple(points))


def constant_mix(sales: Sales, *, least_sales: int) -> Series:
    """The index of medians within strata (neighbourhood, else type), each weighted by its share of all sales.

    Eurostat's Handbook (2013), chapter 4: stratification. A stratum without enough sales in a period keeps its last
    median there.

    Raises:
        TooThinError: there is nothing to make strata of, or no stratum is there in enough periods.
    """
    import numpy as np  # noqa: PLC0415

    by = next((role for role in ("neighbourhood", "type") if role in sales.frame), None)
    if by is None:
        raise TooThinError("the market names neither neighbourhood nor type, of which strata are made")
    frame = sales.frame.assign(stratum=sales.frame[by].astype("str"))
    table = frame.pivot_table(index="t", columns="stratum", values="price", aggfunc=["median", "count"])
    middle, counts = table["median"], table["count"].fillna(0)
    middle = np.log(middle.where(counts >= _LEAST_OF_STRATUM)).reindex(range(len(sales.periods)))
    thick = [t for t, count in enumerate(sales.counts) if count >= least_sales]
    if len(thick) < 2:
        raise TooThinError(f"fewer than two periods have {least_sales} sales")
    # those that are there at the beginning, so that nobody has to be made up
    middle = middle.loc[:, middle.loc[thick[0]].notna()]
    share = counts[middle.columns].sum()
    if not len(middle.columns) or share.sum() < 0.5 * len(frame):
        raise TooThinError(
            f"the strata with {_LEAST_OF_STRATUM} sales in {sales.periods[thick[0]]} hold under half of all"
        )
    filled = middle.ffill()
    level = (filled - filled.loc[thick[0]]).mul(share / share.sum()).sum(axis=1)
    all_counts = sales.counts
    return Series(
        name="constant mix",
        method=f"medians within {len(share)} strata ({by}), weighted by their shares of all sales.",
        points=tuple(
            Point(period=name, value=100 * float(np.exp(level[t])) if t in thick else None, count=all_counts[t])
            for t, name in enumerate(sales.periods)
        ),
    )


def inventory(
    listings: pd.DataFrame, chosen: Listings, sales: Sales, period: Length
) -> tuple[Series, Series, dict[str, int]]:
    """Offers at the end of each period, the months in which they would be sold at the pace of the last year, and how
    many offers were left out, by why. An offer whose end cannot be read is none that is still there.

    Raises:
        TooThinError: no offer has a date on which it began.
    """
    import pandas as pd  # noqa: PLC0415

    began, ended = (dates(listings[name]) for name in (chosen.listed, chosen.ended))
    good = pd.Series(True, index=listings.index)  # noqa: FBT003
    left_out: dict[str, int] = {}
    for reason, bad in (
        ("the day it began is no date", began.isna() & _said(listings[chosen.listed])),
        ("there is no day on which it began", began.isna()),
        ("the day it ended is no date", ended.isna() & _said(listings[chosen.ended])),
        ("it ended before it began", ended < began),
    ):
        if (bad & good).any():
            left_out[reason] = int((bad & good).sum())
            good &= ~bad
    if not good.any():
        raise TooThinError("no offer has days as YYYY-MM-DD on which it began and, where there is one, ended")
    began, ended = began[good], ended[good]
    months = 12 / PER_YEAR[period]
    counts = sales.counts
    offers, supply = [], []
    for t, name in enumerate(sales.periods):
        end = pd.Period(name, FREQUENCY[period]).end_time
        active = int(((began <= end) & (ended.isna() | (ended > end))).sum())
        offers.append(Point(period=name, value=float(active), count=active))
        back = counts[max(0, t - PER_YEAR[period] + 1) : t + 1]
        pace = sum(back) / (len(back) * months)
        supply.append(Point(period=name, value=active / pace if pace else None, count=sum(back)))
    return (
        Series(name="inventory", unit="offers", method="offers at the end of the period.", points=tuple(offers)),
        Series(
            name="months of supply",
            unit="months",
            method="inventory over sales a month of the last year.",
            points=tuple(supply),
        ),
        left_out,
    )


def _said(column: pd.Series[Any]) -> pd.Series[bool]:
    """Where something stands, whatever it is."""
    return column.notna() & (column.astype("str").str.strip() != "")


def seasonality(levels: Sequence[float], first: str, period: Length) -> Seasonality:
    """What the season does to a series without gaps: STL (Cleveland et al., 1990) of its logarithm, and an F test.

    Args:
        levels: the series, above 0.
        first: name of its first period.
        period: what it counts in.

    Raises:
        TooThinError: it has less than three years, or counts in years.
    """
    import numpy as np  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415
    from scipy.stats import f as f_distribution  # noqa: PLC0415
    from statsmodels.tsa.seasonal import STL  # noqa: PLC0415

    season = PER_YEAR[period]
    if season == 1 or len(levels) < _LEAST_YEARS * season:
        raise TooThinError(f"a season needs {_LEAST_YEARS} years of months or quarters without a gap")
    logs = np.log(np.asarray(levels, dtype=float))
    parts = STL(logs, period=season, robust=True).fit()
    rest, both = float(np.var(parts.resid)), float(np.var(parts.seasonal + parts.resid))
    which = (pd.Period(first, FREQUENCY[period]).month if season == 12 else pd.Period(first, "Q").quarter) - 1
    seasons = (which + np.arange(len(logs))) % season
    means = np.array([parts.seasonal[seasons == one].mean() for one in range(season)])
    means -= means.mean()
    growth, at = np.diff(logs), seasons[1:]
    groups = [growth[at == one] for one in range(season)]
    between = sum(len(g) * (g.mean() - growth.mean()) ** 2 for g in groups) / (season - 1)
    within = sum(((g - g.mean()) ** 2).sum() for g in groups) / (len(growth) - season)
    p_value = float(f_distribution.sf(between / within, season - 1, len(growth) - season)) if within > 0 else 1.0
    letter = "M" if season == 12 else "Q"
    return Seasonality(
        factors={f"{letter}{one + 1}": float(np.exp(means[one])) for one in range(season)},
        strength=max(0.0, min(1.0, 1 - rest / both)) if both > 0 else 0.0,
        p_value=p_value,
    )
