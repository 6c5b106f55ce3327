"""Reads bills of materials in SPDX's JSON, version 2 (spdx.github.io/spdx-spec)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tasks.audit.inventory.bill import Listed, read_bill
from tasks.audit.inventory.document import Document, Reading
from tasks.audit.inventory.plain import MalformedError, json_object, tables, text

_FORWARD = {"DEPENDS_ON", "CONTAINS", "DESCRIBES", "HAS_PREREQUISITE"}
_BACKWARD = {
    *("DEPENDENCY_OF", "CONTAINED_BY", "DESCRIBED_BY", "RUNTIME_DEPENDENCY_OF", "DEV_DEPENDENCY_OF"),
    *("BUILD_DEPENDENCY_OF", "OPTIONAL_DEPENDENCY_OF", "TEST_DEPENDENCY_OF", "PROVIDED_DEPENDENCY_OF"),
}
_NO_PACKAGES = {"FILE", "OPERATING-SYSTEM", "OPERATING_SYSTEM", "DEVICE", "SOURCE", "ARCHIVE"}
_UNKNOWN = {"NOASSERTION", "NONE"}
_DOCUMENT = "SPDXRef-DOCUMENT"


def read_spdx(document: Document) -> Reading:
    """The packages of a bill of materials, by their package URLs; what the document describes brings in the others."""
    try:
        data = json_object(document)
    except MalformedError as error:
        return Reading(gaps=(document.gap(str(error)),))
    if not text(data, "spdxVersion").startswith("SPDX-2."):
        return Reading(gaps=(document.gap("is no bill of materials of SPDX 2."),))
    edges: dict[str, list[str]] = {}
    for begin, end in _edges(data):
        edges.setdefault(begin, []).append(end)
    listed = [_listed(one) for one in tables(data, "packages")]
    described = edges.get(_DOCUMENT, [])
    if len(described) == 1 and edges.get(described[0]):  # a project: it is no part of itself
        root = next((one for one in listed if one.ref == described[0]), None)
        return read_bill(document, [one for one in listed if one is not root], edges, root)
    return read_bill(document, listed, edges, Listed(_DOCUMENT, "the document"))


def _edges(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for one in data.get("documentDescribes") or () if isinstance(data.get("documentDescribes"), list) else ():
        if isinstance(one, str):
            yield _DOCUMENT, one
    for one in tables(data, "relationships"):
        begin, kind, end = text(one, "spdxElementId"), text(one, "relationshipType"), text(one, "relatedSpdxElement")
        if kind in _FORWARD:
            yield begin, end
        elif kind in _BACKWARD:
            yield end, begin


def _listed(one: Mapping[str, Any]) -> Listed:
    purls = [
        text(ref, "referenceLocator") for ref in tables(one, "externalRefs") if text(ref, "referenceType") == "purl"
    ]
    licences = [text(one, "licenseConcluded"), text(one, "licenseDeclared")]
    return Listed(
        ref=text(one, "SPDXID"),
        name=text(one, "name") or "a package without a name",
        purl=next(iter(purls), ""),
        version=text(one, "versionInfo")[:256],
        licence=next((licence[:200] for licence in licences if licence and licence not in _UNKNOWN), ""),
        hashed=bool(tables(one, "checksums")),
        is_group=text(one, "primaryPackagePurpose") in {"APPLICATION", "CONTAINER", *_NO_PACKAGES},
    )
