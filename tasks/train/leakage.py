"""Columns that know the answer: what would make a model look better than it can ever be.

Suspected is what is too good to be true, never what is merely good: a single column that gives the target almost
exactly on rows that it was not fitted on, two columns that do so by one operation, a value that is only there once the
target is known, a date after the moment that is predicted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.training import Columns, TaskType
from tasks.train.columns import Kind, as_day, as_number, as_word, kind_of
from tasks.train.metrics import roc_auc

Vector = NDArray[np.float64]

R2, R2_OF_PAIRS, AUC = 0.98, 0.9995, 0.995
"""From where on a column is too good to be true: shares of variance explained, area under the ROC curve."""
_SAMPLE = 6_000
_MOST_PAIRED = 40
_LEAST_ROWS = 50
_LEAST_OF_CLASS, _ENOUGH_OF_CLASS = 10, 1_000
"""Rows below which nothing is said of a class, and rows of it that are looked at where there are as many."""
_MOST_CLASSES = 5
_LATER_SHARE = 0.5


@dataclass(frozen=True)
class Suspect:
    """A column that may know the answer."""

    columns: tuple[str, ...]
    """The last one is what should be left out."""
    kind: Literal["predicts alone", "predicts together", "known afterwards", "later", "identifier"]
    reason: str
    strength: float = 1.0


def suspects_of(
    frame: pd.DataFrame, y: NDArray[np.generic] | None, columns: Columns, task: TaskType, seed: int = 0
) -> list[Suspect]:
    """Every suspect among the features of `frame` (n rows), by a sample of at most 6,000 rows.

    Of each class that is looked for, the sample has 1,000 rows, or all where there are fewer. (The area under the ROC
    curve does not depend on the shares of classes.)
    """
    features = columns.features_of([str(name) for name in frame.columns])
    found = [one for name in features if (one := _identifier(frame[name], columns)) is not None]
    if y is None or len(frame) < _LEAST_ROWS:
        return found
    classes = _looked_for(y) if task == "classification" else []
    rows = _sample(y, classes, seed)
    sample, truth = frame.iloc[rows].reset_index(drop=True), y[rows]
    targets = _targets(truth, classes, task)
    named = {name for one in found for name in one.columns}
    for name in features:
        if name not in named and (one := _alone(sample[name], targets, columns)) is not None:
            found.append(one)
            named.add(name)
    if task == "regression":
        rest = [name for name in features if name not in named and kind_of(sample[name]) is Kind.number]
        found += _together(sample, rest, truth.astype(np.float64))
    if columns.time is not None:
        found += _later(sample, [name for name in features if name not in named], columns.time)
    return found


def not_looked(y: NDArray[np.generic] | None, task: TaskType) -> str:
    """Why columns that know the target `y` (n,) were not looked for at all; empty: they were."""
    if y is None:
        return ""
    if len(y) < _LEAST_ROWS:
        return f"fewer than {_LEAST_ROWS} rows"
    if task == "classification" and not _looked_for(y):
        return f"fewer than {_LEAST_OF_CLASS} rows of a class"
    return ""


def _looked_for(y: NDArray[np.generic]) -> list[Any]:
    """The classes that columns may tell from all others: the most frequent five; of two, the rarer one tells both."""
    classes, counts = np.unique(y, return_counts=True)
    common = sorted(zip((-counts).tolist(), classes.tolist(), strict=True))[:_MOST_CLASSES]
    wanted = common[1:] if len(classes) == 2 else common
    return [name for count, name in wanted if -count >= _LEAST_OF_CLASS]


def _sample(y: NDArray[np.generic], classes: list[Any], seed: int) -> NDArray[np.intp]:
    """Rows in an order that is drawn, at most 6,000 of them; of each of `classes` 1,000, or all that there are."""
    drawn = np.random.default_rng(seed).permutation(len(y))
    if len(drawn) <= _SAMPLE:
        return drawn
    first = np.zeros(len(drawn), dtype=bool)
    for name in classes:
        first[np.flatnonzero(y[drawn] == name)[:_ENOUGH_OF_CLASS]] = True
    first[np.flatnonzero(~first)[: _SAMPLE - int(first.sum())]] = True
    return np.asarray(drawn[first])


def _targets(truth: NDArray[np.generic], classes: list[Any], task: TaskType) -> list[tuple[str, Vector]]:
    """The target as numbers: itself, or whether it is each class."""
    if task == "regression":
        return [("", truth.astype(np.float64))]
    return [(str(name), (truth == name).astype(np.float64)) for name in classes]


def _alone(column: pd.Series, targets: list[tuple[str, Vector]], columns: Columns) -> Suspect | None:
    kind = kind_of(column)
    name = str(column.name)
    missing = column.isna().to_numpy()
    for label, target in targets:
        of = f" ({label})" if label else ""
        if label and _LEAST_OF_CLASS <= missing.sum() <= len(missing) - _LEAST_OF_CLASS:
            told = roc_auc(target > 0, missing.astype(np.float64))
            if max(told, 1 - told) >= AUC:
                return Suspect((name,), "known afterwards", f"whether it is there tells the target{of}: "
                               f"area under the ROC curve {max(told, 1 - told):.3f}", max(told, 1 - told))  # fmt: skip
        if kind in {Kind.constant, Kind.text} or name == columns.time:
            continue
        # a leak with gaps is one: numbers and dates are judged where there are some
        if kind is not Kind.category and (missing.mean() > 0.5 or (~missing).sum() < _LEAST_ROWS):
            continue
        kept = np.ones(len(missing), dtype=bool) if kind is Kind.category else ~missing
        judged = target[kept]
        said = _held_out(column[kept].reset_index(drop=True), kind, judged)
        if said is None:
            continue
        if label:
            strength = roc_auc(judged > 0, said)
            if strength >= AUC:
                return Suspect((name,), "predicts alone", f"it alone tells the target{of}: "
                               f"area under the ROC curve {strength:.3f}", strength)  # fmt: skip
        else:
            strength = _explained(judged, said)
            if strength >= R2:
                return Suspect((name,), "predicts alone", f"it alone explains {strength:.1%} of the target's variance "
                               "on rows that it was not fitted on", strength)  # fmt: skip
    return None


def _held_out(column: pd.Series, kind: Kind, target: Vector) -> Vector | None:
    """What a small model of the column alone says of each half of the rows, learned from the other; shape (n,)."""
    from sklearn.tree import DecisionTreeRegressor  # noqa: PLC0415

    if kind is Kind.category:
        codes, levels = pd.factorize(as_word(column))
        if len(levels) > len(column) // 4:
            return None
        values = codes.astype(np.float64)
    else:
        values = as_number(column) if kind is Kind.number else as_day(column)
        values = np.where(np.isnan(values), np.nanmin(values) - 1.0, values)
    said = np.empty(len(target))
    halves = np.arange(len(target)) % 2
    for half in (0, 1):
        learned, judged = halves != half, halves == half
        if kind is Kind.category:
            sums = np.bincount(codes[learned] + 1, weights=target[learned], minlength=len(levels) + 1)
            counts = np.bincount(codes[learned] + 1, minlength=len(levels) + 1)
            means = np.where(counts > 0, sums / np.maximum(counts, 1), target[learned].mean())
            said[judged] = means[codes[judged] + 1]
        else:
            tree = DecisionTreeRegressor(min_samples_leaf=3, random_state=0)
            said[judged] = tree.fit(values[learned, None], target[learned]).predict(values[judged, None])
            line = np.polyfit(values[learned], target[learned], 1) if np.ptp(values[learned]) > 0 else (0.0, 0.0)
            straight = np.polyval(line, values[judged])
            if _explained(target[judged], straight) > _explained(target[judged], said[judged]):
                said[judged] = straight
    return said


def _together(sample: pd.DataFrame, names: list[str], target: Vector) -> list[Suspect]:
    """Pairs that make the target by one operation: a price from its area and its price per area."""
    numbers = {name: as_number(sample[name]) for name in names}
    usable = {name: one for name, one in numbers.items() if np.isnan(one).mean() < 0.2}
    ranked = sorted(usable, key=lambda name: -abs(_correlation(usable[name], target)))[:_MOST_PAIRED]
    found = []
    for place, first in enumerate(ranked):
        for second in ranked[place + 1 :]:
            a, b = usable[first], usable[second]
            with np.errstate(all="ignore"):
                made = {"+": a + b, "-": a - b, "*": a * b, "/": a / b, "reversed /": b / a}
            for operation, values in made.items():
                if abs(_correlation(values, target)) ** 2 < R2_OF_PAIRS:
                    continue
                alone = max(abs(_correlation(a, target)), abs(_correlation(b, target))) ** 2
                if alone < R2_OF_PAIRS - 0.01:
                    # of the two, the one with more values was made: an area is known, a price per area is not
                    known, made_up = sorted((first, second), key=lambda name: len(np.unique(usable[name])))
                    sign = operation.removeprefix("reversed ")
                    left, right = (second, first) if sign != operation else (first, second)
                    reason = f"{left!r} {sign} {right!r} is the target, almost exactly"
                    found.append(Suspect((known, made_up), "predicts together", reason))
                break
    return found


def _later(sample: pd.DataFrame, names: list[str], time: str) -> list[Suspect]:
    if kind_of(sample[time]) is not Kind.date:
        return []
    moment = as_day(sample[time])
    found = []
    for name in names:
        if name == time or kind_of(sample[name]) is not Kind.date:
            continue
        day = as_day(sample[name])
        both = np.isfinite(day) & np.isfinite(moment)
        share = float((day[both] > moment[both]).mean()) if both.any() else 0.0
        if share >= _LATER_SHARE:
            found.append(Suspect((name,), "later", f"it is after {time!r} in {share:.0%} of the rows, "
                                 "and so not known when the row is predicted", share))  # fmt: skip
    return found


def _identifier(column: pd.Series, columns: Columns) -> Suspect | None:
    """Numbers that count rows. (Words that never repeat are not learned from anyway.)"""
    name = str(column.name)
    if name == columns.time or name in (columns.location or ()) or not pd.api.types.is_integer_dtype(column.dtype):
        return None
    if len(column) < _LEAST_ROWS or column.isna().any() or column.nunique() < len(column):
        return None
    values = column.to_numpy(np.int64)
    steps = np.diff(values)
    counts = bool((steps == steps[0]).all()) or bool((steps > 0).all() and values[-1] - values[0] < 2 * len(values))
    called = name.lower() in {"id", "pid", "uuid", "index", "key", "rownames"} or name.lower().endswith(("_id", " id"))
    if not (counts or called):
        return None
    return Suspect((name,), "identifier", "it is another one in every row")


def _explained(target: Vector, said: Vector) -> float:
    total = float(((target - target.mean()) ** 2).sum())
    return 1.0 - float(((target - said) ** 2).sum()) / total if total > 0 else 0.0


def _correlation(values: Vector, target: Vector) -> float:
    known = np.isfinite(values)
    if known.sum() < _LEAST_ROWS or known.mean() < 0.8:
        return 0.0
    a, b = values[known], target[known]
    spread = float(a.std() * b.std())
    return float(((a - a.mean()) * (b - b.mean())).mean() / spread) if spread > 0 else 0.0
