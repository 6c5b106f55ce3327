"""Reads `pylock.toml` and `pylock.*.toml` (PEP 751)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tasks.audit.component import Component, Evidence, Origin, Place, Scope
from tasks.audit.inventory.document import Document, Reading
from tasks.audit.inventory.lock import Problems, named_part, version_of
from tasks.audit.inventory.requirement import NotARequirementError, normal, origin_of, package, parse
from tasks.audit.inventory.toml_parts import Part, parts, table_of, tables_of, text_of


def read_pylock(document: Document) -> Reading:
    """The packages of the file. Its markers may ask for extras and groups, which tells when they are needed."""
    problems = Problems(document)
    components: list[Component] = []
    known = False
    for part in parts(document.text, "packages"):
        if part.error:
            problems.add(part.line, part.error)
        version = text_of(part.data, "lock-version")
        known |= bool(version)
        if version and version.partition(".")[0] != "1":
            problems.add(part.line, "a later version of the format")
        components += _packages(document, part, problems)
    if not known:
        problems.add(1, "lock-version is missing")
    return Reading(tuple(components), gaps=problems.gaps())


def _packages(document: Document, part: Part, problems: Problems) -> Iterator[Component]:
    for data in tables_of(part.data, "packages"):
        known = package(data.get("name"))
        version = version_of(data.get("version"))
        if known is None or ("version" in data and version is None):
            problems.add(part.line, named_part(data))
            continue
        marker = _marker(data)
        yield Component(
            package=known,
            version=version,
            place=Place(document.file, part.line_of("name =")),
            evidence=Evidence.locked,
            scope=_scope(marker),
            marker=marker,
            origin=_origin(data),
            hashed=_hashed(data),
            requires=tuple(
                (normal(name), text_of(one, "version"))
                for one in tables_of(data, "dependencies")
                if (name := text_of(one, "name"))
            ),
        )


def _origin(data: Mapping[str, Any]) -> Origin:
    if "vcs" in data:
        return Origin.repository
    if "directory" in data:
        return Origin.folder
    if archive := table_of(data, "archive"):
        origin = origin_of(text_of(archive, "url") or text_of(archive, "path"))[0]
        return Origin.address if origin is Origin.folder else origin
    return Origin.registry


def _hashed(data: Mapping[str, Any]) -> bool:
    files = [table_of(data, "sdist"), table_of(data, "archive"), *tables_of(data, "wheels")]
    return any(table_of(file, "hashes") for file in files)


def _marker(data: Mapping[str, Any]) -> str:
    told = text_of(data, "marker")
    if not told:
        return ""
    try:
        return parse(f"a; {told}").marker
    except NotARequirementError:
        return told if "extras" in told or "dependency_groups" in told else ""


def _scope(marker: str) -> Scope:
    """A package that only an extra or a group asks for says so by its marker (PEP 751, "packages.marker")."""
    if "dependency_groups" in marker:
        return Scope.dev
    return Scope.optional if "extras" in marker else Scope.runtime
