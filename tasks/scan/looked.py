"""What a part of the scan found and what it could not look at, and several of those as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from models.report import Finding, Skip


@dataclass(frozen=True)
class Looked:
    """What one part of the scan found, and what it could not look at."""

    findings: tuple[Finding, ...] = ()
    skipped: tuple[Skip, ...] = ()
    metrics: Mapping[str, float] | None = None
    """Figures by name, as in `models.report.Report`."""
    engines: Mapping[str, str] = field(default_factory=dict)
    """By engine, how it ended: its version, or why it did not run."""


def together(parts: Iterable[Looked]) -> Looked:
    """Several results as one: metrics add up; of an engine that ended in several ways all are told."""
    parts = list(parts)
    ended: dict[str, dict[str, None]] = {}
    total: dict[str, float] = {}
    for part in parts:
        for name, how in part.engines.items():
            ended.setdefault(name, {})[how] = None
        for name, value in (part.metrics or {}).items():
            total[name] = total.get(name, 0.0) + value
    return Looked(
        tuple(finding for part in parts for finding in part.findings),
        tuple(skip for part in parts for skip in part.skipped),
        total,
        {name: "; ".join(ways) for name, ways in ended.items()},
    )
