"""What the unpacked file system of an image holds: packages of its distribution, and of npm wherever they are."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from models.gap import Gap
from tasks.advisories.package import DEBIAN, NPM
from tasks.audit.component import Component, Evidence, Place
from tasks.audit.inventory.document import Document, Reading
from tasks.audit.inventory.dpkg import ecosystem_of, read_os_release, read_status
from tasks.audit.inventory.inside import content, resolve
from tasks.audit.inventory.installed import packages_folders, read_environment
from tasks.audit.inventory.npm_names import locked_version, package
from tasks.audit.inventory.plain import MalformedError, Misread, json_object, table, text

_STATUS, _FOLDER = "var/lib/dpkg/status", "var/lib/dpkg/status.d"
_OTHERS = {
    "lib/apk/db/installed": ("apk", "Alpine"),
    "usr/lib/apk/db/installed": ("apk", "Alpine"),
    "var/lib/rpm/Packages": ("rpm", "Red Hat"),
    "var/lib/rpm/Packages.db": ("rpm", "Red Hat"),
    "var/lib/rpm/rpmdb.sqlite": ("rpm", "Red Hat"),
    "usr/lib/sysimage/rpm/Packages.db": ("rpm", "SUSE"),
    "usr/lib/sysimage/rpm/rpmdb.sqlite": ("rpm", "Red Hat"),
    "var/lib/pacman/local": ("pacman", "Arch Linux"),
}
"""Databases that are not read, by what they belong to and the ecosystem that goes unseen."""
_STORES = {".pnpm", ".store"}
"""Where pnpm and Yarn keep the packages themselves, each beside what it needs."""
_LARGEST = 64 * 1024 * 1024
_LARGEST_MANIFEST = 1_000_000
_MOST_FILES = 50_000
_MOST_ENTRIES = 1_000_000
_DEEPEST = 64
_SYSTEM = {"proc", "sys", "dev", "run", "tmp"}


def read_image(target: str, root: Path) -> Reading:
    """The packages of the distribution by its database, and what lies in folders called `node_modules`, or in a
    `site-packages` that belongs to no environment and to no usual place.

    Paths are those of the image: its absolute links begin at `root` again. Databases of other package managers are
    gaps.
    """
    image = _Image(target, os.path.realpath(root))
    components = [*image.distribution(), *image.folders()]
    return Reading(tuple(components), gaps=(*image.gaps, *(gap for one in image.misread for gap in one.gaps())))


class _Image:
    """One image while it is read."""

    def __init__(self, target: str, root: str) -> None:
        self._target = target
        self._root = root
        self.gaps: list[Gap] = []
        self.misread: list[Misread] = []

    def distribution(self) -> Iterator[Component]:
        """The packages of the distribution."""
        settings = self._settings()
        name = settings.get("ID", "") or "an unknown distribution"
        status = self._file(_STATUS) if resolve(self._root, _STATUS) else None
        listed = [status] if status is not None else []
        listed += self._listed()
        ecosystem = ecosystem_of(settings)
        if listed and ecosystem is None:
            self._gap(_STATUS, f"lists packages of {name[:40]}, which are compared as if they were Debian's.", DEBIAN)
        elif listed and ecosystem is not None and ":" not in ecosystem:
            self._gap(_STATUS, f"lists packages of {name}, and nothing says of which release.", ecosystem)
        found = 0
        for document in listed:
            misread = Misread(document, (ecosystem or DEBIAN).partition(":")[0])
            for component in read_status(document, ecosystem or DEBIAN, misread):
                found += 1
                yield component
            self.misread.append(misread)
        if listed and not found:
            self._gap(_STATUS, "lists no package: those of the distribution are not looked at.", ecosystem or DEBIAN)
        others = {of: path for path, of in _OTHERS.items() if resolve(self._root, path) is not None}
        for (manager, ecosystem), path in others.items():
            reason = f"is the database of {manager} ({name[:40]}): its packages are not looked at."
            self._gap(path, reason, ecosystem)
        if not listed and not others and not self.gaps:
            self._gap("", "has no database of packages that is known here: what it was made of is not looked at.")

    def folders(self) -> Iterator[Component]:
        """What package managers of languages put into folders of their own."""
        usual = {os.path.realpath(folder) for folder in packages_folders(Path(self._root))}
        for path, name in self._walk():
            real = os.path.join(self._root, path)  # noqa: PTH118 - names may hold any bytes
            if name == "node_modules":
                yield from self._modules(real, path)
            elif os.path.realpath(real) not in usual and packages_folders(Path(real)) == (Path(real),):
                reading = read_environment(self._target, Path(real), path, {})
                self.gaps += reading.gaps
                yield from reading.components

    def _settings(self) -> Mapping[str, str]:
        for path in ("etc/os-release", "usr/lib/os-release"):
            if resolve(self._root, path) is not None:
                document = self._file(path)
                return read_os_release(document.text) if document is not None else {}
        return {}

    def _listed(self) -> list[Document]:
        """The files of images that have no dpkg: one a package."""
        folder = resolve(self._root, _FOLDER)
        if folder is None:
            return []
        names = self._names(folder, _FOLDER)
        if len(names) > _MOST_FILES:
            self._gap(_FOLDER, f"holds more than {_MOST_FILES} files.", DEBIAN)
        names = [name for name in names[:_MOST_FILES] if not name.endswith(".md5sums")]
        documents = [self._file(f"{_FOLDER}/{name}") for name in names]
        return [document for document in documents if document is not None]

    def _file(self, path: str, largest: int = _LARGEST) -> Document | None:
        real = resolve(self._root, path)
        if real is None:
            self._gap(path, "is a link that leads nowhere.")
            return None
        try:
            return Document(self._target, _shown(path), content(real, largest))
        except (OSError, ValueError) as error:
            self._gap(path, f"is not read: {getattr(error, 'strerror', None) or error}.")
            return None

    def _walk(self) -> Iterator[tuple[str, str]]:
        """Folders of packages; no link is followed, and environments are left to who knows them."""
        todo = [("", 0)]
        entries = 0
        while todo:
            folder, depth = todo.pop()
            try:
                with os.scandir(os.path.join(self._root, folder)) as scan:  # noqa: PTH118
                    found = [entry.name for entry in scan if entry.is_dir(follow_symlinks=False)]
            except OSError as error:
                self._gap(folder, f"cannot be listed: {error.strerror}.")
                continue
            entries += len(found)
            if entries > _MOST_ENTRIES or depth > _DEEPEST:
                self._gap(folder, f"is not looked at: more than {_MOST_ENTRIES} folders, or {_DEEPEST} of them deep.")
                continue
            if folder and os.path.lexists(os.path.join(self._root, folder, "pyvenv.cfg")):  # noqa: PTH118
                continue
            for name in found:
                path = f"{folder}/{name}" if folder else name
                if name in {"node_modules", "site-packages", "dist-packages"}:
                    yield path, name
                elif folder or name not in _SYSTEM:
                    todo.append((path, depth + 1))

    def _modules(self, folder: str, path: str) -> Iterator[Component]:
        """The packages in a `node_modules` folder, and in those inside of it."""
        misread = Misread(Document(self._target, _shown(path), b""), NPM)
        todo = [(folder, path, 0)]
        count = 0
        while todo:
            real, shown, depth = todo.pop()
            for name in self._names(real, shown):
                inner, place = f"{real}/{name}", f"{shown}/{name}"
                if not _is_folder(inner):
                    continue
                if name in _STORES:  # the folders beside it are links into it
                    todo += [
                        (f"{inner}/{one}/node_modules", f"{place}/{one}/node_modules", depth + 1)
                        for one in self._names(inner, place)
                        if _is_folder(f"{inner}/{one}/node_modules")
                    ]
                if name.startswith("@") and depth < _DEEPEST:
                    todo.append((inner, place, depth + 1))
                if name.startswith(("@", ".")):
                    continue
                count += 1
                if count > _MOST_FILES:
                    misread.add(f"more than {_MOST_FILES} packages")
                    break
                component = self._module(inner, place, misread)
                if component is not None:
                    yield component
                nested = f"{inner}/node_modules"
                if depth < _DEEPEST and _is_folder(nested):
                    todo.append((nested, f"{place}/node_modules", depth + 1))
        self.misread.append(misread)

    def _module(self, folder: str, path: str, misread: Misread) -> Component | None:
        try:
            document = Document(self._target, path, content(f"{folder}/package.json", _LARGEST_MANIFEST))
            return _installed(document, json_object(document))
        except FileNotFoundError:
            return None  # `node_modules` also holds folders that are no packages
        except (OSError, MalformedError, ValueError):
            misread.add(_shown(path.rpartition("node_modules/")[2]))
            return None

    def _names(self, folder: str, path: str) -> list[str]:
        try:
            return sorted(os.listdir(folder))  # noqa: PTH208 - only names are wanted
        except OSError as error:
            self._gap(path, f"cannot be listed: {error.strerror}.")
            return []

    def _gap(self, path: str, reason: str, ecosystem: str = "") -> None:
        self.gaps.append(Document(self._target, _shown(path) or ".", b"").gap(reason, ecosystem=ecosystem))


def _is_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def _installed(document: Document, data: Mapping[str, Any]) -> Component:
    known, version = package(data.get("name")), locked_version(data.get("version"))
    if known is None or version is None:
        raise MalformedError("has no name or no version.")
    licence = text(data, "license") or text(data.get("license"), "type")
    return Component(
        package=known,
        version=version,
        place=Place(_shown(document.file)),
        evidence=Evidence.installed,
        licence=licence[:200],
        requires=tuple((name, "") for name in sorted(table(data, "dependencies"))[:1000]),
    )


def _shown(path: str) -> str:
    """`path` as text that can be written anywhere: names of files may hold bytes that are no UTF-8."""
    return os.fsencode(path).decode("utf-8", errors="replace")
