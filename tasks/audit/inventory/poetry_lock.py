"""Reads `poetry.lock`, as Poetry 1 and 2 write it (versions 1.0 to 2.1 of its format)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from tasks.audit.component import Component, Evidence, Origin, Place, Scope
from tasks.audit.inventory.document import Document, Reading
from tasks.audit.inventory.lock import Problems, named_part, version_of
from tasks.audit.inventory.requirement import NotARequirementError, normal, package, parse
from tasks.audit.inventory.toml_parts import Part, parts, table_of, tables_of, text_of

_ORIGINS = {
    "git": Origin.repository,
    "hg": Origin.repository,
    "svn": Origin.repository,
    "url": Origin.address,
    "file": Origin.address,
    "directory": Origin.folder,
}
_FILES_OF = re.compile(r"^\"?([A-Za-z0-9._-]{1,200})\"? = \[\n[ \t]+\{[^\n]*hash", re.MULTILINE)


def read_poetry_lock(document: Document) -> Reading:
    """The packages that Poetry installs, of all platforms. What is direct only `pyproject.toml` tells."""
    problems = Problems(document)
    components: list[Component] = []
    hashed: set[str] = set()
    known = False
    for part in parts(document.text, "package"):
        if part.text.startswith(("[metadata.files]", "[metadata.hashes]")):
            # One table for all packages in version 1: of it, only who has a file with a hash is wanted.
            hashed |= {normal(name) for name in _FILES_OF.findall(part.text)}
            continue
        if part.error:
            problems.add(part.line, part.error)
        version = text_of(table_of(part.data, "metadata"), "lock-version")
        known |= "metadata" in part.data
        if version and version.partition(".")[0] not in {"1", "2"}:
            problems.add(part.line, "a later version of the format")
        components += _packages(document, part, problems)
    if not known:
        problems.add(1, "[metadata], with which the file ends, is missing")
    if hashed:
        components = [replace(one, hashed=one.hashed or one.package.name in hashed) for one in components]
    return Reading(tuple(components), gaps=problems.gaps())


def _packages(document: Document, part: Part, problems: Problems) -> Iterator[Component]:
    for data in tables_of(part.data, "package"):
        known, version = package(data.get("name")), version_of(data.get("version"))
        if known is None or version is None:
            problems.add(part.line, named_part(data))
            continue
        yield Component(
            package=known,
            version=version,
            place=Place(document.file, part.line_of("name =")),
            evidence=Evidence.locked,
            scope=_scope(data),
            marker=_marker(data.get("markers")),
            origin=_ORIGINS.get(text_of(table_of(data, "source"), "type"), Origin.registry),
            hashed=any("hash" in file for file in tables_of(data, "files")),
            requires=tuple((normal(name), "") for name in table_of(data, "dependencies")),
        )


def _scope(data: Mapping[str, Any]) -> Scope:
    groups = data.get("groups")
    in_main = "main" in groups if isinstance(groups, list) else data.get("category", "main") == "main"
    if not in_main:
        return Scope.dev
    return Scope.optional if data.get("optional") is True else Scope.runtime


def _marker(value: Any) -> str:
    """The marker under which any group needs it; empty, so always, where that is not one marker."""
    markers = list(value.values()) if isinstance(value, dict) else [value]
    if not markers or any(not isinstance(marker, str) for marker in markers):
        return ""
    told = markers[0] if len(set(markers)) == 1 else " or ".join(f"({marker})" for marker in markers)
    try:
        return parse(f"a; {told}").marker
    except NotARequirementError:
        return ""
