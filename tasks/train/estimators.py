"""The models of tables: each takes the frame as it is, learns its own encoding, and predicts frames and plain rows.

All of them: `fit(frame, y, sample_weight=None)`, `predict(frame)`, `predict_rows(rows)`; those of classes also
`predict_proba(frame)` and `proba_rows(rows)`, columns in the order of `classes_`. What they keep is numbers, text and
scikit-learn's own objects, so that they can be stored without a pickle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasks.train.encoding import Matrix, TableEncoder
from tasks.train.threads import one_thread
from tasks.train.trees import FlatTrees

Vector = NDArray[np.float64]
Rows = Sequence[Mapping[str, object]]
Task = Literal["regression", "classification"]


_FEW = 256
"""Rows up to which trees are walked by one thread."""


class TableModel:
    """What all of them share: an encoder, the target's scale and the classes.

    Args:
        task: `regression` or `classification`.
        seed: of everything that is drawn.
        log_target: whether the logarithm of the target is learned; by default where it is always above 0 and skewed
            (prices, counts, durations). Predictions are medians then, rather than means.
        parameters: of the model.
    """

    style: Literal["tree", "linear"] = "tree"
    defaults: Mapping[str, Any] = {}

    def __init__(
        self,
        task: Task = "regression",
        seed: int = 0,
        log_target: bool | None = None,  # noqa: FBT001 - given by name
        **parameters: Any,
    ) -> None:
        unknown = sorted(set(parameters) - set(self.defaults))
        if unknown:
            raise ValueError(f"{type(self).__name__} has no {unknown[0]!r}; there are {', '.join(self.defaults)}")
        self.task = task
        self.seed = seed
        self.log_target = log_target
        self.parameters = {**self.defaults, **parameters}

    def fit(self, frame: pd.DataFrame, y: NDArray[Any], sample_weight: Vector | None = None) -> Self:
        """Learn from `frame` (n rows) and `y` (n,)."""
        self.encoder_ = TableEncoder(self.style)
        if self.task == "classification":
            self.classes_ = np.unique(y)
            target = np.searchsorted(self.classes_, y).astype(np.float64)
        else:
            self.log_ = wants_log(y) if self.log_target is None else self.log_target
            target = np.log(y.astype(np.float64)) if self.log_ else y.astype(np.float64)
            self.low_, self.high_ = float(target.min()), float(target.max())
        matrix = self.encoder_.fit_transform(frame, target, self.seed)
        self._fit(matrix, target, sample_weight)
        return self

    def predict(self, frame: pd.DataFrame) -> NDArray[Any]:
        """Numbers, or classes, shape (n,)."""
        return self._answer(self.encoder_.transform(frame))

    def predict_rows(self, rows: Rows) -> NDArray[Any]:
        """The same for plain rows."""
        return self._answer(self.encoder_.transform_rows(rows))

    def predict_proba(self, frame: pd.DataFrame) -> Matrix:
        """The probability of each class, shape (n, classes)."""
        return self._proba(self.encoder_.transform(frame))

    def proba_rows(self, rows: Rows) -> Matrix:
        """The same for plain rows."""
        return self._proba(self.encoder_.transform_rows(rows))

    def _answer(self, matrix: Matrix) -> NDArray[Any]:
        if self.task == "classification":
            chosen: NDArray[Any] = self.classes_[self._proba(matrix).argmax(axis=1)]
            return chosen
        # A line goes on beyond all that was seen: half of the range more is as far as it is followed.
        slack = 0.5 * (self.high_ - self.low_)
        values = np.clip(self._predict(matrix), self.low_ - slack, self.high_ + slack)
        return np.exp(values) if self.log_ else values

    def _fit(self, matrix: Matrix, target: Vector, weight: Vector | None) -> None:
        raise NotImplementedError

    def _predict(self, matrix: Matrix) -> Vector:
        raise NotImplementedError

    def _proba(self, matrix: Matrix) -> Matrix:
        raise NotImplementedError


class LinearModel(TableModel):
    """Ridge or elastic net on standardised columns; of classes, logistic regression with an L2 penalty."""

    style = "linear"
    defaults: Mapping[str, Any] = {"penalty": "ridge", "alpha": 10.0, "l1_ratio": 0.5}

    def _fit(self, matrix: Matrix, target: Vector, weight: Vector | None) -> None:
        from sklearn.linear_model import ElasticNet, LogisticRegression, Ridge  # noqa: PLC0415

        alpha = float(self.parameters["alpha"])
        if self.task == "classification":
            if len(self.classes_) == 1:
                self.coefficients_, self.intercept_ = np.zeros((1, matrix.shape[1])), np.zeros(1)
                return
            model = LogisticRegression(C=1.0 / alpha, max_iter=2_000)
        elif self.parameters["penalty"] == "ridge":
            model = Ridge(alpha=alpha)
        else:
            # its penalty is per row and in units of the target: in standard deviations it means the same everywhere
            spread = float(target.std()) or 1.0
            model = ElasticNet(alpha=alpha * spread * 1e-3, l1_ratio=float(self.parameters["l1_ratio"]),
                               max_iter=5_000, tol=1e-3, random_state=self.seed)  # fmt: skip
        model.fit(matrix, target, sample_weight=weight)
        self.coefficients_ = np.asarray(model.coef_, np.float64)
        self.intercept_ = np.asarray(model.intercept_, np.float64)

    def _predict(self, matrix: Matrix) -> Vector:
        scores: Vector = matrix @ self.coefficients_ + self.intercept_
        return scores

    def _proba(self, matrix: Matrix) -> Matrix:
        if len(self.classes_) == 1:
            return np.ones((len(matrix), 1))
        scores = matrix @ self.coefficients_.T + self.intercept_
        if len(self.classes_) == 2:
            scores = np.hstack([np.zeros_like(scores), scores])
        return softmax(scores)


class HistGradientBoosting(TableModel):
    """scikit-learn's histogram gradient boosting."""

    defaults: Mapping[str, Any] = {
        "learning_rate": 0.05, "max_iter": 300, "max_leaf_nodes": 31, "min_samples_leaf": 20, "l2_regularization": 0.0,
        "max_features": 1.0,
    }  # fmt: skip

    def _fit(self, matrix: Matrix, target: Vector, weight: Vector | None) -> None:
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor  # noqa: PLC0415

        kind = HistGradientBoostingClassifier if self.task == "classification" else HistGradientBoostingRegressor
        if self.task == "classification" and len(self.classes_) == 1:
            self.model_: Any = None
            return
        self.model_ = kind(**self.parameters, early_stopping=False, random_state=self.seed)
        with one_thread():
            self.model_.fit(matrix, target, sample_weight=weight)

    def _predict(self, matrix: Matrix) -> Vector:
        if len(matrix) <= _FEW:
            return self._raw(matrix)[:, 0]  # the loss is squared errors, and its link the identity
        found: Vector = self.model_.predict(matrix)
        return found

    def _proba(self, matrix: Matrix) -> Matrix:
        if self.model_ is None:
            return np.ones((len(matrix), 1))
        if len(matrix) <= _FEW:
            raw = self._raw(matrix)
            return softmax(np.hstack([np.zeros_like(raw), raw]) if raw.shape[1] == 1 else raw)
        found: Matrix = self.model_.predict_proba(matrix)
        return found

    def _raw(self, matrix: Matrix) -> Matrix:
        # The library walks its trees one by one, with threads: 300 of them take 5 ms a row, and more beside others.
        flat: FlatTrees | None = self.__dict__.get("_flat")
        if flat is None:
            flat = self.__dict__["_flat"] = FlatTrees(self.model_)
        return flat.raw(matrix)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_flat"}


class LightGBM(TableModel):
    """LightGBM, single-threaded and deterministic; kept as the library's own text."""

    defaults: Mapping[str, Any] = {
        "learning_rate": 0.05, "n_estimators": 400, "num_leaves": 31, "min_child_samples": 20,
        "feature_fraction": 0.7, "bagging_fraction": 0.8, "lambda_l2": 1.0, "objective": "default",
    }  # fmt: skip

    def _fit(self, matrix: Matrix, target: Vector, weight: Vector | None) -> None:
        import lightgbm  # noqa: PLC0415

        self.text_ = ""
        if self.task == "classification" and len(self.classes_) == 1:
            return
        chosen = dict(self.parameters)
        rounds = int(chosen.pop("n_estimators"))
        objective = chosen.pop("objective")
        if self.task == "classification":
            many = len(self.classes_) > 2
            chosen |= {"objective": "multiclass", "num_class": len(self.classes_)} if many else {"objective": "binary"}
        else:
            chosen["objective"] = "regression" if objective == "default" else objective
        fixed = {
            "bagging_freq": 1, "deterministic": True, "force_row_wise": True, "num_threads": 1, "verbose": -1,
            "seed": self.seed, "feature_pre_filter": False, "cat_smooth": 20, "max_cat_to_onehot": 4,
        }  # fmt: skip
        data = lightgbm.Dataset(
            matrix, label=target, weight=weight, free_raw_data=True,
            categorical_feature=self.encoder_.categorical or "auto",
            params={"feature_pre_filter": False, "verbose": -1, "num_threads": 1},
        )  # fmt: skip
        self.text_ = lightgbm.train({**chosen, **fixed}, data, num_boost_round=rounds).model_to_string()

    def _booster(self) -> Any:
        found = self.__dict__.get("_loaded")
        if found is None:
            import lightgbm  # noqa: PLC0415

            found = self.__dict__["_loaded"] = lightgbm.Booster(model_str=self.text_)
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_loaded"}

    def _predict(self, matrix: Matrix) -> Vector:
        found: Vector = self._booster().predict(matrix, num_threads=1)
        return found

    def _proba(self, matrix: Matrix) -> Matrix:
        if not self.text_:
            return np.ones((len(matrix), 1))
        found: Matrix = self._booster().predict(matrix, num_threads=1)
        return np.column_stack([1 - found, found]) if found.ndim == 1 else found


class Blend:
    """The weighted mean of fitted models: of logarithms where they learned logarithms.

    Args:
        members: the models, which `fit` fits anew.
        weights: what each counts, shape (members,), not negative, together 1.
    """

    def __init__(self, members: list[Any], weights: Sequence[float]) -> None:
        self.members = members
        self.weights = np.asarray(weights, np.float64)

    def fit(self, frame: pd.DataFrame, y: NDArray[Any], sample_weight: Vector | None = None) -> Self:
        """Learn from `frame` (n rows) and `y` (n,)."""
        for member in self.members:
            member.fit(frame, y, sample_weight=sample_weight)
        self.log_ = all(getattr(member, "log_", False) for member in self.members)
        if hasattr(self.members[0], "classes_"):
            self.classes_ = self.members[0].classes_
        return self

    def predict(self, frame: pd.DataFrame) -> NDArray[Any]:
        """Numbers, or classes, shape (n,)."""
        if hasattr(self, "classes_"):
            chosen: NDArray[Any] = self.classes_[self.predict_proba(frame).argmax(axis=1)]
            return chosen
        return self._mean([member.predict(frame) for member in self.members])

    def predict_rows(self, rows: Rows) -> NDArray[Any]:
        """The same for plain rows."""
        if hasattr(self, "classes_"):
            chosen: NDArray[Any] = self.classes_[self.proba_rows(rows).argmax(axis=1)]
            return chosen
        return self._mean([member.predict_rows(rows) for member in self.members])

    def predict_proba(self, frame: pd.DataFrame) -> Matrix:
        """The probability of each class, shape (n, classes)."""
        return np.asarray(np.tensordot(self.weights, [one.predict_proba(frame) for one in self.members], axes=1))

    def proba_rows(self, rows: Rows) -> Matrix:
        """The same for plain rows."""
        return np.asarray(np.tensordot(self.weights, [one.proba_rows(rows) for one in self.members], axes=1))

    def _mean(self, found: list[Vector]) -> Vector:
        if self.log_:
            return np.asarray(np.exp(np.tensordot(self.weights, np.log(found), axes=1)))
        return np.asarray(np.tensordot(self.weights, found, axes=1))


def wants_log(y: NDArray[Any]) -> bool:
    """Whether a target's logarithm is the more even one: always above 0 and skewed to the right (skewness above 1)."""
    values = y.astype(np.float64)
    if values.size < 10 or values.min() <= 0:
        return False
    return skewness(values) > 1.0 and abs(skewness(np.log(values))) < skewness(values)


def skewness(values: Vector) -> float:
    """The third standardised moment; 0 for constants."""
    spread = float(values.std())
    return float((((values - values.mean()) / spread) ** 3).mean()) if spread > 0 else 0.0


def softmax(scores: Matrix) -> Matrix:
    """Probabilities of scores, row by row."""
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))
