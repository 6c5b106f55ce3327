"""Statements whether something is affected: read from OpenVEX 0.2.0 and CycloneDX VEX, and written as OpenVEX."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from packageurl import PackageURL

from blocks.errors import ConfigurationError
from models.report import Finding, Severity
from models.risk import RiskReport, Suppressed
from tasks.risk.suppress import SetAside, folded, is_target, names_of

LARGEST = 20_000_000
"""Bytes of one document."""
_MOST_STATEMENTS = 100_000
_CONTEXT = "https://openvex.dev/ns/v0.2.0"
_VULNERABILITY = "dependencies.vulnerability:"
_JUSTIFICATIONS = frozenset(
    {
        "component_not_present",
        "vulnerable_code_not_present",
        "vulnerable_code_not_in_execute_path",
        "vulnerable_code_cannot_be_controlled_by_adversary",
        "inline_mitigations_already_exist",
    }
)
"""Those of OpenVEX."""
_CYCLONEDX_REASONS = frozenset(
    {
        "code_not_present", "code_not_reachable", "requires_configuration", "requires_dependency",
        "requires_environment", "protected_by_compiler", "protected_at_runtime", "protected_at_perimeter",
        "protected_by_mitigating_control",
    }
)  # fmt: skip
"""Justifications of CycloneDX (schema 1.6, `impactAnalysisJustification`)."""
_TYPES = {
    "pypi": "pypi", "npm": "npm", "deb": "debian", "github": "github-actions", "githubactions": "github-actions",
    "docker": "docker", "oci": "docker",
}  # fmt: skip
"""Types of package URLs, and the families of ecosystems that findings name."""


class Standing(StrEnum):
    """What a statement says of its products."""

    not_affected = "not_affected"
    affected = "affected"
    fixed = "fixed"
    under_investigation = "under_investigation"


_CYCLONEDX = {
    "resolved": Standing.fixed,
    "resolved_with_pedigree": Standing.fixed,
    "exploitable": Standing.affected,
    "in_triage": Standing.under_investigation,
    "false_positive": Standing.not_affected,
    "not_affected": Standing.not_affected,
}


class Subject(NamedTuple):
    """What a product or one of its parts is."""

    family: str
    """The family of its ecosystem; empty for what is no package of a registry that is known here."""
    name: str
    version: str | None


@dataclass(frozen=True, slots=True)
class Product:
    """A product of a statement: as a whole, or in respect of some of its parts."""

    subject: Subject
    parts: tuple[Subject, ...] = ()


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of one document."""

    document: str
    """Whose it is, for people: the file."""
    names: frozenset[str]
    """The vulnerability's names, in lower case."""
    standing: Standing
    products: tuple[Product, ...]
    justification: str = ""
    impact: str = ""
    """In words, why it is not affected."""
    timestamp: str = ""
    """RFC 3339; of two statements about the same, the later one counts."""

    @property
    def sets_aside(self) -> bool:
        """Whether it may be believed that nothing has to be done: a bare `not_affected` says nothing to believe."""
        if self.standing is Standing.not_affected:
            return bool(self.justification or self.impact)
        return self.standing is Standing.fixed

    @property
    def reason(self) -> str:
        """The statement in one line; `to_openvex` understands it."""
        if self.standing is Standing.fixed:
            return "fixed: as the document says."
        return f"{self.justification or 'not_affected'}: {self.impact or 'as the document says.'}"


def load_vex(paths: Iterable[Path]) -> tuple[Statement, ...]:
    """The statements of the documents at `paths`.

    Raises:
        ConfigurationError: one cannot be read, or is neither OpenVEX nor CycloneDX; it names the file.
    """
    statements: list[Statement] = []
    for path in paths:
        try:
            with path.open("rb") as file:
                content = file.read(LARGEST + 1)
        except OSError as error:
            raise _bad(str(path), f"cannot be read: {error.strerror}.") from error
        statements += read_vex(content, name=str(path))
    return tuple(statements)


def read_vex(content: bytes, *, name: str) -> tuple[Statement, ...]:
    """The statements of one document; `name` is what errors and reports call it.

    Raises:
        ConfigurationError: it is neither OpenVEX nor CycloneDX, or one of its statements is malformed.
    """
    if len(content) > LARGEST:
        raise _bad(name, f"is larger than {LARGEST} bytes.")
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _bad(name, "is not JSON.") from error
    if not isinstance(data, dict):
        raise _bad(name, "is JSON of another shape.")
    if str(data.get("@context", "")).startswith("https://openvex.dev/ns"):
        entries, read = data.get("statements"), _of_openvex
    elif data.get("bomFormat") == "CycloneDX":
        entries, read = data.get("vulnerabilities", []), _of_cyclonedx
    else:
        raise _bad(name, "is neither OpenVEX nor CycloneDX.")
    if not isinstance(entries, list) or len(entries) > _MOST_STATEMENTS:
        raise _bad(name, f"holds no list of at most {_MOST_STATEMENTS} statements.")
    statements: list[Statement] = []
    for place, entry in enumerate(entries):
        try:
            statements += read(entry, data, name)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            said = str(error) if type(error) is ValueError else "it lacks something, or has it in another shape"
            raise _bad(name, f"statement {place + 1} cannot be understood: {said}.") from error
    return tuple(statements)


def believe(findings: Sequence[Finding], statements: Sequence[Statement]) -> SetAside:
    """Take out of `findings` those about vulnerabilities that `statements` say nothing has to be done about.

    A statement counts when it names the vulnerability and either the package in all of its versions that are in use,
    or the target. Of several the latest counts; of equally late ones the one that sets nothing aside.
    """
    by_name: dict[str, list[Statement]] = {}
    for statement in statements:
        for known in statement.names:
            by_name.setdefault(known, []).append(statement)
    kept: list[Finding] = []
    suppressed: list[Suppressed] = []
    for finding in findings:
        if not finding.key.startswith(_VULNERABILITY):
            kept.append(finding)
            continue
        told = {id(one): one for known in names_of(finding) for one in by_name.get(known, ())}
        about = [one for one in told.values() if _is_about(one, finding)]
        last = max(about, key=lambda one: (one.timestamp, not one.sets_aside), default=None)
        if last is not None and last.sets_aside:
            suppressed.append(Suppressed(finding=finding, reason=last.reason, by=last.document))
        else:
            kept.append(finding)
    return SetAside(tuple(kept), tuple(suppressed))


def to_openvex(report: RiskReport, *, author: str = "Lama") -> str:
    """The vulnerabilities of `report` as an OpenVEX document; the same report and author give the same text.

    What is set aside is `not_affected` only where its reason begins with one of OpenVEX's justifications or with
    `not_affected`, and `fixed` where it begins with that word; otherwise the risk was accepted, and the product is
    affected all the same.
    """
    moment = report.finished_at.isoformat()
    told: list[tuple[Finding, Suppressed | None]] = [(finding, None) for finding in report.findings]
    told += [(one.finding, one) for one in report.suppressed]
    ordered = sorted((pair for pair in told if pair[0].key.startswith(_VULNERABILITY)), key=lambda pair: pair[0].key)
    statements = [_statement(finding, one) for finding, one in ordered]
    body: dict[str, Any] = {
        "@context": _CONTEXT,
        "author": author,
        "timestamp": moment,
        "version": 1,
        "tooling": "lama",
        "statements": statements,
    }
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return json.dumps({"@context": _CONTEXT, "@id": f"urn:lama:vex:{digest}", **body}, indent=2, ensure_ascii=False)


def _of_openvex(entry: Any, document: Mapping[str, Any], name: str) -> list[Statement]:
    vulnerability = entry.get("vulnerability")
    if isinstance(vulnerability, str):  # before 0.2.0
        names = [vulnerability]
    else:
        names = [vulnerability["name"], *(vulnerability.get("aliases") or [])]
    products = entry.get("products") or []
    if not products:
        raise ValueError("it names no product")
    shared = [_openvex_subject(part) for part in entry.get("subcomponents") or []]  # before 0.2.0
    standing = _standing(entry["status"])
    return [
        Statement(
            document=name,
            names=_lower(names),
            standing=standing,
            products=tuple(
                Product(
                    _openvex_subject(product),
                    tuple(_openvex_subject(part) for part in _listed(product, "subcomponents")) or tuple(shared),
                )
                for product in products
            ),
            justification=_justification(str(entry.get("justification") or ""), standing),
            impact=_line(entry.get("impact_statement")),
            timestamp=_moment(entry.get("last_updated") or entry.get("timestamp") or document.get("timestamp")),
        )
    ]


def _of_cyclonedx(entry: Any, document: Mapping[str, Any], name: str) -> list[Statement]:
    analysis = entry.get("analysis")
    if not analysis:
        return []  # a plain listing of vulnerabilities: it states nothing
    state = str(analysis["state"])
    if state not in _CYCLONEDX:
        raise ValueError(f"its state {state[:40]!r} is not known")
    standing = _CYCLONEDX[state]
    names = [entry["id"], *(reference["id"] for reference in entry.get("references") or [] if reference.get("id"))]
    known = _references(document)
    products = []
    for affects in entry.get("affects") or []:
        reference = str(affects["ref"])
        subject = known.get(reference) or subject_of(reference)
        versions = [str(one["version"]) for one in affects.get("versions") or [] if one.get("version")]
        products += [Product(subject._replace(version=version)) for version in versions] or [Product(subject)]
    if not products:
        raise ValueError("it affects nothing")
    justification = str(analysis.get("justification") or ("false_positive" if state == "false_positive" else ""))
    moment = entry.get("updated") or entry.get("published") or (document.get("metadata") or {}).get("timestamp")
    return [
        Statement(
            document=name,
            names=_lower(names),
            standing=standing,
            products=tuple(products),
            justification=justification[:100],
            impact=_line(analysis.get("detail")),
            timestamp=_moment(moment),
        )
    ]


def subject_of(text: str) -> Subject:
    """What an identifier of a product is: a package URL, a link into a bill of materials that ends in one, or else a
    name.
    """
    plain = unquote(text.rpartition("#")[2]) if text.startswith("urn:cdx:") else text
    if plain.startswith("pkg:"):
        url = PackageURL.from_string(plain)
        family = _TYPES.get(url.type, "")
        scoped = url.namespace and url.type in {"npm", "github", "githubactions"}
        return Subject(family, f"{url.namespace}/{url.name}" if scoped else url.name, url.version or None)
    return Subject("", plain.rstrip("/").rpartition("/")[2], None)


def _openvex_subject(described: Any) -> Subject:
    if isinstance(described, str):  # before 0.2.0
        return subject_of(described)
    purl = (described.get("identifiers") or {}).get("purl")
    return subject_of(str(purl or described["@id"]))


def _references(document: Mapping[str, Any]) -> dict[str, Subject]:
    """What the references of a bill of materials stand for: the components of its first level, and its own."""
    components = [*(document.get("components") or [])]
    if own := (document.get("metadata") or {}).get("component"):
        components.append(own)
    known: dict[str, Subject] = {}
    for component in components:
        if not isinstance(component, dict) or not component.get("bom-ref"):
            continue
        if component.get("purl"):
            known[str(component["bom-ref"])] = subject_of(str(component["purl"]))
        else:
            known[str(component["bom-ref"])] = Subject("", str(component.get("name") or ""), component.get("version"))
    return known


def _is_about(statement: Statement, finding: Finding) -> bool:
    """Whether it is about the target as a whole, or about every version of the package that the finding is about."""
    in_use = finding.evidence.get("versions")
    wanted = {str(version) for version in in_use} if isinstance(in_use, list) else set()
    covered: set[str] = set()
    for product in statement.products:
        whole = _is_the_target(product.subject, finding)
        if whole and not product.parts:
            return True
        for subject in (product.parts if whole else ()) if product.parts else (product.subject,):
            if not _is_the_package(subject, finding):
                continue
            if subject.version is not None:
                covered.add(subject.version)
            elif statement.standing is not Standing.fixed:  # fixed in which version? Not in all of them
                return True
    return bool(wanted) and wanted <= covered


def _is_the_target(subject: Subject, finding: Finding) -> bool:
    return bool(subject.name) and is_target(finding, subject.name)


def _is_the_package(subject: Subject, finding: Finding) -> bool:
    name, ecosystem = finding.evidence.get("package"), finding.evidence.get("ecosystem")
    family = str(ecosystem).partition(":")[0].lower().replace(" ", "-") if ecosystem else ""
    return isinstance(name, str) and subject.family == family and folded(subject.name) == folded(name)


def _statement(finding: Finding, suppressed: Suppressed | None) -> dict[str, Any]:
    evidence = finding.evidence
    name = str(evidence.get("id") or finding.key.rpartition("/")[2])
    names = evidence.get("names")
    aliases = sorted({str(alias) for alias in names} - {name}) if isinstance(names, list) else []
    versions = evidence.get("versions")
    parts = [_purl(evidence, str(version)) for version in versions] if isinstance(versions, list) else []
    product: dict[str, Any] = {"@id": PackageURL(type="generic", name=finding.component).to_string()}
    if parts:
        product["subcomponents"] = [{"@id": part} for part in parts]
    vulnerability = {"name": name} | ({"aliases": aliases} if aliases else {})
    return {"vulnerability": vulnerability, "products": [product], **_said(finding, suppressed)}


def _said(finding: Finding, suppressed: Suppressed | None) -> dict[str, str]:
    if suppressed is None:
        unsure = finding.severity is Severity.unknown
        remedy = finding.remedy or "See the report."
        return {"status": "affected", "action_statement": f"{remedy}{' Its severity is unknown.' if unsure else ''}"}
    word, colon, rest = suppressed.reason.partition(":")
    if colon and word in _JUSTIFICATIONS:
        return {"status": "not_affected", "justification": word, "impact_statement": rest.strip()}
    if colon and word in {"not_affected", "false_positive"} | _CYCLONEDX_REASONS:
        return {"status": "not_affected", "impact_statement": suppressed.reason}
    if colon and word == "fixed":
        return {"status": "fixed"}
    until = f" until {suppressed.expires}" if suppressed.expires else ""
    return {"status": "affected", "action_statement": f"Accepted{until}: {suppressed.reason}"}


def _purl(evidence: Mapping[str, Any], version: str) -> str:
    family, _, release = str(evidence.get("ecosystem") or "PyPI").lower().partition(":")
    name = str(evidence.get("package"))
    namespace, _, bare = name.rpartition("/")
    if family == "debian":
        qualifiers = {"distro": f"debian-{release}"} if release else None
        return PackageURL("deb", "debian", name, version, qualifiers=qualifiers).to_string()
    kind = {"github actions": "github"}.get(family, family)
    return PackageURL(kind, namespace or None, bare, version).to_string()


def _standing(status: Any) -> Standing:
    try:
        return Standing(status)
    except ValueError as error:
        raise ValueError(f"its status {str(status)[:40]!r} is not known") from error


def _justification(text: str, standing: Standing) -> str:
    if text and standing is Standing.not_affected and text not in _JUSTIFICATIONS:
        raise ValueError(f"its justification {text[:60]!r} is not known")
    return text


def _moment(value: Any) -> str:
    """A moment that sorts as text: in UTC, without it an empty one, which is before all others."""
    if value is None:
        return ""
    from datetime import UTC, datetime  # noqa: PLC0415

    parsed = datetime.fromisoformat(str(value))
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC).isoformat()


def _listed(described: Any, key: str) -> list[Any]:
    value = described.get(key) if isinstance(described, dict) else None
    return value if isinstance(value, list) else []


def _lower(names: Iterable[Any]) -> frozenset[str]:
    lowered = frozenset(str(name).lower() for name in names if name)
    if not lowered:
        raise ValueError("it names no vulnerability")
    return lowered


def _line(text: Any) -> str:
    return " ".join(str(text or "").split())[:500]


def _bad(name: str, what: str) -> ConfigurationError:
    return ConfigurationError(
        what, component=name, remedy="Correct the document, or take it out of `vex` in [audit] of lama.toml."
    )
