"""Performance once the truth is known: a version's losses beside those of its own held-out rows. Pure."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from models.drift import DriftLimits, LossReference, Performance, Verdict

Floats = npt.NDArray[np.float64]

FEWEST = 30
"""Rows with a truth below which a mean loss says nothing."""

_STEPS = 1000
_RESAMPLES = 4000
_RESAMPLED_ROWS = 2000
_FIRST_START = 100
_BOLDNESS = 0.75


def loss_reference(
    losses: Floats, loss: Literal["absolute_error", "error_rate"], *, confidences: Floats | None = None
) -> LossReference:
    """What is kept of the losses of held-out rows (1 or more, none negative).

    Args:
        losses: of each row.
        loss: what they are.
        confidences: of a classifier, the probability of the class that it chose, row by row.

    Raises:
        ValueError: there are none, or one is negative or not finite.
    """
    if not len(losses) or not np.isfinite(losses).all() or losses.min() < 0:
        raise ValueError("held-out losses are at least one, finite and not negative")
    gap = 0.0 if confidences is None else float((1 - losses).mean() - confidences.mean())
    return LossReference(
        loss=loss,
        rows=len(losses),
        mean=float(losses.mean()),
        deviation=float(losses.std()),
        quantiles=tuple(np.quantile(losses, np.linspace(0, 1, _STEPS + 1)).tolist()),
        confidence_gap=gap,
    )


def known_performance(
    reference: LossReference, losses: Floats, *, before: int, limits: DriftLimits, seed: int = 0
) -> Performance:
    """How a version does, from all its losses so far in the order in which they were known.

    Args:
        reference: of the version's held-out rows.
        losses: all of them; those of the window come last.
        before: how many of them are before the window.
        limits: from when on a rise counts.
        seed: of the resampling.

    The window is compared by a bootstrap; and since windows are looked at again and again, the whole history by a test
    that stays valid at every look. Each has half of `limits.alpha`.
    """
    window = losses[before:]
    alpha = limits.alpha / 2
    sequential = sequential_bound(reference, losses, alpha=alpha)
    if len(window) < FEWEST:
        p_value, ratio, low, high = 1.0, _ratio(window, reference), 0.0, float("inf")
    else:
        p_value, low, high = _resampled(reference, window, alpha=alpha, seed=seed)
        ratio = _ratio(window, reference)
    verdict: Verdict = "unknown" if len(window) < FEWEST and sequential > alpha else "stable"
    if p_value <= alpha or sequential <= alpha:
        verdict = "major" if ratio >= limits.major_loss else "moderate" if ratio >= limits.moderate_loss else "small"
    return Performance(
        loss=reference.loss,
        known=True,
        rows=len(window),
        held_out=reference.mean,
        value=float(window.mean()) if len(window) else 0.0,
        low=low,
        high=min(high, 1e9),
        p_value=p_value,
        sequential=sequential,
        verdict=verdict,
    )


def sequential_bound(reference: LossReference, losses: Floats, *, alpha: float) -> float:
    """A bound on the chance that losses no worse than the held-out ones would ever look as bad as these have.

    Losses, cut at the held-out 99 % quantile and scaled to 0...1, are bet against: a gambler who stakes on each being
    above the held-out mean cannot grow rich where it is not, however long and often one looks (Ville's inequality;
    Waudby-Smith and Ramdas 2024, J. R. Stat. Soc. B 86(1)). The stake goes by the losses before. So that a good past
    does not hide a bad present, part of the capital starts later, after 100, 200, 400 ... losses.

    The held-out mean is itself known only so well: half of `alpha` goes into its upper confidence bound. The result is
    at most `alpha` with no more than that chance. All that holds of looks at one growing history: once its front is
    forgotten, each look stays valid by itself, and no longer all of them together.
    """
    if not len(losses):
        return 1.0
    scaled, level = _scaled(reference, losses, alpha=alpha / 2)
    starts = [0]
    while (following := _FIRST_START * 2 ** (len(starts) - 1)) < len(losses):
        starts.append(following)
    capital = np.zeros(len(losses))
    for place, start in enumerate(starts):
        weight = 1 / ((place + 1) * (place + 2))
        grown = np.cumsum(np.log1p(_stakes(scaled[start:], level) * (scaled[start:] - level)))
        capital[:start] += weight
        capital[start:] += weight * np.exp(np.minimum(grown, 500.0))
    capital += 1 / (len(starts) + 1)  # that of all later starts, still untouched
    return float(min(1.0, 2 / capital.max()))


def _scaled(reference: LossReference, losses: Floats, *, alpha: float) -> tuple[Floats, float]:
    """The losses within 0...1, and the upper bound of what their mean would be without drift."""
    grid = np.asarray(reference.quantiles)
    if reference.loss == "error_rate":
        cap, mean, deviation = 1.0, reference.mean, reference.deviation
    else:
        cap = float(np.quantile(grid, 0.99)) or float(grid[-1]) or 1.0
        cut = np.minimum(grid / cap, 1.0)
        middles = (cut[1:] + cut[:-1]) / 2
        mean, deviation = float(middles.mean()), float(middles.std())
    # A rate of 0 among n rows may be one of 3/n: half a row more keeps the bound off 0.
    spread = max(deviation, float(np.sqrt(mean * (1 - mean) + 0.5 / reference.rows))) if mean < 0.01 else deviation
    level = mean + stats.norm.ppf(1 - alpha) * spread / np.sqrt(reference.rows) + 0.5 / reference.rows
    return np.minimum(losses / cap, 1.0), float(min(level, 1.0))


def _stakes(scaled: Floats, level: float) -> Floats:
    """What is staked on each loss: the mean of those before it, above `level`, over their second moment around it."""
    seen = np.arange(len(scaled)) + 1.0
    earlier = np.concatenate([[0.0], np.cumsum(scaled)[:-1]])
    squares = np.concatenate([[0.0], np.cumsum(scaled**2)[:-1]])
    mean = (level + earlier) / seen
    variance = np.maximum((0.25 + level**2 + squares) / seen - mean**2, 1e-6)
    above = mean - level
    stakes: Floats = np.clip(above / (variance + above**2), 0.0, _BOLDNESS / max(level, 1e-9))
    return stakes


def _resampled(reference: LossReference, window: Floats, *, alpha: float, seed: int) -> tuple[float, float, float]:
    """p-value of a rise of the mean, and the interval of its ratio to the held-out mean, by the bootstrap."""
    random = np.random.default_rng(seed)
    if len(window) <= _RESAMPLED_ROWS:
        chosen = random.integers(0, len(window), size=(_RESAMPLES, len(window)))
        means = window[chosen].mean(axis=1)
    else:  # of so many rows the mean is normal
        means = random.normal(window.mean(), window.std() / np.sqrt(len(window)), _RESAMPLES)
    held_out = random.normal(reference.mean, reference.deviation / np.sqrt(reference.rows), _RESAMPLES)
    p_value = float((1 + (means <= held_out).sum()) / (1 + _RESAMPLES))
    ratios = means / np.maximum(held_out, 1e-12)
    low, high = np.quantile(ratios, [alpha, 1 - alpha])
    return p_value, float(low), float(high)


def _ratio(window: Floats, reference: LossReference) -> float:
    return float(window.mean()) / max(reference.mean, 1e-12) if len(window) else 1.0
