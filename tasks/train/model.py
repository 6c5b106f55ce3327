"""What a training makes and the registry keeps: a model, what it was measured with, and what its rows look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.training import Columns, TableSchema, TaskType
from tasks.train.calibration import Calibrator
from tasks.train.intervals import ConformalIntervals


class TrainedModel:
    """A fitted estimator with everything that an answer needs. Of plain values and trusted classes only.

    Args:
        estimator: what answers.
        task: what it was trained for.
        columns: what the columns of its table are for.
        schema: the features.
        measured: the same estimator, before it also learned from the held-out rows: comparisons ask this one. None:
            `estimator` has not learned from them.
        intervals: around numbers.
        calibrator: of probabilities.
        coverage: of the intervals, nominally.
        loss: what the search made small; comparisons use it.
        seed: of the split; with it the same rows are held out again.
        holdout: share of the rows that were held out.
        table_columns: all columns of its table, by which the rows that were held out are known.
        learned_until: the latest moment that `measured` has learned from, where the rows have one.
    """

    def __init__(
        self,
        estimator: Any,
        task: TaskType,
        columns: Columns,
        schema: TableSchema,
        *,
        measured: Any = None,
        intervals: ConformalIntervals | None = None,
        calibrator: Calibrator | None = None,
        coverage: float = 0.9,
        loss: str = "",
        seed: int = 0,
        holdout: float = 0.15,
        learned_until: float | None = None,
        table_columns: Sequence[str] = (),
    ) -> None:
        self.estimator = estimator
        self.measured = measured
        self.task = task
        self.columns_json = columns.model_dump_json()
        self.schema_json = schema.model_dump_json()
        self.intervals = intervals
        self.calibrator = calibrator
        self.coverage = coverage
        self.loss = loss
        self.seed = seed
        self.holdout = holdout
        self.learned_until = learned_until
        self.table_columns = list(table_columns)

    @property
    def columns(self) -> Columns:
        """What the columns of its table are for."""
        return Columns.model_validate_json(self.columns_json)

    @property
    def schema(self) -> TableSchema:
        """Its features."""
        return TableSchema.model_validate_json(self.schema_json)

    @property
    def classes(self) -> list[Any]:
        """The classes, in the order of probabilities; none of numbers."""
        return _classes(self.estimator)

    @property
    def measured_classes(self) -> list[Any]:
        """Those of `said` when the one is asked that was measured: it may lack some that only held-out rows have."""
        return _classes(self._asked(measured=True))

    def said(self, frame: pd.DataFrame, *, measured: bool = False) -> NDArray[Any]:
        """Numbers (n,), calibrated probabilities (n, classes), or clusters (n,), for a frame of the features."""
        asked = self._asked(measured=measured)
        if self.task == "classification":
            return self._calibrated(asked.predict_proba(frame))
        return np.asarray(asked.predict(frame))

    def said_of_rows(self, rows: Sequence[Mapping[str, object]]) -> NDArray[Any]:
        """The same for plain rows, without a frame where the estimator can do without."""
        if not hasattr(self.estimator, "predict_rows"):
            return self.said(frame_of(rows, self.schema))
        if self.task == "classification":
            return self._calibrated(self.estimator.proba_rows(rows))
        return np.asarray(self.estimator.predict_rows(rows))

    def _asked(self, *, measured: bool) -> Any:
        return self.measured if measured and self.measured is not None else self.estimator

    def _calibrated(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        return probabilities if self.calibrator is None else self.calibrator.apply(probabilities)


def _classes(estimator: Any) -> list[Any]:
    found = getattr(estimator, "classes_", None)
    return [] if found is None else list(found.tolist())


def frame_of(rows: Sequence[Mapping[str, object]], schema: TableSchema) -> pd.DataFrame:
    """Plain rows as a frame with the columns and types of `schema`."""
    from tasks.train.cells import day_of, number_of, word_of  # noqa: PLC0415

    columns: dict[str, Any] = {}
    for one in schema.columns:
        values = [row.get(one.name) for row in rows]
        if one.kind == "date":
            days = np.array([day_of(value) for value in values])
            columns[one.name] = pd.to_datetime(pd.Series(days), unit="D", errors="coerce")
        elif one.kind == "number":
            columns[one.name] = np.array([number_of(value) for value in values])
        else:
            columns[one.name] = pd.Series([word_of(value) for value in values], dtype="str")
    return pd.DataFrame(columns)
