"""The last audit as facts: what each checkout depends on, what brings that in, and which advisories affect it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from models.graph import Label, Ref, Type
from models.report import Skip
from models.risk import AuditReport, ComponentRecord
from tasks.advisories.package import PYPI, Package
from tasks.advisories.source import VULNERABILITY
from tasks.graph.ingest.facts import Facts, Saying, ref
from tasks.graph.ingest.names import dependency


@dataclass(frozen=True, slots=True)
class Heard:
    """What the last audits say of one target."""

    report: AuditReport
    """The newest that looked at it."""
    whole: bool
    """Whether it saw all of it: what it does not name is not there."""


def heard_of(reports: Iterable[AuditReport]) -> dict[str, Heard]:
    """Of each target the newest of `reports` that looked at it; they come newest first."""
    heard: dict[str, Heard] = {}
    for report in reports:
        for target in sorted({one.target for one in report.components} | report.commits.keys()):
            if target not in heard:
                heard[target] = Heard(report, not any(_hides(skip, target) for skip in report.skipped))
    return heard


def _hides(skip: Skip, target: str) -> bool:
    """Whether what failed in this run, and may not in the next, may hide something of `target`. What no run can see,
    such as what an unlocked requirement brings in, has a key of its own and takes nothing away.
    """
    if skip.key:
        return False
    beginning = f"{VULNERABILITY}{target}/"
    prefixes = skip.hides or (f"{skip.area}.",)
    return any(beginning.startswith(prefix) or prefix.startswith(beginning) for prefix in prefixes)


def audit_facts(target: str, report: AuditReport) -> Facts:
    """What `report` says of `target`."""
    said = Saying()
    checkout = said.node(ref(Label.checkout, target), name=target)
    used: dict[Package, list[ComponentRecord]] = {}
    for component in report.components:
        if component.target == target:
            used.setdefault(Package(component.ecosystem, component.name), []).append(component)
    nodes = {package: _package(said, target, package, of) for package, of in used.items()}
    for package, of in used.items():
        _brought_in(said, checkout, nodes, package, of)
    for weakness in report.weaknesses:
        if weakness.get("target") == target:
            _weakness(said, target, weakness)
    return said.facts()


def _package(said: Saying, target: str, package: Package, of: list[ComponentRecord]) -> Ref:
    return said.node(
        dependency(target, package.path),
        name=package.name,
        ecosystem=package.ecosystem,
        versions=sorted({one.version for one in of if one.version is not None}),
        requirements=sorted({one.requirement for one in of if one.requirement}),
        direct=any(one.direct for one in of),
        licence=next((one.licence for one in of if one.licence), ""),
    )


def _brought_in(
    said: Saying, checkout: Ref, nodes: Mapping[Package, Ref], package: Package, of: list[ComponentRecord]
) -> None:
    """Hang a package on what brings it in, from the checkout on."""
    own = nodes[package]
    is_brought = False
    for component in of:
        chain = [nodes.get(Package(package.ecosystem, _normal(name, package.ecosystem))) for name in component.via]
        above = [one for one in chain if one is not None and one != own]
        if component.direct or not above:
            continue
        is_brought = True
        for upper, lower in zip(above, [*above[1:], own], strict=True):
            said.hang(Type.depends_on, upper, lower)
    if not is_brought or any(one.direct for one in of):
        needed = sorted({one.scope for one in of})
        said.hang(Type.depends_on, checkout, own, needed_at=needed, direct=any(one.direct for one in of))


def _weakness(said: Saying, target: str, weakness: Mapping[str, Any]) -> None:
    package = Package(str(weakness["ecosystem"]), str(weakness["package"]))
    advisory = said.node(
        ref(Label.advisory, str(weakness["id"])),
        name=str(weakness["id"]),
        names=sorted(map(str, weakness.get("names") or ())),
        summary=weakness.get("summary"),
        severity=weakness.get("severity"),
        score=weakness.get("score"),
        exploited=bool(weakness.get("exploited")),
        url=weakness.get("url"),
    )
    own = dependency(target, package.path)
    said.node(own, name=package.name, ecosystem=package.ecosystem)
    said.hang(
        Type.affected_by,
        own,
        advisory,
        versions=sorted(map(str, weakness.get("versions") or ())),
        fixed=weakness.get("fixed"),
    )


def _normal(name: str, ecosystem: str) -> str:
    """The name of a link of the chain, which may have its version behind it, as the ecosystem normalises it."""
    bare = name.partition("==")[0] if ecosystem == PYPI else name[:1] + name[1:].partition("@")[0]
    return re.sub(r"[-_.]+", "-", bare).lower() if ecosystem == PYPI else bare
