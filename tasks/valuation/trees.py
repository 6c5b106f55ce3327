"""LightGBM as text: single-threaded, the same from the same seed, with its exact contributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


class Trees:
    """Boosted trees."""

    def __init__(self, parameters: Mapping[str, Any], seed: int, categorical: Sequence[int] = ()) -> None:
        self.parameters = dict(parameters)
        self.seed = seed
        self.categorical = list(categorical)
        self.text = ""

    def fit(self, matrix: Matrix, target: Vector, weight: Vector | None = None) -> Trees:
        """Learn `target` (n,) from `matrix` (n, p)."""
        import lightgbm  # noqa: PLC0415

        chosen: dict[str, Any] = {
            "objective": "regression", "bagging_freq": 1, "deterministic": True, "force_row_wise": True,
            "num_threads": 1, "verbose": -1, "seed": self.seed, "feature_pre_filter": False,
        } | self.parameters  # fmt: skip
        rounds = int(chosen.pop("rounds"))
        data = lightgbm.Dataset(
            matrix, label=target, weight=weight, categorical_feature=self.categorical or [],
            params={"verbose": -1, "num_threads": 1, "feature_pre_filter": False},
        )  # fmt: skip
        self.text = lightgbm.train(chosen, data, num_boost_round=rounds).model_to_string()
        return self

    def predict(self, matrix: Matrix) -> Vector:
        """Shape (n,)."""
        found: Vector = self._booster().predict(matrix, num_threads=1)
        return found

    def contributions(self, matrix: Matrix) -> Matrix:
        """Shapley values of the trees, exactly (TreeSHAP, Lundberg and others 2018): shape (n, p + 1).

        The last column is the mean; a row adds up to its prediction.
        """
        found: Matrix = self._booster().predict(matrix, pred_contrib=True, num_threads=1)
        return found

    def leaves(self, matrix: Matrix) -> NDArray[np.int64]:
        """In which leaf of each tree a row ends, shape (n, trees)."""
        return np.asarray(self._booster().predict(matrix, pred_leaf=True, num_threads=1), np.int64)

    def _booster(self) -> Any:
        found = self.__dict__.get("_loaded")
        if found is None:
            import lightgbm  # noqa: PLC0415

            found = self.__dict__["_loaded"] = lightgbm.Booster(model_str=self.text)
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_loaded"}
