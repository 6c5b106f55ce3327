"""Finds the Python packages of a checkout, without importing any of it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

_NOT_THE_PROGRAM = frozenset(
    {"test", "tests", "testing", "doc", "docs", "example", "examples", "benchmarks", "build", "dist"}
)
_NOT_THE_PROGRAM_EITHER = ("test_*", "*_test", "setup", "conftest", "noxfile", "fabfile", "tasks", "__*")
_LARGEST = 1_000_000
_LOOKED_AT = 50_000  # folder entries, when asking whether there is any Python at all


def find_packages(root: Path, named: Sequence[str] = (), exclude: Sequence[str] = ()) -> dict[str, Path]:
    """The top-level packages of the checkout at `root`, by name; `name.py` counts as `name`, which is no folder then.

    Those that are `named`; otherwise folders with an `__init__.py` in the root, in `src`, and where `pyproject.toml`
    says that packages are (also those it names that have no `__init__.py`). Where there are none, the modules of one
    file in those places. Tests, examples and the like: only when named.

    Raises:
        FileNotFoundError: one that is named is not there.
    """
    places, declared = _declared(root)
    if named:
        found = {}
        for name in named:
            folder = next((place / name for place in places if _package_name(name) and _is_there(place / name)), None)
            if folder is None:
                raise FileNotFoundError(name)
            found[name] = folder
        return found
    found = {}
    for place in places:
        for folder in _folders(place):
            name = folder.name
            relative = folder.relative_to(root).as_posix()
            if name in found or not _package_name(name) or excluded(relative, exclude):
                continue
            if name in declared or ((folder / "__init__.py").is_file() and name not in _NOT_THE_PROGRAM):
                found[name] = folder
    return found or dict(_modules(root, places, exclude))


def _modules(root: Path, places: Iterable[Path], exclude: Sequence[str]) -> Iterator[tuple[str, Path]]:
    for path in (entry for place in places for entry in sorted(_entries(place))):
        if path.suffix != ".py" or not path.is_file() or not _package_name(path.stem):
            continue
        tooling = any(fnmatch(path.stem, pattern) for pattern in _NOT_THE_PROGRAM_EITHER)
        if not tooling and not excluded(path.relative_to(root).as_posix(), exclude):
            yield path.stem, path.with_suffix("")


def _is_there(base: Path) -> bool:
    return base.is_dir() or base.with_name(f"{base.name}.py").is_file()


def excluded(relative: str, patterns: Iterable[str]) -> bool:
    """Whether `relative` (a POSIX path) or a folder that it is in matches one of the globs `patterns`."""
    parts = relative.split("/")
    ways = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    return any(fnmatch(way, pattern.rstrip("/").removesuffix("/**")) for pattern in patterns for way in ways)


def holds_python(root: Path) -> bool:
    """Whether there is any Python in `root`; True also when it is too large to say no."""
    waiting, looked = [root], 0
    while waiting:
        for entry in _entries(waiting.pop()):
            looked += 1
            if entry.suffix == ".py" or looked > _LOOKED_AT:
                return True
            if (
                not entry.name.startswith(".")
                and entry.name != "node_modules"
                and entry.is_dir()
                and not entry.is_symlink()
            ):
                waiting.append(entry)
    return False


def _declared(root: Path) -> tuple[list[Path], set[str]]:
    """Folders that packages are in, and names that pyproject.toml gives; a broken pyproject.toml gives none."""
    places, names = [root, root / "src"], set[str]()
    try:
        path = root / "pyproject.toml"
        data = tomllib.loads(path.read_text("utf-8")) if path.stat().st_size < _LARGEST else {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        data = {}
    setuptools = _table(data, "tool", "setuptools")
    packages = setuptools.get("packages")
    if isinstance(packages, list):
        names |= {str(name).partition(".")[0] for name in packages}
    places += [root / str(where) for where in _list(_table(setuptools, "packages", "find").get("where"))]
    directories = _table(setuptools, "package-dir")
    if isinstance(directories.get(""), str):
        places.append(root / directories[""])
    for entry in _list(_table(data, "tool", "poetry").get("packages")):
        if isinstance(entry, dict):
            names.add(str(entry.get("include", "")).partition("/")[0])
            places.append(root / str(entry.get("from", ".")))
    for entry in _list(_table(data, "tool", "hatch", "build", "targets", "wheel").get("packages")):
        names.add(Path(str(entry)).name)
        places.append((root / str(entry)).parent)
    inside = root.resolve()
    return [place for place in dict.fromkeys(places) if _within(place, inside)], names


def _table(data: Any, *keys: str) -> dict[str, Any]:
    for key in keys:
        data = data.get(key) if isinstance(data, dict) else None
    return data if isinstance(data, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _within(place: Path, root: Path) -> bool:
    try:
        return place.is_dir() and place.resolve().is_relative_to(root)
    except (OSError, ValueError):
        return False


def _folders(place: Path) -> Iterator[Path]:
    yield from (entry for entry in sorted(_entries(place)) if entry.is_dir() and not entry.is_symlink())


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _package_name(name: str) -> bool:
    return name.isidentifier()
