"""Which components of an inventory count: what is installed or would be, in which version, and what leaves it open."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod
from pathlib import PurePosixPath

from tasks.advisories.package import DOCKER, PYPI, Package
from tasks.advisories.versions import ordering
from tasks.audit.component import Component, Evidence, Inventory, Origin

_WHOLE = frozenset({Evidence.image, Evidence.sbom})
"""Evidence that speaks for the whole target, wherever it is."""
_PACKAGES = frozenset({"site-packages", "dist-packages"})
_GIVEN = _WHOLE | {Evidence.locked, Evidence.installed}
"""Evidence of what was taken from somewhere, and not only asked for."""
_PYTHONS = tuple(f"3.{minor}.{patch}" for minor in range(6, 16) for patch in (0, 99))
_USUAL = {
    "sys_platform": ("linux", "darwin", "win32"),
    "platform_system": ("Linux", "Darwin", "Windows"),
    "os_name": ("posix", "nt", "java"),
    "platform_machine": ("x86_64", "arm64", "AMD64"),
    "platform_python_implementation": ("CPython", "PyPy"),
    "implementation_name": ("cpython", "pypy"),
    "platform_release": ("0", "9999"),
    "platform_version": ("0", "9999"),
}
"""Values of the variables of markers; those that a marker names itself come on top."""
_SIGN = r"(?:[=!]==?|~=|[<>]=?|not\s+in|in)"
_COMPARED = re.compile(
    rf"(?:\b([a-z_]+)\s*{_SIGN}\s*(?:\"([^\"]*)\"|'([^']*)'))|(?:(?:\"([^\"]*)\"|'([^']*)')\s*{_SIGN}\s*([a-z_]+)\b)"
)
_MOST_SURROUNDINGS = 2_000
"""Combinations that a marker is tried in; one that names more holds."""
_EXTRA = re.compile(r"extra\s*==\s*(?:\"([^\"]*)\"|'([^']*)')")


@dataclass(frozen=True, slots=True)
class InUse:
    """What counts of one inventory."""

    exact: Mapping[Package, tuple[Component, ...]]
    """Components with a version, by package."""
    loose: tuple[Component, ...] = ()
    """Requirements that allow several versions, where nothing says which of them is used."""
    limits: Mapping[Package, tuple[Component, ...]] | None = None
    """Constraints that allow several versions, by package."""
    unmatched: tuple[Component, ...] = ()
    """What comes from a repository or an address, and nothing says its version."""

    @property
    def wanted(self) -> dict[Package, frozenset[str]]:
        """What sources of advisories are asked about: packages with their versions in use.

        A package that is asked for without an exact version has none.
        """
        versions = {
            package: frozenset([component.version for component in components if component.version is not None])
            for package, components in self.exact.items()
        }
        for component in (*self.loose, *self.unmatched):
            versions.setdefault(component.package, frozenset())
        return versions


def in_use(inventory: Inventory) -> InUse:
    """What counts of `inventory`.

    Left out are the target's own packages, what comes from a folder (source code, which a scan looks at), base images,
    and what its marker rules out. What comes from a repository or an address is compared by its name and version, as
    far as something says the version. A requirement that a lock file, an environment or a pin has settled is settled,
    if they settled it in a way that it allows. A pin in a constraints file counts, unless it is known that nothing
    installs the package: then neither the lock beside it nor an environment that holds all requirements has it.
    """
    counted = [component for component in inventory.components if _counts(component, inventory)]
    exact: dict[Package, list[Component]] = {}
    limits: dict[Package, list[Component]] = {}
    pins: list[Component] = []
    for component in counted:
        if component.evidence is Evidence.constraint:
            (pins if component.version else limits.setdefault(component.package, [])).append(component)
        elif component.version is not None:
            exact.setdefault(component.package, []).append(component)
    asked = {component.package for component in counted if component.evidence is Evidence.declared}
    whole = _is_whole(inventory, asked, exact)
    locks = {(c.package.family, folder_of(c)) for of in exact.values() for c in of if c.evidence is Evidence.locked}
    for pin in pins:
        is_brought = pin.package in asked or pin.package in exact
        seen = whole or any(family == pin.package.family and is_below(folder_of(pin), at) for family, at in locks)
        if is_brought or not seen:
            exact.setdefault(pin.package, []).append(pin)
    is_image = any(component.evidence is Evidence.image for component in counted)
    open_ = [
        component
        for component in counted
        if component.version is None
        and _is_asked(component)
        and not any(_settles(said, component, is_image) for said in exact.get(component.package, ()))
    ]
    return InUse(
        exact={package: tuple(of) for package, of in exact.items()},
        loose=tuple(component for component in open_ if component.origin is Origin.registry),
        limits={package: tuple(of) for package, of in limits.items()},
        unmatched=tuple(component for component in open_ if component.origin is not Origin.registry),
    )


def applies(component: Component, python: Mapping[str, str]) -> bool:
    """Whether the marker of `component` holds, with `python` the marker variables of the target's environment.

    Without an environment it is not known for what a target is meant: then it holds if it does for any Python 3, and
    any of the usual systems or of those that it names. Extras count as asked for; a marker that cannot be understood
    holds.
    """
    return not component.marker or _holds(component.marker, tuple(sorted(python.items())))


@lru_cache(maxsize=4096)
def is_below(folder: PurePosixPath, other: PurePosixPath) -> bool:
    """Whether `folder` is `other` or inside of it."""
    return folder.is_relative_to(other)


def is_related(one: Component, other: Component) -> bool:
    """Whether two places speak of the same project: the folder of one holds that of the other."""
    return is_below(folder_of(one), folder_of(other)) or is_below(folder_of(other), folder_of(one))


def _counts(component: Component, inventory: Inventory) -> bool:
    # A folder deep inside may bear the name of a package that is really used: what a registry gave is never our own.
    given = component.evidence in _GIVEN and component.origin is Origin.registry
    return (
        (given or not _is_own(component, inventory))
        and component.origin is not Origin.folder
        and component.package.family != DOCKER
        and applies(component, inventory.python)
    )


def _is_own(component: Component, inventory: Inventory) -> bool:
    """Whether the target's own package is meant. A folder deep inside, such as test data or somebody's copy, may be
    called like anything; a project above it that asks pip for that name asks the registry. Workspaces of npm are linked
    by name alone.
    """
    if component.package not in inventory.own:
        return False
    homes = [PurePosixPath(folder) for package, folder in inventory.homes if package == component.package]
    if not homes or component.package.ecosystem != PYPI:
        return True
    folder = folder_of(component)
    return any(home == folder or not is_below(home, folder) for home in homes)


def _is_asked(component: Component) -> bool:
    """Whether something has to say the version of `component`. A lock file may name an address and no version."""
    return component.evidence is Evidence.declared or (
        component.evidence is Evidence.locked and component.origin is not Origin.registry
    )


def _settles(said: Component, asked: Component, is_image: bool) -> bool:  # noqa: FBT001 - two kinds of targets
    """Whether `said`, which has a version, says which version the requirement `asked` gets."""
    if said.evidence is Evidence.locked:
        near = is_below(folder_of(asked), folder_of(said))
    elif said.evidence is Evidence.installed:
        project = project_of(said)
        near = is_image or (project is not None and is_below(folder_of(asked), project))
    else:
        near = said.evidence in _WHOLE or is_related(said, asked)
    order = ordering(said.package.ecosystem)
    if not near or order is None or said.version is None:
        return near
    return order.allows(asked.requirement, said.version, prereleases=True) is not False


def project_of(installed: Component) -> PurePosixPath | None:
    """The folder whose environment has it: `services/a` for what is in `services/a/.venv/lib/python3.12/site-packages`.
    What is outside of the target, or in the target itself, counts for all of it; what lies in a folder of another
    layout (`vendor`, test data) for nothing: None.
    """
    parts = PurePosixPath(installed.place.file).parts
    for place, part in enumerate(parts):
        if part.lower() in {"lib", "lib64"} and not _PACKAGES.isdisjoint(parts[place:]):
            return PurePosixPath(*parts[:place]).parent
    return PurePosixPath() if len(parts) < 2 or not _PACKAGES.isdisjoint(parts) else None


def _is_whole(inventory: Inventory, asked: Iterable[Package], exact: Mapping[Package, Iterable[Component]]) -> bool:
    """Whether the environment holds everything that is asked for, so that what it lacks is not installed."""
    return inventory.environment and all(
        any(component.evidence is Evidence.installed for component in exact.get(package, ()))
        for package in asked
        if package.ecosystem == PYPI
    )


def folder_of(component: Component) -> PurePosixPath:
    """The folder of the file that says it."""
    return _folder(component.place.file)


@lru_cache(maxsize=4096)
def _folder(file: str) -> PurePosixPath:
    return PurePosixPath(file).parent


@lru_cache(maxsize=8192)
def _holds(text: str, python: tuple[tuple[str, str], ...]) -> bool:
    from packaging.markers import InvalidMarker, Marker, default_environment  # noqa: PLC0415 - few targets have markers

    try:
        marker = Marker(text)
    except InvalidMarker:
        return True
    base = {key: str(value) for key, value in default_environment().items()}
    known = dict(python)
    extras = ["", *(double or single for double, single in _EXTRA.findall(text))]
    surroundings = _of_python(known) if known else _surroundings(text)
    if len(surroundings) * len(extras) > _MOST_SURROUNDINGS:
        return True
    try:
        return any(
            marker.evaluate({**base, **variables, "extra": extra}) for variables in surroundings for extra in extras
        )
    except (ValueError, KeyError, TypeError):  # variables of lock files (`extras`), comparisons of no sense
        return True


def _surroundings(text: str) -> list[dict[str, str]]:
    """What a marker may meet: each variable that it names with the usual values and with those that it names."""
    named: dict[str, list[str]] = {}
    for left, double, single, double_right, single_right, right in _COMPARED.findall(text):
        named.setdefault(left or right, []).append(double or single or double_right or single_right)
    choices: list[list[dict[str, str]]] = []
    pythons = [named.pop(name, []) for name in ("python_version", "python_full_version", "implementation_version")]
    if any(pythons):
        told = (version.removesuffix(".*") for versions in pythons for version in versions)
        own = [version for version in told if re.fullmatch(r"3\.[0-9]{1,3}(?:\.[0-9]{1,3})?", version)]
        choices.append([_python(version) for version in dict.fromkeys([*_PYTHONS, *own])])
    for name, values in named.items():
        if name in _USUAL:
            # `in` compares with the parts of a text as well.
            parts = [part for value in values for part in (value, *re.split(r"[\s,|]+", value))]
            choices.append([{name: value} for value in dict.fromkeys([*_USUAL[name], *parts])])
    if prod(map(len, choices)) > _MOST_SURROUNDINGS:
        return [{}] * (_MOST_SURROUNDINGS + 1)
    return [{key: value for part in parts for key, value in part.items()} for parts in product(*choices)]


def _of_python(known: Mapping[str, str]) -> list[dict[str, str]]:
    """The surroundings of an environment; where only the generation of its Python is known, its first and its last."""
    full, generation = known.get("python_full_version"), known.get("python_version", "")
    return [{**_python(one), **known} for one in ([full] if full else [f"{generation}.0", f"{generation}.99"])]


def _python(version: str) -> dict[str, str]:
    full = version if version.count(".") > 1 else f"{version}.0"
    return {
        "python_version": full.rpartition(".")[0],
        "python_full_version": full,
        "implementation_version": full,
    }
