"""Turns what was gathered about packages into findings. Pure: values in, findings and skips out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from models.report import Finding, Severity, Skip
from tasks.advisories import package
from tasks.advisories.merge import Vulnerability, merge
from tasks.advisories.record import Advisory, Verdict
from tasks.audit.releases import SOURCE, Releases
from tasks.health_check.dependencies.inventory import Declared, Inventory

Package = tuple[str, str]

VULNERABILITY = "dependencies.vulnerability:"
OUTDATED = "dependencies.outdated:"


def declared_against_installed(inventory: Inventory) -> Iterator[Finding]:
    """Requirements that the environment lacks, and installed versions that a requirement or constraint forbids."""
    if not inventory.environment:
        return
    installed = {package.name: package.version for package in inventory.installed}
    missing: dict[str, list[Declared]] = {}
    violated: dict[str, list[Declared]] = {}
    for declared in inventory.declared:
        if not inventory.applies(declared):
            continue
        version = installed.get(declared.name)
        if version is None and not declared.constraint and not declared.optional:
            missing.setdefault(declared.name, []).append(declared)
        elif version is not None and not _allowed(version, declared.requirement.specifier):
            violated.setdefault(declared.name, []).append(declared)
    for name, needs in sorted(missing.items()):
        yield Finding(
            key=f"dependencies.missing:{inventory.checkout}/{name}",
            severity=Severity.medium,
            component=inventory.checkout,
            title=f"{name} is required but not installed.",
            detail=_said(needs),
            remedy="Install the requirements again, or remove the one that is not needed.",
            evidence={"package": name, "places": _places(needs)},
        )
    for name, needs in sorted(violated.items()):
        yield Finding(
            key=f"dependencies.violated:{inventory.checkout}/{name}",
            severity=Severity.low if all(need.constraint or need.optional for need in needs) else Severity.medium,
            component=inventory.checkout,
            title=f"{name} {installed[name]} is installed, which the requirements do not allow.",
            detail=_said(needs),
            remedy="Install the requirements again, or correct the range that is no longer meant.",
            evidence={"package": name, "installed": installed[name], "places": _places(needs)},
        )


def undetermined(inventory: Inventory) -> Iterator[Skip]:
    """Requirements of which nothing says the version that is used: they were not looked at."""
    if inventory.environment:
        return
    known = inventory.versions()
    needs = [item for item in inventory.declared if not item.constraint and inventory.applies(item)]
    unknown = sorted({need.name for need in needs} - set(known))
    if unknown:
        yield Skip(
            area="dependencies",
            component=inventory.checkout,
            reason=f"has no environment, and nothing pins {_listed(unknown)}; create `.venv` or name `environment`.",
            hides=tuple(
                f"dependencies.{kind}:{inventory.checkout}/" for kind in ("missing", "violated", "vulnerability")
            ),
        )
    elif needs:
        yield Skip(
            area="dependencies",
            component=inventory.checkout,
            reason="has no environment to compare its requirements with; create `.venv` or name `environment`.",
            hides=tuple(f"dependencies.{kind}:{inventory.checkout}/" for kind in ("missing", "violated")),
        )


def outdated(inventory: Inventory, releases: Releases) -> Iterator[Finding]:
    """Requirements of which the index has a newer version: `low` when a whole generation behind, else `info`."""
    ranges: dict[str, SpecifierSet] = {}
    for declared in inventory.declared:
        if not declared.constraint and inventory.applies(declared):
            ranges[declared.name] = ranges.get(declared.name, SpecifierSet()) & declared.requirement.specifier
    direct = inventory.direct()
    for name, origins in sorted(inventory.versions().items()):
        used = _newest_of(origins)
        available = releases.versions.get(name)
        if name not in direct or used is None:
            continue
        if name in releases.unknown:
            yield Finding(
                key=f"dependencies.not_on_index:{inventory.checkout}/{name}",
                severity=Severity.info,
                component=inventory.checkout,
                title=f"The package index does not know {name}.",
                detail="A private package? Then somebody else could register the name on a public index.",
                remedy="Name the index that has it as index_url in [audit] of lama.toml.",
                evidence={"package": name, "version": str(used)},
            )
        if not available or available[-1] <= used:
            continue
        newest = available[-1]
        allowed = [version for version in available if version in ranges.get(name, SpecifierSet())]
        newest_allowed = allowed[-1] if allowed else None
        pins = sorted(
            {need.place for need in inventory.declared if need.name == name and need.constraint and need.pinned}
        )
        behind = newest.release[0] > used.release[0] or newest.epoch > used.epoch
        yield Finding(
            key=f"{OUTDATED}{inventory.checkout}/{name}",
            severity=Severity.low if behind else Severity.info,
            component=inventory.checkout,
            title=f"{name} {used} is in use, {newest} is out.",
            detail=""
            if newest_allowed == newest
            else f"The requirements allow up to {newest_allowed or 'none of them'}.",
            remedy=(f"Upgrade to {newest}" if newest_allowed == newest else f"See whether {newest} can be allowed")
            + (f", and move its pin in {', '.join(pins)}." if pins else "."),
            evidence={
                "package": name,
                "version": str(used),
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


def vulnerable(
    inventory: Inventory, advisories: Mapping[Package, Sequence[Advisory]]
) -> tuple[list[Finding], list[Skip]]:
    """The weaknesses of every version in use, one finding each, and what the advisories left undecided."""
    findings: list[Finding] = []
    skipped: list[Skip] = []
    for name, origins in sorted(inventory.versions().items()):
        weaknesses: dict[str, list[Vulnerability]] = {}
        known = package.Package(package.PYPI, name)
        for version in sorted(origins):
            told = advisories.get((name, version), ())
            affected = merge(known, version, told)
            decided = {alias for weakness in affected for alias in weakness.names}
            for weakness in affected:
                weaknesses.setdefault(weakness.id, []).append(weakness)
            skipped += [
                _undecided(inventory.checkout, name, version, advisory)
                for advisory in told
                if advisory.names.isdisjoint(decided) and advisory.verdict(known, version) is Verdict.undecidable
            ]
        findings += [_finding(inventory, name, found, origins) for found in weaknesses.values()]
    return findings, skipped


def stale(newest: datetime | None, now: datetime, max_age_days: float) -> tuple[Finding, Skip] | None:
    """What to say of a mirror whose newest record is older than `max_age_days`; None when it is fresh."""
    age = None if newest is None else (now - newest).total_seconds() / 86_400
    if age is not None and age <= max_age_days:
        return None
    told = "of unknown age" if age is None else f"{age:.0f} days old"
    remedy = "Fetch OSV's zip files into it again, and do so every day."
    finding = Finding(
        key="dependencies.stale_mirror:pypi",
        severity=Severity.medium,
        component="OSV mirror",
        title="The mirror of known vulnerabilities is stale.",
        detail=f"Its newest record is {told}; what has become known since is not in it.",
        remedy=remedy,
        evidence={"newest": newest.isoformat() if newest else None, "max_age_days": max_age_days},
    )
    skip = Skip(
        area="dependencies",
        component="OSV mirror",
        reason=f"It is {told}: newer vulnerabilities were not looked for. {remedy}",
        hides=(VULNERABILITY,),
    )
    return finding, skip


def _finding(inventory: Inventory, name: str, found: Sequence[Vulnerability], origins: Mapping[str, str]) -> Finding:
    worst = max(found, key=lambda weakness: weakness.severity.rank)
    versions = ", ".join(weakness.version for weakness in found)
    fixes = [weakness.fixed for weakness in found]
    known = [Version(fix) for fix in fixes if fix is not None]
    fixed = str(max(known)) if known and None not in fixes else None
    return Finding(
        key=f"{VULNERABILITY}{inventory.checkout}/{name}/{worst.id}",
        severity=worst.severity,
        component=inventory.checkout,
        title=f"{name} {versions} has {worst.id}" + (f": {worst.summary.rstrip('.')}." if worst.summary else "."),
        detail=f"Also known as {', '.join(worst.names[1:])}." if worst.names[1:] else "",
        remedy=f"Upgrade {name} to {fixed} or later."
        if fixed
        else f"No fixed version of {name} is known: replace or shield it.",
        evidence={
            "package": name,
            "versions": {weakness.version: origins[weakness.version] for weakness in found},
            "names": list(worst.names),
            "fixed": fixed,
            "direct": name in inventory.direct(),
        },
    )


def _undecided(checkout: str, name: str, version: str, advisory: Advisory) -> Skip:
    return Skip(
        area="dependencies",
        component=f"{checkout}/{name} {version}",
        reason=f"{advisory.id} does not say in a way that can be evaluated which versions it is about; read it.",
        hides=(f"{VULNERABILITY}{checkout}/{name}/",),
    )


def _allowed(version: str, specifier: SpecifierSet) -> bool:
    try:
        return specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return not specifier


def _newest_of(origins: Mapping[str, str]) -> Version | None:
    """The installed version; without an environment the newest that is locked or pinned."""
    preferred = [version for version, origin in origins.items() if origin == "installed"] or list(origins)
    parsed = []
    for version in preferred:
        try:
            parsed.append(Version(version))
        except InvalidVersion:
            continue
    return max(parsed, default=None)


def _said(needs: Iterable[Declared]) -> str:
    return "; ".join(f"{need.place} says {need.requirement}" for need in needs) + "."


def _places(needs: Iterable[Declared]) -> list[str | int | float | bool | None]:  # as JSON has lists
    return [need.place for need in needs]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 5 else f"{', '.join(names[:5])} and {len(names) - 5} more"
