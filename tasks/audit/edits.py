"""Edits of manifests in which nothing changes but version specifiers. Pure: text in, text out.

Each edit is proven by reading the result: what it says must be what was said before, but for the one specifier.
"""

from __future__ import annotations

import copy
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from tasks.advisories.package import NPM, PYPI, Package
from tasks.advisories.versions import ordering
from tasks.audit.specifiers import Range, raised_npm

_HEAD = re.compile(r"[ \t]*([A-Za-z0-9][A-Za-z0-9._-]*)[ \t]*(\[[^\[\]\r\n]*\])?[ \t]*")
_END = re.compile(r"[;\\\r\n]|[ \t][#-]")
_OPTION = re.compile(r"[ \t]--?[a-zA-Z]")
_COMMENT = re.compile(r"(?:^|[ \t])#.*")
_MOST_TRIES = 200
_NPM_TABLES = ("dependencies", "devDependencies", "optionalDependencies", "overrides", "resolutions")
_ALIAS = "npm:"

Path = tuple[str | int, ...]
"""Keys and positions that lead to a value of a document."""


@dataclass(frozen=True, slots=True)
class Raise:
    """A package that is to be had in another version."""

    package: Package
    away: tuple[str, ...]
    """The versions that it must no longer be."""
    to: str
    locked: bool = False
    """Whether a lock file says the version: then a range that allows the new one stays as it is."""

    def edit(self, range_: Range) -> str | None:
        """The new text of `range_`; None when it stays as it is.

        Raises:
            CannotError: it has to change, and cannot be changed by a program.
        """
        pinned = range_.pinned
        if pinned is not None:
            stays = not range_.allows_any(self.away)
        else:
            stays = not range_.allows_any(self.away) or bool(self.locked and range_.allows(self.to))
        if stays:
            return None
        raised = range_.raised(self.to)
        if raised is None or Range(raised, range_.poetry).allows(self.to) is not True:
            raise CannotError(f"its specifier {range_.text.strip()!r} is better changed by a person.")
        return raised


class CannotError(Exception):
    """A place that has to change and is not changed, and why."""


@dataclass(frozen=True, slots=True)
class Edited:
    """A file after its edits."""

    text: str
    changed: frozenset[Package] = frozenset()
    refused: tuple[tuple[Package, str], ...] = ()
    """Packages whose specifier has to change and did not, and why."""


def editor_of(file: str) -> Callable[[str, Sequence[Raise]], Edited] | None:
    """What edits `file`, by its name; None for a kind of file that is changed by people only."""
    path = PurePosixPath(file)
    if path.name in {"pyproject.toml", "Pipfile"}:
        return edit_toml
    if path.name == "package.json":
        return edit_package_json
    return edit_requirements if path.suffix in {".txt", ".in", ".pip"} else None


def edit_requirements(text: str, raises: Sequence[Raise]) -> Edited:
    """Edit a requirements or constraints file (format: pip's manual, "Requirements File Format")."""
    wanted = {one.package.name: one for one in raises if one.package.ecosystem == PYPI}
    parts: list[str] = []
    changed: set[Package] = set()
    refused: list[tuple[Package, str]] = []
    for logical in _logical_lines(text):
        head = _HEAD.match(logical.removeprefix("\ufeff"))
        one = wanted.get(canonicalize_name(head[1])) if head else None
        edited = logical
        if one is not None:
            try:
                edited = _edit_line(logical, one)
            except CannotError as error:
                refused.append((one.package, str(error)))
        if edited != logical and one is not None:
            changed.add(one.package)
        parts.append(edited)
    return Edited("".join(parts), frozenset(changed), tuple(dict.fromkeys(refused)))


def edit_toml(text: str, raises: Sequence[Raise]) -> Edited:
    """Edit the requirements in a `pyproject.toml` (PEP 621, 735, 518, Poetry) or a `Pipfile`."""
    return _edit_document(text, raises, PYPI, tomllib.loads, _places_in_toml)


def edit_package_json(text: str, raises: Sequence[Raise]) -> Edited:
    """Edit the ranges in a `package.json`; what peers are asked for stays as it is."""
    return _edit_document(text, raises, NPM, json.loads, _places_in_package_json)


_Place = tuple[Path, str, str, Callable[[Raise], str | None]]
"""Where a value is, the package's name, the value, and what makes the new one."""


def _edit_document(
    text: str,
    raises: Sequence[Raise],
    ecosystem: str,
    parse: Callable[[str], Any],
    places: Callable[[Mapping[str, Any]], Iterator[_Place]],
) -> Edited:
    wanted = {one.package.name: one for one in raises if one.package.ecosystem == ecosystem}
    bare = text.removeprefix("\ufeff")
    try:
        data = parse(bare)
    except (ValueError, RecursionError):
        return Edited(text, refused=tuple((one.package, "the file cannot be read.") for one in wanted.values()))
    changed: set[Package] = set()
    refused: list[tuple[Package, str]] = []
    for path, name, value, renew in list(places(data) if isinstance(data, dict) else ()):
        one = wanted.get(name)
        if one is None:
            continue
        try:
            new = renew(one)
            if new is None:
                continue
            bare, data = _replaced(bare, data, path, value, new, parse)
            changed.add(one.package)
        except CannotError as error:
            refused.append((one.package, str(error)))
    mark = text[: len(text) - len(text.removeprefix("\ufeff"))]
    return Edited(mark + bare, frozenset(changed), tuple(dict.fromkeys(refused)))


def _replaced(text: str, data: Any, path: Path, old: str, new: str, parse: Callable[[str], Any]) -> tuple[str, Any]:
    """`text` with the string at `path` replaced where it is written, and what it says then."""
    expected = copy.deepcopy(data)
    _put(expected, path, new)
    escaped = json.dumps(old, ensure_ascii=False), json.dumps(new, ensure_ascii=False)
    tries = 0
    for token, replacement in (escaped, (f"'{old}'", f"'{new}'")):
        start = text.find(token)
        while start >= 0 and tries < _MOST_TRIES:
            tries += 1
            candidate = text[:start] + replacement + text[start + len(token) :]
            try:
                if parse(candidate) == expected:
                    return candidate, expected
            except (ValueError, RecursionError):
                pass  # inside of another string: not this place
            start = text.find(token, start + 1)
    raise CannotError("it is written in a way that only a person should change.")


def _put(data: Any, path: Path, value: str) -> None:
    for key in path[:-1]:
        data = data[key]
    data[path[-1]] = value


def _places_in_toml(data: Mapping[str, Any]) -> Iterator[_Place]:
    project = _table(data, "project")
    yield from _listed(("project", "dependencies"), project.get("dependencies"))
    for path, tables in (
        (("project", "optional-dependencies"), _table(project, "optional-dependencies")),
        (("dependency-groups",), _table(data, "dependency-groups")),
    ):
        for group, requirements in tables.items():
            yield from _listed((*path, group), requirements)
    yield from _listed(("build-system", "requires"), _table(data, "build-system").get("requires"))
    poetry = _table(_table(data, "tool"), "poetry")
    at: Path = ("tool", "poetry")
    for name in ("dependencies", "dev-dependencies"):
        yield from _named((*at, name), _table(poetry, name))
    for group, described in _table(poetry, "group").items():
        if isinstance(described, dict):
            yield from _named((*at, "group", group, "dependencies"), _table(described, "dependencies"))
    for name in ("packages", "dev-packages"):
        yield from _named((name,), _table(data, name))


def _listed(path: Path, requirements: Any) -> Iterator[_Place]:
    """A list of requirements of PEP 508."""
    for index, text in enumerate(requirements if isinstance(requirements, list) else ()):
        head = _HEAD.match(text) if isinstance(text, str) else None
        if head is not None:
            yield (*path, index), canonicalize_name(head[1]), text, partial(_edited, text)


def _edited(text: str, one: Raise) -> str | None:
    edited = _edit_line(text, one)
    return None if edited == text else edited


def _named(path: Path, table: Mapping[str, Any]) -> Iterator[_Place]:
    """A table from names to ranges, as Poetry and Pipenv have it."""
    for name, value in table.items():
        if isinstance(value, dict) and isinstance(value.get("version"), str):
            place, text = (*path, name, "version"), value["version"]
        elif isinstance(value, str):
            place, text = (*path, name), value
        else:
            continue
        yield place, canonicalize_name(name), text, partial(_edited_named, text)


def _edited_named(text: str, one: Raise) -> str | None:
    return one.edit(Range(text, poetry=True))


def _places_in_package_json(data: Mapping[str, Any]) -> Iterator[_Place]:
    for table in _NPM_TABLES:
        for name, value in _table(data, table).items():
            if isinstance(value, str) and value.startswith(_ALIAS):
                real, _, range_ = value.removeprefix(_ALIAS).rpartition("@")
                yield (table, name), real, value, partial(_edited_alias, f"{_ALIAS}{real}@", range_)
            elif isinstance(value, str):
                yield (table, name), name, value, partial(_edited_npm, value)


def _edited_alias(before: str, range_: str, one: Raise) -> str | None:
    edited = _edited_npm(range_, one)
    return None if edited is None else before + edited


def _edited_npm(text: str, one: Raise) -> str | None:
    order = ordering(NPM)
    if order is None or not any(order.allows(text, version) for version in one.away):
        return None
    exact = order.parse(text) is not None
    if one.locked and not exact and order.allows(text, one.to):
        return None
    raised = raised_npm(text, one.to)
    if raised is None or order.allows(raised, one.to) is not True:
        raise CannotError(f"its range {text.strip()[:80]!r} is better changed by a person.")
    return raised


def _edit_line(logical: str, one: Raise) -> str:
    """One logical line of a requirements file, or one requirement of PEP 508, with its specifier raised."""
    mark = logical[: len(logical) - len(logical.removeprefix("\ufeff"))]
    raw = logical[len(mark) :]
    head = _HEAD.match(raw)
    if head is None:
        return logical
    end = _END.search(raw, max(head.end() - 1, 0))
    start, stop = head.end(), max(end.start(), head.end()) if end else len(raw)
    before = _requirement(raw)
    if before is None or before.url is not None:
        raise CannotError("it is required by its address, or in a way that cannot be understood.")
    while start < stop and raw[stop - 1] in " \t":
        stop -= 1
    if raw[start:stop].startswith("(") and raw[start:stop].endswith(")"):
        start, stop = start + 1, stop - 1
    spec = raw[start:stop]
    new = one.edit(Range(spec))
    if new is None:
        return logical
    try:
        whole = SpecifierSet(spec) == before.specifier
    except InvalidSpecifier:
        whole = False
    if not whole:
        raise CannotError("it is written over several lines.")
    if re.search(r"[ \t]--hash\b", raw):
        raise CannotError("it is pinned by hashes, which are those of the old version.")
    edited = raw[:start] + new + raw[stop:]
    after = _requirement(edited)
    if after is None or (after.name, after.extras, str(after.marker), after.specifier) != (
        before.name,
        before.extras,
        str(before.marker),
        SpecifierSet(new),
    ):
        raise CannotError("it is written in a way that only a person should change.")
    return mark + edited


def _requirement(raw: str) -> Requirement | None:
    """The requirement of a logical line; None when it is none."""
    joined = re.sub(r"\\\r?\n", " ", raw).strip()
    bare = _OPTION.split(_COMMENT.sub("", joined), maxsplit=1)[0]
    try:
        return Requirement(bare)
    except InvalidRequirement:
        return None


def _logical_lines(text: str) -> Iterator[str]:
    """Lines with their ends; those that a backslash continues are one."""
    logical = ""
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        logical += line
        if not line.rstrip("\r\n").endswith("\\") or _COMMENT.match(line):
            yield logical
            logical = ""
    if logical:
        yield logical


def _table(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key)
    return value if isinstance(value, dict) else {}
