"""What takes longer than it used to. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.report import Finding, Severity

LEAST_POINTS = 5
"""Earlier figures below which a median says nothing."""

_NOISE_S = 0.05
_SCATTER = 3 * 1.4826  # three standard deviations, estimated from the median absolute deviation


@dataclass(frozen=True)
class Regression:
    """A figure that grew."""

    metric: str
    value: float
    median: float
    points: int

    @property
    def ratio(self) -> float:
        """How many times the median it is."""
        return self.value / self.median if self.median > 0 else float("inf")


def regressions(current: Mapping[str, float], history: Sequence[Mapping[str, float]], ratio: float) -> list[Regression]:
    """The durations (`..._seconds`) in `current` above `ratio` times the median of their `history`, worst first.

    A growth within the scatter of the history, or of a few hundredths of a second, is none; nor is one against fewer
    than `LEAST_POINTS` figures.
    """
    found = []
    for metric, value in current.items():
        earlier = [past[metric] for past in history if metric in past]
        if not metric.endswith("_seconds") or len(earlier) < LEAST_POINTS:
            continue
        median = statistics.median(earlier)
        scatter = _SCATTER * statistics.median(abs(point - median) for point in earlier)
        if value > ratio * median and value > median + max(_NOISE_S, scatter):
            found.append(Regression(metric, value, median, len(earlier)))
    return sorted(found, key=lambda regression: (-regression.ratio, regression.metric))


def findings_of(found: Sequence[Regression], host: str) -> list[Finding]:
    """One finding a regression."""
    return [
        Finding(
            key=f"performance.regression:{item.metric}",
            severity=Severity.medium,
            component=host,
            title=f"{item.metric.removesuffix('_seconds')} takes longer than it used to.",
            detail=f"{item.value:.3g} s, against a median of {item.median:.3g} s in {item.points} earlier checks.",
            remedy="Look at what changed since: the load of the host, the amount of data, the code.",
            evidence={
                "seconds": round(item.value, 6),
                "median_seconds": round(item.median, 6),
                "points": item.points,
                "pressure": round(min(item.ratio, 1000.0), 3),
            },
        )
        for item in found
    ]
