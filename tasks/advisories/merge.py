"""Many records about one weakness are one: several sources by id, several databases by alias."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from models.severity import Severity
from tasks.advisories.package import Package
from tasks.advisories.record import MALICIOUS, Advisory, Verdict
from tasks.advisories.severity import highest
from tasks.advisories.versions import ordering

_ORDER = ("CVE-", "GHSA-", "PYSEC-")
_BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Vulnerability:
    """One weakness of one version, however many records tell of it."""

    package: Package
    version: str
    id: str
    """The best known of its names: CVE before GHSA before PYSEC before others."""
    names: tuple[str, ...]
    """All of its names, the best known first."""
    summary: str
    severity: Severity
    fixed: str | None
    """The smallest later version that none of the records is about; None when none is known."""
    score: float | None = None
    """The highest CVSS base score that is given."""
    vector: str = ""
    """The vector that gives it."""
    url: str = ""
    """A page about it."""
    cwe: tuple[str, ...] = ()
    """Kinds of weakness, such as `CWE-79`."""


def merge(package: Package, version: str, advisories: Iterable[Advisory]) -> tuple[Vulnerability, ...]:
    """The weaknesses of `version` of `package`, the worst first: those advisories that are about it, of which those
    that share a name are one. Neither the order of the advisories nor that of their aliases matters.

    Advisories that are not about `version` are of use all the same: a fix must not have the same weakness again.
    """
    told = tuple(advisories)
    affecting = [advisory for advisory in told if advisory.verdict(package, version) is Verdict.affected]
    groups = _without_bulletins(_groups(affecting))
    merged = [_vulnerability(package, version, group, told) for group in groups]
    return tuple(sorted(merged, key=lambda weakness: (-weakness.severity.rank, -(weakness.score or 0.0), weakness.id)))


def newest_of(advisories: Iterable[Advisory]) -> tuple[Advisory, ...]:
    """One record an id, by id: the one that was modified last. Where that one is withdrawn, there is none."""
    newest: dict[str, Advisory] = {}
    for advisory in advisories:
        known = newest.get(advisory.id)
        if known is None or (known is not advisory and _is_fresher(advisory, known)):
            newest[advisory.id] = advisory
    return tuple(advisory for _, advisory in sorted(newest.items()) if not advisory.withdrawn)


def familiarity(name: str) -> tuple[int, str]:
    """What names are sorted by: CVE before GHSA before PYSEC before others."""
    for rank, prefix in enumerate(_ORDER):
        if name.startswith(prefix):
            return rank, name
    return len(_ORDER), name


def _is_fresher(one: Advisory, other: Advisory) -> bool:
    """Whether `one` was modified later. Of two of the same time a withdrawal counts, then the one that says more; what
    they say only makes sure that the order of the sources does not matter.
    """
    first, second = _age(one), _age(other)
    return _content(one) > _content(other) if first == second else first > second


def _age(advisory: Advisory) -> tuple[datetime, bool, int, int, int]:
    modified = advisory.modified or _BEGINNING
    said = len(advisory.affected), len(advisory.aliases), len(advisory.vectors)
    return modified, advisory.withdrawn, *said


def _content(advisory: Advisory) -> tuple[str, ...]:
    entries = [f"{entry.package} {entry.ranges} {sorted(entry.versions)}" for entry in advisory.affected]
    told = advisory.summary, advisory.url, str(advisory.grade), str(advisory.published)
    return *told, *sorted(advisory.aliases), *advisory.vectors, *advisory.words, *entries


def _groups(advisories: Sequence[Advisory]) -> list[list[Advisory]]:
    """Advisories that share a name, directly or through others (union-find over names)."""
    above: dict[str, str] = {}

    def root(name: str) -> str:
        while (parent := above.setdefault(name, name)) != name:
            above[name] = above[parent]  # every other step is saved next time
            name = parent
        return name

    for advisory in advisories:
        for alias in advisory.aliases:
            above[root(alias)] = root(advisory.id)
    groups: dict[str, list[Advisory]] = {}
    for advisory in advisories:
        groups.setdefault(root(advisory.id), []).append(advisory)
    return list(groups.values())


def _without_bulletins(groups: list[list[Advisory]]) -> list[list[Advisory]]:
    """Without a distributor's bulletins about nothing but weaknesses that have a record of their own here."""
    named = [frozenset[str]().union(*(advisory.names for advisory in group)) for group in groups]
    numbered = [any(name.startswith(_ORDER[0]) for name in names) for names in named]
    known = frozenset[str]().union(*(names for names, has_cve in zip(named, numbered, strict=True) if has_cve))
    return [
        group
        for group, has_cve in zip(groups, numbered, strict=True)
        if has_cve or not all(advisory.upstream and advisory.upstream <= known for advisory in group)
    ]


def _vulnerability(
    package: Package, version: str, group: Sequence[Advisory], told: Sequence[Advisory]
) -> Vulnerability:
    names = sorted(frozenset[str]().union(*(advisory.names for advisory in group)), key=familiarity)
    graded = highest([advisory.grade for advisory in group])
    best = sorted(group, key=lambda advisory: (familiarity(advisory.id), advisory.summary, advisory.url))
    related = [advisory for advisory in told if not advisory.names.isdisjoint(names)]
    return Vulnerability(
        package=package,
        version=version,
        id=names[0],
        names=tuple(names),
        summary=next((advisory.summary for advisory in best if advisory.summary), ""),
        severity=Severity.critical if any(name.startswith(MALICIOUS) for name in names) else graded.severity,
        fixed=_smallest_fix(package, version, group, related),
        score=graded.score,
        vector=graded.vector,
        url=best[0].url,
        cwe=tuple(sorted({kind for advisory in group for kind in advisory.cwe})),
    )


def _smallest_fix(package: Package, version: str, group: Sequence[Advisory], related: Sequence[Advisory]) -> str | None:
    """The smallest of the versions at which any of the related records ends that is later than `version`, that all
    records of the group call clean, and that no other related one is about. A release rather than a pre-release.
    """
    order = ordering(package.ecosystem)
    if order is None:
        return None
    used = order.parse(version)
    others = [advisory for advisory in related if not any(advisory is one for one in group)]
    later = sorted(
        (order.is_prerelease(fix), key, len(fix), fix)
        for fix in frozenset[str]().union(*(advisory.fixes(package) for advisory in related))
        if (key := order.parse(fix)) is not None and (used is None or key > used)
    )
    for *_, fix in later:
        if all(advisory.verdict(package, fix) is Verdict.clean for advisory in group) and not any(
            advisory.verdict(package, fix) is Verdict.affected for advisory in others
        ):
            return fix
    return None
