"""What a checkout asks for against what it has and what there is. Pure: values in, findings and skips out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from models.report import Finding, Severity, Skip
from tasks.advisories.package import PYPI, Package
from tasks.audit.component import Component, Evidence, Inventory, Origin, Scope
from tasks.audit.in_use import InUse, applies, project_of
from tasks.audit.releases import SOURCE, Releases

OUTDATED = "dependencies.outdated:"


def declared_against_installed(inventory: Inventory) -> Iterator[Finding]:
    """Requirements that the environment lacks, and installed versions that a requirement or constraint forbids."""
    if not inventory.environment:
        return
    installed: dict[Package, list[str]] = {}
    for component in inventory.components:
        if _is_installed(component) and component.version is not None:
            installed.setdefault(component.package, []).append(component.version)
    missing: dict[Package, list[Component]] = {}
    violated: dict[Package, list[Component]] = {}
    for need in _needs(inventory, constraints=True):
        versions = installed.get(need.package)
        constraint = need.evidence is Evidence.constraint
        if versions is None and not constraint and need.scope is Scope.runtime and need.origin is Origin.registry:
            missing.setdefault(need.package, []).append(need)
        elif versions is not None and not any(_allowed(version, _range(need)) for version in versions):
            violated.setdefault(need.package, []).append(need)
    for package, needs in sorted(missing.items()):
        yield Finding(
            key=f"dependencies.missing:{inventory.target}/{package.path}",
            severity=Severity.medium,
            component=inventory.target,
            title=f"{package.name} is required but not installed.",
            detail=_said(needs),
            remedy="Install the requirements again, or remove the one that is not needed.",
            evidence={"package": package.name, "places": _places(needs)},
        )
    for package, needs in sorted(violated.items()):
        versions_told = ", ".join(installed[package])
        optional = all(need.evidence is Evidence.constraint or need.scope is not Scope.runtime for need in needs)
        yield Finding(
            key=f"dependencies.violated:{inventory.target}/{package.path}",
            severity=Severity.low if optional else Severity.medium,
            component=inventory.target,
            title=f"{package.name} {versions_told} is installed, which the requirements do not allow.",
            detail=_said(needs),
            remedy="Install the requirements again, or correct the range that is no longer meant.",
            evidence={"package": package.name, "installed": versions_told, "places": _places(needs)},
        )


def not_compared(inventory: Inventory) -> Iterator[Skip]:
    """That there is no environment to compare requirements with, where there are any."""
    if not inventory.environment and any(True for _ in _needs(inventory)):
        yield Skip(
            area="dependencies",
            component=inventory.target,
            reason="has no environment to compare its requirements with; create `.venv` or name `environment`.",
            hides=tuple(f"dependencies.{kind}:{inventory.target}/" for kind in ("missing", "violated")),
        )


def direct(inventory: Inventory) -> frozenset[Package]:
    """Packages of PyPI that the checkout itself asks for."""
    return frozenset(need.package for need in _needs(inventory) if need.origin is Origin.registry)


def outdated(inventory: Inventory, used: InUse, releases: Releases) -> Iterator[Finding]:
    """Requirements of which the index has a newer version: `low` when a whole generation behind, else `info`."""
    ranges: dict[Package, SpecifierSet] = {}
    for need in _needs(inventory):
        ranges[need.package] = ranges.get(need.package, SpecifierSet()) & _range(need)
    for package in sorted(direct(inventory) & used.exact.keys()):
        version = _newest_of(used.exact[package])
        available = releases.versions.get(package.name)
        if version is None:
            continue
        if package.name in releases.unknown:
            yield Finding(
                key=f"dependencies.not_on_index:{inventory.target}/{package.path}",
                severity=Severity.info,
                component=inventory.target,
                title=f"The package index does not know {package.name}.",
                detail="A private package? Then somebody else could register the name on a public index.",
                remedy="Name the index that has it as index_url in [audit] of lama.toml.",
                evidence={"package": package.name, "version": str(version)},
            )
        if not available or available[-1] <= version:
            continue
        newest = available[-1]
        allowed = [one for one in available if one in ranges.get(package, SpecifierSet())]
        newest_allowed = allowed[-1] if allowed else None
        pins = sorted({one.place.file for one in used.exact[package] if one.evidence is Evidence.constraint})
        behind = newest.release[0] > version.release[0] or newest.epoch > version.epoch
        yield Finding(
            key=f"{OUTDATED}{inventory.target}/{package.path}",
            severity=Severity.low if behind else Severity.info,
            component=inventory.target,
            title=f"{package.name} {version} is in use, {newest} is out.",
            detail=""
            if newest_allowed == newest
            else f"The requirements allow up to {newest_allowed or 'none of them'}.",
            remedy=(f"Upgrade to {newest}" if newest_allowed == newest else f"See whether {newest} can be allowed")
            + (f", and move its pin in {', '.join(pins)}." if pins else "."),
            evidence={
                "package": package.name,
                "version": str(version),
                "newest": str(newest),
                "newest_allowed": str(newest_allowed) if newest_allowed else None,
            },
        )


def unreleased(releases: Releases) -> Iterator[Skip]:
    """Packages that the index could not be asked about, or an index that knows nothing and so is none."""
    if releases.failed:
        reasons = sorted(set(releases.failed.values()))
        yield Skip(
            area="dependencies",
            component=SOURCE,
            reason=f"Newer versions of {_listed(sorted(releases.failed))} are not known: it {'; it '.join(reasons)}",
            hides=(OUTDATED, "dependencies.not_on_index:"),
        )
    elif releases.unknown and not releases.versions:
        yield Skip(
            area="dependencies",
            component=SOURCE,
            reason="It knows none of the packages; correct index_url in [audit] of lama.toml.",
            hides=(OUTDATED, "dependencies.not_on_index:"),
        )


def _needs(inventory: Inventory, *, constraints: bool = False) -> Iterator[Component]:
    """Requirements of PyPI's packages that apply in the target's environment, the target itself left out."""
    wanted = {Evidence.declared, Evidence.constraint} if constraints else {Evidence.declared}
    for component in inventory.components:
        if (
            component.package.ecosystem == PYPI
            and component.evidence in wanted
            and component.scope is not Scope.build
            and component.package not in inventory.own
            and applies(component, inventory.python)
        ):
            yield component


def _range(component: Component) -> SpecifierSet:
    text = component.requirement or (f"=={component.version}" if component.version else "")
    try:
        return SpecifierSet(text)
    except InvalidSpecifier:  # an address, or what only other tools understand: it forbids nothing here
        return SpecifierSet()


def _allowed(version: str, specifier: SpecifierSet) -> bool:
    try:
        return specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return not specifier


def _is_installed(component: Component) -> bool:
    """Whether an environment has it, and not only a folder of the target that holds somebody's copy."""
    return component.evidence is Evidence.installed and project_of(component) is not None


def _newest_of(components: Sequence[Component]) -> Version | None:
    """The installed version; without an environment the newest that is locked or pinned."""
    preferred = [one for one in components if _is_installed(one)] or list(components)
    parsed = []
    for component in preferred:
        try:
            parsed.append(Version(str(component.version)))
        except InvalidVersion:
            continue
    return max(parsed, default=None)


def _said(needs: Iterable[Component]) -> str:
    told = dict.fromkeys(f"{_place(need)} says {need.package.name}{need.requirement}" for need in needs)
    return "; ".join(told) + "."


def _place(component: Component) -> str:
    return f"{component.place.file} [{component.place.table}]" if component.place.table else component.place.file


def _places(needs: Iterable[Component]) -> list[str | int | float | bool | None]:  # as JSON has lists
    return list(dict.fromkeys(need.place.file for need in needs))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 5 else f"{', '.join(names[:5])} and {len(names) - 5} more"


Versions = Mapping[Package, tuple[str, ...]]


def versions_of(releases: Releases) -> Versions:
    """What the index offers, as the judgement of loose requirements wants it."""
    return {Package(PYPI, name): tuple(map(str, versions)) for name, versions in releases.versions.items()}
