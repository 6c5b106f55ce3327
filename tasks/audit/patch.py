"""A patch of the files that ask for packages: planned as a value, and shown as a diff."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tasks.advisories.package import NPM, PYPI, Package
from tasks.audit.component import Component, Evidence, Inventory
from tasks.audit.edits import Raise, editor_of
from tasks.audit.remedies import Upgrade
from tasks.proposals.beneath import BeneathError, open_folder, read
from tasks.proposals.change import LARGEST, Change

_CONTROL = re.compile(r"[\x00-\x1f\x7f\"\\]")


@dataclass(frozen=True, slots=True)
class Untouched:
    """A place that has to change and was not changed by the patch."""

    file: str
    package: Package
    reason: str


@dataclass(frozen=True, slots=True)
class Patch:
    """What mends a target as far as text can."""

    changes: tuple[Change, ...] = ()
    untouched: tuple[Untouched, ...] = ()
    commands: tuple[str, ...] = ()
    """What refreshes lock files and environments, for a person to run: Lama does not."""

    @property
    def diff(self) -> str:
        """All changes as one unified diff."""
        return "".join(change.diff for change in self.changes)


def manifests(inventory: Inventory, upgrades: Iterable[Upgrade]) -> tuple[str, ...]:
    """The files that `plan` wants to have the contents of."""
    wanted = {upgrade.package for upgrade in upgrades if upgrade.to is not None}
    files = {place.place.file for place in inventory.components if place.package in wanted and _is_asked(place)}
    return tuple(sorted(file for file in files if editor_of(file) is not None))


def read_manifests(root: Path, files: Sequence[str]) -> dict[str, bytes]:
    """The contents of `files` below `root`; links are not followed, and what cannot be read is not in the answer."""
    contents: dict[str, bytes] = {}
    for file in files:
        with contextlib.suppress(OSError, BeneathError), open_folder(root, file) as (folder, name):
            contents[file] = read(folder, name, largest=LARGEST)[0]
    return contents


def plan(upgrades: Sequence[Upgrade], inventory: Inventory, contents: Mapping[str, bytes]) -> Patch:
    """The patch that brings `upgrades` into the files of `inventory`, given what `read_manifests` read.

    Only version specifiers change: comments, markers, extras, order and line ends stay. Lock files are not edited.
    """
    possible = [upgrade for upgrade in upgrades if upgrade.to is not None]
    by_file: dict[str, list[Raise]] = {}
    untouched: list[Untouched] = []
    for upgrade in sorted(possible, key=lambda one: (one.package, one.from_versions)):
        asked = [c for c in inventory.components if c.package == upgrade.package and _is_asked(c)]
        for file in dict.fromkeys(component.place.file for component in asked):
            one = Raise(upgrade.package, upgrade.from_versions, str(upgrade.to), _is_locked(inventory, upgrade, file))
            if editor_of(file) is None:
                if any(c.version in upgrade.from_versions for c in asked if c.place.file == file):
                    untouched.append(Untouched(file, upgrade.package, "files of its kind are changed by people only."))
            elif file not in contents:
                untouched.append(Untouched(file, upgrade.package, "the file cannot be read, or is reached by a link."))
            else:
                by_file.setdefault(file, []).append(one)
    changes: list[Change] = []
    changed: set[Package] = set()
    for file, raises in sorted(by_file.items()):
        change, mended, refused = _edited(file, contents[file], raises)
        untouched += refused
        changed |= mended
        if change is not None:
            changes.append(change)
    commands = [
        command for upgrade in possible for command in _commands(upgrade, inventory, upgrade.package in changed)
    ]
    return Patch(tuple(changes), tuple(dict.fromkeys(untouched)), tuple(dict.fromkeys(commands)))


def _edited(file: str, content: bytes, raises: Sequence[Raise]) -> tuple[Change | None, set[Package], list[Untouched]]:
    editor = editor_of(file)
    packages = list(dict.fromkeys(one.package for one in raises))
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None, set(), [Untouched(file, package, "the file is not UTF-8.") for package in packages]
    if editor is None or _CONTROL.search(file):
        return (
            None,
            set(),
            [Untouched(file, package, "the file has a name that is not handled.") for package in packages],
        )
    rounds: list[dict[Package, Raise]] = []
    for one in sorted(raises, key=lambda one: one.package):
        free = next((part for part in rounds if one.package not in part), None)
        if free is None:
            rounds.append(free := {})
        free[one.package] = one
    changed: set[Package] = set()
    untouched: list[Untouched] = []
    for part in rounds:
        edited = editor(text, list(part.values()))
        text = edited.text
        changed |= edited.changed
        untouched += [Untouched(file, package, reason) for package, reason in edited.refused]
    new = text.encode()
    return (Change(file, content, new) if new != content else None), changed, untouched


def _is_asked(component: Component) -> bool:
    return component.evidence in {Evidence.declared, Evidence.constraint} and component.package.ecosystem in {PYPI, NPM}


def _is_locked(inventory: Inventory, upgrade: Upgrade, file: str) -> bool:
    """Whether a lock file beside or above `file` says the package's version."""
    below = PurePosixPath(file).parent
    return any(
        component.evidence is Evidence.locked
        and component.package == upgrade.package
        and below.is_relative_to(PurePosixPath(component.place.file).parent)
        for component in inventory.components
    )


def _commands(upgrade: Upgrade, inventory: Inventory, changed: bool) -> Iterator[str]:  # noqa: FBT001
    name, to = upgrade.package.name, str(upgrade.to)
    places = [
        place
        for place in inventory.components
        if place.package == upgrade.package and place.version in upgrade.from_versions
    ]
    for file in sorted({place.place.file for place in places if place.evidence is Evidence.locked}):
        path = PurePosixPath(file)
        command = _refresh(path.name, name, to, direct=upgrade.direct)
        if command is None:
            yield f"# Make {shlex.quote(file)} anew with what wrote it, with {shlex.quote(f'{name}=={to}')}."
            continue
        into = f"cd {shlex.quote(str(path.parent))} && " if str(path.parent) != "." else ""
        yield into + shlex.join(command)
    if not changed and places and all(place.evidence is Evidence.installed for place in places):
        yield shlex.join(["python", "-m", "pip", "install", "--upgrade", f"{name}=={to}"])


def _refresh(lock: str, name: str, to: str, *, direct: bool) -> list[str] | None:
    """The command that brings one package of a lock file to a version, or as near to it as its tool can aim."""
    return {
        "uv.lock": ["uv", "lock", "--upgrade-package", f"{name}=={to}"],
        "poetry.lock": ["poetry", "update", "--lock", name],
        "Pipfile.lock": ["pipenv", "upgrade", f"{name}=={to}"],
        "package-lock.json": ["npm", "install", f"{name}@{to}"] if direct else ["npm", "update", name],
        "npm-shrinkwrap.json": ["npm", "install", f"{name}@{to}"] if direct else ["npm", "update", name],
        "yarn.lock": ["yarn", "upgrade", f"{name}@{to}"] if direct else ["yarn", "upgrade", name],
        "pnpm-lock.yaml": ["pnpm", "update", f"{name}@{to}"] if direct else ["pnpm", "update", "--depth", "100", name],
    }.get(lock)
