"""Requirements without an exact version: which of the versions that they allow are vulnerable. Pure.

A range is no version. What matters of it is what an installation today would get, and what one may still have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models.gap import Gap
from models.severity import Severity
from tasks.advisories.merge import familiarity, merge
from tasks.advisories.package import Package
from tasks.advisories.record import Advisory, Verdict
from tasks.advisories.source import AREA, VULNERABILITY
from tasks.advisories.versions import Ordering, ordering
from tasks.audit.component import Component, Inventory
from tasks.audit.in_use import InUse, in_use, is_related
from tasks.audit.weakness import LooseRange

_RANGE = f"{AREA}.range:"
Advisories = Mapping[Package, tuple[Advisory, ...]]


def loose_packages(inventory: Inventory) -> frozenset[Package]:
    """The packages that are required without anything that says their version: their releases have to be known."""
    return frozenset(component.package for component in in_use(inventory).loose)


def judge_loose(
    target: str, used: InUse, advisories: Advisories, offered: Mapping[Package, tuple[str, ...]]
) -> tuple[tuple[LooseRange, ...], list[Gap]]:
    """The requirements of `used` that allow vulnerable versions, and what could not be decided.

    Where no list of versions could be had, those that advisories enumerate are listed; what an installation today
    would get is then not known, and that is a gap.
    """
    ranges: list[LooseRange] = []
    gaps: list[Gap] = []
    verdicts: dict[Package, _Verdicts] = {}
    for component in used.loose:
        package = component.package
        told = advisories.get(package)
        if not told:
            continue
        order = ordering(package.ecosystem)
        if order is None:
            gaps.append(_gap(target, package, f"the ranges of {package.ecosystem} are not understood."))
            continue
        if package not in verdicts:
            verdicts[package] = _Verdicts(package, told)
        limits = [limit for limit in (used.limits or {}).get(package, ()) if is_related(limit, component)]
        found, missed = _judge(target, component, limits, order, verdicts[package], offered.get(package))
        ranges += found
        gaps += missed
    return tuple(ranges), gaps


class _Verdicts:
    """The verdicts about the versions of one package, each worked out once."""

    def __init__(self, package: Package, advisories: Sequence[Advisory]) -> None:
        self.package = package
        self.advisories = advisories
        self._known: dict[str, tuple[tuple[Advisory, ...], bool]] = {}

    def of(self, version: str) -> tuple[tuple[Advisory, ...], bool]:
        """The advisories about `version`, and whether there are some that cannot be decided."""
        if version not in self._known:
            told = [(advisory, advisory.verdict(self.package, version)) for advisory in self.advisories]
            self._known[version] = (
                tuple(advisory for advisory, verdict in told if verdict is Verdict.affected),
                any(verdict is Verdict.undecidable for _, verdict in told),
            )
        return self._known[version]

    def ids(self, versions: Sequence[str]) -> tuple[str, ...]:
        """The ids of the vulnerabilities of all `versions` together, records that share a name being one."""
        groups: list[set[str]] = []
        for names in {advisory.id: advisory.names for version in versions for advisory in self.of(version)[0]}.values():
            touching = [group for group in groups if not group.isdisjoint(names)]
            groups = [group for group in groups if group not in touching]
            groups.append(set(names).union(*touching))
        return tuple(sorted(min(group, key=familiarity) for group in groups))

    def listed(self) -> set[str]:
        """The versions that the advisories list one by one."""
        return {
            version
            for advisory in self.advisories
            for entry in advisory.affected
            if entry.package.name == self.package.name
            for version in entry.versions
        }


def _judge(
    target: str,
    component: Component,
    limits: Sequence[Component],
    order: Ordering,
    verdicts: _Verdicts,
    released: tuple[str, ...] | None,
) -> tuple[list[LooseRange], list[Gap]]:
    package = component.package
    if released is None:
        keyed = [(key, version) for version in sorted(verdicts.listed()) if (key := order.parse(version)) is not None]
        candidates = [version for _, version in sorted(keyed, key=lambda pair: pair[0])]
    else:
        candidates = list(released)
    asked = [component.requirement, *(limit.requirement for limit in limits)]
    allowed = [version for version in candidates if _allow(order, asked, version)]
    if candidates and order.allows(component.requirement, candidates[-1]) is None:
        return [], [_gap(target, package, f"its requirement {component.requirement[:80]!r} is not understood.")]
    vulnerable = tuple(version for version in allowed if verdicts.of(version)[0])
    ids = verdicts.ids(vulnerable)
    if released is None:
        unknown = LooseRange(target, component, None, (), vulnerable, ids, Severity.unknown)
        gap = _gap(target, package, "which versions there are is not known; lock it, or make its registry reachable.")
        return [unknown] if vulnerable else [], [gap]
    if not allowed:
        return [], [_gap(target, package, "none of its released versions is allowed by what is asked for.")]
    newest = allowed[-1]
    worst = merge(package, newest, verdicts.of(newest)[0])
    gaps = []
    if verdicts.of(newest)[1]:
        gaps.append(_gap(target, package, f"an advisory does not say whether it is about {newest}; read it."))
    if not vulnerable:
        return [], gaps
    severity = max((one.severity for one in worst), key=lambda level: level.rank, default=Severity.low)
    return [
        LooseRange(target, component, newest, tuple(sorted(one.id for one in worst)), vulnerable, ids, severity)
    ], gaps


def _allow(order: Ordering, asked: Sequence[str], version: str) -> bool:
    """Whether the requirement allows `version`, and no constraint that can be understood forbids it."""
    return order.allows(asked[0], version) is True and all(
        order.allows(limit, version) is not False for limit in asked[1:]
    )


def _gap(target: str, package: Package, reason: str) -> Gap:
    return Gap(
        area=AREA,
        component=f"{target}/{package.name}",
        reason=f"It is required without an exact version, and {reason}",
        hides=(f"{_RANGE}{target}/{package.path}", f"{VULNERABILITY}{target}/{package.path}/"),
    )
