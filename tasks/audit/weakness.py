"""What an audit finds, before it is told to anybody: values without a form."""

from __future__ import annotations

from dataclasses import dataclass

from models.gap import Gap
from models.severity import Severity
from tasks.advisories.package import Package
from tasks.audit.component import Component


@dataclass(frozen=True, slots=True)
class Weakness:
    """One vulnerability of one package of one target, at whatever versions and places it is used."""

    target: str
    package: Package
    id: str
    """The best known of its names: CVE before GHSA before PYSEC before others."""
    names: tuple[str, ...]
    summary: str
    severity: Severity
    versions: tuple[str, ...]
    """Versions in use that are affected, oldest first."""
    places: tuple[Component, ...]
    """Components of those versions."""
    fixed: str | None
    """The smallest version that is later than all of them and that none of its records is about."""
    score: float | None = None
    """CVSS base score, the highest that is given."""
    vector: str = ""
    """The vector that gives it."""
    epss: float | None = None
    """Probability of exploitation within 30 days (EPSS), when that data is there."""
    exploited: bool = False
    """Whether it is in the catalogue of known exploited vulnerabilities (KEV)."""
    url: str = ""
    """A page about it."""


@dataclass(frozen=True, slots=True)
class LooseRange:
    """A requirement without an exact version that allows vulnerable ones."""

    target: str
    component: Component
    newest: str | None
    """The newest version that it allows; None when no list of versions could be had."""
    newest_weaknesses: tuple[str, ...]
    """Ids of the vulnerabilities of that newest version; empty when it is clean."""
    vulnerable: tuple[str, ...]
    """Versions that it allows and that are vulnerable, oldest first."""
    ids: tuple[str, ...]
    """Ids of the vulnerabilities of all of them."""
    severity: Severity
    """Of what an installation today would get: `low` when the newest allowed is clean, else of its weaknesses."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What one target's inventory and the known advisories add up to."""

    weaknesses: tuple[Weakness, ...] = ()
    ranges: tuple[LooseRange, ...] = ()
    gaps: tuple[Gap, ...] = ()
