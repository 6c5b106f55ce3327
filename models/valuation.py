"""What valuation speaks of: markets, properties, values, comparable sales, ratio studies."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from models.place import PlaceError, second_of_a_name
from models.report import Report, Value
from models.training import NAME, Interval, Measure

__all__ = [
    "Adjustment",
    "Comparable",
    "Contribution",
    "Coverage",
    "Market",
    "MarketColumns",
    "Property",
    "RatioStatistics",
    "RatioStudy",
    "StudyReport",
    "TrainMarketReport",
    "Units",
    "Unjudged",
    "Valuation",
    "ValuationReport",
    "ValuationSettings",
]

_Column = Annotated[str, Field(min_length=1, max_length=200)]

SQUARE_METRES = {"m2": 1.0, "sqft": 0.09290304, "acre": 4046.8564224, "ha": 10_000.0}
"""Square metres in one unit of area (international foot and acre)."""

AreaUnit = Literal["m2", "sqft", "acre", "ha"]


class Units(Value):
    """What the numbers of a market's table and of its users are in."""

    area: AreaUnit = Field(default="m2", description="Living area: `m2`, `sqft`, `acre` or `ha`.")
    lot: AreaUnit = Field(default="m2", description="Land: `m2`, `sqft`, `acre` or `ha`.")
    currency: str = Field(default="EUR", pattern=r"^[A-Z]{3}$", description="ISO 4217, such as `USD`.")


class MarketColumns(Value):
    """Which column of the user's table is what."""

    price: _Column = Field(description="What was paid.")
    area: _Column = Field(description="Living area.")
    sold: _Column | None = Field(default=None, description="Date of the sale; without it nothing is adjusted for time.")
    property: _Column | None = Field(default=None, description="Identity of the property; sales of one stay together.")
    address: _Column | None = Field(default=None, description="Shown beside comparable sales.")
    type: _Column | None = Field(default=None, description="Kind of property.")
    bedrooms: _Column | None = None
    bathrooms: _Column | None = None
    year_built: _Column | None = None
    renovated: _Column | None = Field(default=None, description="Year of the last renovation; 0 or empty: none.")
    lot: _Column | None = Field(default=None, description="Area of the land.")
    condition: _Column | None = Field(default=None, description="A number, or words that `scales` puts in order.")
    neighbourhood: _Column | None = Field(default=None, description="Quarter, postal code or the like.")
    latitude: _Column | None = Field(default=None, description="Degrees, WGS 84.")
    longitude: _Column | None = None

    @model_validator(mode="after")
    def _both_coordinates(self) -> Self:
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError("latitude and longitude go together: name both or none")
        return self


class Market(Value):
    """One market: where its sales are, and what the columns of that table mean."""

    name: str = Field(pattern=NAME, description="What the market's model is registered as.")
    source: str = Field(
        min_length=1, max_length=20_000, description="The path of a CSV or Parquet file, or `sql:SELECT ...`."
    )
    columns: MarketColumns = Field(description="Which column is what.")
    units: Units = Field(default=Units(), description="Units of the table, and of the answers.")
    features: tuple[_Column, ...] = Field(default=(), description="Further columns to value by.")
    scales: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="Words of a column in their order, worst first, such as grades of quality."
    )
    sums: dict[str, tuple[_Column, ...]] = Field(
        default_factory=dict, description="New columns that are sums of others, such as the area of all storeys."
    )
    ratios: dict[str, tuple[_Column, _Column]] = Field(
        default_factory=dict, description="New columns that are one column over another."
    )
    land_types: tuple[str, ...] = Field(
        default=(), description="Values of `type` that are land alone; with enough of them values are split."
    )
    coverage: float = Field(default=0.8, gt=0.5, lt=0.99, description="Of the interval, unless asked otherwise.")

    @model_validator(mode="after")
    def _features_once(self) -> Self:
        named = [name for name in self.columns.model_dump().values() if name is not None]
        for name in named:
            if named.count(name) > 1:
                raise ValueError(f"the column {name!r} is named for two things")
        for name in (*self.features, *self.sums, *self.ratios):
            if name in named:
                raise ValueError(f"the column {name!r} has a meaning already; it is no further feature")
        if len(set(self.features)) != len(self.features):
            raise ValueError("a feature is named twice")
        return self


class ValuationSettings(Value):
    """`[valuation]`: the markets in which properties are valued."""

    markets: tuple[Market, ...] = Field(default=(), description="`[[valuation.markets]]`: one for each market.")

    @model_validator(mode="after")
    def _names_identify(self) -> Self:
        names = [market.name for market in self.markets]
        if (again := second_of_a_name(names)) is not None:
            raise PlaceError(f"two markets are called {names[again]!r}; names identify them", "markets", again, "name")
        return self


class Property(Value):
    """What is known of a property that is to be valued, in the units of its market."""

    address: str = Field(min_length=1, max_length=500, description="Where it is, for people.")
    area: float = Field(gt=0, allow_inf_nan=False, description="Living area.")
    type: str | None = Field(default=None, max_length=200, description="Kind of property.")
    bedrooms: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    bathrooms: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    year_built: int | None = Field(default=None, ge=1000, le=2200)
    renovated: int | None = Field(default=None, ge=0, le=2200, description="Year of the last renovation.")
    lot: float | None = Field(default=None, ge=0, allow_inf_nan=False, description="Area of the land.")
    condition: float | str | None = Field(default=None, description="As in the market's table.")
    neighbourhood: str | None = Field(default=None, max_length=200)
    latitude: float | None = Field(default=None, ge=-90, le=90, allow_inf_nan=False)
    longitude: float | None = Field(default=None, ge=-180, le=180, allow_inf_nan=False)
    property: str | None = Field(default=None, max_length=200, description="Its identity in the market's table.")
    features: dict[str, float | str | None] = Field(default_factory=dict, description="Further features by column.")

    @model_validator(mode="after")
    def _both_coordinates(self) -> Self:
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError("latitude and longitude go together: give both or none")
        return self


class Contribution(Value):
    """What one feature does to the value."""

    feature: str
    given: str = Field(default="", description="What the property has.")
    factor: float = Field(description="The value is multiplied by it.")
    amount: float = Field(description="In money. The typical value and all amounts add up to the value.")


class Adjustment(Value):
    """What a comparable would have sold for more (or less), had it been as the property is in this."""

    feature: str
    comparable: str = ""
    subject: str = ""
    amount: float


class Comparable(Value):
    """A sale that says something about the value."""

    property: str
    address: str = ""
    price: float
    sold: date | None = None
    distance_m: float | None = None
    area: float
    latitude: float | None = None
    longitude: float | None = None
    similarity: float = Field(ge=0, le=1, description="Share of the model's trees that cannot tell the two apart.")
    adjustments: tuple[Adjustment, ...] = Field(default=(), description="In the order of the grid.")
    adjusted: float = Field(description="The price and all adjustments.")
    weight: float = Field(ge=0, le=1, description="In the indicated value.")


class Valuation(Value):
    """An answer."""

    value: float
    interval: Interval
    intervals: tuple[Interval, ...] = Field(
        default=(), description="At 68, 80 and 90 %: those that the judged sales can tell of."
    )
    fsd: float = Field(description="Forecast standard deviation: of sale price over value, as a share.")
    confidence: int = Field(ge=0, le=100, description="Chance in % that it sells within 10 % of the value.")
    grade: Literal["high", "medium", "low"] = Field(description="By the FSD: up to .13, up to .20, above.")
    land: float | None = None
    building: float | None = None
    indicated: float | None = Field(default=None, description="What the comparable sales say, after adjustment.")
    comparables: tuple[Comparable, ...] = ()
    typical: float = Field(description="The value from which the contributions count.")
    contributions: tuple[Contribution, ...] = Field(default=(), description="Largest first.")
    currency: str
    area_unit: AreaUnit
    as_of: date
    model: str = ""
    warnings: tuple[str, ...] = ()


class ValuationReport(Report):
    """A property's valuation, or why there is none."""

    market: str
    subject: Property
    valuation: Valuation | None = Field(default=None, description="None: it was refused; the findings say why.")
    page: str = Field(default="", description="The one-page report as Markdown.")
    pdf: str = Field(default="", description="Path of the same as a PDF file on the node that valued it.")


class Coverage(Value):
    """How often intervals held the truth."""

    nominal: float
    found: float = Field(description="By the model as it was when the first of the judged sales was made.")
    rolling: float = Field(description="With level and width kept up to date with what was sold until then.")
    median_width: float = Field(description="Median of (high - low) / value.")
    rows: int


class RatioStatistics(Value):
    """The statistics of one set of ratios (value over price)."""

    stratum: str = Field(description="`all`, or `by: which`.")
    rows: int
    median: Measure
    cod: Measure = Field(description="Coefficient of dispersion, in %.")
    prd: Measure = Field(description="Price-related differential.")
    prb: Measure = Field(description="Price-related bias.")
    mki: Measure = Field(description="Modified Kakwani index.")
    outside: tuple[str, ...] = Field(default=(), description="Statistics whose interval is outside of IAAO's limits.")


class Unjudged(Value):
    """Strata of one kind that have too few sales to be judged."""

    by: str
    strata: int
    rows: int = Field(description="Sales in all of them.")


class RatioStudy(Value):
    """How good values are, against prices."""

    split: str = Field(description="How the judged sales were chosen.")
    overall: RatioStatistics
    strata: tuple[RatioStatistics, ...] = ()
    fairness: dict[str, float] = Field(
        default_factory=dict, description="Largest less smallest median ratio between strata, by what makes them."
    )
    unjudged: tuple[Unjudged, ...] = Field(default=(), description="Strata of fewer than 30 sales, by what makes them.")
    rmse_log: float
    mae: float
    mdape: float
    coverage: tuple[Coverage, ...] = ()


class StudyReport(Report):
    """A ratio study."""

    market: str
    study: RatioStudy | None = None


class TrainMarketReport(StudyReport):
    """What a training of a market's model found."""

    model: str = Field(default="", description="`name@version`.")
    promoted: bool = False
    excluded: dict[str, int] = Field(default_factory=dict, description="Sales that were left out, by reason.")
    detail: dict[str, JsonValue] = Field(default_factory=dict)
