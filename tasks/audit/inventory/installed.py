"""Reads what an environment holds from the metadata of its distributions; nothing of it is imported or run."""

from __future__ import annotations

import os
import re
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from models.gap import Gap
from tasks.advisories.package import PYPI, Package
from tasks.audit.component import Component, Evidence, Origin, Place
from tasks.audit.inventory.document import Document, Reading
from tasks.audit.inventory.inside import resolve
from tasks.audit.inventory.lock import Edge, version_of
from tasks.audit.inventory.requirement import normal, origin_of, package

_CHUNK = 1 << 16
_LARGEST = 4_000_000
_MOST = 50_000
_FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
_NEEDS = re.compile(r"[ \t]*([A-Za-z0-9][A-Za-z0-9._-]{0,199})[ \t]*(?:\[([^\]]{0,500})\])?")
_EXTRA = re.compile(r"\bextra[ \t]*==[ \t]*['\"]([A-Za-z0-9._-]+)['\"]")
_END = re.compile(rb"\r?\n\r?\n")
_LAYOUTS = (
    ("lib", "python3", "site-packages"),
    ("lib", "python3", "dist-packages"),
    ("lib64", "python3", "site-packages"),
    ("Lib", "", "site-packages"),
)
_METADATA = {"dist-info": "/METADATA", "egg-info": "/PKG-INFO", "egg": "/EGG-INFO/PKG-INFO"}
_PREFIXES = ("", "usr", "usr/local", "opt/venv")
"""Where an environment, or an image's file system, has its `lib`."""


@dataclass(frozen=True, slots=True)
class _Need:
    name: str
    extras: tuple[str, ...]
    only_for: frozenset[str]
    """Extras of which any brings it in; empty: always."""


@dataclass(frozen=True, slots=True)
class _Distribution:
    package: Package
    version: str
    folder: str
    """Of the metadata, as a place."""
    origin: Origin
    licence: str
    needs: tuple[_Need, ...]


def packages_folders(environment: Path) -> tuple[Path, ...]:
    """The folders of `environment` that hold distributions; empty when it is none.

    Links are followed as far as they stay inside. Absolute ones begin at `environment`: in the file system of an image
    `/usr/lib` is the image's, and never that of the machine that looks at it.
    """
    root = os.path.realpath(environment)
    found: dict[str, None] = {}
    for prefix in _PREFIXES:
        for lib, python, last in _LAYOUTS:
            base = "/".join(part for part in (prefix, lib) if part)
            real = resolve(root, base)
            names = [name for name in _names(real) if name.startswith(python)] if python and real else [""]
            for name in names:
                folder = resolve(root, f"{base}/{name}/{last}" if name else f"{base}/{last}")
                if folder is not None and Path(folder).is_dir():
                    found.setdefault(folder)
    if not found and any(name.endswith(".dist-info") for name in _names(root)):
        return (Path(root),)
    return tuple(map(Path, found))


def read_environment(target: str, folder: Path, place: str, asked: Mapping[str, Iterable[str]]) -> Reading:
    """The distributions of the environment `folder`, which places call `place`.

    Args:
        target: what findings call the target.
        folder: a virtual environment, a file system of an image, or a plain `site-packages` folder.
        place: the path of `folder` relative to the target; empty for the target itself.
        asked: extras that the project asks for, by normalised name: what they need counts as brought in by them.
    """
    here = Document(target, place or ".", b"")
    folders = packages_folders(folder)
    if not folders:
        return Reading(gaps=(here.gap("holds no site-packages folder.", ecosystem=PYPI),))
    found: dict[tuple[Package, str], _Distribution] = {}
    gaps: list[Gap] = []
    for packages in folders:
        below = os.path.relpath(packages, os.path.realpath(folder)).replace(os.sep, "/")
        prefix = "/".join(part for part in (place, below) if part not in {"", "."})
        for one in _distributions(target, packages, prefix):
            if isinstance(one, Gap):
                gaps.append(one)
            else:
                found.setdefault((one.package, one.version), one)
        if not any(_is_metadata(name) for name in _names(str(packages))) and _has_modules(packages):
            gaps.append(here.gap(f"holds modules without metadata in {prefix}: which is not known.", ecosystem=PYPI))
    if (folder / "conda-meta").is_dir():
        gaps.append(here.gap("is one of conda, whose own packages are not looked at."))
    if _uses_the_system(folder):
        gaps.append(here.gap("also uses the packages of the system's Python, which are not looked at.", ecosystem=PYPI))
    distributions = sorted(found.values(), key=lambda one: (one.package.name, one.folder))
    return Reading(tuple(_components(distributions, asked)), gaps=tuple(gaps))


def python_of(environment: Path) -> dict[str, str]:
    """Marker variables for the environment's Python, as its `pyvenv.cfg` or its folders tell."""
    settings = _settings(environment)
    version = settings.get("version_info") or settings.get("version") or ""
    if not version[:1].isdigit():
        names = _names(str(environment / "lib"))
        versions = [name.removeprefix("python") for name in names if name.startswith("python3.")]
        version = versions[0] if len(versions) == 1 else ""
    parts = version.split(".")
    if len(parts) < 2 or not all(part.isdigit() for part in parts[:2]):
        return {}
    variables = {"python_version": ".".join(parts[:2])}
    if len(parts) > 2:
        variables["python_full_version"] = ".".join(parts[:3])
    return variables


def _distributions(target: str, packages: Path, prefix: str) -> Iterator[_Distribution | Gap]:
    try:
        with os.scandir(packages) as scan:
            entries = sorted((entry for entry in scan if _is_metadata(entry.name)), key=lambda entry: entry.name)
    except OSError as error:
        yield Document(target, prefix or ".", b"").gap(f"cannot be listed: {error.strerror}.", ecosystem=PYPI)
        return
    for entry in entries[:_MOST]:
        shown = os.fsencode(entry.name).decode("utf-8", errors="replace")
        place = f"{prefix}/{shown}" if prefix else shown
        try:
            yield _distribution(entry, place)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            yield Document(target, place, b"").gap(f"has metadata that cannot be read: {reason}.", ecosystem=PYPI)
    if len(entries) > _MOST:
        yield Document(target, prefix or ".", b"").gap(f"holds more than {_MOST} distributions.", ecosystem=PYPI)


def _is_metadata(name: str) -> bool:
    # What pip is about to remove begins with a tilde.
    return name.endswith((".dist-info", ".egg-info", ".egg-link", ".egg")) and not name.startswith("~")


def _distribution(entry: os.DirEntry[str], place: str) -> _Distribution:
    if entry.name.endswith(".egg-link"):
        known = package(entry.name.removesuffix(".egg-link"))
        if known is None:
            raise ValueError("no name")
        return _Distribution(known, "", place, Origin.folder, "", ())
    metadata = entry.path
    if entry.is_dir(follow_symlinks=False):
        metadata += _METADATA[entry.name.rpartition(".")[2]]
    elif entry.name.endswith(".egg"):
        raise ValueError("it is packed as one file")
    fields = _fields(_head(metadata))
    known = package(next(iter(fields["name"]), None))
    version = version_of(next(iter(fields["version"]), None))
    if known is None or version is None:
        raise ValueError("it has no name or no version")
    needs = [_need(line) for line in fields["requires-dist"]]
    if not needs and entry.name.endswith(".egg-info"):
        needs = [*_of_egg(entry.path + "/requires.txt")]
    return _Distribution(
        package=known,
        version=version,
        folder=place,
        origin=_origin(entry.path + "/direct_url.json"),
        licence=_licence(fields),
        needs=tuple(need for need in needs if need is not None),
    )


def _head(path: str) -> str:
    """The headers of a metadata file, without the description that follows them."""
    content = b""
    with os.fdopen(os.open(path, _FLAGS), "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("no regular file")
        while chunk := file.read(_CHUNK):
            content += chunk
            if (end := _END.search(content)) is not None:
                return content[: end.start()].decode("utf-8", errors="replace")
            if len(content) > _LARGEST:
                raise ValueError(f"larger than {_LARGEST} bytes")
    return content.decode("utf-8", errors="replace")


def _fields(head: str) -> Mapping[str, list[str]]:
    """The values of each field, by its name in small letters; folded lines of a value are left out."""
    fields: dict[str, list[str]] = defaultdict(list)
    for line in head.splitlines():
        if line[:1] not in {" ", "\t", ""}:
            name, colon, value = line.partition(":")
            if colon:
                fields[name.lower()].append(value.strip())
    return fields


def _need(line: str) -> _Need | None:
    requirement, _, marker = line.partition(";")
    found = _NEEDS.match(requirement)
    if found is None:
        return None
    extras = tuple(normal(extra.strip()) for extra in (found[2] or "").split(",") if extra.strip())
    return _Need(normal(found[1]), extras, frozenset(normal(extra) for extra in _EXTRA.findall(marker[:2_000])))


def _of_egg(path: str) -> Iterator[_Need | None]:
    """Requirements as setuptools writes them beside old metadata: sections are extras, or conditions."""
    try:
        head = _head(path)
    except (OSError, ValueError):
        return
    extra = ""
    for line in head.replace("\n\n", "\n").splitlines():
        if line.startswith("["):
            extra = line.strip("[]").partition(":")[0]
        elif line.strip():
            yield _need(f'{line}; extra == "{extra}"' if extra else line)


def _origin(path: str) -> Origin:
    """Where it was installed from (PEP 610)."""
    try:
        content = _head(path)
    except (OSError, ValueError):
        return Origin.registry
    import json  # noqa: PLC0415 - few distributions come from elsewhere

    try:
        told = json.loads(content)
    except (ValueError, RecursionError):
        return Origin.address
    if not isinstance(told, dict):
        return Origin.address
    if "vcs_info" in told:
        return Origin.repository
    if "dir_info" in told:
        return Origin.folder
    origin = origin_of(str(told.get("url", "")))[0]
    return Origin.address if origin is Origin.folder else origin


def _licence(fields: Mapping[str, list[str]]) -> str:
    for name in ("license-expression", "license"):
        for value in fields.get(name, ()):
            # Some put the whole text there: its first line is no name of a licence.
            if value and value.upper() != "UNKNOWN" and len(value) <= 120 and "copyright" not in value.lower():
                return value
    kinds = (value for value in fields.get("classifier", ()) if value.startswith("License ::"))
    return "; ".join(kind.rpartition("::")[2].strip() for kind in kinds)[:200]


def _components(distributions: list[_Distribution], asked: Mapping[str, Iterable[str]]) -> Iterator[Component]:
    extras = _extras(distributions, asked)
    versions = {one.package.name: one.version for one in distributions}
    for one in distributions:
        active = extras.get(one.package.name, set())
        edges: dict[Edge, None] = {
            (need.name, versions[need.name]): None
            for need in one.needs
            if need.name in versions and (not need.only_for or need.only_for & active)
        }
        yield Component(
            package=one.package,
            version=one.version or None,
            place=Place(one.folder),
            evidence=Evidence.installed,
            origin=one.origin,
            licence=one.licence,
            requires=tuple(edges),
        )


def _extras(distributions: Iterable[_Distribution], asked: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    """The extras of each distribution that the project, or another distribution, asks for."""
    needs = {one.package.name: one.needs for one in distributions}
    active: dict[str, set[str]] = defaultdict(set)
    todo = [(name, frozenset(extras)) for name, extras in asked.items()]
    todo += [(name, frozenset()) for name in needs]
    while todo:
        name, extras = todo.pop()
        fresh = extras - active[name]
        active[name] |= fresh
        for need in needs.get(name, ()):
            if need.extras and (bool(need.only_for & fresh) or (not extras and not need.only_for)):
                todo.append((need.name, frozenset(need.extras)))
    return active


def _has_modules(packages: Path) -> bool:
    """Whether packages can be imported from the folder."""
    try:
        return any((entry / "__init__.py").is_file() for entry in packages.iterdir())
    except OSError:
        return False


def _uses_the_system(environment: Path) -> bool:
    return _settings(environment).get("include-system-site-packages", "").lower() == "true"


def _settings(environment: Path) -> dict[str, str]:
    try:
        head = _head(str(environment / "pyvenv.cfg"))
    except (OSError, ValueError):
        return {}  # no virtual environment
    pairs = (line.partition("=") for line in head.splitlines())
    return {key.strip().lower(): value.strip() for key, _, value in pairs}


def _names(folder: str) -> list[str]:
    try:
        return sorted(entry.name for entry in Path(folder).iterdir())
    except OSError:
        return []
