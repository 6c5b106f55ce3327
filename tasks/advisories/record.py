"""Advisories in OSV's shape, and the judgement whether one is about a version (OSV schema 1.7, "Evaluation")."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from models.severity import Severity
from tasks.advisories.package import Package
from tasks.advisories.ranges import ECOSYSTEM, GIT, SEMVER, Range, covers, fixes
from tasks.advisories.severity import Grade, grade, read_grade
from tasks.advisories.versions import Ordering, ordering, semantic

MALICIOUS = "MAL-"
"""What the id of a record about a malicious package begins with."""
GRADED = "_lama"
"""The key under which rules of one's own say how severe something is. Nobody else's record may have it."""

_LONGEST_NAME = 200  # characters of an id
_LONGEST_SUMMARY = 300
_LONGEST_URL = 2000
_UNUSUAL = re.compile(r"\n(?:[^0-9]|0[0-9!:])|\.0[0-9]")  # `v1.0`, ` 1.0`, `01.0`, `0!1.0`, `0:1.0`, `1.01`
_PAGES = ("ADVISORY", "WEB")  # types of references that are pages about it, the best first


class Verdict(StrEnum):
    """Whether an advisory is about a version; `undecidable` when it cannot be told from what it says."""

    affected = "affected"
    clean = "clean"
    undecidable = "undecidable"


class AdvisoryError(ValueError):
    """A record that is not in OSV's shape."""


@dataclass(frozen=True, slots=True)
class Affected:
    """What one `affected` entry says about one package."""

    package: Package
    ranges: tuple[Range, ...]
    """Without those of commits."""
    versions: frozenset[str]
    """Versions that are listed one by one, as they are written."""

    def verdict(self, version: str) -> Verdict:
        """Whether this entry is about `version`: it is listed, or one of the ranges covers it."""
        if version in self.versions:
            return Verdict.affected
        order = ordering(self.package.ecosystem)
        unsure = not self.ranges and not self.versions
        for within in self.ranges:
            said = covers(within, _order_of(within, order), version)
            if said:
                return Verdict.affected
            unsure = unsure or said is None
        if self.versions:
            said = _lists(self.versions, order, version)
            if said:
                return Verdict.affected
            unsure = unsure or said is None
        return Verdict.undecidable if unsure else Verdict.clean


@dataclass(frozen=True, slots=True)
class Advisory:
    """One record of one source."""

    id: str
    aliases: frozenset[str]
    summary: str
    withdrawn: bool
    affected: tuple[Affected, ...]
    modified: datetime | None = None
    published: datetime | None = None
    url: str = ""
    """A page about it."""
    cwe: tuple[str, ...] = ()
    """Ids of the kinds of weakness, such as `CWE-79`."""
    vectors: tuple[str, ...] = ()
    """Its CVSS vectors, as they are written."""
    words: tuple[str, ...] = ()
    """What its databases call its severity."""
    upstream: frozenset[str] = frozenset()
    """What it passes on: a distributor's bulletin about several weaknesses names them so."""
    given: Grade | None = None
    """Its grade, where that is known already."""

    @property
    def names(self) -> frozenset[str]:
        """Its id and all its aliases."""
        return self.aliases | {self.id}

    @property
    def packages(self) -> frozenset[Package]:
        """What it is about."""
        return frozenset(entry.package for entry in self.affected)

    @property
    def grade(self) -> Grade:
        """How severe it is. A malicious package is critical, whatever else is said."""
        found = self.given if self.given is not None else grade(self.vectors, self.words)
        return found._replace(severity=Severity.critical) if self.id.startswith(MALICIOUS) else found

    @property
    def severity(self) -> Severity:
        """The highest that a vector or a database gives; `unknown` when none does."""
        return self.grade.severity

    @property
    def score(self) -> float | None:
        """The highest CVSS base score."""
        return self.grade.score

    @property
    def vector(self) -> str:
        """The vector that gives the score."""
        return self.grade.vector

    def verdict(self, package: Package, version: str) -> Verdict:
        """Whether it is about `version` of `package`. What it says of `Debian` holds for each release. A package of
        just `Debian` may be of any release: the verdict has to be the same for all that the advisory names.
        """
        if self.withdrawn:
            return Verdict.clean
        entries = self._about(package)
        if len(entries) == 1:
            return entries[0].verdict(version)
        verdicts = {
            _verdict((entry for entry in entries if _holds_for(entry, release)), version)
            for release in {entry.package.ecosystem for entry in entries}
        }
        if not verdicts:
            return Verdict.clean
        return verdicts.pop() if len(verdicts) == 1 else Verdict.undecidable

    def fixes(self, package: Package) -> frozenset[str]:
        """Versions at which it was fixed, as they are written."""
        return frozenset(
            version for entry in self._about(package) for within in entry.ranges for version in fixes(within)
        )

    def _about(self, package: Package) -> list[Affected]:
        wanted = _package(package.ecosystem, package.name)
        return [
            entry
            for entry in self.affected
            if entry.package.name == wanted.name and _shares_release(entry.package, wanted)
        ]


def read_advisory(record: Any) -> Advisory:
    """The advisory that a decoded JSON record holds: of any ecosystem, about any number of packages.

    Raises:
        AdvisoryError: it is not in OSV's shape.
    """
    try:
        name = record["id"]
        if not _is_name(name):
            raise AdvisoryError("no id that can be used")
        entries = _listed(record.get("affected"))
        said = [record, *entries]
        return Advisory(
            id=name,
            aliases=frozenset(_aliases(name, record)),
            summary=_summary(record),
            withdrawn=bool(record.get("withdrawn")),
            affected=tuple(_affected(entry) for entry in entries if (entry.get("package") or {}).get("ecosystem")),
            modified=_moment(record.get("modified")),
            published=_moment(record.get("published")),
            url=_url(name, _listed(record.get("references"))),
            cwe=tuple(str(kind) for kind in _listed((record.get("database_specific") or {}).get("cwe_ids"))),
            vectors=tuple(str(score.get("score")) for part in said for score in _listed(part.get("severity"))),
            words=tuple(word for part in said for word in _words(part)),
            upstream=frozenset(filter(_is_name, _listed(record.get("upstream")))),
            given=read_grade(record[GRADED]) if GRADED in record else None,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise AdvisoryError(f"not an OSV record: {type(error).__name__} at {error}") from error


def _affected(entry: Mapping[str, Any]) -> Affected:
    named = entry["package"]
    return Affected(
        package=_package(str(named["ecosystem"]), str(named["name"])),
        ranges=tuple(
            Range(
                str(described.get("type")),
                tuple(
                    (kind, str(version))
                    for event in _listed(described.get("events"))
                    for kind, version in event.items()
                ),
            )
            for described in _listed(entry.get("ranges"))
            if described.get("type") != GIT
        ),
        versions=frozenset(map(str, _listed(entry.get("versions")))),
    )


@lru_cache(maxsize=65_536)
def _package(ecosystem: str, name: str) -> Package:
    order = ordering(ecosystem)
    return Package(ecosystem, name if order is None else order.name(name))


def _listed(value: Any) -> Sequence[Any]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise TypeError("what should be a list")
    return value


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME and value.isprintable()


def _aliases(name: str, record: Mapping[str, Any]) -> Iterable[str]:
    """Other names of the same. `DEBIAN-CVE-…` is what Debian says of the CVE that it names as upstream."""
    yield from filter(_is_name, _listed(record.get("aliases")))
    distributor, _, number = name.partition("-CVE-")
    if number and distributor and f"CVE-{number}" in _listed(record.get("upstream")):
        yield f"CVE-{number}"


def _summary(record: Mapping[str, Any]) -> str:
    text = str(record.get("summary") or record.get("details") or "")[: 4 * _LONGEST_SUMMARY].strip()
    line = text.split("\n", 1)[0][:_LONGEST_SUMMARY].rstrip()
    return line if line.isprintable() else "".join(char if char.isprintable() else " " for char in line)


def _moment(text: Any) -> datetime | None:
    """A point in time (RFC 3339); None when there is none."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _url(name: str, references: Iterable[Mapping[str, Any]]) -> str:
    best: tuple[int, str] = len(_PAGES), ""
    for reference in references:
        kind, url = reference.get("type"), reference.get("url")
        if kind in _PAGES and _PAGES.index(kind) < best[0] and isinstance(url, str) and _is_page(url):
            best = _PAGES.index(kind), url
    return best[1] or f"https://osv.dev/vulnerability/{quote(name, safe='')}"


def _is_page(url: str) -> bool:
    return url.startswith(("https://", "http://")) and len(url) <= _LONGEST_URL and url.isprintable()


def _words(part: Mapping[str, Any]) -> Iterable[str]:
    """What a record, or one of its entries, calls the severity outside of the schema's own field."""
    for key in ("database_specific", "ecosystem_specific"):
        said = part.get(key)
        if said and isinstance(said, Mapping):
            for field in ("severity", "urgency"):
                if isinstance(word := said.get(field), str):
                    yield word


def _order_of(within: Range, order: Ordering | None) -> Ordering | None:
    if within.type == SEMVER:
        return semantic()
    return order if within.type == ECOSYSTEM else None


def _lists(versions: frozenset[str], order: Ordering | None, version: str) -> bool | None:
    """Whether one of `versions` equals `version`, however it is spelled; None when that cannot be told."""
    if order is None:
        return None
    if (between := order.moving(version)) is not None:
        inside = (between[0] <= key < between[1] for listed in versions if (key := order.parse(listed)) is not None)
        return None if any(inside) else False
    key = order.parse(version)
    if key is None:
        return None
    # Nearly always it is not there, and to parse a long list would take a hundred times longer than to see that.
    text, beginnings = _in_lines(versions), order.beginnings(version)
    if text is None:
        beginnings = ("",)
    elif not any(f"\n{beginning}" in text for beginning in beginnings):
        return False
    return any(order.parse(listed) == key for listed in versions if listed.startswith(beginnings))


@lru_cache(maxsize=8192)
def _in_lines(versions: frozenset[str]) -> str | None:
    """Each after a line end; None when one of them is spelled so that it may begin otherwise than an equal one."""
    text = "\n" + "\n".join(versions)
    return None if _UNUSUAL.search(text) else text


def _shares_release(one: Package, other: Package) -> bool:
    """Whether both are of one ecosystem, and of the same release of it if both say of which they are."""
    return one.ecosystem == other.ecosystem or (
        one.family == other.family and one.family in (one.ecosystem, other.ecosystem)
    )


def _holds_for(entry: Affected, release: str) -> bool:
    return entry.package.ecosystem in (release, entry.package.family)


def _verdict(entries: Iterable[Affected], version: str) -> Verdict:
    verdicts = {entry.verdict(version) for entry in entries}
    return next((found for found in (Verdict.affected, Verdict.undecidable) if found in verdicts), Verdict.clean)
