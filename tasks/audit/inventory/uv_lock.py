"""Reads `uv.lock` (version 1 of its format, as uv documents and writes it)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.advisories.package import Package
from tasks.audit.component import Component, Evidence, Origin, Place, Scope
from tasks.audit.inventory.document import Document, Reading
from tasks.audit.inventory.lock import Edge, Problems, named_part, needed, version_of
from tasks.audit.inventory.requirement import normal, package, shown
from tasks.audit.inventory.toml_parts import Part, parts, table_of, tables_of, text_of

_ORIGINS = {
    "registry": Origin.registry,
    "git": Origin.repository,
    "url": Origin.address,
    "path": Origin.address,
    "directory": Origin.folder,
    "editable": Origin.folder,
    "virtual": Origin.folder,
}


@dataclass(frozen=True, slots=True)
class _Locked:
    package: Package
    version: str
    """Empty when it is told by running the project."""
    line: int
    origin: Origin
    hashed: bool
    place: str
    """For a project in a folder: which."""
    asks: tuple[tuple[Scope, tuple[Edge, ...]], ...]

    @property
    def edges(self) -> tuple[Edge, ...]:
        return tuple(dict.fromkeys(edge for _, edges in self.asks for edge in edges))


def read_uv_lock(document: Document) -> Reading:
    """The packages that uv installs, of all platforms; the projects that the lock is for are its own."""
    problems = Problems(document)
    locked: list[_Locked] = []
    manifest: dict[str, Any] = {}
    version: Any = None
    for part in parts(document.text, "package"):
        if part.error:
            problems.add(part.line, part.error)
        manifest = table_of(part.data, "manifest") or manifest
        version = part.data.get("version", version)
        locked += _packages(part, problems)
    if version != 1:
        problems.add(1, "no version of the format" if version is None else "a later version of the format")
    there = {one.package.name for one in locked}
    for one in locked:
        missing = next((name for name, _ in one.edges if name not in there), None)
        if missing is not None:  # the rest of the file is lost, or nobody read it
            problems.add(one.line, f"{one.package.name} needs {shown(missing)}, which is not in it")
    members = {normal(name) for name in manifest.get("members", ()) if isinstance(name, str)}
    own = [one for one in locked if one.place in {".", ""} or (one.place and one.package.name in members)]
    own = [one for one in own if one.origin is Origin.folder and one.place]
    scopes = _scopes(locked, own, manifest)
    return Reading(
        components=tuple(_component(document, one, scopes) for one in locked),
        own=frozenset(one.package for one in own),
        gaps=problems.gaps(),
    )


def _packages(part: Part, problems: Problems) -> Iterator[_Locked]:
    for data in tables_of(part.data, "package"):
        known, version = package(data.get("name")), version_of(data.get("version"))
        source = table_of(data, "source")
        key = next(iter(source), "registry")
        if known is None or (version is None and "version" in data) or key not in _ORIGINS:
            problems.add(part.line, named_part(data))
            continue
        folder = text_of(source, key) if key in {"editable", "virtual", "directory"} else ""
        if version is None and not folder:
            problems.add(part.line, f"{known.name} has no version")
            continue
        files = [table_of(data, "sdist"), *tables_of(data, "wheels")[:1]]
        yield _Locked(
            package=known,
            version=version or "",
            line=part.line_of("name ="),
            origin=_ORIGINS[key],
            hashed=any("hash" in file for file in files),
            place=folder,
            asks=tuple(_asks(data)),
        )


def _asks(data: Mapping[str, Any]) -> Iterator[tuple[Scope, tuple[Edge, ...]]]:
    yield Scope.runtime, tuple(_edges(tables_of(data, "dependencies")))
    for scope, key in ((Scope.optional, "optional-dependencies"), (Scope.dev, "dev-dependencies")):
        tables = table_of(data, key)
        if tables:
            yield scope, tuple(edge for name in tables for edge in _edges(tables_of(tables, name)))


def _edges(tables: list[dict[str, Any]]) -> Iterator[Edge]:
    for table in tables:
        name = table.get("name")
        if isinstance(name, str):
            yield normal(name), text_of(table, "version")


def _scopes(locked: list[_Locked], own: list[_Locked], manifest: Mapping[str, Any]) -> dict[Edge, Scope]:
    """When each package is needed; without a project of its own, a lock is of a script that needs all of it."""
    # A project of the lock that another one needs does not bring in what is for its development.
    ours = {one.package for one in own}
    requires = {
        (one.package.name, one.version): tuple(
            edge for scope, edges in one.asks if scope is not Scope.dev or one.package not in ours for edge in edges
        )
        for one in locked
    }
    groups = table_of(manifest, "dependency-groups")
    grouped = [edge for name in groups for edge in _edges(tables_of(groups, name))]
    roots = [
        (wanted, [edge for one in own for scope, edges in one.asks if scope is wanted for edge in edges])
        for wanted in (Scope.runtime, Scope.optional, Scope.dev)
    ]
    roots[0][1].extend(_edges(tables_of(manifest, "requirements")))
    roots[2][1].extend(grouped)
    return needed(requires, roots)


def _component(document: Document, one: _Locked, scopes: Mapping[Edge, Scope]) -> Component:
    return Component(
        package=one.package,
        version=one.version or None,
        place=Place(document.file, one.line),
        evidence=Evidence.locked,
        scope=scopes.get((one.package.name, one.version), Scope.runtime),
        origin=one.origin,
        hashed=one.hashed,
        requires=one.edges,
    )
