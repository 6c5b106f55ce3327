"""Advisories in OSV's shape, and the judgement whether one is about a version (OSV schema 1.7, "Evaluation")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from packaging.utils import canonicalize_name, canonicalize_version
from packaging.version import InvalidVersion, Version

from models.severity import Severity

ECOSYSTEM = "PyPI"

_ORDERED = {"ECOSYSTEM", "SEMVER"}  # types of ranges whose events are versions; those of GIT are commits
_KINDS = {"introduced": 0, "last_affected": 1, "fixed": 2}  # the order of events at one and the same version
_WORDS = {
    "none": Severity.info,
    "low": Severity.low,
    "moderate": Severity.medium,
    "medium": Severity.medium,
    "high": Severity.high,
    "critical": Severity.critical,
}


class Verdict(StrEnum):
    """Whether an advisory is about a version; `undecidable` when it cannot be told from what it says."""

    affected = "affected"
    clean = "clean"
    undecidable = "undecidable"


class AdvisoryError(ValueError):
    """A record that is not in OSV's shape."""


@dataclass(frozen=True)
class Event:
    """One turn in a range: from `version` on it is affected (`introduced`) or no longer."""

    kind: str
    version: Version | None
    """None for `introduced: 0`, which is before every version."""


@dataclass(frozen=True)
class Affected:
    """What one `affected` entry says about one package."""

    package: str
    """Normalised name."""
    ranges: tuple[tuple[Event, ...], ...]
    """Events of each range, in order."""
    versions: frozenset[str]
    """Versions that are listed one by one, in normal form."""
    undecidable: bool
    """It says something that cannot be evaluated: an event that is no version, or commits only."""


@dataclass(frozen=True)
class Advisory:
    """One record of one source."""

    id: str
    aliases: frozenset[str]
    summary: str
    withdrawn: bool
    severity: Severity
    affected: tuple[Affected, ...]

    @property
    def names(self) -> frozenset[str]:
        """Its id and all its aliases."""
        return self.aliases | {self.id}

    def verdict(self, package: str, version: str) -> Verdict:
        """Whether it is about `version` of `package` (a normalised name)."""
        if self.withdrawn:
            return Verdict.clean
        entries = [entry for entry in self.affected if entry.package == package]
        if any(_listed(version, entry.versions) for entry in entries):
            return Verdict.affected
        parsed = _parsed(version)
        if parsed is not None and any(_within(parsed, events) for entry in entries for events in entry.ranges):
            return Verdict.affected
        doubtful = any(entry.undecidable or (parsed is None and entry.ranges) for entry in entries)
        return Verdict.undecidable if doubtful else Verdict.clean

    def fixes(self, package: str) -> frozenset[Version]:
        """Versions at which it was fixed."""
        return frozenset(
            event.version
            for entry in self.affected
            if entry.package == package
            for events in entry.ranges
            for event in events
            if event.kind == "fixed" and event.version is not None
        )


def read_advisory(record: Any) -> Advisory:
    """The advisory that a decoded JSON record holds.

    Raises:
        AdvisoryError: it is not in OSV's shape.
    """
    try:
        if not isinstance(record["id"], str) or not record["id"]:
            raise AdvisoryError("no id")
        entries = record.get("affected") or []
        return Advisory(
            id=record["id"],
            aliases=frozenset(str(alias) for alias in record.get("aliases") or []),
            summary=str(record.get("summary") or record.get("details") or "").strip().split("\n")[0][:300],
            withdrawn=bool(record.get("withdrawn")),
            severity=_severity(record, entries),
            affected=tuple(_affected(entry) for entry in entries if _ecosystem(entry) == ECOSYSTEM),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise AdvisoryError(f"not an OSV record: {type(error).__name__} at {error}") from error


@dataclass(frozen=True)
class Vulnerability:
    """One weakness of one version, however many records tell of it."""

    package: str
    version: str
    id: str
    """The best known of its names: CVE before GHSA before PYSEC before others."""
    names: tuple[str, ...]
    summary: str
    severity: Severity
    fixed: str | None
    """The smallest later version that none of the records is about; None when none is known."""


def merge(package: str, version: str, advisories: Iterable[Advisory]) -> tuple[Vulnerability, ...]:
    """The weaknesses that `advisories`, all of them about `version` of `package`, tell of; those that share a name
    are one. Neither the order of the advisories nor that of their aliases matters.
    """
    groups: list[set[Advisory]] = []
    for advisory in advisories:
        touching = [group for group in groups if any(advisory.names & other.names for other in group)]
        groups = [group for group in groups if group not in touching]
        groups.append({advisory}.union(*touching))
    merged = [_vulnerability(package, version, group) for group in groups]
    return tuple(sorted(merged, key=lambda weakness: (-weakness.severity.rank, weakness.id)))


def severity_of_vector(vector: str) -> Severity | None:
    """The severity that a CVSS vector (2, 3.x or 4.0) stands for; None when it is not one."""
    from cvss import CVSS2, CVSS3, CVSS4  # noqa: PLC0415 - only needed once there is something to score
    from cvss.exceptions import CVSSError  # noqa: PLC0415

    try:
        if vector.startswith("CVSS:4"):
            word = CVSS4(vector).severity
        elif vector.startswith("CVSS:3"):
            word = CVSS3(vector).severities()[0]
        else:
            word = CVSS2(vector).severities()[0]
    except CVSSError:
        return None
    return _WORDS.get(str(word).lower())


def _vulnerability(package: str, version: str, group: set[Advisory]) -> Vulnerability:
    names = sorted(frozenset().union(*(advisory.names for advisory in group)), key=_familiarity)
    known = [advisory.severity for advisory in group if advisory.severity is not Severity.unknown]
    told = sorted(group, key=lambda advisory: (not advisory.summary, _familiarity(advisory.id)))
    return Vulnerability(
        package=package,
        version=version,
        id=names[0],
        names=tuple(names),
        summary=told[0].summary,
        severity=max(known, key=lambda severity: severity.rank, default=Severity.unknown),
        fixed=_smallest_fix(package, version, group),
    )


def _familiarity(name: str) -> tuple[int, str]:
    order = ("CVE-", "GHSA-", "PYSEC-")
    return next((rank for rank, prefix in enumerate(order) if name.startswith(prefix)), len(order)), name


def _smallest_fix(package: str, version: str, group: set[Advisory]) -> str | None:
    installed = _parsed(version)
    later = sorted(
        fix
        for fix in frozenset[Version]().union(*(advisory.fixes(package) for advisory in group))
        if installed is None or fix > installed
    )
    clean = [fix for fix in later if all(advisory.verdict(package, str(fix)) is Verdict.clean for advisory in group)]
    released = [fix for fix in clean if not fix.is_prerelease]
    best = released or clean
    return str(best[0]) if best else None


def _ecosystem(entry: Mapping[str, Any]) -> str:
    return str((entry.get("package") or {}).get("ecosystem", "")).split(":")[0]


def _affected(entry: Mapping[str, Any]) -> Affected:
    undecidable = False
    ranges: list[tuple[Event, ...]] = []
    for described in entry.get("ranges") or []:
        if described.get("type") not in _ORDERED:
            continue
        try:
            ranges.append(_events(described.get("events") or []))
        except (InvalidVersion, AdvisoryError):
            undecidable = True
    versions = frozenset(_normal(str(version)) for version in entry.get("versions") or [])
    return Affected(
        package=canonicalize_name(str(entry["package"]["name"])),
        ranges=tuple(ranges),
        versions=versions,
        undecidable=undecidable or not (ranges or versions),
    )


def _events(described: Iterable[Mapping[str, str]]) -> tuple[Event, ...]:
    events = []
    for turn in described:
        for kind, text in turn.items():
            if kind == "limit":  # says where enumeration of versions stopped, `*` nearly always
                continue
            if kind not in _KINDS:
                raise AdvisoryError(f"unknown event {kind!r}")
            events.append(Event(kind, None if kind == "introduced" and text == "0" else Version(text)))
    if not any(event.kind == "introduced" for event in events):
        raise AdvisoryError("a range that is introduced nowhere")
    lowest = Version("0.dev0")
    return tuple(
        sorted(events, key=lambda event: (event.version is not None, event.version or lowest, _KINDS[event.kind]))
    )


def _within(version: Version, events: tuple[Event, ...]) -> bool:
    affected = False
    for event in events:
        if event.kind == "introduced":
            affected = affected or event.version is None or version >= event.version
        elif event.version is not None and (
            version > event.version if event.kind == "last_affected" else version >= event.version
        ):
            affected = False
    return affected


def _severity(record: Mapping[str, Any], entries: Iterable[Mapping[str, Any]]) -> Severity:
    scores = [*(record.get("severity") or []), *(score for entry in entries for score in entry.get("severity") or [])]
    known = [severity for score in scores if (severity := severity_of_vector(str(score.get("score", ""))))]
    if known:
        return max(known, key=lambda severity: severity.rank)
    words = [record.get("database_specific"), *(entry.get("database_specific") for entry in entries)]
    for word in words:
        if isinstance(word, Mapping) and str(word.get("severity", "")).lower() in _WORDS:
            return _WORDS[str(word["severity"]).lower()]
    return Severity.unknown


def _listed(version: str, versions: frozenset[str]) -> bool:
    return _normal(version) in versions


def _normal(version: str) -> str:
    """One spelling for versions that are equal: 1.0 and 1.0.0 are, and differ as text."""
    parsed = _parsed(version)
    return version if parsed is None else canonicalize_version(parsed)


def _parsed(version: str) -> Version | None:
    """The public part of a version: a local build (`2.13.0+cpu`) has the weaknesses of what it was built from."""
    try:
        return Version(Version(version).public)
    except InvalidVersion:
        return None
