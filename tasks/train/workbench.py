"""The work of a training: every family on every fold, in pieces that can be done side by side and again."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.training import Candidate, TrainParameters
from tasks.train.checkpoints import Checkpoints
from tasks.train.engine import FoldResult, fit_fold, out_of_fold
from tasks.train.families import Family
from tasks.train.losses import Loss, loss_of
from tasks.train.search import candidates_of, scouted, survivors
from tasks.train.splits import Split
from tasks.train.subject import Subject

Batch = Callable[["Workbench", str, int, Sequence[Mapping[str, Any]]], Awaitable[Sequence[FoldResult]]]
"""Workbench, family, fold, settings; gives the results. A step of the flow, or the plain `fit_batch`."""


class Workbench:
    """What every piece of work needs. (No dataclass: Prefect would look through all of its rows for futures.)

    Args:
        subject: the rows that may be learned from; held-out ones are not among them.
        splits: of those rows.
        families: to try.
        parameters: bounds of the search.
        loss: what is made small.
        checkpoints: where finished folds are kept.
    """

    def __init__(
        self,
        subject: Subject,
        splits: Sequence[Split],
        families: Sequence[Family],
        parameters: TrainParameters,
        loss: Loss,
        checkpoints: Checkpoints,
    ) -> None:
        if subject.y is None:
            raise ValueError("nothing is predicted without a target")
        self.subject = subject
        self.y: NDArray[Any] = subject.y
        self.splits = splits
        self.families = {family.name: family for family in families}
        self.parameters = parameters
        self.loss = loss
        self.checkpoints = checkpoints
        self.classes = np.unique(self.y).tolist() if subject.task == "classification" else []
        self.workers = parameters.workers or len(os.sched_getaffinity(0))
        self.ends_at = time.monotonic() + parameters.budget_s
        self.given_up = 0
        """Fits that the time did not suffice for."""
        self._places = asyncio.Semaphore(self.workers)

    def fit_some(self, family: str, fold: int, settings: Sequence[Mapping[str, Any]]) -> list[FoldResult]:
        """The results of `settings` on one fold: from an earlier run, or fitted now while there is time.

        The family's defaults are always fitted: there has to be something to choose from.
        """
        found = []
        for parameters in settings:
            split = self.splits[fold]
            kept = self.checkpoints.get(family, parameters, split.name)
            if kept is None:
                if parameters and time.monotonic() > self.ends_at:
                    self.given_up += 1
                    continue
                subject = self.subject
                kept = fit_fold(
                    subject.frame, self.y, split, self.families[family], parameters, self.parameters.seed,
                    columns=subject.columns, weight=subject.weight,
                )  # fmt: skip
                self.checkpoints.put(kept)
            found.append(kept)
        return found

    async def fit_batch(self, family: str, fold: int, settings: Sequence[Mapping[str, Any]]) -> list[FoldResult]:
        """The same beside others, as many at a time as there are workers."""
        async with self._places:
            return await asyncio.to_thread(self.fit_some, family, fold, settings)


async def fit_batch(
    bench: Workbench, family: str, fold: int, settings: Sequence[Mapping[str, Any]]
) -> Sequence[FoldResult]:
    """`Workbench.fit_batch`, as a plain call."""
    return await bench.fit_batch(family, fold, settings)


async def searched(
    bench: Workbench, batch: Batch = fit_batch, done: Callable[[str], Awaitable[None]] | None = None
) -> dict[str, tuple[Candidate, list[FoldResult]]]:
    """The best setting of each family, with its results on all folds.

    Returns:
        By family: the candidate, and its results in the order of the folds.
    """
    first = scouted(len(bench.splits), by_time=bench.subject.columns.time is not None)
    drawn = {
        name: candidates_of(family, bench.parameters.trials, bench.parameters.seed)
        for name, family in bench.families.items()
    }
    scouts = await _all(bench, batch, {name: (first, settings) for name, settings in drawn.items()})
    if done is not None:
        await done("settings tried")
    chosen = {name: survivors(_scored(bench, settings, scouts[name])) for name, settings in drawn.items()}
    rest = [fold for fold in range(len(bench.splits)) if fold not in first]
    more = await _all(bench, batch, {name: (rest, settings) for name, settings in chosen.items()})
    if done is not None:
        await done("all folds fitted")
    found = {}
    for name, settings in chosen.items():
        results = scouts[name] + more[name]
        scored = _scored(bench, settings, results)
        loss, best = min(scored, key=lambda one: one[0])
        own = [one for one in results if one.parameters == best]
        own.sort(key=lambda one: [split.name for split in bench.splits].index(one.fold))
        found[name] = (
            Candidate(
                family=name,
                parameters=dict(best),
                loss=loss,
                fold_losses=tuple(_loss(bench, [one]) for one in own),
                tried=len({str(sorted(one.parameters.items())) for one in results}),
                seconds=sum(one.seconds for one in results),
            ),
            own,
        )
    return found


async def _all(
    bench: Workbench, batch: Batch, wanted: Mapping[str, tuple[Sequence[int], Sequence[Mapping[str, Any]]]]
) -> dict[str, list[FoldResult]]:
    pieces = [(name, fold, list(settings)) for name, (folds, settings) in wanted.items() for fold in folds]
    given = await asyncio.gather(*(batch(bench, name, fold, settings) for name, fold, settings in pieces))
    found: dict[str, list[FoldResult]] = {name: [] for name in wanted}
    for (name, _, _), results in zip(pieces, given, strict=True):
        found[name] += results
    return found


def _scored(
    bench: Workbench, settings: Sequence[Mapping[str, Any]], results: Sequence[FoldResult]
) -> list[tuple[float, Mapping[str, Any]]]:
    """Each of `settings` with its loss over the folds that most of them were tried on; without those cut short."""
    by: list[tuple[Mapping[str, Any], list[FoldResult]]] = [
        (one, [result for result in results if result.parameters == one]) for one in settings
    ]
    most = max(len(own) for _, own in by)
    return [(_loss(bench, own), one) for one, own in by if len(own) == most]


def _loss(bench: Workbench, results: Sequence[FoldResult]) -> float:
    said = out_of_fold(results, len(bench.y), bench.classes)
    judged = ~np.isnan(said if said.ndim == 1 else said[:, 0])
    return loss_of(bench.loss, bench.y[judged], said[judged], bench.classes)
