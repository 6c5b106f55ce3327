"""How severe an advisory says it is: CVSS vectors, and the words of databases where there is no vector."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from models.severity import Severity

_WORDS = {
    "none": Severity.info,
    "unimportant": Severity.info,
    "negligible": Severity.low,
    "low": Severity.low,
    "moderate": Severity.medium,
    "medium": Severity.medium,
    "important": Severity.high,
    "high": Severity.high,
    "critical": Severity.critical,
}
_LONGEST = 300  # a CVSS 4.0 vector with every metric has less than 200 characters


class Grade(NamedTuple):
    """How severe something is, and what says so."""

    severity: Severity
    score: float | None = None
    """CVSS base score, 0 to 10; None where only words or nothing is given."""
    vector: str = ""
    """The vector that gives the score."""


UNGRADED = Grade(Severity.unknown)


@lru_cache(maxsize=8192)
def grade(vectors: tuple[str, ...], words: tuple[str, ...] = ()) -> Grade:
    """The highest of what CVSS `vectors` and `words` such as `MODERATE` say; their order does not matter.

    What is neither a vector nor a known word says nothing.
    """
    scored = [found for vector in vectors if (found := _scored(vector)) is not None]
    told = [_WORDS[word] for text in (*vectors, *words) if (word := text.strip().lower()) in _WORDS]
    best = max(scored, key=lambda found: (found.score or 0.0, found.severity.rank, found.vector), default=UNGRADED)
    severities = [*(found.severity for found in scored), *told]
    if not severities:
        return UNGRADED
    return Grade(max(severities, key=lambda severity: severity.rank), best.score, best.vector)


def highest(grades: list[Grade]) -> Grade:
    """The highest severity of all, with the highest score and its vector. `unknown` only when nobody knows."""
    known = [found.severity for found in grades if found.severity is not Severity.unknown]
    scored = [found for found in grades if found.score is not None]
    best = max(scored, key=lambda found: (found.score or 0.0, found.vector), default=UNGRADED)
    return Grade(max(known, key=lambda severity: severity.rank, default=Severity.unknown), best.score, best.vector)


def read_grade(described: Any) -> Grade | None:
    """A grade that was computed when the record was stored; None where there is none, or where it is damaged."""
    if not isinstance(described, Mapping):
        return None
    score, vector = described.get("score"), described.get("vector") or ""
    try:
        severity = Severity(str(described.get("severity")))
    except ValueError:
        return None
    if isinstance(score, bool) or not isinstance(score, int | float | None) or not isinstance(vector, str):
        return None
    return Grade(severity, None if score is None else float(score), vector)


def _scored(vector: str) -> Grade | None:
    """What a vector of CVSS 2, 3.x or 4.0 stands for; None when it is not one."""
    if "/" not in vector or len(vector) > _LONGEST:
        return None
    from cvss import CVSS2, CVSS3, CVSS4  # noqa: PLC0415 - only needed once there is something to score
    from cvss.exceptions import CVSSError  # noqa: PLC0415

    try:
        if vector.startswith("CVSS:4"):
            fourth = CVSS4(vector)
            score, word = fourth.base_score, fourth.severity
        else:
            third = (CVSS3 if vector.startswith("CVSS:3") else CVSS2)(vector)
            score, word = third.scores()[0], third.severities()[0]
    except CVSSError:
        return None
    severity = _WORDS.get(str(word).lower())
    return None if severity is None or score is None else Grade(severity, float(score), vector)
