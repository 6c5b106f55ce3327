"""Which model it becomes: the best family, or a blend of several when that is clearly better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.training import Candidate
from tasks.train.engine import FoldResult, out_of_fold
from tasks.train.families import BLEND, Family, blend_of
from tasks.train.losses import Loss, loss_of
from tasks.train.search import blend_weights, probability_weights
from tasks.train.workbench import Workbench

Found = Mapping[str, tuple[Candidate, Sequence[FoldResult]]]
"""By family: its best candidate, and what it said on every fold."""

_LEAST_GAIN = 0.002
"""Share of the loss that a blend has to save: it takes as long as all of its members together."""


@dataclass(frozen=True)
class Choice:
    """What is fitted in the end."""

    family: Family
    parameters: dict[str, Any]
    candidate: Candidate
    predictions: NDArray[np.float64]
    """Out of fold, shape (n,) or (n, classes); NaN where no fold judged the row."""
    candidates: tuple[Candidate, ...]
    """All of them, best first."""

    @property
    def judged(self) -> NDArray[np.bool_]:
        """The rows that a fold judged, shape (n,)."""
        said = self.predictions
        return ~np.isnan(said if said.ndim == 1 else said[:, 0])


def choose(bench: Workbench, found: Found) -> Choice:
    """The best of the families that were searched, and of their blend."""
    said = {name: out_of_fold(results, len(bench.y), bench.classes) for name, (_, results) in found.items()}
    ranked = sorted(found, key=lambda name: (found[name][0].loss, name))
    best = ranked[0]
    single = Choice(
        bench.families[best], dict(found[best][0].parameters), found[best][0], said[best],
        tuple(found[name][0] for name in ranked),
    )  # fmt: skip
    blended = _blended(bench, {name: said[name] for name in ranked}, found) if len(ranked) > 1 else None
    if blended is None:
        return single
    family, candidate, predictions = blended
    if candidate.loss <= found[best][0].loss * (1 - _LEAST_GAIN):
        return Choice(family, {}, candidate, predictions, (candidate, *single.candidates))
    listed = sorted((candidate, *single.candidates), key=lambda one: one.loss)
    return Choice(single.family, single.parameters, single.candidate, single.predictions, tuple(listed))


def _blended(
    bench: Workbench,
    said: Mapping[str, NDArray[np.float64]],
    found: Mapping[str, tuple[Candidate, Sequence[FoldResult]]],
) -> tuple[Family, Candidate, NDArray[np.float64]] | None:
    """The blend with its loss: each fold is judged by weights that the other folds gave."""
    names = list(said)
    folds = [result.test for result in found[names[0]][1]]
    if len(folds) < 2:
        return None
    joined = np.full_like(said[names[0]], np.nan)
    losses = []
    for place, fold in enumerate(folds):
        others = np.concatenate([one for number, one in enumerate(folds) if number != place])
        joined[fold] = _mixed(bench.loss, [said[name][fold] for name in names], _weights(bench, said, others))
        losses.append(loss_of(bench.loss, bench.y[fold], joined[fold], bench.classes))
    judged = np.concatenate(folds)
    weights = _weights(bench, said, judged)
    members = [
        (bench.families[name], found[name][0].parameters) for name, weight in zip(names, weights, strict=True) if weight
    ]
    if len(members) < 2:
        return None
    kept = [float(weight) for weight in weights if weight]
    candidate = Candidate(
        family=BLEND,
        parameters={
            "weights": {family.name: round(weight, 4) for (family, _), weight in zip(members, kept, strict=True)},
            "members": {family.name: dict(parameters) for family, parameters in members},
        },
        loss=loss_of(bench.loss, bench.y[judged], joined[judged], bench.classes),
        fold_losses=tuple(losses),
    )
    return blend_of(members, kept), candidate, joined


def _weights(bench: Workbench, said: Mapping[str, NDArray[np.float64]], rows: NDArray[np.intp]) -> NDArray[np.float64]:
    if bench.loss == "log_loss":
        truth = np.searchsorted(np.array(bench.classes), bench.y[rows])
        return probability_weights([one[rows] for one in said.values()], truth)
    columns = np.column_stack([_scaled(bench.loss, one[rows]) for one in said.values()])
    return blend_weights(columns, _scaled(bench.loss, bench.y[rows].astype(np.float64)))


def _mixed(loss: Loss, predictions: Sequence[NDArray[np.float64]], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    mixed = np.tensordot(weights, np.stack([_scaled(loss, one) for one in predictions]), axes=1)
    return np.asarray(np.exp(mixed) if loss == "log_rmse" else mixed)


def _scaled(loss: Loss, values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.log(np.maximum(values, 1e-9))) if loss == "log_rmse" else values
