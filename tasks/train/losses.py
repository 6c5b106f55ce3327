"""What a search makes small. Smaller is better, for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.training import TaskType
from tasks.train.estimators import wants_log

Loss = Literal["rmse", "log_rmse", "log_loss"]

_LEAST_PROBABILITY = 1e-15


def loss_for(task: TaskType, y: NDArray[Any]) -> Loss:
    """`log_loss` of classes; `log_rmse` of amounts that are above 0 and skewed, so that errors count by their share."""
    if task == "classification":
        return "log_loss"
    return "log_rmse" if wants_log(y) else "rmse"


def losses(
    loss: Loss, y: NDArray[Any], predicted: NDArray[np.float64], classes: Sequence[Any] = ()
) -> NDArray[np.float64]:
    """The loss of each row, shape (n,): squared errors, or minus the logarithm of the true class's probability."""
    if loss == "log_loss":
        place = {name: number for number, name in enumerate(classes)}
        known = np.array([place.get(one, -1) for one in y.tolist()])
        of_truth = np.where(known >= 0, predicted[np.arange(len(y)), known], 0.0)
        return np.asarray(-np.log(np.clip(of_truth, _LEAST_PROBABILITY, 1.0)))
    truth = y.astype(np.float64)
    if loss == "log_rmse":
        return np.asarray((np.log(np.maximum(predicted, 1e-9)) - np.log(np.maximum(truth, 1e-9))) ** 2)
    return np.asarray((predicted - truth) ** 2)


def joined(loss: Loss, rows: NDArray[np.float64], weight: NDArray[np.float64] | None = None) -> float:
    """The losses of rows as one figure: their mean, or its root where they are squares."""
    mean = float(np.average(rows, weights=weight))
    return mean if loss == "log_loss" else float(np.sqrt(mean))


def loss_of(loss: Loss, y: NDArray[Any], predicted: NDArray[np.float64], classes: Sequence[Any] = ()) -> float:
    """`joined` of `losses`."""
    return joined(loss, losses(loss, y, predicted, classes))
