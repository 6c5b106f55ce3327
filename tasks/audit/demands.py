"""What others ask of a package: the ranges in the metadata of installed distributions and in some lock files.

An inventory tells which versions were chosen, and not what else would have done. That is only needed where something
has to be upgraded, so it is only read then.
"""

from __future__ import annotations

import contextlib
import json
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from tasks.advisories.package import NPM, PYPI, Package
from tasks.advisories.versions import ordering
from tasks.audit.component import Component, Evidence, Inventory
from tasks.audit.inventory.poetry_ranges import translated
from tasks.proposals.beneath import BeneathError, open_folder, read

_LARGEST = 20_000_000
_MOST_METADATA = 4_000_000


@dataclass(frozen=True, slots=True)
class Demand:
    """One package asking for another."""

    by: str
    """Who: name and version."""
    requirement: str
    """The range, without the name."""


Demands = Mapping[Package, tuple[Demand, ...]]


def demands_of(inventory: Inventory, packages: Collection[Package]) -> Demands:
    """What installed distributions, `poetry.lock` and `package-lock.json` ask of `packages`.

    What cannot be read adds nothing: that somebody stands in the way is then not known, and the resolver has to say.
    """
    found: dict[Package, dict[Demand, None]] = {package: {} for package in packages}
    names = {package.name for package in packages}
    for package, demand in _all(inventory, names):
        if package in found:
            found[package][demand] = None
    return {package: tuple(demands) for package, demands in found.items() if demands}


def _all(inventory: Inventory, names: Collection[str]) -> Iterator[tuple[Package, Demand]]:
    for component in inventory.components:
        if component.evidence is Evidence.installed and any(name in names for name, _ in component.requires):
            yield from _of_metadata(inventory, component)
    locks = {c.place.file for c in inventory.components if c.evidence is Evidence.locked}
    for file in sorted(locks):
        name = PurePosixPath(file).name
        content = _content(inventory, file, _LARGEST) if name in _LOCKS else None
        if content is not None:
            with contextlib.suppress(ValueError, RecursionError, TypeError, AttributeError, KeyError):
                yield from _LOCKS[name](content)


def _of_metadata(inventory: Inventory, component: Component) -> Iterator[tuple[Package, Demand]]:
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415

    head = _content(inventory, f"{component.place.file}/METADATA", _MOST_METADATA)
    for line in _headers(head or ""):
        field, _, value = line.partition(":")
        if field.strip().lower() != "requires-dist" or len(value) > 4_000:
            continue
        with contextlib.suppress(InvalidRequirement):
            asked = Requirement(value.strip())
            if asked.marker is not None and not _holds(asked.marker, inventory.python):
                continue
            if asked.specifier:
                yield _pypi(asked.name), Demand(_who(component), str(asked.specifier))


def _of_poetry_lock(content: str) -> Iterator[tuple[Package, Demand]]:
    for locked in tomllib.loads(content).get("package", []):
        by = f"{locked['name']} {locked['version']}"
        for name, described in locked.get("dependencies", {}).items():
            for one in described if isinstance(described, list) else [described]:
                text = one.get("version") if isinstance(one, dict) else one
                range_ = translated(text) if isinstance(text, str) else None
                if range_:
                    yield _pypi(name), Demand(by, range_)


def _of_package_lock(content: str) -> Iterator[tuple[Package, Demand]]:
    for path, described in json.loads(content).get("packages", {}).items():
        name = described.get("name") or path.rpartition("node_modules/")[2]
        if not path or not described.get("version"):
            continue  # the project itself: its own requirements can be changed
        for kind in ("dependencies", "optionalDependencies"):
            for asked, range_ in described.get(kind, {}).items():
                if isinstance(range_, str):
                    yield Package(NPM, asked), Demand(f"{name} {described['version']}", range_)


_LOCKS = {
    "poetry.lock": _of_poetry_lock,
    "package-lock.json": _of_package_lock,
    "npm-shrinkwrap.json": _of_package_lock,
}


def _content(inventory: Inventory, file: str, largest: int) -> str | None:
    with contextlib.suppress(OSError, BeneathError), open_folder(inventory.root, file) as (folder, name):
        return read(folder, name, largest=largest)[0].decode(errors="replace")
    return None


def _headers(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if not line:
            return
        yield line


def _holds(marker: Any, python: Mapping[str, str]) -> bool:
    """Whether a requirement counts where no extra is asked for."""
    from packaging.markers import UndefinedComparison, UndefinedEnvironmentName  # noqa: PLC0415

    try:
        return bool(marker.evaluate({**python, "extra": ""}))
    except (UndefinedComparison, UndefinedEnvironmentName, ValueError):
        return True


def _pypi(name: str) -> Package:
    order = ordering(PYPI)
    return Package(PYPI, order.name(name) if order else name)


def _who(component: Component) -> str:
    return f"{component.package.name} {component.version or ''}".strip()
