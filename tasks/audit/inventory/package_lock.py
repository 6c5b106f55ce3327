"""Reads `package-lock.json` and `npm-shrinkwrap.json`, versions 1 to 3 (docs.npmjs.com, "package-lock.json")."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.advisories.package import NPM, Package
from tasks.audit.component import Component, Evidence, Origin, Place, Scope
from tasks.audit.inventory.document import Document, Reading
from tasks.audit.inventory.npm_names import locked_version, origin_of, package, split, version_of
from tasks.audit.inventory.plain import MalformedError, Misread, json_object, table, text
from tasks.audit.inventory.reached import RANKS, Reached, reach

_HERE = "node_modules/"
_BELOW = "/node_modules/"
_LONGEST_PATH = 1000
_MOST_STEPS = 2_500_000
"""Folders looked into to find out which version a package gets; real lock files need some ten for each package."""


@dataclass(slots=True)
class _Entry:
    """One folder of a package below some `node_modules`."""

    package: Package
    version: str | None
    scope: Scope
    origin: Origin
    hashed: bool
    licence: str
    asks: dict[str, bool]
    """The names that it asks for, as folders are called, and whether it can do without."""


def read_package_lock(document: Document) -> Reading:
    """The packages that npm installs, wherever in the tree; the project and its workspaces are its own.

    Which of several versions a package gets is found as Node.js finds it: in the nearest `node_modules` upwards. The
    files of version 1 do not say what the project itself asks for, so there `direct` stays open.
    """
    misread = Misread(document, NPM)
    try:
        data = json_object(document)
    except MalformedError as error:
        return Reading(gaps=(document.gap(str(error), ecosystem=NPM),))
    packages = table(data, "packages")
    if not packages and not isinstance(data.get("dependencies", {}), dict):
        misread.add("dependencies that are no object")
    if not packages and "packages" not in data and "dependencies" not in data and "lockfileVersion" not in data:
        return Reading(gaps=(document.gap("is no lock file of npm.", ecosystem=NPM),))
    tree = _Tree(packages or _as_packages(data, misread), misread)
    if not tree.entries and packages and table(data, "dependencies"):  # a half that is empty says nothing of the other
        packages, tree = {}, _Tree(_as_packages(data, misread), misread)
    reached = tree.reached() if packages else None
    components = _components(document, tree, reached)
    locked = {component.package for component in components if component.origin is Origin.registry}
    own = {found for found in map(package, tree.own_names(data)) if found is not None}
    return Reading(components, frozenset(own - locked), gaps=misread.gaps())


class _Tree:
    """The folders that the lock file describes."""

    def __init__(self, packages: Mapping[str, Any], misread: Misread) -> None:
        self._misread = misread
        self._steps = _MOST_STEPS
        self.entries: dict[str, _Entry] = {}
        self.links: dict[str, str] = {}
        self.projects: dict[str, dict[str, Any]] = {}
        self._holders = {path[:cut] for path in packages if (cut := path.rfind(_BELOW)) >= 0} | {""}
        for path, value in packages.items():
            if not isinstance(value, dict) or len(path) > _LONGEST_PATH:
                misread.add(path or "the project itself")
            elif value.get("link") is True:
                self.links[path] = text(value, "resolved")
            elif path.startswith(_HERE) or _BELOW in path:
                self._add(path, value)
            else:
                self.projects[path] = value
        self.edges: dict[str, list[tuple[str, bool]]] = {
            path: [
                (found, is_optional)
                for name, is_optional in entry.asks.items()
                if (found := self._find(path, name)) is not None
            ]
            for path, entry in self.entries.items()
        }

    def reached(self) -> Mapping[str, Reached]:
        """How the project and its workspaces come to need each folder."""
        roots = [
            (found, scope)
            for path, project in self.projects.items()
            for name, scope in _asked_by_project(project).items()
            if (found := self._find(path, name)) is not None
        ]
        return reach(roots, self.edges, {path: entry.package.name for path, entry in self.entries.items()})

    def own_names(self, data: Mapping[str, Any]) -> Iterator[str]:
        """What the project and its workspaces are called."""
        yield text(data, "name")
        names = {target: _folder_name(path) for path, target in self.links.items()}
        yield from names.values()
        for path, project in self.projects.items():
            yield text(project, "name") or names.get(path, "")

    def _add(self, path: str, value: Mapping[str, Any]) -> None:
        known = package(value.get("name") or _folder_name(path))
        origin = origin_of(text(value, "resolved"))
        version = locked_version(value.get("version"))
        if known is None or (version is None and (value.get("version") or origin is Origin.registry)):
            self._misread.add(path)
            return
        self.entries[path] = _Entry(
            package=known,
            version=version,
            scope=_scope(value),
            origin=origin,
            hashed=bool(value.get("integrity")) or value.get("inBundle") is True,
            licence=_licence(value),
            asks=_asks(value),
        )

    def _find(self, path: str, name: str) -> str | None:
        """The folder that `name` means to what is in `path`; None when it is absent or a project of this lock file."""
        while True:
            self._steps -= 1
            if self._steps < 0:
                self._misread.add("what brings in what (too many folders)")
                return None
            if path in self._holders:
                found = path + _BELOW + name if path else _HERE + name
                if found in self.entries:
                    return found
                if not path or found in self.links:
                    return None
            cut = path.rfind(_BELOW)
            path = path[:cut] if cut >= 0 else _above(path)


def _components(document: Document, tree: _Tree, reached: Mapping[str, Reached] | None) -> tuple[Component, ...]:
    """One for each package, version and origin, however many folders have it."""
    places: dict[tuple[Package, str | None, Origin], list[str]] = {}
    for path, entry in tree.entries.items():
        places.setdefault((entry.package, entry.version, entry.origin), []).append(path)
    names = {path: (entry.package.name, entry.version or "") for path, entry in tree.entries.items()}
    place = Place(document.file)
    found = []
    for (known, version, origin), paths in places.items():
        entries = [tree.entries[path] for path in paths]
        ways = [way for path in paths if (way := reached.get(path)) is not None] if reached else []
        requires = {names[child] for path in paths for child, _ in tree.edges[path]}
        found.append(
            Component(
                package=known,
                version=version,
                place=place,
                evidence=Evidence.locked,
                scope=min((entry.scope for entry in entries), key=RANKS.__getitem__),
                origin=origin,
                licence=entries[0].licence,
                hashed=all(entry.hashed for entry in entries),
                requires=tuple(sorted(requires)),
                direct=None if reached is None else any(not way.via for way in ways),
                via=min((way.via for way in ways), key=len, default=()),
            )
        )
    return tuple(found)


def _above(path: str) -> str:
    return "" if path.startswith(_HERE) else path.rpartition("/")[0]


def _folder_name(path: str) -> str:
    return path.rpartition(_HERE)[2]


def _scope(value: Mapping[str, Any]) -> Scope:
    if value.get("dev") is True:
        return Scope.dev
    return Scope.optional if value.get("optional") is True or value.get("devOptional") is True else Scope.runtime


def _licence(value: Mapping[str, Any]) -> str:
    licence = value.get("license")
    licence = licence.get("type") if isinstance(licence, dict) else licence  # the old form
    return licence[:200] if isinstance(licence, str) else ""


def _asks(value: Mapping[str, Any]) -> dict[str, bool]:
    """Names of dependencies; peers count, because npm installs them and Node.js finds them."""
    asks: dict[str, bool] = {}
    if "peerDependencies" in value:
        meta = table(value, "peerDependenciesMeta")
        asks = {name: table(meta, name).get("optional") is True for name in table(value, "peerDependencies")}
    if "dependencies" in value:
        asks |= dict.fromkeys(table(value, "dependencies"), False)
    if "optionalDependencies" in value:
        asks |= dict.fromkeys(table(value, "optionalDependencies"), True)
    return asks


def _asked_by_project(value: Mapping[str, Any]) -> dict[str, Scope]:
    asked = dict.fromkeys(table(value, "devDependencies"), Scope.dev)
    asked |= {name: Scope.optional if is_optional else Scope.runtime for name, is_optional in _asks(value).items()}
    return asked


def _as_packages(data: Mapping[str, Any], misread: Misread) -> dict[str, dict[str, Any]]:
    """The nested `dependencies` of version 1 in the form of the later versions."""
    found: dict[str, dict[str, Any]] = {}
    todo = [("", table(data, "dependencies"))]
    while todo:
        above, dependencies = todo.pop()
        for name, value in dependencies.items():
            path = f"{above}/node_modules/{name}" if above else _HERE + name
            if not isinstance(value, dict) or len(path) > _LONGEST_PATH:
                misread.add(path)
                continue
            found[path] = _as_package(name, value)
            todo.append((path, table(value, "dependencies")))
    return found


def _as_package(name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    version = text(value, "version")
    flat = {key: value[key] for key in ("dev", "optional", "integrity", "resolved") if key in value}
    flat |= {"dependencies": table(value, "requires"), "inBundle": value.get("bundled")}
    if version.startswith("npm:"):
        real, version = split(version.removeprefix("npm:"))
        return flat | {"name": real, "version": version}
    if version.startswith("file:") and not version.endswith((".tgz", ".tar.gz", ".tar")):
        return {"link": True, "resolved": version.removeprefix("file:"), "name": name}
    if version_of(version) is None and origin_of(version) is not Origin.registry:
        return flat | {"resolved": version}
    if version.startswith(("http://", "https://")):  # an archive at an address: its version is not told
        return flat | {"resolved": "address:" + version}
    return flat | {"version": version}
