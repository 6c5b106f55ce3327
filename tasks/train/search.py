"""What is tried: settings drawn from each family's space, and fewer of them the more folds they are tried on.

Successive halving (Jamieson & Talwalkar, 2016) over folds: every setting is tried on some folds, the best third on all.
The draw depends on the seed and the family alone, so that a run that is repeated asks for the same work.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.train.engine import parameters_key
from tasks.train.families import Family

_KEEP = 3
_SCOUTS = 2


def candidates_of(family: Family, trials: int, seed: int) -> list[dict[str, Any]]:
    """`trials` different settings at most: the family's defaults first, then drawn ones."""
    salt = int.from_bytes(hashlib.sha256(f"{family.name}/{seed}".encode()).digest()[:8], "little")
    generator = np.random.default_rng(salt)
    found: dict[str, dict[str, Any]] = {parameters_key(family.name, {}): {}}
    for _ in range(20 * trials):
        if len(found) >= trials or not family.space:
            break
        drawn = {name: values[int(generator.integers(len(values)))] for name, values in sorted(family.space.items())}
        found.setdefault(parameters_key(family.name, drawn), drawn)
    return list(found.values())


def scouted(folds: int, *, by_time: bool) -> list[int]:
    """The folds that every setting is tried on first: of windows the latest, which are learned from the most rows."""
    count = min(_SCOUTS, folds)
    return list(range(folds - count, folds)) if by_time else list(range(count))


def survivors(scored: Sequence[tuple[float, Mapping[str, Any]]]) -> list[Mapping[str, Any]]:
    """The best third (at least one), in the order that they were drawn in."""
    keep = max(1, -(-len(scored) // _KEEP))
    best = sorted(range(len(scored)), key=lambda place: (scored[place][0], place))[:keep]
    return [scored[place][1] for place in sorted(best)]


def blend_weights(predictions: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Non-negative weights, together 1, with which the columns of `predictions` (n, members) come nearest to `target`.

    Non-negative least squares, as in stacked regressions (Breiman, 1996). Members that count for less than 2 % are left
    out, and the rest weighted anew.
    """
    from scipy.optimize import nnls  # noqa: PLC0415

    def solved(columns: NDArray[np.intp]) -> NDArray[np.float64]:
        # a heavy row that says "together 1" (for centred values an unbounded sum would shrink)
        scale = float(np.abs(target).mean() + target.std() + 1e-12) * np.sqrt(len(target)) * 10
        rows = np.vstack([predictions[:, columns], np.full((1, len(columns)), scale)])
        found: NDArray[np.float64] = nnls(rows, np.append(target, scale))[0]
        return found / found.sum() if found.sum() > 0 else np.full(len(columns), 1 / len(columns))

    everyone = np.arange(predictions.shape[1])
    weights = solved(everyone)
    kept = everyone[weights >= 0.02]
    out = np.zeros(len(everyone))
    out[kept] = solved(kept)
    return out


def probability_weights(probabilities: Sequence[NDArray[np.float64]], truth: NDArray[np.intp]) -> NDArray[np.float64]:
    """The same for probabilities, each (n, classes): the weights by which the true classes are likeliest.

    Expectation-maximisation for the shares of a mixture, which never lowers the likelihood.
    """
    of_truth = np.stack([np.clip(one[np.arange(len(truth)), truth], 1e-12, 1) for one in probabilities], axis=1)
    weights = np.full(of_truth.shape[1], 1 / of_truth.shape[1])
    for _ in range(200):
        shares = of_truth * weights
        weights = (shares / shares.sum(axis=1, keepdims=True)).mean(axis=0)
    weights = np.where(weights >= 0.02, weights, 0.0)
    return np.asarray(weights / weights.sum())
