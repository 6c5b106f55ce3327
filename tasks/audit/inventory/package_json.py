"""Reads `package.json` (docs.npmjs.com, "package.json")."""

from __future__ import annotations

import re
from typing import Any

from tasks.advisories.package import NPM
from tasks.audit.component import Component, Evidence, Place, Scope
from tasks.audit.inventory.document import Document, Reading
from tasks.audit.inventory.npm_names import asked, package
from tasks.audit.inventory.plain import MalformedError, Misread, json_object, table, text

_TABLES = {
    "devDependencies": Scope.dev,
    "peerDependencies": Scope.runtime,
    "dependencies": Scope.runtime,
    "optionalDependencies": Scope.optional,
}
"""Of a package that is in several, the last counts, as for npm."""
_HEAD = re.compile(r'\s*"(\w+)"\s*:\s*\{')
_KEY = re.compile(r'\s*"((?:[^"\\]|\\.)*)"\s*:')


def read_package_json(document: Document) -> Reading:
    """What a project asks for. `overrides` and `resolutions` are left to the lock file: it tells what came of them."""
    try:
        data = json_object(document)
    except MalformedError as error:
        return Reading(gaps=(document.gap(str(error), ecosystem=NPM),))
    misread = Misread(document, NPM)
    lines = _lines(document.text)
    found: dict[str, Component] = {}
    for name, scope in _TABLES.items():
        if not isinstance(data.get(name) or {}, dict):
            misread.add(f"{name} is no object")
        meta = table(data, "peerDependenciesMeta") if name == "peerDependencies" else {}
        for alias, specifier in table(data, name).items():
            needed = Scope.optional if meta and table(meta, alias).get("optional") is True else scope
            component = _component(alias, specifier, Place(document.file, lines.get((name, alias)), name), needed)
            if component is None:
                misread.add(f"{name}: {alias}")
            else:
                found[alias] = component
    own = package(text(data, "name"))
    return Reading(
        components=tuple(found.values()),
        own=frozenset() if own is None else frozenset({own}),
        gaps=misread.gaps(),
    )


def _component(alias: str, specifier: Any, place: Place, scope: Scope) -> Component | None:
    if not isinstance(specifier, str):
        return None
    wanted = asked(alias, specifier)
    known = package(wanted.name)
    if known is None:
        return None
    return Component(
        package=known,
        version=wanted.version,
        place=place,
        evidence=Evidence.declared,
        requirement=wanted.requirement,
        scope=scope,
        origin=wanted.origin,
        direct=True,
    )


def _lines(content: str) -> dict[tuple[str, str], int]:
    """Where each dependency stands, in files with one a line, as npm writes them."""
    lines: dict[tuple[str, str], int] = {}
    inside = ""
    for number, line in enumerate(content.splitlines(), start=1):
        head = _HEAD.match(line) if not inside else None
        if head is not None:
            inside = head[1] if head[1] in _TABLES and "}" not in line else ""
        elif inside and (key := _KEY.match(line)) is not None:
            lines[inside, key[1]] = number
        elif line.lstrip().startswith("}"):
            inside = ""
    return lines
