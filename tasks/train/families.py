"""The candidate families of tables: what may be tried, with which settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from blocks.errors import ConfigurationError
from models.training import Columns, TaskType


class Estimator(Protocol):
    """What a family makes: it takes the features as they are, with words, dates and missing values."""

    def fit(self, frame: pd.DataFrame, y: NDArray[Any], sample_weight: NDArray[np.float64] | None = None) -> Self:
        """Learn from `frame` (n rows) and `y` (n,)."""
        ...

    def predict(self, frame: pd.DataFrame) -> NDArray[Any]:
        """Numbers, or classes, shape (n,)."""
        ...


Make = Callable[[Columns, Mapping[str, Any], int], Any]
"""Columns, parameters and seed; gives an `Estimator` that has not learned yet."""


@dataclass(frozen=True)
class Family:
    """Models of one kind."""

    name: str
    make: Make
    space: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Values that each parameter may have; what is not drawn is the maker's default."""
    task: TaskType = "regression"


def _linear(task: Any) -> Make:
    def make(_: Columns, parameters: Mapping[str, Any], seed: int) -> Any:
        from tasks.train.estimators import LinearModel  # noqa: PLC0415

        return LinearModel(task, seed, **parameters)

    return make


def _histogram(task: Any) -> Make:
    def make(_: Columns, parameters: Mapping[str, Any], seed: int) -> Any:
        from tasks.train.estimators import HistGradientBoosting  # noqa: PLC0415

        return HistGradientBoosting(task, seed, **parameters)

    return make


def _lightgbm(task: Any) -> Make:
    def make(_: Columns, parameters: Mapping[str, Any], seed: int) -> Any:
        from tasks.train.estimators import LightGBM  # noqa: PLC0415

        return LightGBM(task, seed, **parameters)

    return make


_ALPHAS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
_HISTOGRAM = {
    "learning_rate": (0.03, 0.05, 0.08),
    "max_iter": (200, 300, 500, 800),
    "max_leaf_nodes": (8, 15, 31, 63),
    "min_samples_leaf": (5, 10, 20, 50),
    "l2_regularization": (0.0, 1.0, 10.0),
    "max_features": (0.3, 0.6, 1.0),
}
_LIGHTGBM = {
    "learning_rate": (0.02, 0.03, 0.05),
    "n_estimators": (300, 500, 800, 1200),
    "num_leaves": (7, 15, 31, 63),
    "min_child_samples": (5, 10, 20, 50),
    "feature_fraction": (0.2, 0.4, 0.7),
    "bagging_fraction": (0.6, 0.8, 1.0),
    "lambda_l2": (0.0, 1.0, 10.0),
}

REGRESSION: tuple[Family, ...] = (
    Family("linear", _linear("regression"),
           {"penalty": ("ridge", "elastic net"), "alpha": _ALPHAS, "l1_ratio": (0.2, 0.5, 0.9)}),
    Family("hist_gradient_boosting", _histogram("regression"), _HISTOGRAM),
    Family("lightgbm", _lightgbm("regression"), _LIGHTGBM),
)  # fmt: skip

CLASSIFICATION: tuple[Family, ...] = (
    Family("logistic", _linear("classification"), {"alpha": (0.03, 0.1, *_ALPHAS)}, "classification"),
    Family("hist_gradient_boosting", _histogram("classification"), _HISTOGRAM, "classification"),
    Family("lightgbm", _lightgbm("classification"), _LIGHTGBM, "classification"),
)

BLEND = "blend"


CLUSTERING = ("kmeans", "hdbscan")


def check_families(task: TaskType, names: Sequence[str]) -> None:
    """Refuse names of families that `task` does not have.

    Raises:
        ConfigurationError: says which one, and what there is.
    """
    known = CLUSTERING if task == "clustering" else tuple(one.name for one in families_for(task))
    for name in names:
        if name not in known:
            raise ConfigurationError(
                f"there is no family {name!r} for {task}; there are {', '.join(known)}.", component="train"
            )


def families_for(task: TaskType, names: Sequence[str] = ()) -> tuple[Family, ...]:
    """The families of `task` that `names` names; all of them without names.

    Raises:
        ConfigurationError: there is none of that name.
    """
    if names:
        check_families(task, names)
    known = {family.name: family for family in (REGRESSION if task == "regression" else CLASSIFICATION)}
    return tuple(known[name] for name in (names or known))


def blend_of(members: Sequence[tuple[Family, Mapping[str, Any]]], weights: Sequence[float]) -> Family:
    """The family of one blend: `members` with their parameters, weighted."""

    def make(columns: Columns, _: Mapping[str, Any], seed: int) -> Any:
        from tasks.train.estimators import Blend  # noqa: PLC0415

        return Blend([family.make(columns, parameters, seed) for family, parameters in members], weights)

    return Family(BLEND, make, {}, members[0][0].task)
