"""Training a market's model and judging it out of time: learn, choose and calibrate, judge, then learn from all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from blocks.errors import ConfigurationError
from models.valuation import Coverage, RatioStudy
from tasks.valuation.features import days, identities
from tasks.valuation.intervals import TimeAwareIntervals, levels, rolling_reach
from tasks.valuation.model import ValuationModel
from tasks.valuation.ratio_study import bands, statistics_of, strata_of

Vector = NDArray[np.float64]
Rows = NDArray[np.intp]

COVERAGES = (0.68, 0.80, 0.90)
SHARES = (0.70, 0.15)
_LEAST_OF_A_WINDOW = 10


@dataclass(frozen=True)
class Windows:
    """Rows, by position."""

    train: Rows
    validation: Rows
    test: Rows
    split: str


@dataclass(frozen=True)
class Backtest:
    """What came of it."""

    study: RatioStudy
    windows: Windows
    prices: Vector
    """Of the judged sales."""
    values: Vector
    """By the model as it was before the first of them."""
    rolling: Vector
    """With its level kept up to date."""
    intervals: TimeAwareIntervals
    """Calibrated on the validation window, as they were used in the test."""
    model: ValuationModel
    """Learned from training and validation window."""
    candidates: Mapping[str, float]
    """RMSE of logarithms on the validation window, by parameters."""


def windows_of(frame: pd.DataFrame, seed: int = 0, shares: tuple[float, float] = SHARES) -> Windows:
    """70 % to learn, 15 % to choose and calibrate, the last 15 % to judge: by time, or at random without dates.

    At random, no property is in two of them. By time, sales of one day stay together.

    Raises:
        ConfigurationError: so many sales are of one day that a window would have hardly any.
    """
    count = len(frame)
    if "sold" in frame.columns:
        day = days(frame["sold"])
        edges = np.sort(day)[[int(shares[0] * count), int((shares[0] + shares[1]) * count)]]
        parts = [day < edges[0], (day >= edges[0]) & (day < edges[1]), day >= edges[1]]
        first, second = (pd.Timestamp(edge, unit="D").date() for edge in edges)
        if any(part.sum() < _LEAST_OF_A_WINDOW for part in parts):
            raise ConfigurationError(
                f"cut by time, at {first} and {second}, the sales would make windows of "
                f"{', '.join(str(int(part.sum())) for part in parts)}; {_LEAST_OF_A_WINDOW} each are the least.",
                component="sold", remedy="Give the day of each sale, or name no column of dates.",
            )  # fmt: skip
        words = f"out of time: learned until {first}, chosen and calibrated until {second}, judged after that"
    else:
        groups = identities(frame)
        drawn = np.random.default_rng(seed).random(int(groups.max()) + 1)[groups]
        parts = [drawn < shares[0], (drawn >= shares[0]) & (drawn < sum(shares)), drawn >= sum(shares)]
        words = "at random by property: there are no dates of sale"
    train, held, test = (np.flatnonzero(part) for part in parts)
    return Windows(train, held, test, words)


def backtest(
    frame: pd.DataFrame,
    *,
    seed: int = 0,
    candidates: Sequence[Mapping[str, Any]] = ({},),
    windows: Windows | None = None,
    unit: float = 1.0,
) -> Backtest:
    """Choose among `candidates` on the validation window, calibrate there, judge on the last window.

    Args:
        frame: of sales, with `price`.
        seed: of everything that is drawn.
        candidates: parameters of the model.
        windows: by default those of `windows_of`.
        unit: square metres in the unit that strata by area are told in.
    """
    windows = windows or windows_of(frame, seed)
    features, price = frame.drop(columns="price"), frame["price"].to_numpy(np.float64)
    log_price = np.log(price)
    day = days(frame["sold"]) if "sold" in frame.columns else np.zeros(len(frame))
    held = windows.validation
    found: dict[str, float] = {}
    best: tuple[float, ValuationModel, Vector, Mapping[str, Any]] | None = None
    for parameters in candidates:
        model = ValuationModel(seed, **parameters).fit(features.iloc[windows.train], price[windows.train])
        residual = log_price[held] - model.predict_log(features.iloc[held])
        loss = float(np.sqrt(np.mean((residual - np.median(residual)) ** 2)))
        found[", ".join(f"{k}={v}" for k, v in parameters.items()) or "as they come"] = loss
        if best is None or loss < best[0]:
            best = (loss, model, residual, parameters)
    assert best is not None  # noqa: S101 - there is at least one candidate
    _, model, residual, chosen = best
    intervals = TimeAwareIntervals().fit(day[held], residual, model.tree_inputs(features.iloc[held]), seed)
    both = np.concatenate([windows.train, held])
    model = ValuationModel(seed, **chosen).fit(features.iloc[both], price[both])
    test = windows.test[np.argsort(day[windows.test], kind="stable")]
    inputs = model.tree_inputs(features.iloc[test])
    log_value = model.predict_log(features.iloc[test])
    rest = log_price[test] - log_value
    level = levels(day[test], rest, day[test]) if intervals.timed else np.zeros(len(test))
    coverage = [_coverage(nominal, intervals, day[test], rest, level, inputs) for nominal in COVERAGES]
    values = np.exp(log_value)
    study = study_of(frame.iloc[test], values, split=windows.split, coverage=coverage, unit=unit, seed=seed)
    return Backtest(study, windows, price[test], values, np.exp(log_value + level), intervals, model, found)


def study_of(
    sales: pd.DataFrame,
    values: Vector,
    *,
    split: str,
    coverage: Sequence[Coverage] = (),
    unit: float = 1.0,
    seed: int = 0,
) -> RatioStudy:
    """The ratio study of `values` (n,) against the prices of `sales` (n rows)."""
    prices = sales["price"].to_numpy(np.float64)
    strata = {
        "area": bands(sales["area"].to_numpy(np.float64) / unit),
        # by the mean of price and value: strata by the price alone make every model look regressive (IAAO, 5.6)
        "value": bands(0.5 * (prices + values)),
    }
    if "sold" in sales.columns:
        strata["time"] = sales["sold"].dt.strftime("%Y-%m").to_numpy(str)
    for name in ("neighbourhood", "type"):
        if name in sales.columns:
            strata[name] = sales[name].fillna("unknown").to_numpy(str)
    if "year_built" in sales.columns:
        strata["year built"] = np.char.replace(bands(sales["year_built"].to_numpy(np.float64)), ",", "")
    told, apart, small = strata_of(values, prices, strata)
    off = np.abs(values / prices - 1)
    return RatioStudy(
        split=split,
        overall=statistics_of(values, prices, seed=seed),
        strata=tuple(told),
        fairness=apart,
        unjudged=tuple(small),
        rmse_log=float(np.sqrt(np.mean(np.log(values / prices) ** 2))),
        mae=float(np.mean(np.abs(values - prices))),
        mdape=float(np.median(off)),
        coverage=tuple(coverage),
    )


def _coverage(
    nominal: float, intervals: TimeAwareIntervals, day: Vector, rest: Vector, level: Vector, inputs: NDArray[np.float64]
) -> Coverage:
    reach = intervals.reach(inputs, nominal, float(day[0]))
    rolled = rolling_reach(intervals, day, rest - level, inputs, nominal) if intervals.timed else reach
    return Coverage(
        nominal=nominal,
        found=float(np.mean(np.abs(rest) <= reach)),
        rolling=float(np.mean(np.abs(rest - level) <= rolled)),
        median_width=float(np.median(2 * np.sinh(rolled))),
        rows=len(rest),
    )
