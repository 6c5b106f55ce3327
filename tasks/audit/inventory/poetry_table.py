"""Reads `[tool.poetry]` of `pyproject.toml`, and the tables of a `Pipfile`, which say the same in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from tasks.audit.component import Component, Origin, Place, Scope
from tasks.audit.inventory.document import Document
from tasks.audit.inventory.poetry_ranges import translated
from tasks.audit.inventory.requirement import (
    NotARequirementError,
    Requirement,
    normal,
    origin_of,
    package,
    parse,
    shown,
)
from tasks.audit.inventory.toml_parts import table_of, text_of

LineOf = Callable[[str], int | None]

_SOURCES = {
    "git": Origin.repository,
    "url": Origin.address,
    "file": Origin.folder,
    "path": Origin.folder,
    "hg": Origin.repository,
    "svn": Origin.repository,
}


def read_poetry(document: Document, poetry: Mapping[str, Any], line_of: LineOf) -> tuple[list[Component], list[str]]:
    """The components that `[tool.poetry]` asks for, and what of it is not understood."""
    components: list[Component] = []
    problems: list[str] = []
    tables = [
        ("", Scope.runtime, table_of(poetry, "dependencies")),
        ("dev", Scope.dev, table_of(poetry, "dev-dependencies")),
    ]
    for name, group in table_of(poetry, "group").items():
        scope = Scope.runtime if name == "main" else Scope.dev
        tables.append((name, scope, table_of(group, "dependencies")))
    for table, scope, wanted in tables:
        found, unread = read_table(document, wanted, table, scope, line_of)
        components += found
        problems += unread
    return components, problems


def read_table(
    document: Document, wanted: Mapping[str, Any], table: str, scope: Scope, line_of: LineOf
) -> tuple[list[Component], list[str]]:
    """The components of one table, from names to versions or to descriptions; and what of it is not understood."""
    components: list[Component] = []
    problems: list[str] = []
    for name, described in wanted.items():
        known = package(name)
        if known is None or not isinstance(described, str | dict | list):
            problems.append(f"({shown(str(name))})")
        elif known.name != "python":
            place = Place(document.file, line_of(name), table)
            all_of_it = described if isinstance(described, list) else [described]
            components += [_component(known.name, one, place, scope) for one in all_of_it]
    return components, problems


def _component(name: str, described: Any, place: Place, scope: Scope) -> Component:
    table = described if isinstance(described, dict) else {}
    version = described if isinstance(described, str) else text_of(table, "version")
    extras = table.get("extras")
    requirement = Requirement(
        name=name,
        extras=tuple(sorted(normal(extra) for extra in extras if isinstance(extra, str)))
        if isinstance(extras, list)
        else (),
        requirement=_range(version),
        marker=" and ".join(_markers(table)),
    )
    component = requirement.component(place, scope=Scope.optional if table.get("optional") is True else scope)
    key = next((key for key in _SOURCES if text_of(table, key)), None)
    if key is None:
        return component
    where, told = origin_of(text_of(table, key))
    if where is Origin.folder or _SOURCES[key] is Origin.repository:
        return replace(component, origin=_SOURCES[key], version=None)
    # Packed, wherever it lies.
    return replace(component, origin=Origin.address, version=told[1] if told and told[0] == name else None)


def _range(version: str) -> str:
    """The range in PEP 440; empty, which allows more than is meant, for what PEP 440 cannot say."""
    specifier = translated(version)
    if not specifier:
        return ""
    try:
        return parse(f"a{specifier}").requirement
    except NotARequirementError:
        return ""


def _markers(table: Mapping[str, Any]) -> Iterator[str]:
    conditions = [text_of(table, "markers")]
    if (platform := text_of(table, "platform")) and '"' not in platform:
        conditions.append(f'sys_platform == "{platform}"')
    if python := translated(text_of(table, "python")):
        conditions += [_python_marker(clause) for clause in python.split(",")]
    for condition in filter(None, conditions):
        try:
            marker = parse(f"a; {condition}").marker
        except NotARequirementError:
            continue  # then it is needed always, for all we know
        yield f"({marker})" if " or " in marker else marker


def _python_marker(clause: str) -> str:
    version = clause.lstrip("<>=!~")
    operator = clause[: len(clause) - len(version)]
    return f'python_full_version {operator} "{version}"'
