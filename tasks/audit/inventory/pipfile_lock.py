"""Reads `Pipfile.lock` and `Pipfile`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tasks.advisories.package import PYPI
from tasks.audit.component import Component, Evidence, Origin, Place, Scope
from tasks.audit.inventory.document import Document, Reading
from tasks.audit.inventory.lock import Problems, version_of
from tasks.audit.inventory.poetry_table import read_table
from tasks.audit.inventory.requirement import NotARequirementError, normal, origin_of, package, parse, shown
from tasks.audit.inventory.toml_parts import InvalidTomlError, text_of
from tasks.audit.inventory.toml_parts import parse as parse_toml

_SOURCES = {"git": Origin.repository, "path": Origin.folder, "file": Origin.address, "url": Origin.address}


def read_pipfile_lock(document: Document) -> Reading:
    """The packages that Pipenv installs. What is direct only the `Pipfile` tells."""
    import json  # noqa: PLC0415 - only for this format

    try:
        data = json.loads(document.text)
    except (ValueError, RecursionError) as error:
        return Reading(gaps=(document.gap(f"is not valid JSON: {shown(str(error))}.", ecosystem=PYPI),))
    if not isinstance(data, dict) or data.keys().isdisjoint({"_meta", "default", "develop"}):
        return Reading(gaps=(document.gap("is no lock file of Pipenv.", ecosystem=PYPI),))
    problems = Problems(document)
    lines = _lines(document.text)
    components: list[Component] = []
    for section, described in data.items():
        if section != "_meta":
            scope = Scope.runtime if section == "default" else Scope.dev
            components += _packages(document, section, described, scope, lines, problems)
    return Reading(tuple(components), gaps=problems.gaps())


def read_pipfile(document: Document) -> Reading:
    """What a project that uses Pipenv asks for."""
    try:
        data = parse_toml(document.text)
    except InvalidTomlError as error:
        return Reading(gaps=(document.gap(f"{error}.", ecosystem=PYPI),))
    components: list[Component] = []
    problems = Problems(document)
    lines = {name: number for number, name in _first_words(document.text)}
    for section, wanted in data.items():
        if section in {"source", "requires", "scripts", "pipenv", "pipfile"} or not isinstance(wanted, dict):
            continue
        scope = Scope.runtime if section == "packages" else Scope.dev
        found, unread = read_table(document, wanted, section, scope, lines.get)
        components += found
        for one in unread:
            problems.add(1, one)
    return Reading(tuple(components), gaps=problems.gaps())


def _packages(
    document: Document, section: str, described: Any, scope: Scope, lines: Mapping[str, int], problems: Problems
) -> Iterator[Component]:
    if not isinstance(described, dict):
        problems.add(1, shown(section))
        return
    for name, one in described.items():
        known = package(name)
        if known is None or not isinstance(one, dict):
            problems.add(lines.get(name, 1), shown(name))
            continue
        key = next((key for key in _SOURCES if text_of(one, key)), "")
        origin = _SOURCES.get(key, Origin.registry)
        version = version_of(text_of(one, "version").removeprefix("==").strip())
        if origin in {Origin.folder, Origin.address}:
            where, told = origin_of(text_of(one, key))
            origin = Origin.address if where is not Origin.folder else origin  # packed, wherever it lies
            version = version or (told[1] if told is not None and told[0] == known.name else None)
        if version is None and origin is Origin.registry:
            problems.add(lines.get(name, 1), f"{known.name} has no version")
        extras = one.get("extras")
        yield Component(
            package=known,
            version=version,
            place=Place(document.file, lines.get(name), section),
            evidence=Evidence.locked,
            scope=scope,
            marker=_marker(text_of(one, "markers")),
            origin=origin,
            extras=tuple(sorted(normal(extra) for extra in extras if isinstance(extra, str)))
            if isinstance(extras, list)
            else (),
            hashed=bool(one.get("hashes")),
        )


def _marker(told: str) -> str:
    try:
        return parse(f"a; {told}").marker if told else ""
    except NotARequirementError:
        return ""


def _lines(text: str) -> dict[str, int]:
    """Where each name first stands as a key, as Pipenv lays the file out."""
    lines: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        bare = line.strip() if len(line) < 300 else ""
        if bare.endswith("{") and bare.startswith('"'):
            lines.setdefault(bare[1:].partition('"')[0], number)
    return lines


def _first_words(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) < 1_000 and "=" in line:
            yield number, line.partition("=")[0].strip().strip("\"'")
