"""Ratio studies: how near values are to prices, how evenly, and whether dear and cheap properties fare alike.

The statistics are those of the IAAO's Standard on Ratio Studies (2013), sections 5.3 to 5.8, appendices C and D; the
modified Kakwani index is Quintos' (Journal of Property Tax Assessment & Administration 17(2), 2020).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from blocks.errors import ConfigurationError
from models.training import Measure
from models.valuation import RatioStatistics, RatioStudy, Unjudged

Vector = NDArray[np.float64]

LIMITS: Mapping[str, tuple[float, float]] = {
    "median": (0.90, 1.10),
    "cod": (5.0, 15.0),
    "prd": (0.98, 1.03),
    "prb": (-0.05, 0.05),
    "mki": (0.95, 1.05),
}
"""What is acceptable (Standard on Ratio Studies, 2013, tables 1-3 and 2-3, section 5.6; Quintos for the MKI). The upper
limit of the COD is that of older or mixed areas; below its lower limit, values may have been copied from prices."""

LEAST_OF_A_STRATUM = 30
_LEAST = 5
_RESAMPLED = 4_000_000  # values in all resamples together: bounds time and memory


def median_ratio(values: Vector, prices: Vector) -> float:
    """The median of value over price."""
    return float(np.median(values / prices))


def cod(values: Vector, prices: Vector) -> float:
    """Coefficient of dispersion: mean absolute deviation of the ratios from their median, in % of it."""
    ratios = values / prices
    middle = np.median(ratios)
    return float(100.0 * np.mean(np.abs(ratios - middle)) / middle)


def prd(values: Vector, prices: Vector) -> float:
    """Price-related differential: mean ratio over weighted mean ratio; above 1, dear properties are valued too low."""
    return float(np.mean(values / prices) / (values.sum() / prices.sum()))


def prb(values: Vector, prices: Vector) -> float:
    """Price-related bias: by which share ratios rise when the value doubles; 0 where all values are alike."""
    return _prb(values, prices)[0]


def _prb(values: Vector, prices: Vector) -> tuple[float, float]:
    """The bias and its standard error: a regression of relative ratios on doublings of the value.

    The value is the mean of price and value over the median ratio, so that errors of neither bend the line.
    """
    ratios = values / prices
    middle = np.median(ratios)
    doublings = np.log2(0.5 * (values / middle + prices))
    doublings = doublings - doublings.mean()
    spread = float(doublings @ doublings)
    if spread <= 1e-12 * len(ratios):
        return 0.0, 0.0
    relative = (ratios - middle) / middle
    slope = float(doublings @ relative) / spread
    rest = relative - relative.mean() - slope * doublings
    error = np.sqrt(float(rest @ rest) / max(1, len(ratios) - 2) / spread)
    return slope, float(error)


def mki(values: Vector, prices: Vector) -> float:
    """Modified Kakwani index: concentration of values over that of prices; below 1, dear ones are valued too low.

    Both are Gini coefficients in the order of prices. 1 where all prices are alike. Of equal prices each has the mean
    of their values, so that the order of rows does not matter.
    """
    order = np.argsort(prices)
    of_prices, of_values = _gini(prices[order]), _gini(_tied(values, prices)[order])
    return 1.0 if abs(of_prices) < 1e-12 else of_values / of_prices


def _tied(values: Vector, prices: Vector) -> Vector:
    _, place, counts = np.unique(prices, return_inverse=True, return_counts=True)
    means: Vector = np.bincount(place, values) / counts
    return means[place]


def _gini(ordered: Vector) -> float:
    count = len(ordered)
    ranks = np.arange(1, count + 1)
    return float(2.0 * (ranks @ ordered) / (count * ordered.sum()) - (count + 1.0) / count)


STATISTICS: Mapping[str, Callable[[Vector, Vector], float]] = {
    "median": median_ratio, "cod": cod, "prd": prd, "prb": prb, "mki": mki,
}  # fmt: skip


def statistics_of(
    values: Vector,
    prices: Vector,
    *,
    stratum: str = "all",
    seed: int = 0,
    confidence: float = 0.95,
    resamples: int = 500,
) -> RatioStatistics:
    """All statistics with their confidence intervals.

    The median's interval is the distribution-free one of order statistics (the Standard's appendix C.7), that of the
    PRB is from its regression; the others are percentiles of bootstrap resamples.

    Args:
        values: what the model says, shape (n,), above 0.
        prices: what was paid, shape (n,), above 0.
        stratum: which sales these are.
        seed: of the resamples.
        confidence: of the intervals.
        resamples: how many, at most; fewer where there are many rows.

    Raises:
        ConfigurationError: there are fewer than 5 sales, or something is not above 0.
    """
    values, prices = checked(values, prices)
    points = {name: of(values, prices) for name, of in STATISTICS.items()}
    ends = _resampled(values, prices, seed, confidence, resamples)
    ends["median"] = _median_ends(values / prices, confidence)
    error = _prb(values, prices)[1]
    from scipy.stats import t  # noqa: PLC0415

    reach = float(t.ppf(0.5 + confidence / 2, max(1, len(values) - 2))) * error
    ends["prb"] = (points["prb"] - reach, points["prb"] + reach)
    measures = {
        name: Measure(value=point, low=ends[name][0], high=ends[name][1], confidence=confidence)
        for name, point in points.items()
    }
    outside = tuple(name for name, one in measures.items() if _is_outside(one, LIMITS[name]))
    return RatioStatistics(stratum=stratum, rows=len(values), outside=outside, **measures)


def checked(values: Vector, prices: Vector) -> tuple[Vector, Vector]:
    """Both as numbers of one length.

    Raises:
        ConfigurationError: they are not, are too few, or are not all above 0.
    """
    values, prices = np.asarray(values, np.float64), np.asarray(prices, np.float64)
    if values.shape != prices.shape or values.ndim != 1:
        raise ConfigurationError("there must be one value for each price.", component="ratio study")
    if len(values) < _LEAST:
        raise ConfigurationError(f"{len(values)} sales are too few for a ratio study.", component="ratio study")
    good = np.isfinite(values) & np.isfinite(prices) & (values > 0) & (prices > 0)
    if not good.all():
        raise ConfigurationError(
            f"{int((~good).sum())} sales have a value or a price that is not above 0.", component="ratio study"
        )
    return values, prices


def strata_of(
    values: Vector, prices: Vector, strata: Mapping[str, NDArray[np.str_]], *, least: int = LEAST_OF_A_STRATUM
) -> tuple[list[RatioStatistics], dict[str, float], list[Unjudged]]:
    """The statistics by strata, how far apart the medians are, and what was too small to be judged.

    Args:
        values: shape (n,).
        prices: shape (n,).
        strata: the name of each row's stratum, shape (n,), by what makes them (`area`, `value`, `time` ...).
        least: sales that a stratum needs to be judged.
    """
    found: list[RatioStatistics] = []
    apart: dict[str, float] = {}
    small: list[Unjudged] = []
    for kind, labels in strata.items():
        names, place, counts = np.unique(labels, return_inverse=True, return_counts=True)
        told = [
            statistics_of(values[rows], prices[rows], stratum=f"{kind}: {name}", resamples=200)
            for number, name in enumerate(names)
            if counts[number] >= least and len(rows := np.flatnonzero(place == number))
        ]
        if len(told) > 1:
            medians = [one.median.value for one in told]
            apart[kind] = float(max(medians) - min(medians))
        found += told
        left = counts[counts < least]
        if len(left):
            small.append(Unjudged(by=kind, strata=len(left), rows=int(left.sum())))
    return found, apart, small


def largest(strata: Sequence[RatioStatistics], most: int = 12) -> tuple[list[RatioStatistics], int]:
    """Those to be shown, in their order: of each kind the `most` with most sales; and how many are left out."""
    ranks: dict[str, int] = {}
    kept = set()
    for one in sorted(strata, key=lambda one: -one.rows):
        kind = one.stratum.partition(":")[0]
        ranks[kind] = ranks.get(kind, 0) + 1
        if ranks[kind] <= most:
            kept.add(one.stratum)
    return [one for one in strata if one.stratum in kept], len(strata) - len(kept)


def left_out(study: RatioStudy) -> str:
    """What is not shown of the strata, and what was not judged, as a sentence; empty when that is nothing."""
    hidden = largest(study.strata)[1]
    told = [f"{hidden} smaller strata were judged, and are not shown."] if hidden else []
    told += [
        f"By {one.by}, {one.strata} of fewer than {LEAST_OF_A_STRATUM} sales ({one.rows} in all) were not judged."
        for one in study.unjudged
    ]
    return " ".join(told)


def bands(numbers: Vector, count: int = 5, unit: str = "") -> NDArray[np.str_]:
    """The quantile band of each number, in words that sort, shape (n,); for strata by value, area, age."""
    known = np.isfinite(numbers)
    if not known.any():
        return np.full(len(numbers), "unknown")
    edges = np.unique(np.quantile(numbers[known], np.linspace(0, 1, count + 1)))
    place = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, max(0, len(edges) - 2))
    words = [
        f"{number + 1}) {edges[number]:,.0f} to {edges[min(number + 1, len(edges) - 1)]:,.0f}{unit}"
        for number in range(max(1, len(edges) - 1))
    ]
    return np.where(known, np.array(words)[place], "unknown")


def _median_ends(ratios: Vector, confidence: float) -> tuple[float, float]:
    from scipy.stats import binom  # noqa: PLC0415

    ordered = np.sort(ratios)
    count = len(ordered)
    low = max(0, int(binom.ppf((1 - confidence) / 2, count, 0.5)) - 1)
    return float(ordered[low]), float(ordered[count - 1 - low])


def _resampled(
    values: Vector, prices: Vector, seed: int, confidence: float, resamples: int
) -> dict[str, tuple[float, float]]:
    chance = np.random.default_rng(seed)
    count = len(values)
    times = max(50, min(resamples, _RESAMPLED // count))
    drawn: dict[str, list[float]] = {name: [] for name in ("cod", "prd", "mki")}
    order = np.argsort(prices)
    values, prices = values[order], prices[order]
    tied = _tied(values, prices)
    for _ in range(times):
        rows = np.sort(chance.integers(0, count, count))
        for name, kept in drawn.items():
            if name == "mki":  # rows are in the order of prices already
                of_prices = _gini(prices[rows])
                kept.append(1.0 if abs(of_prices) < 1e-12 else _gini(tied[rows]) / of_prices)
            else:
                kept.append(STATISTICS[name](values[rows], prices[rows]))
    tails = [50 * (1 - confidence), 50 * (1 + confidence)]
    return {name: (float(low), float(high)) for name, (low, high) in
            ((name, np.percentile(kept, tails)) for name, kept in drawn.items())}  # fmt: skip


def _is_outside(measure: Measure, limits: tuple[float, float]) -> bool:
    """Whether the whole interval is outside: what chance may have done is not held against a model."""
    low, high = limits
    return bool((measure.low or 0.0) > high or (measure.high or 0.0) < low)
