"""What an inventory and the known advisories add up to. Pure: values in, values out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from models.gap import Gap
from models.severity import Severity
from tasks.advisories.merge import Vulnerability, familiarity, merge
from tasks.advisories.package import Package
from tasks.advisories.record import Advisory, Verdict
from tasks.advisories.source import AREA, VULNERABILITY, Known
from tasks.advisories.versions import ordering
from tasks.audit.component import Component, Inventory
from tasks.audit.in_use import InUse, in_use
from tasks.audit.loose import judge_loose
from tasks.audit.weakness import Judged, Weakness


def judge(
    inventory: Inventory, known: Known, *, offered: Mapping[Package, tuple[str, ...]], used: InUse | None = None
) -> Judged:
    """The weaknesses of everything that `inventory` has in use, and of what its requirements would allow.

    Args:
        inventory: what one target is made of.
        known: what the sources say about its packages.
        offered: released versions, oldest first, of packages that are required without an exact version; one that is
            not in it has versions that could not be looked up.
        used: what `in_use` says of `inventory`, if that is known already.

    Returns:
        One weakness a package and vulnerability, worst first. What cannot be decided is a gap, unless a record of the
        same vulnerability decides it.
    """
    used = in_use(inventory) if used is None else used
    weaknesses: list[Weakness] = []
    gaps: list[Gap] = []
    for package, components in used.exact.items():
        advisories = known.advisories.get(package)
        if advisories:
            found, undecided = _judge_package(inventory.target, package, components, advisories)
            weaknesses += found
            gaps += undecided
    ranges, missed = judge_loose(inventory.target, used, known.advisories, offered)
    gaps += missed
    gaps += [_unmatched(inventory.target, one) for one in used.unmatched if known.advisories.get(one.package)]
    weaknesses.sort(key=lambda weakness: (-weakness.severity.rank, weakness.package, weakness.id))
    return Judged(tuple(weaknesses), ranges, tuple(dict.fromkeys(gaps)))


def oldest_first(package: Package, versions: Iterable[str]) -> tuple[str, ...]:
    """`versions` without repetitions in the order of their ecosystem; what is no version comes first."""
    order = ordering(package.ecosystem)
    keys = {version: None if order is None else order.parse(version) for version in versions}
    unordered = sorted(version for version, key in keys.items() if key is None)
    ordered = [(key, version) for version, key in sorted(keys.items()) if key is not None]
    ordered.sort(key=lambda pair: pair[0])
    return (*unordered, *(version for _, version in ordered))


def _judge_package(
    target: str, package: Package, components: Sequence[Component], advisories: Sequence[Advisory]
) -> tuple[list[Weakness], list[Gap]]:
    versions = oldest_first(package, (str(component.version) for component in components))
    affecting: dict[str, list[Advisory]] = {}
    gaps: list[Gap] = []
    for version in versions:
        verdicts = [(advisory, advisory.verdict(package, version)) for advisory in advisories]
        hits = [advisory for advisory, verdict in verdicts if verdict is Verdict.affected]
        if hits:
            affecting[version] = hits
        if any(verdict is Verdict.undecidable for _, verdict in verdicts):
            gaps += _undecided(target, package, version, verdicts)
    found = [one for version, hits in affecting.items() for one in merge(package, version, hits)]
    return [_weakness(target, package, together, components) for together in _same(found)], gaps


def _same(found: Sequence[Vulnerability]) -> list[list[Vulnerability]]:
    """The vulnerabilities of several versions, those that share a name together, in the order of their versions."""
    groups: list[list[Vulnerability]] = []
    for one in found:
        touching = [group for group in groups if any(not set(one.names).isdisjoint(other.names) for other in group)]
        rest = [group for group in groups if group not in touching]
        groups = [*rest, [*(other for group in touching for other in group), one]]
    return groups


def _weakness(
    target: str, package: Package, found: Sequence[Vulnerability], components: Sequence[Component]
) -> Weakness:
    """One vulnerability of all the versions that have it; what is fixed counts from the newest of them."""
    versions = oldest_first(package, (one.version for one in found))
    newest = next(one for one in found if one.version == versions[-1])
    names = tuple(sorted({name for one in found for name in one.names}, key=familiarity))
    graded = max(found, key=lambda one: (one.score or 0.0, one.vector))
    return Weakness(
        target=target,
        package=package,
        id=names[0],
        names=names,
        summary=next((one.summary for one in (newest, *found) if one.summary), ""),
        severity=max((one.severity for one in found), key=_certainly),
        versions=versions,
        places=tuple(component for component in components if component.version in versions),
        fixed=newest.fixed,
        score=graded.score,
        vector=graded.vector,
        url=newest.url,
    )


def _certainly(severity: Severity) -> tuple[bool, int]:
    """What severities of one vulnerability are compared by: a known one says more than an unknown one."""
    return severity is not Severity.unknown, severity.rank


def _undecided(
    target: str, package: Package, version: str, verdicts: Sequence[tuple[Advisory, Verdict]]
) -> Iterable[Gap]:
    decided = {
        name
        for advisory, verdict in verdicts
        if verdict is not Verdict.undecidable and any(entry.package.name == package.name for entry in advisory.affected)
        for name in advisory.names
    }
    for advisory, verdict in verdicts:
        if verdict is Verdict.undecidable and decided.isdisjoint(advisory.names):
            yield Gap(
                area=AREA,
                component=f"{target}/{package.name} {version}",
                reason=f"{advisory.id} does not say in a form that can be evaluated which versions it is about.",
                hides=(f"{VULNERABILITY}{target}/{package.path}/",),
            )


def _unmatched(target: str, component: Component) -> Gap:
    package = component.package
    return Gap(
        area=AREA,
        component=f"{target}/{package.name}",
        reason=f"{component.place.file} takes it from {_ORIGINS.get(component.origin.value, 'elsewhere')}, and nothing "
        "says in which version, so it cannot be compared with the advisories about it; lock it.",
        hides=(f"{VULNERABILITY}{target}/{package.path}/",),
    )


_ORIGINS = {"repository": "a repository", "address": "an address"}
