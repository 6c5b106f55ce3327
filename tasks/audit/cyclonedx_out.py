"""Writes a bill of materials with its vulnerabilities in CycloneDX 1.6 (cyclonedx.org/docs/1.6/json).

Each part is made by `cyclonedx-python-lib`, which knows the format. The document is put together here: the library
looks through all dependencies for every component, which takes a minute for five thousand of them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from tasks.advisories.package import Package
from tasks.audit.purls import purl_of

if TYPE_CHECKING:
    from cyclonedx.model.component import Component, ComponentScope
    from cyclonedx.model.license import License
    from cyclonedx.model.vulnerability import (
        BomTarget,
        Vulnerability,
        VulnerabilityAnalysis,
        VulnerabilityRating,
        VulnerabilitySource,
    )

_SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
_ALL = "lama:audit"
_MOST_OCCURRENCES = 100
_NOT_AFFECTED = (
    "not_affected",
    "false_positive",
    "component_not_present",
    "vulnerable_code_not_present",
    "vulnerable_code_not_in_execute_path",
    "vulnerable_code_cannot_be_controlled_by_adversary",
    "inline_mitigations_already_exist",
)
"""What a reason begins with that says more than that a risk is accepted."""
_METHODS = {"CVSS:3.0": "CVSSv3", "CVSS:3.1": "CVSSv31", "CVSS:4.0": "CVSSv4"}


class Recorded(Protocol):
    """One component at one place, as reports carry it (`models.risk.ComponentRecord`)."""

    @property
    def target(self) -> str: ...  # noqa: D102
    @property
    def ecosystem(self) -> str: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def version(self) -> str | None: ...  # noqa: D102
    @property
    def requirement(self) -> str: ...  # noqa: D102
    @property
    def file(self) -> str: ...  # noqa: D102
    @property
    def line(self) -> int | None: ...  # noqa: D102
    @property
    def evidence(self) -> str: ...  # noqa: D102
    @property
    def scope(self) -> str: ...  # noqa: D102
    @property
    def direct(self) -> bool | None: ...  # noqa: D102
    @property
    def via(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def licence(self) -> str: ...  # noqa: D102


def to_cyclonedx(
    components: Iterable[Recorded],
    weaknesses: Iterable[Mapping[str, Any]] = (),
    *,
    suppressed: Mapping[str, str] | None = None,
    timestamp: datetime,
    serial: UUID,
    tool_version: str,
) -> str:
    """A bill of materials as JSON; the same values give the same text.

    Args:
        components: everything that is used. What a place asks for without an exact version is left out where another
            place of the same target says the version.
        weaknesses: vulnerabilities, in the form of `tasks.audit.report.record_of`.
        suppressed: reasons why vulnerabilities are set aside, by the `key` of the weakness or by its id. A reason that
            begins with `not_affected`, `false_positive` or one of OpenVEX's justifications says that the target is not
            affected; one that begins with `fixed`, that it is resolved; any other, that the risk is accepted.
        timestamp: when the components were looked at.
        serial: identity of the document.
        tool_version: Lama's.
    """
    from cyclonedx.schema.schema import SchemaVersion1Dot6  # noqa: PLC0415

    def plain(part: Any) -> Any:
        value = json.loads(part.as_json(view_=SchemaVersion1Dot6))
        # The library puts these into an order that differs from run to run.
        value.get("evidence", {}).get("occurrences", []).sort(key=lambda one: (one["location"], one.get("line", 0)))
        return value

    records = _counted(sorted(components, key=_order))
    targets = list(dict.fromkeys(record.target for record in records))
    grouped: dict[str, list[Recorded]] = defaultdict(list)
    for record in records:
        grouped[_ref(Package(record.ecosystem, record.name), record.version)].append(record)
    making = _Making(prefixed=len(targets) != 1)
    applications = [making.application(target) for target in targets]
    root = applications.pop() if len(applications) == 1 else making.whole()
    edges = _edges(records, grouped)
    if len(targets) != 1:
        edges[_ALL] = {_target_ref(target) for target in targets}
    listed = [*map(plain, applications), *(plain(making.component(ref, grouped[ref])) for ref in sorted(grouped))]
    refs = [root.bom_ref.value or "", *(one["bom-ref"] for one in listed)]
    document = {
        "$schema": _SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": serial.urn,
        "version": 1,
        "metadata": plain(making.metadata(root, timestamp, tool_version)),
        "components": listed,
        "dependencies": [
            {"ref": ref, **({"dependsOn": sorted(edges[ref])} if edges.get(ref) else {})} for ref in sorted(refs)
        ],
        "vulnerabilities": [
            plain(one) for one in making.vulnerabilities(weaknesses, suppressed or {}, frozenset(grouped))
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def _counted(records: Sequence[Recorded]) -> list[Recorded]:
    known = {(record.target, record.ecosystem, record.name) for record in records if record.version is not None}
    return [
        record
        for record in records
        if record.version is not None or (record.target, record.ecosystem, record.name) not in known
    ]


def _order(record: Recorded) -> tuple[object, ...]:
    place = (record.file, record.line or 0, record.evidence, record.scope, record.requirement, record.via)
    return (record.target, record.ecosystem, record.name, record.version or "", *place)


def _ref(package: Package, version: str | None) -> str:
    return purl_of(package, version) or f"{package.path}@{version or ''}"


def _target_ref(target: str) -> str:
    return f"target:{target}"


def _edges(records: Sequence[Recorded], grouped: Mapping[str, Sequence[Recorded]]) -> dict[str, set[str]]:
    """Who brings in what, as far as paths tell: each component with the last one on its shortest path."""
    named: dict[tuple[str, str, str, str], list[tuple[tuple[str, ...], str]]] = defaultdict(list)
    for ref in sorted(grouped):
        for record in grouped[ref]:
            named[record.target, record.ecosystem, record.file, record.name].append((record.via, ref))
    edges: dict[str, set[str]] = defaultdict(set)
    for record in records:
        ref = _ref(Package(record.ecosystem, record.name), record.version)
        if record.via:
            above = named.get((record.target, record.ecosystem, record.file, record.via[-1]), [])
            exact = [parent for via, parent in above if via == record.via[:-1]] or [parent for _, parent in above]
            edges_to = exact[0] if exact else _target_ref(record.target)
            if edges_to != ref:
                edges[edges_to].add(ref)
        elif record.direct:
            edges[_target_ref(record.target)].add(ref)
    return edges


class _Making:
    """Makes the parts of one document."""

    def __init__(self, *, prefixed: bool) -> None:
        self._prefixed = prefixed
        self._licences: dict[str, License] = {}

    def metadata(self, root: Component, timestamp: datetime, tool_version: str) -> Any:
        """About the document itself."""
        from cyclonedx.model.bom import BomMetaData  # noqa: PLC0415
        from cyclonedx.model.component import Component, ComponentType  # noqa: PLC0415
        from cyclonedx.model.tool import ToolRepository  # noqa: PLC0415

        lama = Component(name="lama", version=tool_version, type=ComponentType.APPLICATION, bom_ref="lama:tool")
        return BomMetaData(timestamp=timestamp, tools=ToolRepository(components=[lama]), component=root)

    def whole(self) -> Component:
        """What several targets together are."""
        from cyclonedx.model.component import Component, ComponentType  # noqa: PLC0415

        return Component(name="audit", type=ComponentType.APPLICATION, bom_ref=_ALL)

    def application(self, target: str) -> Component:
        """A target."""
        from cyclonedx.model.component import Component, ComponentType  # noqa: PLC0415

        return Component(name=target, type=ComponentType.APPLICATION, bom_ref=_target_ref(target))

    def component(self, ref: str, records: Sequence[Recorded]) -> Component:
        """One package in one version, with all places that have it."""
        from cyclonedx.model import Property  # noqa: PLC0415
        from cyclonedx.model.component import Component, ComponentType  # noqa: PLC0415
        from cyclonedx.model.component_evidence import ComponentEvidence, Occurrence  # noqa: PLC0415
        from packageurl import PackageURL  # noqa: PLC0415

        first = records[0]
        package = Package(first.ecosystem, first.name)
        places = {(self._location(record), record.line) for record in records}
        occurrences = sorted(places, key=lambda place: (place[0], place[1] or 0))[:_MOST_OCCURRENCES]
        told = {("lama:ecosystem", first.ecosystem), *(("lama:evidence", record.evidence) for record in records)}
        if first.version is None:
            told |= {("lama:requirement", record.requirement) for record in records if record.requirement}
        licence = next((record.licence for record in records if record.licence), "")
        return Component(
            name=first.name,
            version=first.version,
            type=ComponentType.CONTAINER if package.family == "Docker" else ComponentType.LIBRARY,
            bom_ref=ref,
            purl=PackageURL.from_string(ref) if ref.startswith("pkg:") else None,
            scope=_scope({record.scope for record in records}),
            licenses=[self._licence(licence)] if licence else None,
            evidence=ComponentEvidence(
                occurrences=[Occurrence(location=location, line=line) for location, line in occurrences]
            ),
            properties=[Property(name=name, value=value) for name, value in sorted(told)],
        )

    def vulnerabilities(
        self, weaknesses: Iterable[Mapping[str, Any]], suppressed: Mapping[str, str], refs: frozenset[str]
    ) -> Iterator[Vulnerability]:
        """One for each vulnerability of each package, and for each verdict about it."""
        grouped: dict[tuple[str, str, str, str], list[Mapping[str, Any]]] = defaultdict(list)
        for weakness in weaknesses:
            reason = suppressed.get(str(weakness.get("key", "")), suppressed.get(str(weakness["id"]), ""))
            grouped[str(weakness["id"]), weakness["ecosystem"], weakness["package"], reason].append(weakness)
        for number, (id_, ecosystem, package, reason) in enumerate(sorted(grouped)):
            told = grouped[id_, ecosystem, package, reason]
            yield _vulnerability(f"vulnerability:{number}:{id_}", Package(ecosystem, package), told, reason, refs)

    def _location(self, record: Recorded) -> str:
        return f"{record.target}/{record.file}" if self._prefixed else record.file

    def _licence(self, text: str) -> License:
        from cyclonedx.contrib.license.factories import LicenseFactory  # noqa: PLC0415

        if text not in self._licences:
            self._licences[text] = LicenseFactory().make_from_string(text)
        return self._licences[text]


def _scope(scopes: set[str]) -> ComponentScope:
    from cyclonedx.model.component import ComponentScope  # noqa: PLC0415

    if "runtime" in scopes:
        return ComponentScope.REQUIRED
    return ComponentScope.OPTIONAL if "optional" in scopes else ComponentScope.EXCLUDED


def _vulnerability(
    ref: str, package: Package, told: Sequence[Mapping[str, Any]], reason: str, refs: frozenset[str]
) -> Vulnerability:
    from cyclonedx.model import Property, XsUri  # noqa: PLC0415
    from cyclonedx.model.vulnerability import (  # noqa: PLC0415
        Vulnerability,
        VulnerabilityAdvisory,
        VulnerabilityReference,
    )

    first = told[0]
    names = sorted({str(name) for one in told for name in one.get("names") or ()} - {str(first["id"])})
    fixed = next((one["fixed"] for one in told if one.get("fixed")), None)
    properties = [Property(name="lama:exploited", value="true")] if any(one.get("exploited") for one in told) else []
    if first.get("epss") is not None:
        properties.append(Property(name="lama:epss", value=str(first["epss"])))
    return Vulnerability(
        bom_ref=ref,
        id=str(first["id"]),
        source=_source(str(first["id"])),
        references=[VulnerabilityReference(id=name, source=_source(name)) for name in names],
        ratings=[_rating(first)],
        description=str(first.get("summary") or "") or None,
        recommendation=f"Upgrade {package.name} to {fixed} or later." if fixed else None,
        advisories=[VulnerabilityAdvisory(url=XsUri(str(first["url"])))] if first.get("url") else None,
        analysis=_analysis(reason) if reason else None,
        affects=list(_affects(package, told, refs)),
        properties=properties,
    )


def _affects(package: Package, told: Sequence[Mapping[str, Any]], refs: frozenset[str]) -> Iterator[BomTarget]:
    from cyclonedx.model.impact_analysis import ImpactAnalysisAffectedStatus  # noqa: PLC0415
    from cyclonedx.model.vulnerability import BomTarget, BomTargetVersionRange  # noqa: PLC0415

    for version in sorted({str(version) for one in told for version in one.get("versions") or ()}):
        ref = _ref(package, version)
        if ref in refs:
            affected = BomTargetVersionRange(version=version, status=ImpactAnalysisAffectedStatus.AFFECTED)
            yield BomTarget(ref=ref, versions=[affected])


def _rating(weakness: Mapping[str, Any]) -> VulnerabilityRating:
    from cyclonedx.model.vulnerability import (  # noqa: PLC0415
        VulnerabilityRating,
        VulnerabilityScoreSource,
        VulnerabilitySeverity,
    )

    score, vector = weakness.get("score"), str(weakness.get("vector") or "")
    return VulnerabilityRating(
        severity=VulnerabilitySeverity(str(weakness["severity"])),
        score=None if score is None else Decimal(str(score)),
        method=VulnerabilityScoreSource(_METHODS.get(vector[:8], "other")) if vector else None,
        vector=vector or None,
    )


def _analysis(reason: str) -> VulnerabilityAnalysis:
    from cyclonedx.model.impact_analysis import ImpactAnalysisState  # noqa: PLC0415
    from cyclonedx.model.vulnerability import VulnerabilityAnalysis  # noqa: PLC0415

    if reason.startswith(_NOT_AFFECTED):
        state = ImpactAnalysisState.NOT_AFFECTED
    else:  # an accepted risk is still one
        state = ImpactAnalysisState.RESOLVED if reason.startswith("fixed") else ImpactAnalysisState.EXPLOITABLE
    return VulnerabilityAnalysis(state=state, detail=reason)


def _source(id_: str) -> VulnerabilitySource:
    from cyclonedx.model import XsUri  # noqa: PLC0415
    from cyclonedx.model.vulnerability import VulnerabilitySource  # noqa: PLC0415

    if id_.startswith("CVE-"):
        return VulnerabilitySource(name="NVD", url=XsUri(f"https://nvd.nist.gov/vuln/detail/{id_}"))
    if id_.startswith("GHSA-"):
        return VulnerabilitySource(name="GitHub", url=XsUri(f"https://github.com/advisories/{id_}"))
    return VulnerabilitySource(name="OSV", url=XsUri(f"https://osv.dev/vulnerability/{id_}"))
