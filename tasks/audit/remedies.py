"""What to upgrade to: for each package the smallest step that mends everything, and who stands in its way. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from models.severity import Severity
from tasks.advisories.package import Package
from tasks.advisories.record import Advisory, Verdict
from tasks.advisories.source import Known
from tasks.advisories.versions import ordering
from tasks.audit.component import Component, Evidence, Inventory, Origin
from tasks.audit.demands import Demands
from tasks.audit.in_use import applies, is_related
from tasks.audit.judge import oldest_first
from tasks.audit.weakness import Judged, LooseRange, Weakness

_MOST_NAMED = 6
_MOST_PLACES = 4

Offered = Mapping[Package, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A requirement that does not allow the version that would mend something."""

    by: str
    """Who asks: a file of the target, or a package and its version."""
    requirement: str
    """What is asked for: `urllib3<1.27`."""
    own: bool
    """Whether the target itself asks, so that its owner can change it."""


@dataclass(frozen=True, slots=True)
class Upgrade:
    """One package of one target that should be had in another version."""

    target: str
    package: Package
    from_versions: tuple[str, ...]
    """The vulnerable versions that it leads away from, oldest first."""
    to: str | None
    """None when no version is known that would be better: then replace or shield it."""
    clears: tuple[str, ...]
    """Ids of the vulnerabilities that go."""
    remains: tuple[str, ...]
    """Ids of those that do not."""
    severity: Severity
    """Of the worst that it is about."""
    direct: bool
    """Whether the target itself asks for the package."""
    brought_by: tuple[str, ...]
    """For one that it does not ask for: the direct dependencies that bring it."""
    blocked_by: tuple[Obstacle, ...]
    places: tuple[Component, ...]
    """Where the versions are said."""
    loose: bool = False
    """Whether it only raises a requirement that allows vulnerable versions."""

    @property
    def fits(self) -> bool:
        """Whether everything that is known about other packages allows it; own requirements can be changed."""
        return self.to is not None and all(obstacle.own for obstacle in self.blocked_by)


def upgrades(
    inventory: Inventory, judged: Judged, known: Known, *, offered: Offered, demands: Demands | None = None
) -> tuple[Upgrade, ...]:
    """What mends the weaknesses and loose ranges of a target, the most urgent first.

    The version to upgrade to is the smallest that none of the advisories about the package is about: rather one that
    all other requirements allow than one that they do not. Candidates are the released versions where they are known
    (`offered`), else those at which advisories say that something was fixed. `demands` is what other packages ask of
    those that are vulnerable (`tasks.audit.demands`); without it nobody but the target itself can stand in the way.
    """
    asked = demands or {}
    packages: dict[Package, list[Weakness]] = {}
    for weakness in judged.weaknesses:
        packages.setdefault(weakness.package, []).append(weakness)
    found: list[Upgrade] = []
    for package, weaknesses in packages.items():
        chooser = _Chooser(inventory, package, known.advisories.get(package, ()), offered.get(package), asked)
        found += _of_weaknesses(chooser, weaknesses)
    for loose in judged.ranges:
        package = loose.component.package
        chooser = _Chooser(inventory, package, known.advisories.get(package, ()), offered.get(package), asked)
        found.append(_of_loose(chooser, loose))
    return tuple(sorted(found, key=_urgency))


def recommendations(found: Iterable[Upgrade]) -> tuple[str, ...]:
    """The upgrades in words, in their order, each once."""
    return tuple(dict.fromkeys(_told(upgrade) for upgrade in found))


class _Chooser:
    """Chooses among the versions of one package of one target."""

    def __init__(
        self,
        inventory: Inventory,
        package: Package,
        advisories: Sequence[Advisory],
        released: tuple[str, ...] | None,
        demands: Demands,
    ) -> None:
        self.inventory = inventory
        self.package = package
        self._advisories = advisories
        self._order = ordering(package.ecosystem)
        self._released = released
        self._verdicts: dict[str, list[Verdict]] = {}
        self._asking = [c for c in inventory.components if _is_asking(c, package, inventory)]
        self._demands = demands.get(package, ())

    def later(self, version: str) -> list[str]:
        """The candidates that are later than `version`, smallest first; early releases only after an early release."""
        order = self._order
        used = None if order is None else order.parse(version)
        if order is None or used is None:
            return []
        fixes = {fix for advisory in self._advisories for fix in advisory.fixes(self.package)}
        early = order.is_prerelease(version)
        for source in (self._released or (), sorted(fixes)):
            keyed = [
                (key, text)
                for text in source
                if (key := order.parse(text)) is not None and key > used and (early or not order.is_prerelease(text))
            ]
            ordered = [text for _, text in sorted(keyed, key=lambda pair: pair[0])]
            if any(self.is_clean(text, after=version) for text in ordered) or (
                ordered and source is not self._released
            ):
                return ordered
        return []

    def is_clean(self, version: str, *, after: str) -> bool:
        """Whether no advisory is about `version`; what could not be decided before the upgrade need not be after it."""
        before = self._verdict(after)
        return not any(
            now is Verdict.affected or (now is Verdict.undecidable and was is not Verdict.undecidable)
            for now, was in zip(self._verdict(version), before, strict=True)
        )

    def affecting(self, version: str) -> frozenset[str]:
        """Every name of every advisory that is about `version`."""
        names = (
            advisory.names
            for advisory, verdict in zip(self._advisories, self._verdict(version), strict=True)
            if verdict is Verdict.affected
        )
        return frozenset[str]().union(*names)

    def obstacles(self, to: str, away: Sequence[str], places: Sequence[Component]) -> tuple[Obstacle, ...]:
        """Who does not allow `to` for those who have the versions `away` at `places`."""
        order = self._order
        if order is None:
            return ()
        told = [
            Obstacle(_place(c), f"{self.package.name}{_spaced(c.requirement)}", own=True)
            for c in self._asking
            if (any(is_related(c, place) for place in places) or any(p.evidence is Evidence.installed for p in places))
            and order.allows(c.requirement, to, prereleases=True) is False
        ]
        # A parent that does not allow the old version either has another copy, and is no concern here.
        told += [
            Obstacle(demand.by, f"{self.package.name}{_spaced(demand.requirement)}", own=False)
            for demand in self._demands
            if any(order.allows(demand.requirement, version, prereleases=True) is not False for version in away)
            and order.allows(demand.requirement, to, prereleases=True) is False
        ]
        return tuple(dict.fromkeys(told))

    def choose(self, version: str, weaknesses: Sequence[Weakness], places: Sequence[Component]) -> str | None:
        """The best version after `version`, which has `weaknesses`; None when none is better."""
        candidates = self.later(version)
        clean = [candidate for candidate in candidates if self.is_clean(candidate, after=version)]
        if clean:
            free = [(candidate, self.obstacles(candidate, [version], places)) for candidate in clean]
            unhindered = [candidate for candidate, told in free if not told]
            changeable = [candidate for candidate, told in free if all(one.own for one in told)]
            return (unhindered or changeable or clean)[0]
        had = self.affecting(version)
        better: list[tuple[int, int, int, str]] = []
        for candidate in candidates:
            has = self.affecting(candidate)
            left = [weakness for weakness in weaknesses if not has.isdisjoint(weakness.names)]
            if len(left) < len(weaknesses) and has <= had:
                better.append((sum(weakness.severity.rank for weakness in left), len(left), len(better), candidate))
        return min(better)[-1] if better else None

    def suffix(self, loose: LooseRange) -> str | None:
        """The smallest version from which on everything that may be had is clean, at least for what is released."""
        newest = loose.vulnerable[-1]
        candidates = self.later(newest)
        clean = [candidate for candidate in candidates if self.is_clean(candidate, after=newest)]
        return clean[0] if clean else None

    def _verdict(self, version: str) -> list[Verdict]:
        if version not in self._verdicts:
            self._verdicts[version] = [advisory.verdict(self.package, version) for advisory in self._advisories]
        return self._verdicts[version]


def _of_weaknesses(chooser: _Chooser, weaknesses: Sequence[Weakness]) -> list[Upgrade]:
    """One upgrade for each version to upgrade to: users of several generations of a package stay in theirs."""
    versions = list(dict.fromkeys(version for weakness in weaknesses for version in weakness.versions))
    steps: dict[str | None, list[str]] = {}
    for version in versions:
        having = [weakness for weakness in weaknesses if version in weakness.versions]
        places = [place for place in having[0].places if place.version == version]
        steps.setdefault(chooser.choose(version, having, places), []).append(version)
    found = []
    for to, from_versions in steps.items():
        about = [weakness for weakness in weaknesses if not set(weakness.versions).isdisjoint(from_versions)]
        left = frozenset[str]() if to is None else chooser.affecting(to)
        remains = [one for one in about if to is None or not left.isdisjoint(one.names)]
        places = list(dict.fromkeys(p for one in about for p in one.places if p.version in from_versions))
        found.append(
            Upgrade(
                target=chooser.inventory.target,
                package=chooser.package,
                from_versions=oldest_first(chooser.package, from_versions),
                to=to,
                clears=tuple(one.id for one in about if one not in remains),
                remains=tuple(one.id for one in remains),
                severity=max((one.severity for one in about), key=lambda severity: severity.rank),
                direct=_is_direct(chooser, places),
                brought_by=tuple(sorted({place.via[0] for place in places if place.via})),
                blocked_by=() if to is None else chooser.obstacles(to, from_versions, places),
                places=tuple(places),
            )
        )
    return found


def _of_loose(chooser: _Chooser, loose: LooseRange) -> Upgrade:
    to = chooser.suffix(loose)
    return Upgrade(
        target=loose.target,
        package=chooser.package,
        from_versions=loose.vulnerable,
        to=to,
        clears=loose.ids if to is not None else (),
        remains=() if to is not None else loose.ids,
        severity=loose.severity,
        direct=True,
        brought_by=(),
        blocked_by=() if to is None else chooser.obstacles(to, loose.vulnerable[-1:], [loose.component]),
        places=(loose.component,),
        loose=True,
    )


def _is_asking(component: Component, package: Package, inventory: Inventory) -> bool:
    """Whether it is a requirement of the target about `package` that allows several versions."""
    return (
        component.package == package
        and component.version is None
        and bool(component.requirement)
        and component.evidence in {Evidence.declared, Evidence.constraint}
        and component.origin is Origin.registry
        and applies(component, inventory.python)
    )


def _is_direct(chooser: _Chooser, places: Iterable[Component]) -> bool:
    if any(place.direct for place in places):
        return True
    return any(
        component.package == chooser.package and component.evidence is Evidence.declared
        for component in chooser.inventory.components
    )


def _urgency(upgrade: Upgrade) -> tuple[object, ...]:
    return (
        -upgrade.severity.rank,
        -len(upgrade.clears),
        upgrade.loose,
        upgrade.target,
        upgrade.package,
        upgrade.from_versions,
        [_place(place) for place in upgrade.places],
    )


def _told(upgrade: Upgrade) -> str:
    name, away = upgrade.package.name, ", ".join(upgrade.from_versions)
    where = _few([_place(place) for place in upgrade.places], _MOST_PLACES)
    if upgrade.to is None:
        what = f"{name} {away}" if not upgrade.loose else name
        return (
            f"{upgrade.target}: replace or shield {what} ({where}): no fixed version is known "
            f"of {_few(upgrade.remains, _MOST_NAMED)}."
        )
    if upgrade.loose:
        parts = [f"{upgrade.target}: require {name} {upgrade.to} or later in {where}"]
    elif upgrade.direct or not upgrade.brought_by:
        parts = [f"{upgrade.target}: upgrade {name} {away} to {upgrade.to} ({where})"]
    else:
        by = _few(upgrade.brought_by, _MOST_NAMED)
        parts = [f"{upgrade.target}: raise {name} {away}, which comes with {by}, to {upgrade.to} ({where})"]
    parts.append(f"; that clears {_few(upgrade.clears, _MOST_NAMED)}")
    if upgrade.remains:
        parts.append(f", while {_few(upgrade.remains, _MOST_NAMED)} remains: shield it")
    parts.append(".")
    for obstacle in upgrade.blocked_by:
        verb = "has to be changed" if obstacle.own else "stands in the way and has to be upgraded as well"
        parts.append(f" {obstacle.by} {verb}: it asks for {obstacle.requirement}.")
    return "".join(parts)


def _place(component: Component) -> str:
    place = component.place
    return f"{place.file}:{place.line}" if place.line else place.file


def _spaced(requirement: str) -> str:
    return requirement if requirement[:1] in "<>=!~" else f" {requirement}"


def _few(names: Sequence[str], most: int) -> str:
    named = list(dict.fromkeys(names))
    more = f" and {len(named) - most} more" if len(named) > most else ""
    return ", ".join(named[:most]) + more
