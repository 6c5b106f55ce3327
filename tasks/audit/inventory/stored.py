"""Readings as bytes, for the cache: what a file said before need not be read again."""

from __future__ import annotations

from typing import Any

import orjson

from models.gap import Gap
from tasks.advisories.package import Package
from tasks.audit.component import Component, Evidence, Origin, Place, Scope
from tasks.audit.inventory.document import Include, Reading


def encode(reading: Reading) -> bytes | None:
    """`reading` as bytes that `decode` understands; None for what has text that is no Unicode."""
    components = [
        [
            *one.package,
            one.version,
            *(one.place.file, one.place.line, one.place.table),
            *(one.evidence, one.requirement, one.scope, one.marker, one.origin, one.extras, one.licence, one.hashed),
            *(one.requires, one.direct, one.via),
        ]
        for one in reading.components
    ]
    includes = [[one.file, one.constraint, one.scope] for one in reading.includes]
    gaps = [[one.area, one.component, one.reason, one.hides, one.seen, one.key] for one in reading.gaps]
    try:
        return orjson.dumps([components, sorted(map(list, reading.own)), includes, gaps])
    except TypeError:
        return None


def decode(content: bytes) -> Reading | None:
    """The reading; None when the bytes are none."""
    try:
        components, own, includes, gaps = orjson.loads(content)
        return Reading(
            components=tuple([_component(*fields) for fields in components]),
            own=frozenset(Package(*package) for package in own),
            includes=tuple(Include(file, constraint, Scope(scope)) for file, constraint, scope in includes),
            gaps=tuple(_gap(*fields) for fields in gaps),
        )
    except (ValueError, TypeError, KeyError):
        return None


def _gap(area: str, component: str, reason: str, hides: list[str], seen: list[str], key: str) -> Gap:
    return Gap(area, component, reason, tuple(hides), tuple(seen), key)


def _component(  # noqa: PLR0917 - one argument a column
    ecosystem: str,
    name: str,
    version: str | None,
    file: str,
    line: int | None,
    table: str,
    evidence: str,
    requirement: str,
    scope: str,
    marker: str,
    origin: str,
    extras: list[str],
    licence: str,
    hashed: bool,  # noqa: FBT001
    requires: list[Any],
    direct: bool | None,  # noqa: FBT001
    via: list[str],
) -> Component:
    return Component(
        Package(ecosystem, name),
        version,
        Place(file, line, table),
        Evidence(evidence),
        requirement,
        _SCOPES[scope],
        marker,
        _ORIGINS[origin],
        tuple(extras),
        licence,
        hashed,
        tuple([(edge[0], edge[1]) for edge in requires]),
        direct,
        tuple(via),
    )


_SCOPES = {scope.value: scope for scope in Scope}
_ORIGINS = {origin.value: origin for origin in Origin}
