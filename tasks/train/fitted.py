"""From the chosen family to the model that is kept: fitted, judged on held-out rows, with intervals or calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.training import Comparison, Measure, TrainParameters
from tasks.train.calibration import Calibrator
from tasks.train.choice import Choice
from tasks.train.contest import against_constant
from tasks.train.engine import features_of, fit
from tasks.train.intervals import ConformalIntervals
from tasks.train.losses import Loss
from tasks.train.metrics import classification_figures, measures, regression_figures, share_within
from tasks.train.model import TrainedModel
from tasks.train.schema import schema_of
from tasks.train.splits import Split, groups_of, moments_of
from tasks.train.subject import Subject
from tasks.train.threads import one_thread

LEVELS = (0.68, 0.8, 0.9)


@dataclass(frozen=True)
class Judged:
    """A model with what it did on rows that it had not seen."""

    model: TrainedModel
    measures: dict[str, Measure]
    baseline: Comparison
    """Against the best constant."""
    y: NDArray[Any]
    """Held-out targets, shape (m,)."""
    said: NDArray[np.float64]
    """Of them, shape (m,) or (m, classes)."""
    classes: list[Any]
    """In the order of the columns of `said`: those of the rows that were learned from before it was judged. What
    answers after a refit may know more. Empty of numbers."""
    ends: tuple[NDArray[np.float64], NDArray[np.float64]] | None


def fit_and_judge(
    name: str, subject: Subject, split: Split, choice: Choice, loss: Loss, parameters: TrainParameters, *, refit: bool
) -> Judged:
    """Fit `choice` on the rows that were not held out, judge it by those that were, and then learn from all.

    Args:
        name: of the model.
        subject: all rows.
        split: which of them were held out.
        choice: what is fitted; its out-of-fold predictions give intervals and calibration.
        loss: what the search made small.
        parameters: of the training.
        refit: whether what answers learns from the held-out rows as well; comparisons ask the one that has not.
    """
    if subject.y is None:
        raise ValueError("nothing is predicted without a target")
    y, frame, columns = subject.y, subject.frame, subject.columns
    learned, held = split.train, split.test
    seed = parameters.seed
    measured = fit(
        frame, y, learned, choice.family, choice.parameters, seed, columns=columns, weight=subject.weight
    )  # fmt: skip
    judged = choice.judged
    model = TrainedModel(
        measured, subject.task, columns, schema_of(frame.iloc[learned], columns), coverage=parameters.coverage,
        table_columns=[str(name) for name in frame.columns],
        loss=loss, seed=seed, holdout=parameters.holdout,
        learned_until=None if columns.time is None else float(moments_of(frame, columns.time)[learned].max()),
    )  # fmt: skip
    truth, out_of_fold = y[learned][judged], choice.predictions[judged]
    log = loss == "log_rmse"
    if subject.task == "classification":
        model.calibrator = Calibrator().fit(out_of_fold, np.searchsorted(measured.classes_, truth), seed)
    else:
        model.intervals = ConformalIntervals(log=log).fit(out_of_fold, truth.astype(np.float64))
    with one_thread():
        said = np.asarray(model.said(features_of(frame.iloc[held], columns)), np.float64)
    classes = model.classes  # of what was judged: a refit may bring one that only occurs among the held-out rows
    groups = groups_of(frame, columns)
    held_groups = None if groups is None else groups[held]
    figures, ends = _figures(model, y[held], said)
    found = measures(figures, len(held), groups=held_groups, seed=seed)
    baseline = against_constant(
        name, loss, y[held], said, y[learned], classes, groups=held_groups, seed=seed
    )  # fmt: skip
    if refit:
        everything = np.arange(len(y))
        model.measured = measured
        model.estimator = fit(
            frame, y, everything, choice.family, choice.parameters, seed, columns=columns, weight=subject.weight
        )
        model.schema_json = schema_of(frame, columns).model_dump_json()
        if model.intervals is not None:  # the held-out residuals count as well now: they are the latest
            model.intervals = ConformalIntervals(log=log).fit(
                np.append(out_of_fold, said), np.append(truth, y[held]).astype(np.float64)
            )
    return Judged(model, found, baseline, y[held], said, classes, ends)


def _figures(model: TrainedModel, y: NDArray[Any], said: NDArray[np.float64]) -> tuple[dict[str, Any], Any]:
    if model.task == "classification":
        return classification_figures(y, said, model.classes), None
    truth = y.astype(np.float64)
    figures = regression_figures(truth, said)
    if model.intervals is None:
        return figures, None
    for level in dict.fromkeys((*LEVELS, model.coverage)):
        low, high = model.intervals.interval(said, level)
        figures[f"coverage_{level * 100:g}"] = share_within(low, high, truth)
    ends = model.intervals.interval(said, model.coverage)
    width = ends[1] - ends[0]
    figures["median_width"] = lambda rows: float(np.median(width[rows]))
    return figures, ends
