"""scikit-learn's histogram gradient boosting, for few rows: all trees walked at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


class FlatTrees:
    """The nodes of all trees in one table.

    Args:
        model: a fitted `HistGradientBoostingRegressor` or `...Classifier` without categorical features.
    """

    def __init__(self, model: Any) -> None:
        nodes, self._roots, start = [], [], 0
        for iteration in model._predictors:  # noqa: SLF001 - what its own `predict` reads, too
            for tree in iteration:
                nodes.append(tree.nodes)
                self._roots.append(start)
                start += len(tree.nodes)
        offsets = np.repeat(self._roots, [len(one) for one in nodes])
        table = np.concatenate(nodes)
        if table["is_categorical"].any():
            raise ValueError("trees with categorical splits are not walked here")
        own = np.arange(len(table))
        leaf = table["is_leaf"].astype(bool)
        self._value = table["value"].astype(np.float64)
        self._feature = np.where(leaf, 0, table["feature_idx"]).astype(np.intp)
        self._threshold = table["num_threshold"].astype(np.float64)
        self._missing_left = table["missing_go_to_left"].astype(bool)
        # a leaf leads to itself: all trees are walked as deep as the deepest
        self._left = np.where(leaf, own, table["left"].astype(np.intp) + offsets)
        self._right = np.where(leaf, own, table["right"].astype(np.intp) + offsets)
        self._depth = int(table["depth"].max())
        self._outputs = len(model._predictors[0])  # noqa: SLF001
        self._baseline = np.asarray(model._baseline_prediction, np.float64).reshape(1, -1)  # noqa: SLF001

    def raw(self, matrix: Matrix) -> Matrix:
        """Sums of leaves over all trees, shape (n, outputs): numbers, or scores before the link."""
        at = np.tile(np.array(self._roots, dtype=np.intp), (len(matrix), 1))
        rows = np.arange(len(matrix))[:, None]
        for _ in range(self._depth):
            values = matrix[rows, self._feature[at]]
            left = np.where(np.isnan(values), self._missing_left[at], values <= self._threshold[at])
            at = np.where(left, self._left[at], self._right[at])
        return np.asarray(self._value[at].reshape(len(matrix), -1, self._outputs).sum(axis=1) + self._baseline)
