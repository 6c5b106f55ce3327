"""An appraiser's answer: a value, an honest range, comparables, reasons; or why there is none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from statistics import NormalDist

import numpy as np
import pandas as pd

from blocks.errors import ConfigurationError
from models.training import Interval
from models.valuation import Comparable, Contribution, Property, Valuation
from tasks.valuation.comparables import comparables_of, money, shown
from tasks.valuation.intervals import LAG
from tasks.valuation.market import row_of
from tasks.valuation.market_model import MarketModel

LEVELS = (0.68, 0.80, 0.90)
_ONE_SIGMA = 0.6827
_WITHIN = 0.10
_GRADES = ((0.13, "high"), (0.20, "medium"))
_STALE_WARNING = 120
_TOLD = 12
_ROLES = ("type", "bedrooms", "bathrooms", "year_built", "renovated", "lot", "condition", "neighbourhood", "latitude")


@dataclass(frozen=True)
class Appraisal:
    """A valuation, or the reasons for which there is none, by the input that is to blame."""

    valuation: Valuation | None
    refused: Mapping[str, str] = field(default_factory=dict)


def appraise(
    model: MarketModel, subject: Property, *, as_of: date | None = None, coverage: float | None = None, name: str = ""
) -> Appraisal:
    """Value a property.

    Args:
        model: of its market.
        subject: the property, in the units of the market.
        as_of: the day for which; by default that after the last known sale.
        coverage: of the interval; by default the market's.
        name: `name@version` of the model.

    Raises:
        ConfigurationError: the property names a feature that the market does not have or gives a word where numbers
            were learned from, the model values by place and none is given, or the coverage is no share or more
            than the judged sales can tell of.
    """
    market = model.market
    coverage, notes = _attainable(model, coverage)
    valued = model.estimator
    if as_of is None:
        as_of = (
            date(1970, 1, 1) + timedelta(days=int(model.ranges.days[1]) + 1) if model.ranges.days else date(1970, 1, 1)
        )
    if market.columns.latitude is not None and subject.latitude is None:
        raise ConfigurationError(
            "it has no coordinates, and this market's values depend on them.", component=subject.address,
            remedy="Give latitude and longitude.",
        )  # fmt: skip
    row = _in_numbers(row_of(subject, market, as_of), valued.features.numbers, market.name)
    refused = model.ranges.refusals(row, float(valued.nearest_km(row)[0]), as_of, market)
    if refused:
        return Appraisal(None, refused)
    inputs = valued.tree_inputs(row)
    value = float(valued.predict(row)[0])
    moved = valued.index.may_move(_age(model, as_of) - LAG)  # the range was measured on values of that age
    possible = model.calibrated.attainable()
    intervals = tuple(_interval(model, inputs, value, one, moved) for one in LEVELS if one <= possible)
    reach = _reach(model, inputs, _ONE_SIGMA, moved)
    stretch = reach / max(1e-9, _reach(model, inputs, _ONE_SIGMA, 0.0))
    fsd = float(np.sinh(reach))  # half of the width at one standard deviation, over the value
    grid = comparables_of(valued, model.sales, row, as_of, market.units)
    typical, contributions = _reasons(model, row)
    land = model.land.split(row, value, float(valued.index_at(row)[0]))
    return Appraisal(
        Valuation(
            value=value,
            interval=_interval(model, inputs, value, coverage, moved),
            intervals=intervals,
            fsd=fsd,
            confidence=round(100 * float(model.calibrated.chance_within(inputs, _WITHIN, stretch)[0])),
            grade=next((word for limit, word in _GRADES if fsd <= limit), "low"),
            land=land and land[0],
            building=land and land[1],
            indicated=grid.indicated,
            comparables=grid.comparables,
            typical=typical,
            contributions=contributions,
            currency=market.units.currency,
            area_unit=market.units.area,
            as_of=as_of,
            model=name,
            warnings=(
                *notes,
                *_warnings(model, subject, row, as_of, value, grid.comparables, grid.indicated, grid.limits),
            ),
        )
    )


def _in_numbers(row: pd.DataFrame, names: Sequence[str], market: str) -> pd.DataFrame:
    """`row` with the columns `names` as numbers; what is given, and is none, would else be taken as not given."""
    for name in names:
        given = row[name].iloc[0]
        if pd.isna(given):
            continue
        number = pd.to_numeric(given, errors="coerce")
        if not np.isfinite(number):
            raise ConfigurationError(
                f"{name} is {given!r}; the market's sales have numbers there.", component=market,
                remedy=f"Give a number, or name the words of {name} in `scales` and train again.",
            )  # fmt: skip
        row[name] = float(number)
    return row


def _attainable(model: MarketModel, asked: float | None) -> tuple[float, list[str]]:
    """The coverage of the interval, and what is to be known of it: what is asked for is given, or refused."""
    coverage, market = model.market.coverage if asked is None else asked, model.market.name
    if not 0.5 <= coverage <= 0.99:
        raise ConfigurationError(f"{coverage} is no coverage; give one from .5 to .99.", component=market)
    possible = math.floor(100 * model.calibrated.attainable()) / 100
    if coverage <= model.calibrated.attainable():
        return coverage, []
    if asked is not None or possible < 0.5:
        raise ConfigurationError(
            f"too few recent sales were judged for an interval of {coverage:.0%}; they can tell of {possible:.0%}.",
            component=market, remedy="Ask for less, or train with more sales.",
        )  # fmt: skip
    return possible, [f"The range is of {possible:.0%}: too few recent sales were judged for {coverage:.0%}."]


def _age(model: MarketModel, as_of: date) -> int:
    """Days since the last known sale; 0 where sales have no dates."""
    return (as_of - date(1970, 1, 1)).days - int(model.ranges.days[1]) if model.ranges.days else 0


def _reach(model: MarketModel, inputs: np.ndarray, coverage: float, moved: float) -> float:
    """Half of an interval in logarithms: what values of known prices missed, and how far prices may have moved."""
    known = float(model.calibrated.reach(inputs, coverage)[0])
    return math.hypot(known, moved * NormalDist().inv_cdf(0.5 + coverage / 2))


def _interval(model: MarketModel, inputs: np.ndarray, value: float, coverage: float, moved: float) -> Interval:
    reach = _reach(model, inputs, coverage, moved)
    return Interval(low=value * float(np.exp(-reach)), high=value * float(np.exp(reach)), coverage=coverage)


def _reasons(model: MarketModel, row: pd.DataFrame) -> tuple[float, tuple[Contribution, ...]]:
    """The typical value, and what each feature adds to it: together exactly the value."""
    names, parts, base = model.estimator.contributions(row)
    typical = float(np.exp(base))
    amounts = money(parts[0], typical)
    order = np.argsort(-np.abs(amounts), kind="stable")
    told = [
        Contribution(
            feature=names[n], given=shown(names[n], row.iloc[0], model.market.units),
            factor=float(np.exp(parts[0, n])), amount=float(amounts[n]),
        )
        for n in order[:_TOLD]
    ]  # fmt: skip
    rest = order[_TOLD:]
    if len(rest):
        total = float(parts[0, rest].sum())
        told.append(Contribution(feature="all else", factor=float(np.exp(total)), amount=float(amounts[rest].sum())))
    return typical, tuple(told)


def _warnings(
    model: MarketModel,
    subject: Property,
    row: pd.DataFrame,
    as_of: date,
    value: float,
    comparables: tuple[Comparable, ...],
    indicated: float | None,
    limits: str,
) -> list[str]:
    found = []
    missing = [name for name in row.columns if name not in {"price", "property", "address"} and row[name].isna().all()]
    if missing:
        found.append(f"Not given, and taken as unknown: {', '.join(missing)}.")
    named = model.market.columns.model_dump()
    unused = [role for role in _ROLES if getattr(subject, role) is not None and named[role] is None]
    if unused:
        found.append(f"Given, and not used, for the market has no such column: {', '.join(unused)}.")
    found += model.ranges.warnings(row, model.market)
    for name, levels in zip(model.estimator.features.words, model.estimator.features.levels, strict=True):
        given = row[name].iloc[0] if name in row.columns else None
        if given is not None and str(given) not in levels:
            found.append(f"{name} {given!r} is not known to the model.")
    if model.ranges.days:
        last = date(1970, 1, 1) + timedelta(days=int(model.ranges.days[1]))
        if (as_of - last).days > _STALE_WARNING:
            found.append(
                f"The last known sale is of {last}: how prices moved since is carried on from then, and the range is "
                "wider by what they may have moved."
            )
    if not comparables:
        found.append(f"No comparable sales: {limits}.")
    elif indicated is not None and abs(np.log(indicated / value)) > 0.15:
        found.append("What the comparable sales say after adjustment is more than 15 % from the value.")
    return found
