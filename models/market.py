"""Market analysis: what `[market]` of `lama.toml` says, and what a market is found to do."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from models.place import PlaceError, second_of_a_name
from models.report import Grid, Report, Value

Length = Literal["month", "quarter", "year"]

PER_YEAR: dict[Length, int] = {"month": 12, "quarter": 4, "year": 1}


class Listings(Value):
    """`[[market.listings]]`: what is offered in a market, for inventory and months of supply."""

    market: str = Field(description="Name of the market of `[[valuation.markets]]`.")
    source: str = Field(
        min_length=1, max_length=20_000, description="The path of a CSV or Parquet file, or `sql:SELECT ...`."
    )
    listed: str = Field(min_length=1, max_length=200, description="Column of the day on which the offer began.")
    ended: str = Field(
        min_length=1, max_length=200, description="Column of the day on which it ended; empty: it is on."
    )


class MarketSettings(Value):
    """`[market]`."""

    period: Length = Field(default="quarter", description="What indices count in: `month`, `quarter` or `year`.")
    least_sales: int = Field(
        default=10, ge=2, description="Sales that a period needs; with fewer it has no figure, and the report says so."
    )
    least_pairs: int = Field(
        default=10, ge=2, description="Repeat sales that must begin or end in a period for the repeat-sales index."
    )
    least_days: int = Field(
        default=180, ge=0, description="Days between two sales of a property below which they are no repeat sale."
    )
    window: int = Field(default=8, ge=3, le=60, description="Periods of the rolling window of the chained index.")
    horizon: int = Field(default=4, ge=1, le=24, description="Periods that are forecast.")
    origins: int = Field(default=8, ge=3, le=60, description="Origins of the backtest, the latest ones.")
    coverage: float = Field(default=0.9, gt=0.5, lt=0.999, description="Of every interval.")
    listings: tuple[Listings, ...] = Field(default=(), description="What is offered, one table a market at most.")

    @model_validator(mode="after")
    def _one_table_each(self) -> MarketSettings:
        names = [one.market for one in self.listings]
        if (again := second_of_a_name(names)) is not None:
            raise PlaceError(f"the market {names[again]!r} has listings twice", "listings", again, "market")
        return self


class Point(Value):
    """One period of a series."""

    period: str = Field(description="Such as `2026Q3`.")
    value: float | None = Field(default=None, description="None: the period is too thin.")
    low: float | None = Field(default=None, description="Lower end of its interval.")
    high: float | None = Field(default=None, description="Upper end.")
    count: int = Field(default=0, ge=0, description="Sales that it rests on; of repeat sales, their ends.")


class Series(Value):
    """A figure over time."""

    name: str = Field(description="Such as `hedonic`.")
    unit: str = Field(default="index", description="`index`: the first period is 100; otherwise what is counted.")
    method: str = Field(description="How it was computed, with its source.")
    points: tuple[Point, ...] = Field(description="In order; also the thin ones.")


class Backtest(Value):
    """How well a model forecast what came, from several origins."""

    model: str
    mae: float = Field(description="Mean absolute error over all steps and origins, in % of the level.")
    against_naive: float = Field(description="That, over the same of the naive forecast; below 1 is better.")
    coverage: float = Field(description="Share of what came that lay in its own interval, before that was widened.")
    errors: int = Field(description="How many forecasts that rests on.")


class Seasonality(Value):
    """What the time of the year does to prices."""

    factors: dict[str, float] = Field(description="By season, relative to the year; 1.02: 2 % above.")
    strength: float = Field(ge=0, le=1, description="1 - Var(rest) / Var(season + rest) (Wang, Smith, Hyndman 2006).")
    p_value: float = Field(ge=0, le=1, description="Of the F test that there is none.")


class Forecast(Value):
    """What comes, if it goes on as before."""

    of: str = Field(description="Which series.")
    model: str = Field(description="The one that did best in the backtest; `naive` unless another beat it.")
    points: tuple[Point, ...]
    backtests: tuple[Backtest, ...] = Field(description="Every model that was tried, best first.")


class MarketReport(Report):
    """What a market did."""

    market: str
    currency: str
    sales: int = Field(description="Sales that were used.")
    left_out: dict[str, int] = Field(default_factory=dict, description="Sales that were not, by reason.")
    series: tuple[Series, ...] = ()
    seasonality: Seasonality | None = None
    forecast: Forecast | None = None

    @property
    def grids(self) -> tuple[Grid, ...]:
        """The series side by side, the latest period first; what is expected; what the season does."""
        periods = (
            [point.period for point in max(self.series, key=lambda one: len(one.points)).points] if self.series else []
        )
        known = [{point.period: point for point in one.points} for one in self.series]
        rows = tuple((period, *(_cell(points.get(period)) for points in known)) for period in reversed(periods))
        columns = ("Period", *(f"{one.name} ({one.unit})" for one in self.series))
        methods = " ".join(f"{one.name}: {one.method}" for one in self.series)
        grids = [Grid("Series", columns, rows, methods)] if self.series else []
        if self.forecast is not None:
            grids += _of_forecast(self.forecast)
        if self.seasonality is not None:
            told = tuple((season, f"{factor:.4f}") for season, factor in self.seasonality.factors.items())
            note = f"Strength {self.seasonality.strength:.2f}; p = {self.seasonality.p_value:.3g} that there is none."
            grids.append(Grid("Season", ("Season", "Factor"), told, note))
        return tuple(grids)


def _of_forecast(one: Forecast) -> list[Grid]:
    rows = tuple((point.period, _cell(point)) for point in one.points)
    tried = tuple(
        (test.model, f"{test.mae:.2f}", f"{test.against_naive:.2f}", f"{test.coverage:.0%}", str(test.errors))
        for test in one.backtests
    )
    columns = ("Model", "Mean absolute error, %", "Against naive", "Coverage", "Forecasts")
    return [
        Grid(f"Forecast of {one.of} by {one.model}", ("Period", "Value"), rows),
        Grid("Backtest", columns, tried, "Each origin knew only what was before it."),
    ]


def _cell(point: Point | None) -> str:
    if point is None:
        return ""
    if point.value is None:
        return f"too thin ({point.count})"
    told = f"{point.value:,.1f}" if point.value < 10_000 else f"{point.value:,.0f}"
    if point.low is None or point.high is None:
        return told
    between = (
        f"{point.low:,.1f} to {point.high:,.1f}" if point.high < 10_000 else f"{point.low:,.0f} to {point.high:,.0f}"
    )
    return f"{told} ({between})"
