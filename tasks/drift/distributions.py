"""Tests of whether two sets of counts come from one distribution, and how far apart they are. Pure.

Everywhere `n` are the rows of the reference and `m` those of the window; counts are non-negative whole numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

from models.drift import Comparison, Stability

Counts = Sequence[int] | npt.NDArray[np.int64]

PSI_BINS = 10
"""Bins of the population stability index: the ten that its usual limits, 0.1 and 0.25, are meant for."""

_SMALL = 5.0
"""Expected count below which a cell is small (Cochran 1954): at most a fifth of the cells, and none below 1."""


def kolmogorov_smirnov(reference: Counts, current: Counts) -> Comparison:
    """The two-sample test of Kolmogorov and Smirnov over bins in ascending order.

    The distance is the largest at the ends of bins, which is never more than the one over single values: so the
    p-value, that of `kstwo` for nm/(n+m) rows, is never too small. The effect is the distance itself.
    """
    first, second = _pair(reference, current)
    n, m = int(first.sum()), int(second.sum())
    if not n or not m:
        return _nothing("ks")
    distance = float(np.abs(np.cumsum(first) / n - np.cumsum(second) / m).max())
    rows = max(1, round(n * m / (n + m)))
    return Comparison(test="ks", statistic=distance, p_value=_p(stats.kstwo.sf(distance, rows)), effect=distance)


def homogeneity(reference: Counts, current: Counts) -> Comparison:
    """Pearson's chi-squared test of two rows of counts; small cells are pooled, and of 2 x 2 Fisher's test is made.

    Cells are pooled, the smallest first, until Cochran's rule holds. That goes by both rows together, so it does not
    prefer one. The effect is the total variation distance: the share of rows that would have to change their cell.
    """
    first, second = pooled(reference, current)
    n, m = int(first.sum()), int(second.sum())
    if not n or not m or len(first) < 2:
        return _nothing("chi_squared")
    effect = float(np.abs(first / n - second / m).sum() / 2)
    expected = (first + second) * (min(n, m) / (n + m))
    if len(first) == 2 and expected.min() < _SMALL:
        p_value = stats.fisher_exact(np.stack([first, second]))[1]
        return Comparison(test="fisher", statistic=effect, p_value=_p(p_value), effect=effect)
    statistic = _pearson(first, second, n, m)
    p_value = stats.chi2.sf(statistic, len(first) - 1)
    return Comparison(test="chi_squared", statistic=statistic, p_value=_p(p_value), effect=effect)


def pooled(reference: Counts, current: Counts) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Both rows without empty cells, the smallest cells added together until Cochran's rule holds, or two are left."""
    first, second = _pair(reference, current)
    used = (first + second) > 0
    order = np.argsort(-(first + second)[used], kind="stable")
    first, second = first[used][order], second[used][order]
    n, m = first.sum(), second.sum()
    if not n or not m:
        return first, second
    share = min(n, m) / (n + m)
    while len(first) > 2:
        expected = (first + second) * share
        if expected[-1] >= 1 and (expected < _SMALL).sum() <= len(first) / 5:
            break
        first, second = _last_two_joined(first), _last_two_joined(second)
        order = np.argsort(-(first + second), kind="stable")  # together they may be more than others are
        first, second = first[order], second[order]
    return first, second


def stability(reference: Counts, current: Counts, *, alpha: float) -> Stability | None:
    """The population stability index, the sum of (q - p) ln(q / p); None when one side has no rows.

    Half a row is added to every bin, so that empty ones count. Without drift the index over (1/n + 1/m) is about
    chi-squared with `bins - 1` degrees of freedom (Yurdakul and Naranjo 2020, J. Risk Model Validation 14(3)): its
    mean and its upper `alpha` quantile tell what chance alone makes of so many rows.
    """
    first, second = _pair(reference, current)
    used = (first + second) > 0
    first, second = first[used], second[used]
    n, m, bins = int(first.sum()), int(second.sum()), len(first)
    if not n or not m:
        return None
    p, q = (first + 0.5) / (n + 0.5 * bins), (second + 0.5) / (m + 0.5 * bins)
    chance = 1 / n + 1 / m
    return Stability(
        value=max(0.0, float(((q - p) * np.log(q / p)).sum())),
        bins=bins,
        expected=(bins - 1) * chance,
        critical=float(stats.chi2.ppf(1 - alpha, bins - 1)) * chance if bins > 1 else 0.0,
    )


def coarse(
    reference: Counts, current: Counts, *, bins: int = PSI_BINS, ordered: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Both rows over at most `bins` cells: neighbours of about equal reference, or the most frequent and the rest."""
    first, second = _pair(reference, current)
    if len(first) <= bins:
        return first, second
    if not ordered:
        # What was not seen at training (the last cell) belongs to the rest, where a shift towards it shows.
        order = np.argsort(-first, kind="stable")
        kept, rest = order[: bins - 1], order[bins - 1 :]
        return np.append(first[kept], first[rest].sum()), np.append(second[kept], second[rest].sum())
    # The cell of a bin is that of the middle of its rows; skipped cells vanish, so ties make fewer of them.
    middle = (np.cumsum(first) - first / 2) / max(1, first.sum())
    cell = np.unique(np.minimum((middle * bins).astype(int), bins - 1), return_inverse=True)[1]
    return (
        np.bincount(cell, weights=first).astype(np.int64),
        np.bincount(cell, weights=second).astype(np.int64),
    )


def missing_rate(reference: tuple[int, int], current: tuple[int, int]) -> Comparison:
    """Whether the share of missing rows has changed; each side is (missing, rows). The effect is the difference."""
    tested = homogeneity((reference[0], reference[1] - reference[0]), (current[0], current[1] - current[0]))
    change = current[0] / max(1, current[1]) - reference[0] / max(1, reference[1])
    return Comparison(test="missing", statistic=tested.statistic, p_value=tested.p_value, effect=change)


def new_categories(singletons: int, n: int, distinct_new: int, new_rows: int, m: int) -> Comparison:
    """Whether there are more new categories than a table that had `singletons` would bring by itself.

    The next row has a category never seen with the chance singletons/n (Good 1953, Biometrika 40), and with less the
    more rows were seen: so among m rows m singletons/n *different* new ones are expected at most. Compared by Fisher's
    one-sided test. The effect is the share of rows that have new categories.
    """
    if not n or not m or not distinct_new:
        return _nothing("new_categories")
    table = [[distinct_new, m - distinct_new], [singletons, n - singletons]]
    p_value = stats.fisher_exact(table, alternative="greater")[1]
    return Comparison(test="new_categories", statistic=float(distinct_new), p_value=_p(p_value), effect=new_rows / m)


def out_of_range(n: int, outside: int, m: int) -> Comparison:
    """Whether more of the m rows than chance are outside of the range of the n of the reference. Exact.

    Without drift all orders of the n + m rows are equally likely, and the ends of the range are as any two gaps: at
    least k outside means that at most one of the first k + 1 of a random order is of the reference (hypergeometric).
    The effect is the share of rows outside.
    """
    if not n or not m or not outside:
        return _nothing("range")
    p_value = stats.hypergeom.cdf(1, n + m, n, outside + 1)
    return Comparison(test="range", statistic=float(outside), p_value=_p(p_value), effect=outside / m)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected so that the chance of any false alarm is bounded (Holm 1979, Scand. J. Statist. 6)."""
    order = np.argsort(p_values, kind="stable")
    steps = np.asarray(p_values, dtype=float)[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(steps)) if len(p_values) else steps
    return [float(one) for one in corrected]


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """p-values corrected so that the share of false alarms among all is bounded (Benjamini and Hochberg 1995)."""
    return [float(one) for one in stats.false_discovery_control(list(p_values))] if p_values else []


def _pair(reference: Counts, current: Counts) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    first, second = np.asarray(reference, dtype=np.int64), np.asarray(current, dtype=np.int64)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"counts of {first.shape} and {second.shape} bins cannot be compared")
    return first, second


def _pearson(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64], n: int, m: int) -> float:
    # Of two rows the statistic is the sum of (m a - n b)^2 / (n m (a + b)).
    difference = first * float(m) - second * float(n)
    return float((difference**2 / (float(n) * m * (first + second))).sum())


def _last_two_joined(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.append(counts[:-2], counts[-2] + counts[-1])


def _nothing(test: str) -> Comparison:
    return Comparison.model_validate({"test": test, "statistic": 0.0, "p_value": 1.0, "effect": 0.0})


def _p(value: float) -> float:
    return min(1.0, max(0.0, float(value)))
