"""Reads bills of materials in CycloneDX's JSON and XML, of the versions 1.2 to 1.7 (cyclonedx.org/docs)."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tasks.audit.component import Scope
from tasks.audit.inventory.bill import Listed, read_bill
from tasks.audit.inventory.document import Document, Reading
from tasks.audit.inventory.plain import MalformedError, json_object, table, tables, text

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_SCOPES = {"optional": Scope.optional, "excluded": Scope.dev}
_NO_PACKAGES = {
    *("file", "data", "operating-system", "device", "device-driver", "platform", "machine-learning-model"),
    "cryptographic-asset",
}
"""Types of components that no registry hands out."""
_KNOWN = re.compile(r"1\.[2-7]")
_MOST = 600_000
_DEEPEST = 100


def read_cyclonedx(document: Document) -> Reading:
    """The packages of a bill of materials, by their package URLs; its own component is the target."""
    try:
        is_xml = document.content.lstrip()[:1] == b"<" or document.name.endswith(".xml")
        data = _of_xml(document) if is_xml else json_object(document)
    except MalformedError as error:
        return Reading(gaps=(document.gap(str(error)),))
    if not is_xml and "spdxVersion" in data:  # `sbom.json` says nothing of the format
        from tasks.audit.inventory.spdx_in import read_spdx  # noqa: PLC0415

        return read_spdx(document)
    version = text(data, "specVersion")
    if not is_xml and data.get("bomFormat") != "CycloneDX":
        return Reading(gaps=(document.gap("is no bill of materials of CycloneDX."),))
    if _KNOWN.fullmatch(version) is None:
        return Reading(gaps=(document.gap(f"is of an unknown version of CycloneDX: {version[:20]!r}."),))
    root = table(table(data, "metadata"), "component")
    listed = [one for one in _all(data) if text(one, "type") not in _NO_PACKAGES or text(one, "purl")]
    edges = {text(one, "ref"): _texts(one.get("dependsOn")) for one in tables(data, "dependencies")}
    return read_bill(
        document,
        [_listed(one, number) for number, one in enumerate(listed)],
        edges,
        _listed(root, -1) if root else None,
    )


def _all(data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The components, and those inside of them; JSON is at most a thousand deep here."""
    todo = [
        *reversed(tables(data, "components")),
        *reversed(tables(table(table(data, "metadata"), "component"), "components")),
    ]
    while todo:
        one = todo.pop()
        yield one
        todo += reversed(tables(one, "components"))


def _listed(one: Mapping[str, Any], number: int) -> Listed:
    name = "/".join(part for part in (text(one, "group"), text(one, "name")) if part)
    return Listed(
        ref=text(one, "bom-ref") or f"{number} {text(one, 'purl')}",
        name=name or "a component without a name",
        purl=text(one, "purl"),
        version=text(one, "version")[:256],
        scope=_SCOPES.get(text(one, "scope"), Scope.runtime),
        licence=_licence(tables(one, "licenses")),
        hashed=bool(tables(one, "hashes")),
        is_group=text(one, "type") in {"application", "container", "framework"},
    )


def _licence(choices: list[dict[str, Any]]) -> str:
    told = []
    for choice in choices:
        licence = table(choice, "license")
        told.append(text(choice, "expression") or text(licence, "id") or text(licence, "name"))
    return " AND ".join(one for one in told if one)[:200]


def _texts(value: Any) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _of_xml(document: Document) -> dict[str, Any]:
    """The parts of an XML file that are looked at, as the JSON format has them."""
    top = _parsed(document)
    namespace, _, name = top.tag.rpartition("}")
    if name != "bom" or "cyclonedx.org/schema/bom/" not in namespace:
        raise MalformedError("is no bill of materials of CycloneDX.")
    metadata = _child(top, "metadata")
    root = _child(metadata, "component") if metadata is not None else None
    return {
        "specVersion": namespace.rpartition("/")[2],
        "metadata": {"component": _component(root)} if root is not None else {},
        "components": [_component(one) for one in _children(_child(top, "components"), "component")],
        "dependencies": [
            {"ref": one.get("ref", ""), "dependsOn": [to.get("ref", "") for to in _children(one, "dependency")]}
            for one in _children(_child(top, "dependencies"), "dependency")
        ],
    }


def _parsed(document: Document) -> Element:
    """The root of the document. No entity is followed and no document type is allowed: both can grow without end."""
    from xml.etree.ElementTree import ParseError  # noqa: PLC0415 - only the error; defusedxml does the work

    from defusedxml import DefusedXmlException  # type: ignore[import-untyped]  # noqa: PLC0415
    from defusedxml.ElementTree import iterparse  # type: ignore[import-untyped]  # noqa: PLC0415

    top: Element | None = None
    depth = 0
    try:
        events = iterparse(io.BytesIO(document.content), events=("start", "end"), forbid_dtd=True)
        for count, (event, element) in enumerate(events):
            top = element if top is None else top
            depth += 1 if event == "start" else -1
            if depth > _DEEPEST or count > _MOST:
                raise MalformedError(f"has more than {_MOST // 2} elements, or is nested more than {_DEEPEST} deep.")
    except DefusedXmlException:
        raise MalformedError("declares a document type or entities, which is not allowed.") from None
    except (ParseError, LookupError, ValueError) as error:
        if isinstance(error, MalformedError):
            raise
        raise MalformedError("is not valid XML.") from None
    if top is None:
        raise MalformedError("is not valid XML.")
    return top


def _component(element: Element) -> dict[str, Any]:
    """At most as deep as the document."""
    value: dict[str, Any] = {
        name: found.text.strip()
        for name in ("group", "name", "version", "purl", "scope")
        if (found := _child(element, name)) is not None and found.text
    }
    value |= {"type": element.get("type", ""), "bom-ref": element.get("bom-ref", "")}
    value["hashes"] = [{} for _ in _children(_child(element, "hashes"), "hash")]
    value["components"] = [_component(one) for one in _children(_child(element, "components"), "component")]
    value["licenses"] = []
    for choice in _child(element, "licenses") or ():
        told = {_local(one): (one.text or "").strip() for one in choice}
        is_expression = _local(choice) == "expression"
        value["licenses"].append({"expression": (choice.text or "").strip()} if is_expression else {"license": told})
    return value


def _children(element: Element | None, name: str) -> list[Element]:
    return [one for one in element if _local(one) == name] if element is not None else []


def _child(element: Element | None, name: str) -> Element | None:
    return next(iter(_children(element, name)), None)


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
