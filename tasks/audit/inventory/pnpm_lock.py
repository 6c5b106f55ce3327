"""Reads `pnpm-lock.yaml`, versions 5 to 9 of its format."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.advisories.package import NPM, Package
from tasks.audit.component import Component, Evidence, Origin, Place, Scope
from tasks.audit.inventory.document import Document, Reading
from tasks.audit.inventory.npm_names import asked, locked_version, origin_of, package, split
from tasks.audit.inventory.plain import MalformedError, Misread, table, text, yaml_objects
from tasks.audit.inventory.reached import RANKS, Reached, reach

_TABLES = {
    "dependencies": Scope.runtime,
    "optionalDependencies": Scope.optional,
    "devDependencies": Scope.dev,
    "configDependencies": Scope.build,
    "packageManagerDependencies": Scope.build,
}
_OLD = re.compile(r"/((?:@[^/]+/)?[^/@]+)/([^/]+)")
_ELSEWHERE = ("link:", "file:", "workspace:", "portal:")
"""What refers to a folder begins so."""
_OLDEST, _NEWEST = 5, 9


@dataclass(frozen=True, slots=True)
class _Locked:
    """One package, in one version, with one choice of peers."""

    package: Package
    version: str | None
    origin: Origin
    hashed: bool
    asks: tuple[tuple[str, str, bool], ...]
    """Name, the version as it refers to another package, and whether it can do without."""


def read_pnpm_lock(document: Document) -> Reading:
    """The packages that pnpm installs for all importers; what the importers link to is the target's own."""
    misread = Misread(document, NPM)
    try:
        documents = yaml_objects(document)
    except MalformedError as error:
        return Reading(gaps=(document.gap(str(error), ecosystem=NPM),))
    if not any("lockfileVersion" in data for data in documents):
        return Reading(gaps=(document.gap("is no lock file of pnpm.", ecosystem=NPM),))
    components: list[Component] = []
    for data in documents:  # newer releases write a document of their own for what they run on
        major = text(data, "lockfileVersion").partition(".")[0]
        if not major.isdecimal() or not _OLDEST <= int(major[:3]) <= _NEWEST:
            misread.add(f"version {text(data, 'lockfileVersion')[:20]} of the format")
        else:
            components += _Lock(data, int(major), misread).components(document)
    return Reading(tuple(components), gaps=misread.gaps())


class _Lock:
    """One document of a lock file."""

    def __init__(self, data: Mapping[str, Any], major: int, misread: Misread) -> None:
        self._major = major
        self._misread = misread
        self._importers: list[Mapping[str, Any]]
        self._importers = [one for one in table(data, "importers").values() if isinstance(one, dict)] or [data]
        self._locked: dict[str, _Locked] = {}
        packages = table(data, "packages")
        snapshots = table(data, "snapshots") if major >= 9 else packages
        for key in dict.fromkeys([*snapshots, *(key for key in packages if key not in snapshots)]):
            bare = key if major < 9 else _without_peers(key)
            described = packages.get(bare, {})
            locked = self._read(bare, described, snapshots.get(key, described))
            if locked is None:
                misread.add(key)
            else:
                self._locked[key] = locked
        if major >= 9:
            # A package is listed under its bare name, and again for every choice of peers.
            chosen = {_without_peers(key) for key in snapshots}
            for key in [key for key in self._locked if key not in snapshots and key in chosen]:
                del self._locked[key]
        self._names = {one.package.name for one in self._locked.values()}

    def components(self, document: Document) -> Iterator[Component]:
        """One for each package and version."""
        edges = {
            key: [
                (found, is_optional)
                for name, to, is_optional in one.asks
                if (found := self._find(name, to)) is not None
            ]
            for key, one in self._locked.items()
        }
        reached = reach(self._roots(), edges, {key: one.package.name for key, one in self._locked.items()})
        alike: dict[tuple[Package, str | None, Origin], list[str]] = {}
        for key, one in self._locked.items():
            alike.setdefault((one.package, one.version, one.origin), []).append(key)
        for (known, version, origin), keys in alike.items():
            ways = [reached[key] for key in keys if key in reached]
            children = [self._locked[child] for key in keys for child, _ in edges[key]]
            yield Component(
                package=known,
                version=version,
                place=Place(document.file),
                evidence=Evidence.locked,
                scope=min((way.scope for way in ways), key=RANKS.__getitem__, default=Scope.runtime),
                origin=origin,
                hashed=all(self._locked[key].hashed for key in keys),
                requires=tuple(sorted({(child.package.name, child.version or "") for child in children})),
                direct=any(not way.via for way in ways),
                via=_shortest(ways),
            )

    def _roots(self) -> Iterator[tuple[str, Scope]]:
        for importer in self._importers:
            for name, scope in _TABLES.items():
                for alias, value in table(importer, name).items():
                    to = value if isinstance(value, str) else text(value, "version")
                    found = self._find(alias, to)
                    if found is not None:
                        yield found, scope

    def _find(self, name: str, to: str) -> str | None:
        """The key of the package that `to` refers to: a version of `name`, or a key of another package."""
        for key in (f"{name}@{to}", f"/{name}@{to}", to) if self._major >= 6 else (f"/{name}/{to}", to):
            if key in self._locked:
                return key
        if name not in self._names and not to.startswith(_ELSEWHERE):
            self._misread.add(f"{name} {to}, which is not in it")
        return None

    def _read(self, key: str, described: Any, snapshot: Any) -> _Locked | None:
        if not isinstance(described, dict) or not isinstance(snapshot, dict):
            return None
        name, version, origin = self._named(key)
        resolution = table(described, "resolution")
        origin = _origin(resolution) or origin
        name = text(described, "name") or name
        version = text(described, "version") or version
        known = package(name)
        if known is None or (locked_version(version) is None and origin is Origin.registry):
            return None
        return _Locked(
            package=known,
            version=locked_version(version),
            origin=origin,
            hashed=bool(resolution.get("integrity")),
            asks=tuple(
                (one, to, field == "optionalDependencies")
                for field in ("dependencies", "optionalDependencies")
                for one, to in table(snapshot, field).items()
                if isinstance(to, str)
            ),
        )

    def _named(self, key: str) -> tuple[str, str, Origin]:
        """Name, version and origin of a package by its key: `/name/1.0.0_peers`, `/name@1.0.0(peers)`, `name@1.0.0`;
        of what no registry hands out, its address.
        """
        bare = _without_peers(key)
        if self._major < 6:
            found = _OLD.fullmatch(bare)
            if found is None and "." in bare.partition("/")[0]:  # `registry.example.org/name/1.0.0`
                found = _OLD.fullmatch(bare[len(bare.partition("/")[0]) :])
            if found is not None:
                return found[1], found[2].partition("_")[0], Origin.registry
            return "", "", origin_of(bare) if ":" in bare else Origin.repository
        name, reference = split(bare.removeprefix("/"))
        if ":" in name or not reference:  # `file:packages/a`, `https://...`, `github.com/owner/name/commit`
            return "", "", origin_of(bare) if ":" in bare else Origin.repository
        wanted = asked(name, reference)
        return wanted.name, wanted.version or (reference if ":" not in reference else ""), wanted.origin


def _origin(resolution: Mapping[str, Any]) -> Origin | None:
    """Where a resolution leads; None when it only has a hash: then it is the registry."""
    if "repo" in resolution or text(resolution, "type") == "git":
        return Origin.repository
    if text(resolution, "type") == "directory" or "directory" in resolution:
        return Origin.folder
    tarball = text(resolution, "tarball")
    return None if not tarball or origin_of(tarball) is Origin.registry else origin_of(tarball)


def _without_peers(key: str) -> str:
    return key.partition("(")[0]


def _shortest(ways: list[Reached]) -> tuple[str, ...]:
    return min((way.via for way in ways), key=len, default=())
