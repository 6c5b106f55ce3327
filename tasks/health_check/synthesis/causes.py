"""Groups findings by what explains them, so that a reader mends causes and not symptoms."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence

from packaging.version import InvalidVersion, Version

from models.health_check import Cause
from models.report import Finding, urgency

_OUTAGES = frozenset({"down", "hanging", "unreachable"})
_OFF = "platform_off"
_PARTS = ("postgres", "postgresql", "prefect", "gateway", "worker")
_PLATFORM = frozenset({*_PARTS, *(f"lama-{part}" for part in _PARTS)})


def causes_of(findings: Sequence[Finding]) -> tuple[Cause, ...]:
    """Every finding in exactly one cause, the worst cause first.

    What explains the most is asked first: that the platform is off, that one component is down, that one package is
    old, that one remedy mends several, that several are of one kind in one place.
    """
    left = sorted(findings, key=urgency)
    place = {finding.key: number for number, finding in enumerate(left)}
    causes: list[Cause] = []
    for explain, title in (
        (_platform(left), _first),
        (_outage(left), _first),
        (_package, _about_package),
        (_remedy, _and_more),
        (_kind_and_place, _and_more),
    ):
        groups: dict[Hashable, list[Finding]] = defaultdict(list)
        for finding in left:
            reason = explain(finding)
            if reason is not None:
                groups[reason].append(finding)
        grouped = [members for members in groups.values() if len(members) > 1]
        causes += [_cause(members, title(members)) for members in grouped]
        taken = {finding.key for members in grouped for finding in members}
        left = [finding for finding in left if finding.key not in taken]
    causes += [_cause([finding], finding.title) for finding in left]
    return tuple(
        sorted(causes, key=lambda cause: (-cause.severity.rank, -len(cause.findings), place[cause.findings[0]]))
    )


def _platform(findings: Sequence[Finding]) -> Callable[[Finding], Hashable | None]:
    """That the platform is off explains whatever is said about its own parts that do not answer."""
    if not any(_kind(finding) == _OFF for finding in findings):
        return lambda _: None
    silent = {f.component for f in findings if _kind(f) in _OUTAGES and f.component.lower() in _PLATFORM}
    return lambda finding: _OFF if _kind(finding) == _OFF or finding.component in silent else None


def _outage(findings: Sequence[Finding]) -> Callable[[Finding], Hashable | None]:
    """That a component is down explains whatever else is said about it."""
    down = {finding.component for finding in findings if _kind(finding) in _OUTAGES}
    return lambda finding: finding.component if finding.component in down else None


def _package(finding: Finding) -> Hashable | None:
    package = finding.evidence.get("package")
    return package if isinstance(package, str) and package else None


def _remedy(finding: Finding) -> Hashable | None:
    return (_area(finding), " ".join(finding.remedy.lower().split())) if finding.remedy.strip() else None


def _kind_and_place(finding: Finding) -> Hashable | None:
    return (_area(finding), _kind(finding), finding.component, finding.severity)


def _area(finding: Finding) -> str:
    return finding.key.partition(".")[0]


def _kind(finding: Finding) -> str:
    return finding.key.partition(".")[2].partition(":")[0]


def _first(members: Sequence[Finding]) -> str:
    """What is off or down itself, before what follows from it."""
    roots = [finding for finding in members if _kind(finding) == _OFF] or [f for f in members if _kind(f) in _OUTAGES]
    return roots[0].title


def _about_package(members: Sequence[Finding]) -> str:
    return f"{members[0].title.rstrip('.')}, and {len(members) - 1} more about {members[0].evidence['package']}"


def _and_more(members: Sequence[Finding]) -> str:
    return f"{members[0].title.rstrip('.')}, and {len(members) - 1} more of this kind"


def _cause(members: Sequence[Finding], title: str) -> Cause:
    return Cause(
        title=title,
        severity=members[0].severity,
        findings=tuple(finding.key for finding in members),
        remedy=_remedy_of(members, title),
    )


def _remedy_of(members: Sequence[Finding], title: str) -> str:
    """The remedy that mends the most: of several fixed versions the newest, else that of what the title names."""
    fixes = [(version, finding.remedy) for finding in members if (version := _fixed(finding)) is not None]
    if fixes:
        return max(fixes, key=lambda fix: fix[0])[1]
    named = next((finding for finding in members if finding.title == title), members[0])
    return named.remedy


def _fixed(finding: Finding) -> Version | None:
    text = finding.evidence.get("fixed")
    try:
        return Version(text) if isinstance(text, str) else None
    except InvalidVersion:
        return None
