"""What an audit found, in the words of a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from models.report import Finding, Severity, Skip
from models.risk import ComponentRecord
from tasks.advisories.package import PYPI, Package
from tasks.advisories.source import AREA, VULNERABILITY, Known, SourceState
from tasks.advisories.versions import ordering
from tasks.audit.component import Component, Evidence, Inventory
from tasks.audit.examine import Examination
from tasks.audit.in_use import in_use
from tasks.audit.unseen import few, unlocked, unseen_gaps
from tasks.audit.weakness import LooseRange, Weakness

RANGE = "dependencies.range:"
STALE = "dependencies.stale_mirror:"
_MOST_PLACES = 50
_SURE = {
    Evidence.installed: "installed",
    Evidence.image: "in the image",
    Evidence.sbom: "in the bill of materials",
    Evidence.locked: "locked",
    Evidence.constraint: "constrained",
    Evidence.declared: "declared",
}
_LIKELY = 0.1
"""EPSS from which a finding says it in its detail: a tenth of all published vulnerabilities never come near it."""


def findings_of(examination: Examination) -> list[Finding]:
    """Everything found: vulnerabilities, loose ranges, sources that are too old."""
    found = [_of_weakness(weakness, examination) for weakness in examination.weaknesses]
    found += _of_ranges([loose for part in examination.judged for loose in part.ranges])
    found += _of_yanked(examination)
    found += [_of_stale(state) for state in examination.known.states if state.stale]
    return found


def skips_of(examination: Examination) -> list[Skip]:
    """What could not be looked at, as reports carry it: also what nobody could have looked at, because what
    requirements bring in is resolved nowhere, and because images are known by their names alone.
    """
    return [Skip.of(gap) for gap in (*examination.all_gaps, *unseen_gaps(examination.inventories))]


def components_of(inventories: Iterable[Inventory]) -> tuple[ComponentRecord, ...]:
    """Every component, as reports carry it."""
    return tuple(
        ComponentRecord(
            target=taken.target,
            ecosystem=component.package.ecosystem,
            name=component.package.name,
            version=component.version,
            requirement=component.requirement,
            file=component.place.file,
            line=component.place.line,
            evidence=component.evidence.value,
            scope=component.scope.value,
            direct=component.direct,
            via=component.via,
            licence=component.licence,
        )
        for taken in inventories
        for component in taken.components
    )


def record_of(weakness: Weakness, known: Known) -> dict[str, Any]:
    """A vulnerability with all that is known about it, as JSON has it."""
    return {
        "key": key_of(weakness),
        "target": weakness.target,
        "ecosystem": weakness.package.ecosystem,
        "package": weakness.package.name,
        "versions": list(weakness.versions),
        "id": weakness.id,
        "names": list(weakness.names),
        "summary": weakness.summary,
        "severity": weakness.severity.value,
        "score": weakness.score,
        "vector": weakness.vector,
        "epss": weakness.epss,
        "exploited": weakness.exploited,
        "fixed": weakness.fixed,
        "url": weakness.url,
        "sources": list(known.sources_of(weakness.package, weakness.names)),
        "places": [
            {
                "file": place.place.file,
                "line": place.place.line,
                "version": place.version,
                "via": list(place.via),
                "evidence": place.evidence.value,
            }
            for place in weakness.places[:_MOST_PLACES]
        ],
    }


def key_of(weakness: Weakness) -> str:
    """The key of the finding about a vulnerability."""
    return f"{VULNERABILITY}{weakness.target}/{weakness.package.path}/{weakness.id}"


def key_of_range(loose: LooseRange) -> str:
    """The key of the finding about a requirement that allows vulnerable versions."""
    return f"{RANGE}{loose.target}/{loose.component.package.path}"


def keys_about(target: str, package: Package, ids: Iterable[str]) -> Iterable[str]:
    """The keys of the findings that an upgrade of `package` in `target` is for."""
    return (f"{RANGE}{target}/{package.path}", *(f"{VULNERABILITY}{target}/{package.path}/{id_}" for id_ in ids))


def metrics_of(examination: Examination, findings: Sequence[Finding], skipped: Sequence[Skip]) -> dict[str, float]:
    """Figures of an audit. What was not looked at has none: a nought on a dashboard reads as all clear."""
    components = [component for taken in examination.inventories for component in taken.components]
    packages = {(component.package, component.version) for component in components}
    metrics = {
        "audit_components_total": float(len(components)),
        "audit_packages_total": float(len(packages)),
        "audit_direct_total": float(len({c.package for c in components if c.direct})),
        "audit_files_read_total": float(sum(len(taken.files) for taken in examination.inventories)),
    }
    for family, count in Counter(package.family for package, _ in packages).items():
        metrics[f"audit_{family.lower().replace(' ', '_')}_packages_total"] = float(count)
    for state in examination.known.states:
        if state.records is not None:
            metrics[f"audit_{state.name}_records_total"] = float(state.records)
    if not any(skip.area == AREA for skip in skipped):
        weak = [finding for finding in findings if finding.key.startswith(VULNERABILITY)]
        metrics["audit_vulnerabilities_total"] = float(len(weak))
        metrics["audit_exploited_total"] = float(sum(finding.evidence.get("exploited") is True for finding in weak))
    return metrics


def summary_of(examination: Examination, findings: Sequence[Finding], skipped: Sequence[Skip]) -> str:
    """One or two sentences for a person."""
    packages = {(c.package, c.version) for taken in examination.inventories for c in taken.components}
    weak = sum(finding.key.startswith(VULNERABILITY) for finding in findings)
    worst = max((finding.severity for finding in findings), key=lambda severity: severity.rank, default=Severity.info)
    told = f"{weak} known vulnerabilities" if weak != 1 else "1 known vulnerability"
    if skipped:
        told = f"at least {told}; not everything could be looked at" if weak else "not everything could be looked at"
    elif weak:
        told += f", the worst {worst.value}"
    count = len(examination.inventories)
    targets = "target" if count == 1 else "targets"
    open_ = len({asked for taken in examination.inventories for asked in unlocked(taken)})
    more = f" What {open_} of them bring in is not known: no lock file or environment says it." if open_ else ""
    return f"{len(packages)} packages in {count} {targets}: {told}.{more}"


def _of_weakness(weakness: Weakness, examination: Examination) -> Finding:
    versions, known = ", ".join(weakness.versions), examination.known
    direct = any(place.direct for place in weakness.places)
    via = min((place.via for place in weakness.places if place.via), key=len, default=())
    detail = [
        f"Also known as {', '.join(name for name in weakness.names if name != weakness.id)}."
        if len(weakness.names) > 1
        else "",
        "It is exploited already (CISA's catalogue)." if weakness.exploited else "",
        f"EPSS: {weakness.epss:.0%} within 30 days." if weakness.epss and weakness.epss >= _LIKELY else "",
        f"Brought in by {' > '.join(via)}." if via and not direct else "",
        f"It is {' and '.join(_seen_as(weakness.places))}"
        + (
            f"; told by {', '.join(sources)}."
            if (sources := known.sources_of(weakness.package, weakness.names))
            else "."
        ),
    ]
    summary = weakness.summary.rstrip(".")
    name = weakness.package.name
    if weakness.fixed is None:
        remedy = f"No fixed version of {name} is known: replace or shield it."
    elif weakness.fixed in examination.yanked.get(weakness.package, ()):
        remedy = f"Upgrade {name} to a later version than {weakness.fixed}, which mends it and was yanked."
    elif via and not direct:
        remedy = f"Upgrade {name} to {weakness.fixed} or later; it comes with {via[0]}."
    else:
        remedy = f"Upgrade {name} to {weakness.fixed} or later."
    return Finding(
        key=key_of(weakness),
        severity=weakness.severity,
        component=weakness.target,
        title=f"{name} {versions} has {weakness.id}{' (exploited)' if weakness.exploited else ''}"
        + (f": {summary}." if summary else "."),
        detail=" ".join(part for part in detail if part),
        remedy=remedy,
        evidence={
            "id": weakness.id,
            "package": name,
            "ecosystem": weakness.package.ecosystem,
            "versions": list(weakness.versions),
            "names": list(weakness.names),
            "fixed": weakness.fixed,
            "direct": direct,
            "via": list(via),
            "places": list(_places(weakness.places)),
            "score": weakness.score,
            "vector": weakness.vector,
            "epss": weakness.epss,
            "exploited": weakness.exploited,
            "url": weakness.url,
            "sources": list(known.sources_of(weakness.package, weakness.names)),
            "seen_as": list(_seen_as(weakness.places)),
        },
    )


def _seen_as(places: Iterable[Component]) -> list[str]:
    """How the package is known to be used, the surest first: what is installed is there, what is declared may be."""
    told = {place.evidence for place in places}
    return [word for evidence, word in _SURE.items() if evidence in told]


def _of_ranges(ranges: Sequence[LooseRange]) -> Iterable[Finding]:
    """One finding for each target and package: the same requirement in ten files is one thing to mend."""
    grouped: dict[tuple[str, str], list[LooseRange]] = {}
    for loose in ranges:
        grouped.setdefault((loose.target, loose.component.package.path), []).append(loose)
    for (target, _), told in sorted(grouped.items()):
        worst = max(told, key=lambda loose: loose.severity.rank)
        name, asked = worst.component.package.name, worst.component.requirement or "any version"
        if worst.newest is None:
            detail = "Which versions there are could not be looked up."
        elif worst.newest_weaknesses:
            detail = f"The newest that it allows, {worst.newest}, has {', '.join(worst.newest_weaknesses)}."
        else:
            detail = f"The newest that it allows, {worst.newest}, is clean."
        ids = sorted({id_ for loose in told for id_ in loose.ids})
        yield Finding(
            key=key_of_range(worst),
            severity=worst.severity,
            component=target,
            title=f"{name} is required as {asked}, which allows vulnerable versions.",
            detail=f"{detail} Vulnerable and allowed: {few(worst.vulnerable)}.",
            remedy=f"Lock it, or require a version of {name} that has none of {few(ids)}.",
            evidence={
                "package": name,
                "ecosystem": worst.component.package.ecosystem,
                "requirement": worst.component.requirement,
                "names": list(ids),
                "newest": worst.newest,
                "newest_weaknesses": list(worst.newest_weaknesses),
                "vulnerable": list(worst.vulnerable[-100:]),
                "places": list(_places([loose.component for loose in told])),
            },
        )


def _of_yanked(examination: Examination) -> Iterable[Finding]:
    """What is in use and was withdrawn by its authors, of the packages that were looked up."""
    order = ordering(PYPI)
    for taken in examination.inventories if examination.yanked else ():
        for package, components in in_use(taken).exact.items():
            withdrawn = {order.parse(version) for version in examination.yanked.get(package, ())} if order else set()
            used = [one for one in components if order and one.version and order.parse(one.version) in withdrawn]
            if used:
                versions = sorted({str(one.version) for one in used})
                yield Finding(
                    key=f"dependencies.yanked:{taken.target}/{package.path}",
                    severity=Severity.low,
                    component=taken.target,
                    title=f"{package.name} {', '.join(versions)} was yanked: its authors have withdrawn it.",
                    detail="An installer takes it only because it is asked for exactly.",
                    remedy=f"Require another version of {package.name}.",
                    evidence={"package": package.name, "versions": list(versions), "places": list(_places(used))},
                )


def _of_stale(state: SourceState) -> Finding:
    newest = state.newest.date().isoformat() if state.newest else "unknown"
    return Finding(
        key=f"{STALE}{state.name}",
        severity=Severity.medium,
        component=state.name,
        title=f"The advisories of the source {state.name} are stale.",
        detail=f"The newest record is of {newest}; what has become known since is not in it.",
        remedy="Run `lama advisories update`, and put it on a schedule.",
        evidence={
            "newest": state.newest.isoformat() if state.newest else None,
            "fetched_at": state.fetched_at.isoformat() if state.fetched_at else None,
        },
    )


def _places(components: Iterable[Component]) -> list[str]:
    """`file:line` of each, those that people write before those that tools write."""
    ranked = sorted(components, key=lambda c: (c.evidence is not Evidence.declared, c.place.file, c.place.line or 0))
    told = (f"{c.place.file}:{c.place.line}" if c.place.line else c.place.file for c in ranked)
    return list(dict.fromkeys(told))[:_MOST_PLACES]
