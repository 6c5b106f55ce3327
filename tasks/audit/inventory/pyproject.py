"""Reads `pyproject.toml`: PEP 621, PEP 735, PEP 518, and the tables of setuptools, Poetry, uv, PDM and Hatch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from models.gap import Gap
from tasks.advisories.package import PYPI, Package
from tasks.audit.component import Component, Evidence, Origin, Place, Scope
from tasks.audit.inventory.document import Document, Include, Reading
from tasks.audit.inventory.poetry_table import read_poetry
from tasks.audit.inventory.requirement import (
    NotARequirementError,
    normal,
    origin_of,
    package,
    parse,
    shown,
    shown_name,
)
from tasks.audit.inventory.toml_parts import InvalidTomlError, table_of, text_of
from tasks.audit.inventory.toml_parts import parse as parse_toml

_PROBLEMS = 3
_MOST_PROBLEMS = 200


def read_pyproject(document: Document) -> Reading:
    """What a project asks for, and what it is called."""
    text = document.text
    try:
        data = parse_toml(text)
    except InvalidTomlError as error:
        return Reading(gaps=(document.gap(f"{error}.", ecosystem=PYPI),))
    file = _Project(document, text, data)
    file.read()
    return Reading(tuple(file.components), frozenset(file.own), tuple(file.includes), tuple(file.all_gaps()))


@dataclass
class _Project:
    """One file while it is read."""

    document: Document
    text: str
    data: Mapping[str, Any]
    components: list[Component] = field(default_factory=list)
    own: set[Package] = field(default_factory=set)
    includes: list[Include] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _at: int = 0
    _line: int = 1

    def read(self) -> None:
        project, tool = table_of(self.data, "project"), table_of(self.data, "tool")
        for named in (project, table_of(tool, "poetry")):
            if (known := package(named.get("name"))) is not None:
                self.own.add(known)
        build = table_of(self.data, "build-system")
        self._list(build.get("requires", []), "build-system", Scope.build)
        self._list(project.get("dependencies", []), "", Scope.runtime)
        for extra, wanted in _tables(project, "optional-dependencies"):
            self._list(wanted, extra, Scope.optional)
        self._groups()
        self._dynamic(project, tool)
        self._tools(tool)
        components, problems = read_poetry(self.document, table_of(tool, "poetry"), self._line_of)
        self.components += components
        self.problems += problems
        self.components = _from_their_sources(self.components, tool)
        if "flit" in tool and "metadata" in table_of(tool, "flit"):
            self._gap("its [tool.flit.metadata] is not understood; use [project].")

    def all_gaps(self) -> Iterator[Gap]:
        yield from self.gaps
        if self.problems:
            more = len(self.problems) - _PROBLEMS
            told = "; ".join(self.problems[:_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")
            yield self.document.gap(f"has requirements that are not understood: {told}.", ecosystem=PYPI)

    def _groups(self) -> None:
        groups = table_of(self.data, "dependency-groups")
        known = {normal(name) for name in groups}
        for group, wanted in groups.items():
            if not isinstance(wanted, list):
                self.problems.append(f"[dependency-groups] {shown(group)} is no list")
                continue
            for item in wanted:
                # An included group is read as itself, so the include adds nothing.
                if isinstance(item, dict) and normal(text_of(item, "include-group")) not in known:
                    self.problems.append(f"[dependency-groups] {shown(group)} includes a group that is not there")
            self._list([item for item in wanted if not isinstance(item, dict)], group, Scope.dev)

    def _dynamic(self, project: Mapping[str, Any], tool: Mapping[str, Any]) -> None:
        dynamic = project.get("dynamic", [])
        if not isinstance(dynamic, list):
            return
        described = table_of(table_of(tool, "setuptools"), "dynamic")
        hook = table_of(table_of(table_of(table_of(tool, "hatch"), "metadata"), "hooks"), "requirements_txt")
        if "dependencies" in dynamic:
            files = _files(described.get("dependencies")) + _texts(hook.get("files"))
            self.includes += [Include(file) for file in files]
            if not files and "dependencies" not in table_of(tool, "poetry"):
                self._gap("its dependencies are dynamic: only running its build would tell them.")
        if "optional-dependencies" in dynamic:
            tables = table_of(described, "optional-dependencies").values()
            files = [file for table in tables for file in _files(table)]
            self.includes += [Include(file, scope=Scope.optional) for file in files]
            if not files and "extras" not in table_of(tool, "poetry"):
                self._gap("its optional dependencies are dynamic: only running its build would tell them.")

    def _tools(self, tool: Mapping[str, Any]) -> None:
        uv = table_of(tool, "uv")
        self._list(uv.get("dev-dependencies", []), "tool.uv.dev-dependencies", Scope.dev)
        for name in ("constraint-dependencies", "override-dependencies", "build-constraint-dependencies"):
            self._list(uv.get(name, []), f"tool.uv.{name}", Scope.runtime, evidence=Evidence.constraint)
        for group, wanted in _tables(table_of(tool, "pdm"), "dev-dependencies"):
            self._list(wanted, group, Scope.dev)
        self._list(table_of(tool, "rye").get("dev-dependencies", []), "tool.rye.dev-dependencies", Scope.dev)
        if "pixi" in tool:
            self._gap("its [tool.pixi] is not understood: packages of conda that it names are not looked at.")
        for name, environment in table_of(table_of(tool, "hatch"), "envs").items():
            for key in ("dependencies", "extra-dependencies"):
                self._list(environment.get(key, []) if isinstance(environment, dict) else [], name, Scope.dev)

    def _list(self, wanted: Any, table: str, scope: Scope, *, evidence: Evidence = Evidence.declared) -> None:
        if not isinstance(wanted, list):
            self.problems.append(f"{shown(table) or 'dependencies'} is no list")
            return
        for item in wanted:
            if len(self.problems) > _MOST_PROBLEMS:
                return
            if not isinstance(item, str):
                self.problems.append(f"{shown(table) or 'dependencies'} holds something that is no text")
                continue
            try:
                requirement = parse(item)
            except NotARequirementError as error:
                self.problems.append(f"({shown_name(item)}): {error}")
                continue
            if Package(PYPI, requirement.name) not in self.own:  # an extra of the project itself is read as itself
                place = Place(self.document.file, self._line_of(item), table)
                self.components.append(requirement.component(place, evidence=evidence, scope=scope))

    def _line_of(self, text: str) -> int | None:
        """Where `text` stands; what is asked for in the order of the file is found in one pass over it."""
        at = self.text.find(text, self._at)
        if at < 0:
            at = self.text.find(text) if len(self.text) < 200_000 else -1
            return None if at < 0 else self.text.count("\n", 0, at) + 1
        self._line += self.text.count("\n", self._at, at)
        self._at = at
        return self._line

    def _gap(self, reason: str) -> None:
        self.gaps.append(self.document.gap(reason, ecosystem=PYPI))


def _from_their_sources(components: list[Component], tool: Mapping[str, Any]) -> list[Component]:
    """`components`, with the origins that `[tool.uv.sources]` tells."""
    origins: dict[str, Origin] = {}
    for name, source in table_of(table_of(tool, "uv"), "sources").items():
        for one in source if isinstance(source, list) else [source]:
            # Under a condition the registry hands it out as well.
            if isinstance(one, dict) and not one.keys() & {"marker", "extra", "group"}:
                for key, origin in _SOURCES:
                    if one.get(key):
                        packed = origin is Origin.folder and origin_of(text_of(one, key))[0] is Origin.address
                        origins[normal(name)] = Origin.address if packed else origin
    if not origins:
        return components
    return [
        replace(component, origin=origins.get(component.package.name, component.origin)) for component in components
    ]


_SOURCES = (
    ("git", Origin.repository),
    ("url", Origin.address),
    ("path", Origin.folder),
    ("workspace", Origin.folder),
)


def _tables(data: Mapping[str, Any], key: str) -> Iterator[tuple[str, Any]]:
    yield from table_of(data, key).items()


def _files(described: Any) -> list[str]:
    return _texts(described.get("file")) if isinstance(described, dict) else []


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
