"""From a table of sales to a trained market: pure, without Prefect and without a registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from models.valuation import SQUARE_METRES, Market
from tasks.train.schema import schema_of
from tasks.valuation.backtest import Backtest, backtest
from tasks.valuation.features import days
from tasks.valuation.intervals import TimeAwareIntervals
from tasks.valuation.land import LandValues
from tasks.valuation.market import columns_of, is_land, sales_of
from tasks.valuation.market_model import MarketModel
from tasks.valuation.model import LARGE, SMALL, ValuationModel
from tasks.valuation.ranges import Ranges

CANDIDATES: Sequence[Mapping[str, Any]] = (LARGE, SMALL)
"""What is chosen from on the validation window: for markets with many sales, and for those with few."""


@dataclass(frozen=True)
class Trained:
    """A market's model, and how it was judged."""

    model: MarketModel
    backtest: Backtest
    excluded: Mapping[str, int]


def train_market(
    table: pd.DataFrame, market: Market, *, seed: int = 0, candidates: Sequence[Mapping[str, Any]] = CANDIDATES
) -> Trained:
    """Judge a model out of time, then learn from all sales.

    Args:
        table: the user's.
        market: what its columns mean.
        seed: of everything that is drawn.
        candidates: parameters to choose from, on the validation window.

    Raises:
        ConfigurationError: the table does not have what the market says, or hardly a sale is usable.
    """
    sales, excluded = sales_of(table, market)
    bare = is_land(sales, market)
    land, built = sales[bare], sales[~bare].reset_index(drop=True)
    judged = backtest(built, seed=seed, candidates=candidates, unit=SQUARE_METRES[market.units.area])
    features, price = built.drop(columns="price"), built["price"].to_numpy(np.float64)
    best = judged.model.parameters
    model = ValuationModel(seed, **best).fit(features, price)
    schema = schema_of(features[[n for n in features.columns if n != "address"]], columns_of(market))
    return Trained(
        MarketModel(
            model, judged.model, market, columns_of(market), schema,
            ranges=Ranges().fit(built, _nearest_others(model, features)),
            calibrated=_calibrated(judged, built, seed),
            land=LandValues().fit(land, model.features.middle, model.index_at(land)),
            sales=built,
            study=judged.study,
            seed=seed,
        ),
        judged,
        excluded,
    )  # fmt: skip


def _calibrated(judged: Backtest, sales: pd.DataFrame, seed: int) -> TimeAwareIntervals:
    """The intervals by the judged sales: the latest that a model has valued without having learned from them."""
    rows = judged.windows.test
    frame = sales.iloc[rows]
    day = days(frame["sold"]) if "sold" in frame.columns else np.zeros(len(frame))
    features = frame.drop(columns="price")
    residual = np.log(frame["price"].to_numpy(np.float64)) - judged.model.predict_log(features)
    return TimeAwareIntervals().fit(day, residual, judged.model.tree_inputs(features), seed)


def _nearest_others(model: ValuationModel, features: pd.DataFrame) -> np.ndarray[Any, Any]:
    """How far the nearest other place with a sale is from each, in kilometres, shape (n,)."""
    if model.near is None:
        return np.zeros(len(features))
    from scipy.spatial import cKDTree  # noqa: PLC0415

    place = np.unique(model.near.place, axis=0)
    return cKDTree(place).query(place, k=min(2, len(place)))[0][:, -1] if len(place) > 1 else np.zeros(1)
