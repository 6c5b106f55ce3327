"""Takes the inventory of a target: a checkout, an environment, the file system of an image, or a single file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import cast

from models.gap import Gap
from tasks.advisories.package import PYPI, Package
from tasks.advisories.source import AREA
from tasks.audit.component import Component, Evidence, Inventory
from tasks.audit.in_use import in_use
from tasks.audit.inventory.document import Document, Reading
from tasks.audit.inventory.files import Files
from tasks.audit.inventory.graph import mark
from tasks.audit.inventory.walk import LEFT_OUT, READERS, find_manifests, open_document, reader, reader_of
from tasks.result_cache import ResultCache

NO_MANIFESTS = "has no file of those that say what something depends on; is it the right folder?"
"""The reason of the gap of a folder in which nothing says that it depends on anything."""
_SNIFFED = 1 << 16
_SYSTEM = ("proc", "sys", "dev", "run", "tmp", "usr/share/doc")
"""Folders of an image's file system that hold nothing that is installed."""


def take_inventory(
    target: str,
    root: Path,
    *,
    environment: Path | None = None,
    look_into_environment: bool = True,
    cache: ResultCache,
    exclude: tuple[str, ...] = (),
) -> Inventory:
    """Everything that `root` depends on. Nothing of it is run; what could not be read is among the gaps.

    Args:
        target: what findings call it.
        root: a folder with projects in it, a virtual environment or a `site-packages` folder, the file system of an
            image, or one manifest, lock file or bill of materials.
        environment: the environment of the target; None: its own `.venv`, and those of the projects in it.
        look_into_environment: whether environments are looked into.
        cache: of what files said before.
        exclude: patterns of files and folders that are left out.
    """
    if not os.path.lexists(root):
        return Inventory(target, root, gaps=(_whole(target, "is not there; correct its path."),))
    if not root.is_dir():
        return _of_file(target, root, cache)
    if _is_image(root):
        return _of_image(target, root, cache, exclude)
    if _is_environment(root):
        from tasks.audit.inventory.installed import python_of, read_environment  # noqa: PLC0415 - most targets have none

        reading = read_environment(target, root, "", {})
        parts = mark(reading.components, frozenset())
        return Inventory(target, root, parts, python=python_of(root), environment=True, gaps=reading.gaps)
    return _of_folder(target, root, environment, cache, exclude, look=look_into_environment)


def wanted(inventory: Inventory) -> dict[Package, frozenset[str]]:
    """What sources of advisories are asked about: packages with their versions in use.

    A package that is asked for without an exact version has none. See `tasks.audit.in_use` for what counts.
    """
    return in_use(inventory).wanted


def _of_file(target: str, path: Path, cache: ResultCache) -> Inventory:
    root, name = path.parent, path.name
    known = reader_of(name) or _sniffed(target, root, name)
    if known is None:
        gap = Document(target, name, b"").gap("is no manifest, lock file or bill of materials that is understood.")
        return Inventory(target, root, gaps=(gap,))
    files = Files(target, root, cache)
    files.read({name: known})
    return _inventory(target, root, files, ())


def _of_folder(
    target: str, root: Path, environment: Path | None, cache: ResultCache, exclude: tuple[str, ...], *, look: bool
) -> Inventory:
    manifests = find_manifests(target, root, exclude=exclude)
    files = Files(target, root, cache)
    files.read(manifests.files)
    gaps = list(manifests.gaps)
    environments: list[tuple[Path, str]] = []
    own = ".venv" if environment is None else None
    if look:
        environments = [
            (root / place, place)
            for place in manifests.environments
            if "/" in place or environment is None  # a named one stands for that of the root
        ]
        if own and own not in manifests.environments and os.path.lexists(root / own):
            if (root / own).is_symlink():
                reason = "is a link out of the target, and is not followed; name it as `environment`."
                gaps.append(Document(target, own, b"").gap(reason, ecosystem=PYPI))
            else:
                environments.insert(0, (root / own, own))
        if environment is not None:
            environments.insert(0, (environment, _place(environment, root)))
    asked = _extras(files.components)
    readings: list[Reading] = []
    if environments:
        from tasks.audit.inventory.installed import python_of, read_environment  # noqa: PLC0415 - most targets have none

        readings = [read_environment(target, folder, place, asked) for folder, place in environments]
    if environment is not None and look and not environment.is_dir():
        gaps.append(_whole(target, "its environment is not there; correct `environment`."))
        readings = readings[1:]
    # A program that happens to be called setup.py says nothing; one of setuptools that asks for something is a gap.
    said = [name for name in files.names if name.rpartition("/")[2] != "setup.py"]
    if not said and not readings and not manifests.gaps and not files.gaps:
        gaps.append(_whole(target, NO_MANIFESTS))
    main = [
        folder
        for folder, place in environments
        if folder == environment or place == own or ("/" not in place and (folder / "pyvenv.cfg").exists())
    ]
    python = python_of(main[0]) if main else {}
    found = bool(main) and any(reading.components for reading in readings)
    return _inventory(target, root, files, gaps, readings, python=python, environment=found)


def _of_image(target: str, root: Path, cache: ResultCache, exclude: tuple[str, ...]) -> Inventory:
    from tasks.audit.inventory.installed import packages_folders, read_environment  # noqa: PLC0415 - most targets have none

    read_image = cast("Callable[[str, Path], Reading]", reader("image:read_image"))
    manifests = find_manifests(target, root, exclude=(*exclude, *_SYSTEM), links=False)
    files = Files(target, root, cache)
    files.read(manifests.files)
    readings = [read_image(target, root)]
    if packages_folders(root):
        readings.append(read_environment(target, root, "", {}))
    readings += [read_environment(target, root / place, place, {}) for place in manifests.environments]
    return _inventory(target, root, files, manifests.gaps, readings, environment=True)


def _inventory(
    target: str,
    root: Path,
    files: Files,
    gaps: Iterable[Gap],
    readings: Iterable[Reading] = (),
    *,
    python: Mapping[str, str] | None = None,
    environment: bool = False,
) -> Inventory:
    readings = tuple(readings)
    components = [*files.components, *(one for reading in readings for one in reading.components)]
    own = files.own.union(*(reading.own for reading in readings))
    return Inventory(
        target=target,
        root=root,
        components=mark(_without_copies(components), own),
        own=own,
        homes=files.homes,
        python=python or {},
        environment=environment,
        files=files.names,
        gaps=tuple(dict.fromkeys([*gaps, *files.gaps, *(gap for reading in readings for gap in reading.gaps)])),
    )


def _without_copies(components: list[Component]) -> list[Component]:
    """Components once each; several links to one environment lead to the same place."""
    return list(dict.fromkeys(components)) if len(components) < 1_000 else components


def _extras(components: Iterable[Component]) -> dict[str, set[str]]:
    extras: dict[str, set[str]] = {}
    for component in components:
        if component.extras and component.evidence is Evidence.declared:
            extras.setdefault(component.package.name, set()).update(component.extras)
    return extras


def _sniffed(target: str, root: Path, name: str) -> str | None:
    """The reader of a file that is named as the target, by what is in it."""
    if name.endswith((".txt", ".in")):
        return "requirements:read_requirements"
    document = open_document(target, root, name)
    begins = document.content[:_SNIFFED] if isinstance(document, Document) else b""
    if b'"bomFormat"' in begins:
        return READERS.get("bom.json")
    return READERS.get("spdx.json") if b'"spdxVersion"' in begins else None


def _is_environment(root: Path) -> bool:
    """Whether `root` itself is a virtual environment, or a folder of installed distributions."""
    if (root / "pyvenv.cfg").is_file():
        return True
    if any((root / name).exists() for name in ("pyproject.toml", "setup.py", "setup.cfg")):
        return False
    if root.name not in LEFT_OUT and _has_manifests(root):
        return False
    from tasks.audit.inventory.installed import packages_folders  # noqa: PLC0415 - most targets have none

    return bool(packages_folders(root))


def _has_manifests(root: Path) -> bool:
    try:
        return any(reader_of(entry.name) is not None for entry in root.iterdir())
    except OSError:
        return True  # then the walk tells why it cannot be listed


def _is_image(root: Path) -> bool:
    return any((root / "var/lib/dpkg" / name).exists() for name in ("status", "status.d")) or (
        (root / "lib/apk/db/installed").exists() or ((root / "etc/os-release").exists() and (root / "usr/lib").is_dir())
    )


def _place(environment: Path, root: Path) -> str:
    try:
        relative = environment.absolute().relative_to(root.absolute())
    except ValueError:
        return ""
    return "" if relative == Path() else relative.as_posix()


def _whole(target: str, reason: str) -> Gap:
    return Gap(area=AREA, component=target, reason=reason)
