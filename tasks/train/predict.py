"""Asking a trained model: rows are checked, answers carry the model's version and what was odd about the row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from blocks.errors import LamaError
from models.training import Interval, ModelVersion, Prediction, TableSchema
from tasks.train.askable import check_askable
from tasks.train.columns import Kind, as_day, as_number, as_word
from tasks.train.model import TrainedModel
from tasks.train.registry import Loaded
from tasks.train.schema import RowCheck


class RowError(LamaError):
    """A row, or a table, that the model cannot be asked about. Nothing was predicted."""


class Predictor:
    """A loaded model, ready to answer. Safe to share between threads.

    Raises:
        ConfigurationError: it is a market's, which values and does not predict.
    """

    def __init__(self, loaded: Loaded) -> None:
        check_askable(loaded.version)
        self._model: TrainedModel = loaded.model
        self.version: ModelVersion = loaded.version
        self._schema = self._model.schema
        columns = self._model.columns
        self._check = RowCheck(self._schema, columns.held_back)
        self._classes = [str(one) for one in self._model.classes]

    @property
    def schema(self) -> TableSchema:
        """The features that it asks for."""
        schema: TableSchema = self._schema
        return schema

    def predict(self, row: Mapping[str, object], *, coverage: float | None = None) -> Prediction:
        """What the model says of one row: a value for each feature by its name; None where it is not known.

        Args:
            row: the row.
            coverage: of the interval; by default the one that the model was trained for.

        Raises:
            RowError: a feature is not there, or its value is not of its kind.
        """
        return self.predict_rows([row], coverage=coverage)[0]

    def predict_rows(self, rows: Sequence[Mapping[str, object]], *, coverage: float | None = None) -> list[Prediction]:
        """The same for several rows; for a whole table `predict_frame` is the faster one.

        Raises:
            RowError: names the first row that cannot be used.
        """
        for number, row in enumerate(rows):
            if problems := self._check.problems(row):
                raise RowError(f"row {number}: {'; '.join(problems)}.", component=self.version.address)
        if not rows:
            return []
        said = self._model.said_of_rows(rows)
        ends = self._ends(said, coverage)
        return [
            self._answer(said[n], ends and (ends[0][n], ends[1][n]), coverage, self._check.warnings(row))
            for n, row in enumerate(rows)
        ]

    def predict_frame(self, frame: pd.DataFrame, *, coverage: float | None = None) -> tuple[pd.DataFrame, list[str]]:
        """A table: its predictions, and what was odd about it, column by column.

        Returns:
            A frame with the index of `frame`: `prediction`, `low` and `high` of numbers, `probability_CLASS` of
            classes, `model`; and sentences about missing, unknown and far-off values.

        Raises:
            RowError: a column is missing, or holds something else than it should.
        """
        absent = [one.name for one in self._schema.columns if one.name not in frame.columns]
        if needed := [name for name in absent if self._kind(name) not in {"constant", "text"}]:
            raise RowError(
                f"the table lacks {', '.join(repr(name) for name in needed[:10])}.", component=self.version.address
            )
        asked = frame.assign(**dict.fromkeys(absent)) if absent else frame
        warnings = self._warnings_of(asked)
        said = self._model.said(asked[list(self._schema.names)])
        out: dict[str, Any] = {}
        if self._model.task == "classification":
            out["prediction"] = np.array(self._classes, dtype=object)[said.argmax(axis=1)]
            out |= {f"probability_{name}": said[:, place] for place, name in enumerate(self._classes)}
        else:
            out["prediction"] = said
            ends = self._ends(said, coverage)
            if ends is not None:
                out |= {"low": ends[0], "high": ends[1]}
        return pd.DataFrame(out, index=frame.index).assign(model=self.version.address), warnings

    def at_own_coverage(self, said: pd.DataFrame) -> pd.DataFrame:
        """`said`, as `predict_frame` gives it, with the intervals of the coverage that the model was trained for."""
        ends = self._ends(said["prediction"].to_numpy(dtype=float), None) if "low" in said else None
        return said if ends is None else said.assign(low=ends[0], high=ends[1])

    def _kind(self, name: str) -> str:
        return next(str(one.kind) for one in self._schema.columns if one.name == name)

    def _ends(self, said: Any, coverage: float | None) -> tuple[Any, Any] | None:
        if self._model.intervals is None:
            return None
        return self._model.intervals.interval(np.asarray(said, np.float64), coverage or self._model.coverage)

    def _answer(
        self, said: Any, ends: tuple[float, float] | None, coverage: float | None, warnings: list[str]
    ) -> Prediction:
        told = tuple(warnings)
        if self._model.task == "classification":
            shares = dict(zip(self._classes, (float(one) for one in said), strict=True))
            return Prediction(
                value=max(shares, key=lambda name: shares[name]), probabilities=shares, model=self.version.address,
                warnings=told,
            )  # fmt: skip
        interval = None
        if ends is not None:
            interval = Interval(low=float(ends[0]), high=float(ends[1]), coverage=coverage or self._model.coverage)
        return Prediction(value=float(said), interval=interval, model=self.version.address, warnings=told)

    def _warnings_of(self, frame: pd.DataFrame) -> list[str]:
        found = []
        for one in self._schema.columns:
            if one.kind in {"constant", "text"}:
                continue
            column = frame[one.name]
            there = column.notna().to_numpy()
            if one.kind == Kind.category.value:
                words = as_word(column)
                there = words.notna().to_numpy()
                unknown = int((~words[there].isin(one.levels)).sum())
                if unknown:
                    found.append(f"{one.name!r}: {unknown} rows have categories that the model does not know")
            else:
                values = as_number(column) if one.kind == Kind.number.value else as_day(column) * 86_400
                wrong = there & np.isnan(values)
                if wrong.any():
                    example = str(column.to_numpy()[int(np.flatnonzero(wrong)[0])])[:60]
                    raise RowError(
                        f"{one.name!r} holds {int(wrong.sum())} values that are no {one.kind}, such as {example!r}.",
                        component=self.version.address,
                    )
                far = int(((values < one.low) | (values > one.high)).sum())
                if far:
                    found.append(f"{one.name!r}: {far} rows are outside of what the model has seen")
            missing = int((~there).sum())
            if missing:
                found.append(f"{one.name!r}: {missing} rows have no value")
        return found
