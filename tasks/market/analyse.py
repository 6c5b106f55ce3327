"""All that is said of a market, from its sales. Pure: each figure that cannot be given says why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from models.market import Forecast, Listings, MarketSettings, Point, Seasonality, Series
from models.report import Skip
from tasks.market import figures
from tasks.market.forecast import forecast
from tasks.market.hedonic import TooThinError, chained, design_of, hedonic
from tasks.market.repeat import pairs_of, repeat_sales
from tasks.market.sales import Sales

if TYPE_CHECKING:
    import pandas as pd

AREA = "market"
T = TypeVar("T")


@dataclass
class Analysis:
    """What was found."""

    series: list[Series] = field(default_factory=list)
    seasonality: Seasonality | None = None
    forecast: Forecast | None = None
    skipped: list[Skip] = field(default_factory=list)
    offers: int = 0
    """Offers that the table has."""
    offers_left_out: dict[str, int] = field(default_factory=dict)

    def try_to(self, what: str, compute: Callable[[], T]) -> T | None:
        """What `compute` gives; None, and why it is not there, where it is too thin."""
        try:
            return compute()
        except TooThinError as error:
            told = str(error)
            self.skipped.append(Skip(area=AREA, component=what, reason=f"{told[:1].upper()}{told[1:]}."))
            return None


def analyse(
    sales: Sales,
    settings: MarketSettings,
    *,
    currency: str,
    listings: tuple[Listings, pd.DataFrame] | None = None,
) -> Analysis:
    """Indices, medians, inventory, season and forecast of `sales`."""
    found = Analysis()
    least, coverage = settings.least_sales, settings.coverage
    design = design_of(sales)
    for what, compute in (
        ("hedonic index", lambda: [hedonic(sales, design, least_sales=least, coverage=coverage)]),
        ("chained index", lambda: [chained(sales, design, least_sales=least, window=settings.window)]),
        ("repeat-sales index", lambda: list(_repeat(sales, settings))),
        ("constant mix", lambda: [figures.constant_mix(sales, least_sales=least)]),
    ):
        found.series += found.try_to(what, compute) or []
    found.series.append(figures.medians(sales, least_sales=least, coverage=coverage, currency=currency))
    if listings is not None:
        chosen, table = listings
        both = found.try_to("inventory", lambda: figures.inventory(table, chosen, sales, settings.period))
        if both is not None:
            found.series += both[:2]
            found.offers, found.offers_left_out = len(table), both[2]
    found.skipped += [skip for one in found.series if (skip := _thin(one, settings)) is not None]
    _look_ahead(found, settings)
    return found


def _repeat(sales: Sales, settings: MarketSettings) -> tuple[Series, Series]:
    pairs = pairs_of(sales, least_days=settings.least_days)
    return repeat_sales(sales, pairs, least_pairs=settings.least_pairs, coverage=settings.coverage)


def _thin(series: Series, settings: MarketSettings) -> Skip | None:
    thin = [point.period for point in series.points if point.value is None]
    if not thin:
        return None
    least = (
        f"{settings.least_pairs} ends of repeat sales" if "repeat" in series.name else f"{settings.least_sales} sales"
    )
    shown = ", ".join(thin[:8]) + (f" and {len(thin) - 8} more" if len(thin) > 8 else "")
    periods = "1 period is" if len(thin) == 1 else f"{len(thin)} periods are"
    reason = f"{periods} too thin ({shown}): fewer than {least}. They have no figure."
    return Skip(area=AREA, component=f"{series.name}: thin periods", reason=reason)


def _look_ahead(found: Analysis, settings: MarketSettings) -> None:
    """The season and the forecast, of the best index that there is."""
    chosen = next((one for one in found.series if one.unit == "index"), None)
    if chosen is None:
        reason = "There is no index to look ahead from."
        found.skipped.append(Skip(area=AREA, component="forecast", reason=reason))
        return
    run = unbroken(chosen.points)
    levels = [point.value or 0.0 for point in run]
    found.seasonality = found.try_to("season", lambda: figures.seasonality(levels, run[0].period, settings.period))
    found.forecast = found.try_to(
        "forecast",
        lambda: forecast(
            levels, run[-1].period, of=chosen.name, period=settings.period, horizon=settings.horizon,
            origins=settings.origins, coverage=settings.coverage,
        ),
    )  # fmt: skip


def unbroken(points: Sequence[Point]) -> list[Point]:
    """The latest points without a gap among them. Thin periods at the very end are left out."""
    run: list[Point] = []
    for point in reversed(points):
        if point.value is not None:
            run.append(point)
        elif run:
            break
    return run[::-1]
