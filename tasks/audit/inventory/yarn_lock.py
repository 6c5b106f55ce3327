"""Reads `yarn.lock`: the format of Yarn 1, and the YAML of the later ones ("berry")."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from tasks.advisories.package import NPM, Package
from tasks.audit.component import Component, Evidence, Origin, Place, Scope
from tasks.audit.inventory.document import Document, Reading
from tasks.audit.inventory.npm_names import Asked, asked, locked_version, origin_of, package, split
from tasks.audit.inventory.plain import MalformedError, Misread, table, text, yaml_objects
from tasks.audit.inventory.reached import Reached, reach

_BERRY = re.compile(r"^__metadata:", re.MULTILINE)
_TOKEN = re.compile(r'("(?:[^"\\]|\\.)*")|([^\s",:]+)|([,:])')
_LONGEST_LINE = 100_000
_MOST_PROBLEMS = 1_000


@dataclass(slots=True)
class _Entry:
    """What one or several descriptors (`name@range`) are locked to."""

    descriptors: tuple[str, ...]
    line: int | None = None
    fields: dict[str, str] = field(default_factory=dict)
    asks: dict[str, tuple[str, bool]] = field(default_factory=dict)
    """Names with their range, and whether it can do without."""


@dataclass(frozen=True, slots=True)
class _Locked:
    """One package in one version."""

    package: Package
    version: str | None
    origin: Origin
    is_project: bool = False

    @property
    def node(self) -> str:
        return f"{self.package.name}@{self.version}" if not self.is_project else f"{self.package.name}@workspace"


def read_yarn_lock(document: Document) -> Reading:
    """The packages that Yarn installs. Berry says what the workspaces ask for, and they are the target's own; Yarn 1
    does not, so there `direct` stays open. Neither tells what is for development only.
    """
    misread = Misread(document, NPM)
    is_berry = _BERRY.search(document.text) is not None
    try:
        entries = list(_berry(document, misread) if is_berry else _first(document, misread))
    except MalformedError as error:
        return Reading(gaps=(document.gap(str(error), ecosystem=NPM),))
    if not entries and not misread.told and not is_berry and "yarn lockfile" not in document.text:
        return Reading(gaps=(document.gap("is no lock file of Yarn.", ecosystem=NPM),))
    found: list[tuple[_Entry, _Locked]] = []
    for entry in entries:
        locked = _of_berry(entry) if is_berry else _of_first(entry)
        if locked is None:
            misread.add(", ".join(entry.descriptors))
        else:
            found.append((entry, locked))
    edges = _edges(found, misread)
    reached: Mapping[str, Reached] | None = None
    if is_berry:
        roots = {
            node: Scope.optional if is_optional else Scope.runtime
            for _, one in found
            if one.is_project
            for node, is_optional in sorted(edges[one.node], key=lambda edge: not edge[1])
        }
        reached = reach(roots.items(), edges, {one.node: one.package.name for _, one in found})
    components = _components(document, found, edges, reached)
    own = {one.package for _, one in found if one.is_project}
    return Reading(components, frozenset(own - {c.package for c in components}), gaps=misread.gaps())


def _first(document: Document, misread: Misread) -> Iterator[_Entry]:
    """The entries of a file of Yarn 1: one key a line, what belongs to it indented by two, lists of names by four."""
    entry: _Entry | None = None
    body: list[tuple[int, list[str], int]] = []
    for number, line in enumerate(document.text.splitlines(), start=1):
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        tokens = _tokens(line) if len(line) <= _LONGEST_LINE else []
        indent = len(line) - len(line.lstrip(" "))
        if indent:
            body.append((indent, tokens, number))
            continue
        if entry is not None:
            yield _filled(entry, body, misread)
        entry, body = None, []
        if tokens[-1:] == [":"] and tokens[1::2] == [","] * (len(tokens) // 2 - 1) + [":"]:
            entry = _Entry(tuple(tokens[::2]), number)
        else:
            misread.add(f"line {number}")
        if len(misread.told) > _MOST_PROBLEMS:
            raise MalformedError(f"has more than {_MOST_PROBLEMS} lines that are not understood.")
    if entry is not None:
        yield _filled(entry, body, misread)


def _filled(entry: _Entry, body: Sequence[tuple[int, list[str], int]], misread: Misread) -> _Entry:
    section = ""
    for indent, tokens, number in body:
        if len(tokens) != 2 or indent not in {2, 4} or (indent == 4 and not section):
            misread.add(f"line {number}")
        elif indent == 4:
            if section in {"dependencies", "optionalDependencies"}:
                entry.asks[tokens[0]] = (tokens[1], section == "optionalDependencies")
        elif tokens[1] == ":":
            section = tokens[0]
        else:
            section = ""
            entry.fields[tokens[0]] = tokens[1]
    return entry


def _tokens(line: str) -> list[str]:
    """Words, quoted ones without their quotes, commas and colons."""
    found = []
    for quoted, word, sign in _TOKEN.findall(line):
        found.append(re.sub(r"\\(.)", r"\1", quoted[1:-1]) if quoted else word or sign)
    return found


def _berry(document: Document, misread: Misread) -> Iterator[_Entry]:
    for key, value in chain.from_iterable(data.items() for data in yaml_objects(document)):
        if key == "__metadata":
            continue
        if not isinstance(value, dict):
            misread.add(key)
            continue
        meta = table(value, "dependenciesMeta")
        asks = {
            name: (range_, text(meta.get(name), "optional") == "true")
            for name, range_ in table(value, "dependencies").items()
            if isinstance(range_, str)
        }
        fields = {name: one for name, one in value.items() if isinstance(one, str)}
        yield _Entry(tuple(key.split(", ")), fields=fields, asks=asks)


def _of_first(entry: _Entry) -> _Locked | None:
    name, range_ = split(entry.descriptors[0])
    wanted = asked(name, range_)
    known, version = package(wanted.name), locked_version(entry.fields.get("version"))
    if known is None or version is None:
        return None
    origin = wanted.origin
    if origin is Origin.registry:
        origin = origin_of(entry.fields.get("resolved", ""))
    return _Locked(known, version, origin)


def _of_berry(entry: _Entry) -> _Locked | None:
    name, reference = split(entry.fields.get("resolution", ""))
    version = locked_version(entry.fields.get("version"))
    wanted: Asked = asked(name, reference)
    known = package(wanted.name)
    if known is None or version is None or not reference:
        return None
    is_project = reference.startswith("workspace:")
    return _Locked(known, None if is_project else version, wanted.origin, is_project)


def _edges(found: Sequence[tuple[_Entry, _Locked]], misread: Misread) -> dict[str, list[tuple[str, bool]]]:
    """What brings in what. A dependency is looked up as it is written, as berry writes it out, and then by its name
    alone, when only one version is locked: `resolutions` replace what a package asks for.
    """
    nodes = {descriptor: one.node for entry, one in found for descriptor in entry.descriptors}
    versions: dict[str, set[str]] = {}
    for descriptor, node in nodes.items():
        versions.setdefault(split(descriptor)[0], set()).add(node)
    edges: dict[str, list[tuple[str, bool]]] = {}
    for entry, one in found:
        to = edges.setdefault(one.node, [])
        for name, (range_, is_optional) in entry.asks.items():
            exact = nodes.get(f"{name}@{range_}") or nodes.get(f"{name}@npm:{range_}")
            candidates = {exact} if exact else versions.get(name, set())
            if not candidates:  # the rest of the file is lost, or a project of a workspace stands for it
                misread.add(f"{one.package.name} needs {name}, which is not in it")
            elif len(candidates) == 1:
                to.append((min(candidates), is_optional))
    return edges


def _components(
    document: Document,
    found: Sequence[tuple[_Entry, _Locked]],
    edges: Mapping[str, Sequence[tuple[str, bool]]],
    reached: Mapping[str, Reached] | None,
) -> tuple[Component, ...]:
    locked = {one.node: one for _, one in found}
    components: dict[_Locked, Component] = {}
    for entry, one in found:
        if one.is_project or one in components:
            continue
        way = reached.get(one.node) if reached is not None else None
        children = [locked[node] for node, _ in edges[one.node]]
        components[one] = Component(
            package=one.package,
            version=one.version,
            place=Place(document.file, entry.line),
            evidence=Evidence.locked,
            scope=way.scope if way is not None else Scope.runtime,
            origin=one.origin,
            hashed=bool(entry.fields.get("integrity") or entry.fields.get("checksum")),
            requires=tuple(sorted({(child.package.name, child.version or "") for child in children})),
            direct=None if reached is None else way is not None and not way.via,
            via=way.via if way is not None else (),
        )
    return tuple(components.values())
