"""What is kept of a trained market: the model, its intervals, its sales and its ranges, as one registered model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from models.training import Columns, TableSchema
from models.valuation import Market, RatioStudy
from tasks.train.model import TrainedModel
from tasks.valuation.intervals import TimeAwareIntervals
from tasks.valuation.land import LandValues
from tasks.valuation.model import ValuationModel
from tasks.valuation.ranges import Ranges


class Ledger:
    """A frame of sales as arrays and lists, so that it can be stored."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.names: list[str] = [str(name) for name in frame.columns]
        self.kinds: list[str] = []
        self.values: list[Any] = []
        for name in self.names:
            column = frame[name]
            if pd.api.types.is_datetime64_any_dtype(column.dtype):
                self.kinds.append("date")
                self.values.append(column.to_numpy("datetime64[us]").astype(np.int64))
            elif pd.api.types.is_numeric_dtype(column.dtype):
                self.kinds.append("number")
                self.values.append(column.to_numpy(np.float64))
            else:
                self.kinds.append("word")
                self.values.append([None if value is None or value != value else str(value) for value in column])  # noqa: PLR0124

    def frame(self) -> pd.DataFrame:
        """The frame as it was."""
        return pd.DataFrame(
            {
                name: values.view("datetime64[us]") if kind == "date" else pd.Series(values, dtype=object)
                if kind == "word" else values
                for name, kind, values in zip(self.names, self.kinds, self.values, strict=True)
            }
        )  # fmt: skip


class MarketModel(TrainedModel):
    """A trained model of a market, which the registry keeps and serves as any other.

    Args:
        model: learned from all sales.
        measured: the same without the judged sales; comparisons ask this one.
        market: what it is a model of.
        columns: of the frame of sales.
        schema: of its features.
        ranges: what can be valued.
        calibrated: the intervals.
        land: values of land.
        sales: the frame of all sales, with `price`: comparables come from it.
        study: how good it is.
        seed: of everything that was drawn.
    """

    def __init__(
        self,
        model: ValuationModel,
        measured: ValuationModel,
        market: Market,
        columns: Columns,
        schema: TableSchema,
        *,
        ranges: Ranges,
        calibrated: TimeAwareIntervals,
        land: LandValues,
        sales: pd.DataFrame,
        study: RatioStudy,
        seed: int = 0,
    ) -> None:
        super().__init__(model, "regression", columns, schema, measured=measured, coverage=market.coverage,
                         loss="rmse_log", seed=seed)  # fmt: skip
        self.market_json = market.model_dump_json()
        self.study_json = study.model_dump_json()
        self.ranges = ranges
        self.calibrated = calibrated
        self.land = land
        self.ledger = Ledger(sales)

    @property
    def market(self) -> Market:
        """What it is a model of, as it was when it was trained."""
        return Market.model_validate_json(self.market_json)

    @property
    def study(self) -> RatioStudy:
        """How good it was, out of time."""
        return RatioStudy.model_validate_json(self.study_json)

    @property
    def sales(self) -> pd.DataFrame:
        """All sales that it has learned from."""
        found = self.__dict__.get("_sales")
        if found is None:
            found = self.__dict__["_sales"] = self.ledger.frame()
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_sales"}


STORED: Sequence[str] = (
    "tasks.valuation.features.PropertyFeatures",
    "tasks.valuation.intervals.TimeAwareIntervals",
    "tasks.valuation.land.LandValues",
    "tasks.valuation.market_model.Ledger",
    "tasks.valuation.market_model.MarketModel",
    "tasks.valuation.model.ValuationModel",
    "tasks.valuation.neighbours.Neighbourhood",
    "tasks.valuation.price_index.PriceIndex",
    "tasks.valuation.ranges.Ranges",
    "tasks.valuation.trees.Trees",
)
"""The classes that a stored market is made of; `tasks.train.trusted` names each of them."""
