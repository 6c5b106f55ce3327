"""A challenger against the champion, on held-out rows of one table that neither has learned from."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.training import Comparison
from tasks.train.compare import compared
from tasks.train.losses import Loss, losses
from tasks.train.model import TrainedModel
from tasks.train.registry import Loaded
from tasks.train.splits import groups_of, holdout_for, moments_of
from tasks.train.subject import subject_of

BASELINE = 0
"""The version that a constant is called by: what a model has to beat first."""


class IncomparableError(Exception):
    """The two cannot be put side by side; the message says why."""


def contest(name: str, champion: Loaded, challenger: Loaded, table: pd.DataFrame, *, seed: int = 0) -> Comparison:
    """Compare the two on rows of `table` that both held out.

    Args:
        name: the model.
        champion: what answers now.
        challenger: what would like to.
        table: the whole table, with the target.
        seed: of the bootstrap.

    Raises:
        IncomparableError: they were trained for different things, or there are no such rows.
    """
    old, new = champion.model, challenger.model
    if (old.task, old.columns.target) != (new.task, new.columns.target):
        raise IncomparableError("they were trained for different targets")
    if missing := [column for column in old.schema.names if column not in table.columns]:
        raise IncomparableError(f"the champion needs the column {missing[0]!r}, which the table has no more")
    subject = subject_of(table, new.columns, new.task)
    rows = np.flatnonzero(_unseen(old, subject.frame) & _unseen(new, subject.frame))
    if not len(rows):
        raise IncomparableError("there are no rows that both have held out")
    if subject.y is None:
        raise IncomparableError("there is no target to compare by")
    y = subject.y[rows]
    loss: Loss = new.loss
    classes = sorted({*new.measured_classes, *old.measured_classes})
    told = []
    for one in (old, new):
        said = one.said(subject.frame.iloc[rows][list(one.schema.names)], measured=True)
        told.append(losses(loss, y, _spread(said, one.measured_classes, classes), classes))
    groups = groups_of(subject.frame, new.columns)
    return compared(
        name, loss, (champion.version.version, told[0]), (challenger.version.version, told[1]),
        groups=None if groups is None else groups[rows], seed=seed,
    )  # fmt: skip


def against_constant(
    name: str, loss: Loss, y: NDArray[np.generic], said: NDArray[np.float64], learned: NDArray[np.generic],
    classes: list[str], *, version: int = 1, groups: NDArray[np.int64] | None = None, seed: int = 0,
) -> Comparison:  # fmt: skip
    """The model against the best constant of the rows that it has learned from, on held-out rows.

    Args:
        name: the model.
        loss: what is compared.
        y: held-out targets, shape (m,).
        said: what the model said of them, shape (m,) or (m, classes).
        learned: the targets that it has learned from.
        classes: in the order of the columns of `said`.
        version: of the model.
        groups: of the held-out rows.
        seed: of the bootstrap.
    """
    if loss == "log_loss":
        shares = np.array([(learned == one).mean() for one in classes])
        constant = np.tile(shares, (len(y), 1))
    else:
        values = learned.astype(np.float64)
        constant = np.full(len(y), np.exp(np.log(values).mean()) if loss == "log_rmse" else values.mean())
    return compared(
        name, loss, (BASELINE, losses(loss, y, constant, classes)), (version, losses(loss, y, said, classes)),
        groups=groups, seed=seed,
    )  # fmt: skip


def _unseen(model: TrainedModel, frame: pd.DataFrame) -> NDArray[np.bool_]:
    """The rows that `model.measured` has not learned from, shape (n,)."""
    columns = model.columns
    if columns.time is not None and model.learned_until is not None:
        return np.asarray(moments_of(frame, columns.time) > model.learned_until)
    if missing := [name for name in model.table_columns if name not in frame.columns]:
        raise IncomparableError(f"the table has no column {missing[0]!r} any more, so that held-out rows are not known")
    held = np.zeros(len(frame), dtype=bool)
    held[holdout_for(frame, columns, model.holdout, model.seed, by=model.table_columns).test] = True
    return held


def _spread(said: NDArray[np.float64], own: list[str], classes: list[str]) -> NDArray[np.float64]:
    if not classes or own == classes:
        return said
    wide = np.zeros((len(said), len(classes)))
    wide[:, [classes.index(name) for name in own]] = said
    return wide
