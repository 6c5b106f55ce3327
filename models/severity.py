"""How much something matters. A module of its own: what only grades needs none of the rest."""

from __future__ import annotations

from enum import StrEnum


class Severity(StrEnum):
    """How much a finding matters, lowest first. `unknown` is a value: a source gave none."""

    info = "info"
    low = "low"
    unknown = "unknown"
    medium = "medium"
    high = "high"
    critical = "critical"

    @property
    def rank(self) -> int:
        """Position in the order above; 0 for `info`."""
        return _RANKS[self]


_RANKS = {severity: rank for rank, severity in enumerate(Severity)}
