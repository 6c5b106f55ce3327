"""How good predictions are, each figure with a confidence interval: a bootstrap that draws groups, not rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.training import Measure
from tasks.train.calibration import calibration_error

Vector = NDArray[np.float64]
Figure = Callable[[NDArray[np.intp]], float]

_DRAWS, _FEWER_DRAWS, _MANY_ROWS = 300, 60, 100_000


def regression_figures(y: Vector, predicted: Vector) -> dict[str, Figure]:
    """Each figure as a function of the rows (positions) that it is taken over."""
    error = predicted - y
    figures: dict[str, Figure] = {
        "rmse": lambda rows: float(np.sqrt(np.mean(error[rows] ** 2))),
        "mae": lambda rows: float(np.mean(np.abs(error[rows]))),
        "r2": lambda rows: _r2(y[rows], error[rows]),
    }
    if y.min() > 0 and predicted.min() > 0:
        logs = np.log(predicted) - np.log(y)
        shares = np.abs(error) / y
        figures |= {
            "log_rmse": lambda rows: float(np.sqrt(np.mean(logs[rows] ** 2))),
            "mdape": lambda rows: float(np.median(shares[rows])),
            "median_ratio": lambda rows: float(np.median(np.exp(logs[rows]))),
        }
    return figures


def classification_figures(y: NDArray[Any], probabilities: Vector, classes: Sequence[Any]) -> dict[str, Figure]:
    """The same for classes; `probabilities` has shape (n, classes)."""
    place = {name: number for number, name in enumerate(classes)}
    truth = np.array([place.get(one, -1) for one in y.tolist()])
    chosen = probabilities.argmax(axis=1)
    right = chosen == truth
    confidence = probabilities.max(axis=1)
    of_truth = np.where(truth >= 0, probabilities[np.arange(len(y)), truth], 0.0)
    ones = (truth[:, None] == np.arange(len(classes))[None, :]).astype(np.float64)
    figures: dict[str, Figure] = {
        "log_loss": lambda rows: float(-np.log(np.clip(of_truth[rows], 1e-15, 1)).mean()),
        "accuracy": lambda rows: float(right[rows].mean()),
        "balanced_accuracy": lambda rows: float(
            np.mean([right[rows][truth[rows] == one].mean() for one in np.unique(truth[rows])])
        ),
        "brier": lambda rows: float(((probabilities[rows] - ones[rows]) ** 2).sum(axis=1).mean()),
        "calibration_error": lambda rows: calibration_error(confidence[rows], right[rows]),
    }
    if len(classes) == 2:
        figures["roc_auc"] = lambda rows: roc_auc(truth[rows] == 1, probabilities[rows, 1])
    return figures


def measures(
    figures: dict[str, Figure], count: int, *, groups: NDArray[np.int64] | None = None, seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, Measure]:  # fmt: skip
    """Every figure over all `count` rows, with the percentile interval of a bootstrap of groups (of rows without)."""
    everything = np.arange(count)
    members = _members(groups, count)
    generator = np.random.default_rng(seed)
    draws = _DRAWS if count < _MANY_ROWS else _FEWER_DRAWS
    drawn: dict[str, list[float]] = {name: [] for name in figures}
    for _ in range(draws if len(members) > 1 else 0):
        chosen = generator.integers(0, len(members), len(members))
        rows = chosen if groups is None else np.concatenate([members[one] for one in chosen])
        for name, figure in figures.items():
            drawn[name].append(figure(rows))
    found = {}
    for name, figure in figures.items():
        value = figure(everything)
        if not np.isfinite(value):
            continue  # such as the area under a curve of one class
        values = np.array([one for one in drawn[name] if np.isfinite(one)])
        tail = (1 - confidence) / 2
        ends = np.quantile(values, [tail, 1 - tail]) if len(values) >= 20 else (None, None)
        low, high = (None if one is None else float(one) for one in ends)
        found[name] = Measure(value=value, low=low, high=high, confidence=confidence)
    return found


def roc_auc(positive: NDArray[np.bool_], score: Vector) -> float:
    """Area under the ROC curve: the share of pairs in the right order, ties half (Mann-Whitney); NaN for one class."""
    from scipy.stats import rankdata  # noqa: PLC0415

    count = int(positive.sum())
    if not 0 < count < len(positive):
        return float("nan")
    ranks = rankdata(score)
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(positive) - count)))


def share_within(low: Vector, high: Vector, y: Vector) -> Figure:
    """The share of truths within their interval, as a figure."""
    inside = (y >= low) & (y <= high)
    return lambda rows: float(inside[rows].mean())


def _r2(y: Vector, error: Vector) -> float:
    total = float(((y - y.mean()) ** 2).sum())
    return 1.0 - float((error**2).sum()) / total if total > 0 else float("nan")


def _members(groups: NDArray[np.int64] | None, count: int) -> list[NDArray[np.intp]] | range:
    if groups is None:
        return range(count)
    order = np.argsort(groups, kind="stable")
    _, starts = np.unique(groups[order], return_index=True)
    return list(np.split(order, starts[1:]))
