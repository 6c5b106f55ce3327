"""Whether a challenger is better than the champion, or whether that may be chance.

Both predict the same rows, which neither has learned from. The difference of their losses gets the percentile interval
of a paired bootstrap (Efron & Tibshirani, 1993, ch. 13) that draws groups: rows of one property are not independent.
Better means that the whole interval is below 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.training import Comparison, Measure
from tasks.train.losses import Loss, joined

_DRAWS = 2_000
_CONFIDENCE = 0.95
LEAST_ROWS = 20


def compared(
    name: str,
    loss: Loss,
    champion: tuple[int, NDArray[np.float64]],
    challenger: tuple[int, NDArray[np.float64]],
    *,
    groups: NDArray[np.int64] | None = None,
    seed: int = 0,
    draws: int = _DRAWS,
) -> Comparison:
    """The two by the losses of the same rows.

    Args:
        name: the model.
        loss: which it is; says how losses of rows become one figure.
        champion: its version and the loss of each row, shape (n,).
        challenger: likewise.
        groups: of the rows, shape (n,); rows of one group are drawn together.
        seed: of the bootstrap.
        draws: how many resamples.
    """
    (old_version, old), (new_version, new) = champion, challenger
    old_loss, new_loss = joined(loss, old), joined(loss, new)
    codes = np.arange(len(old)) if groups is None else np.unique(groups, return_inverse=True)[1]
    count = int(codes.max()) + 1
    sums = np.stack([np.bincount(codes, weights=one, minlength=count) for one in (old, new)])
    sizes = np.bincount(codes, minlength=count).astype(np.float64)
    generator = np.random.default_rng(seed)
    differences = np.empty(draws)
    for number in range(draws):
        times = np.bincount(generator.integers(0, count, count), minlength=count)
        first, second = (sums @ times) / (sizes @ times)
        differences[number] = second - first if loss == "log_loss" else np.sqrt(second) - np.sqrt(first)
    low, high = (float(one) for one in np.quantile(differences, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2]))
    enough = len(old) >= LEAST_ROWS and count >= LEAST_ROWS
    better = bool(high < 0 and enough)
    figures = (
        f"{loss} {new_loss:.4g} of {name}@{new_version} against {old_loss:.4g} of {name}@{old_version} "
        f"on {len(old)} held-out rows (difference {new_loss - old_loss:+.4g}, 95 % interval {low:+.4g} to {high:+.4g})"
    )
    return Comparison(
        name=name,
        champion=old_version,
        challenger=new_version,
        metric=loss,
        rows=len(old),
        champion_loss=old_loss,
        challenger_loss=new_loss,
        difference=Measure(value=new_loss - old_loss, low=low, high=high, confidence=_CONFIDENCE),
        probability=float((differences < 0).mean()),
        better=better,
        verdict=_verdict(enough=enough, better=better, low=low, figures=figures),
    )


def _verdict(*, enough: bool, better: bool, low: float, figures: str) -> str:
    if not enough:
        return f"Too few held-out rows to tell: {figures}."
    if better:
        return f"Better beyond noise: {figures}."
    if low > 0:
        return f"Worse beyond noise: {figures}."
    return f"Not better beyond noise: {figures}."
