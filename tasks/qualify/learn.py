"""Weights for the rules' points, learned from leads whose outcome is known: a logistic regression, calibrated. Pure.

Leads are split by when they were decided: the earlier ones teach, the latest judge. The probability is Platt's (1999)
logistic of the log odds, fitted out of fold, so that it does not flatter itself. As few weights as the outcomes bear:
ten of the rarer outcome for each (Peduzzi et al., 1996, J. Clin. Epidemiol. 49(12), 1373-1379).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from models.qualify import Comparison, QualifySettings, Weights

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_DRAWS = 1000
_LEAST_HELD_OUT = 10
_STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Inverse strengths of the L2 penalty that are tried, weakest penalty last."""


@dataclass(frozen=True)
class Labelled:
    """A lead whose outcome is known, as it was before that."""

    contact: int
    features: Mapping[str, float]
    score: float
    """Fit and engagement by the rules, together."""
    won: bool
    decided_at: datetime


class TooFewLabelsError(ValueError):
    """Weights cannot be learned from so few leads. The message says how many are needed."""


@dataclass(frozen=True)
class Learned:
    """Weights, and how they compare."""

    weights: Weights
    comparison: Comparison


def learn(labelled: Sequence[Labelled], settings: QualifySettings, *, seed: int = 0) -> Learned:
    """Weights from the earlier of `labelled`, judged on the later.

    Raises:
        TooFewLabelsError: there are too few of an outcome.
    """
    import numpy as np  # noqa: PLC0415

    ordered = sorted(labelled, key=lambda one: (one.decided_at, one.contact))
    held = round(len(ordered) * settings.held_out)
    taught, judged = ordered[: len(ordered) - held], ordered[len(ordered) - held :]
    names = _varying(taught)
    _refuse_too_few(taught, judged, len(names), settings)
    x, y = _matrix(taught, names), np.array([one.won for one in taught], dtype=float)
    means, scales = x.mean(axis=0), x.std(axis=0)
    strength, out_of_fold = _chosen((x - means) / scales, y, seed)
    model = _logistic((x - means) / scales, y, strength)
    slope, offset = _platt(out_of_fold, y)
    weights = Weights(
        rules=settings.digest,
        features=tuple(names),
        means=tuple(map(float, means)),
        scales=tuple(map(float, scales)),
        weights=tuple(map(float, model.coef_[0])),
        intercept=float(model.intercept_[0]),
        slope=slope,
        offset=offset,
    )
    rules_slope, rules_offset = _platt(np.array([one.score for one in taught]), y)
    by_rules = np.array([_logit(rules_slope * one.score + rules_offset) for one in judged])
    by_weights = np.array([probability(weights, one.features) for one in judged])
    return Learned(weights, _compared(by_weights, by_rules, np.array([one.won for one in judged], dtype=float), seed))


def probability(weights: Weights, told: Mapping[str, float]) -> float:
    """Probability that a lead with these features is won."""
    odds = weights.intercept
    for name, mean, scale, weight in zip(weights.features, weights.means, weights.scales, weights.weights, strict=True):
        odds += weight * (told.get(name, 0.0) - mean) / scale
    return _logit(weights.slope * odds + weights.offset)


def _refuse_too_few(
    taught: Sequence[Labelled], judged: Sequence[Labelled], weights: int, settings: QualifySettings
) -> None:
    needed = max(settings.least_labels, math.ceil(settings.labels_per_weight * max(1, weights)))
    won, lost = sum(one.won for one in taught), sum(not one.won for one in taught)
    if min(won, lost) < needed:
        share = 1 - settings.held_out
        raise TooFewLabelsError(
            f"weights for {weights} rules need {needed} won and {needed} lost leads to learn from, so about "
            f"{math.ceil(needed / share)} of each with those that judge; to learn from there are {won} won and {lost} "
            "lost"
        )
    won, lost = sum(one.won for one in judged), sum(not one.won for one in judged)
    if min(won, lost) < _LEAST_HELD_OUT:
        raise TooFewLabelsError(
            f"among the latest {len(judged)} leads, which judge the weights, are {won} won and {lost} lost; "
            f"{_LEAST_HELD_OUT} of each are needed"
        )


def _varying(taught: Sequence[Labelled]) -> list[str]:
    """The features that are not the same for everybody."""
    names = sorted({name for one in taught for name in one.features})
    return [name for name in names if len({one.features.get(name, 0.0) for one in taught}) > 1]


def _matrix(leads: Sequence[Labelled], names: Sequence[str]) -> Floats:
    import numpy as np  # noqa: PLC0415

    return np.array([[one.features.get(name, 0.0) for name in names] for one in leads], dtype=float)


def _logistic(x: Floats, y: Floats, strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what did not converge is no result
        return LogisticRegression(C=strength, max_iter=2000).fit(x, y)


def _chosen(x: Floats, y: Floats, seed: int) -> tuple[float, Floats]:
    """The strength with the least log loss out of fold, and the log odds that it gives there."""
    import numpy as np  # noqa: PLC0415
    from sklearn.model_selection import StratifiedKFold  # noqa: PLC0415

    folds = list(StratifiedKFold(5, shuffle=True, random_state=seed).split(x, y))
    best: tuple[float, float, Floats] | None = None
    for strength in _STRENGTHS:
        odds = np.empty(len(y))
        for inside, outside in folds:
            odds[outside] = _logistic(x[inside], y[inside], strength).decision_function(x[outside])
        loss = float(np.logaddexp(0.0, np.where(y == 1, -odds, odds)).mean())
        if best is None or loss < best[0]:
            best = (loss, strength, odds)
    assert best is not None  # noqa: S101 - there are strengths
    return best[1], best[2]


def _platt(scores: Floats, y: Floats) -> tuple[float, float]:
    """Slope and offset of the logistic that turns `scores` into probabilities."""
    centre, spread = float(scores.mean()), float(scores.std()) or 1.0
    model = _logistic(((scores - centre) / spread).reshape(-1, 1), y, 1e3)
    slope = float(model.coef_[0, 0]) / spread
    return slope, float(model.intercept_[0]) - slope * centre


def _logit(odds: float) -> float:
    """The probability of log `odds`, without overflow."""
    return 1 / (1 + math.exp(-odds)) if odds >= 0 else math.exp(odds) / (1 + math.exp(odds))


def _compared(weights: Floats, rules: Floats, won: Floats, seed: int) -> Comparison:
    import numpy as np  # noqa: PLC0415
    from sklearn.metrics import roc_auc_score  # noqa: PLC0415

    ours, theirs = _losses(weights, won), _losses(rules, won)
    draws = np.random.default_rng(seed).integers(0, len(won), size=(_DRAWS, len(won)))
    low, high = np.quantile((theirs - ours)[draws].mean(axis=1), [0.025, 0.975])
    return Comparison(
        leads=len(won),
        won=int(won.sum()),
        log_loss=float(ours.mean()),
        log_loss_rules=float(theirs.mean()),
        gain_low=float(low),
        gain_high=float(high),
        brier=float(((weights - won) ** 2).mean()),
        brier_rules=float(((rules - won) ** 2).mean()),
        auc=float(roc_auc_score(won, weights)),
        auc_rules=float(roc_auc_score(won, rules)),
        predicted_won=float(weights.sum()),
    )


def _losses(told: Floats, won: Floats) -> Floats:
    import numpy as np  # noqa: PLC0415

    safe = np.clip(told, 1e-9, 1 - 1e-9)
    return -(won * np.log(safe) + (1 - won) * np.log1p(-safe))
