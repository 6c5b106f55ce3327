"""Finds the files of a folder that say what it depends on, and opens them: never a link, a pipe or a way out of it."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import cast

from models.gap import Gap
from tasks.audit.inventory.document import Document, Reader

_HERE = __package__ or "tasks.audit.inventory"

READERS: Mapping[str, str] = {
    "pyproject.toml": "pyproject:read_pyproject",
    "setup.cfg": "setuptools_files:read_setup_cfg",
    "setup.py": "setuptools_files:read_setup_py",
    "uv.lock": "uv_lock:read_uv_lock",
    "poetry.lock": "poetry_lock:read_poetry_lock",
    "Pipfile.lock": "pipfile_lock:read_pipfile_lock",
    "Pipfile": "pipfile_lock:read_pipfile",
    "pylock.toml": "pylock:read_pylock",
    "pylock.*.toml": "pylock:read_pylock",
    "package.json": "package_json:read_package_json",
    "package-lock.json": "package_lock:read_package_lock",
    "npm-shrinkwrap.json": "package_lock:read_package_lock",
    "yarn.lock": "yarn_lock:read_yarn_lock",
    "pnpm-lock.yaml": "pnpm_lock:read_pnpm_lock",
    "Dockerfile": "dockerfile:read_dockerfile",
    "Containerfile": "dockerfile:read_dockerfile",
    "Dockerfile.*": "dockerfile:read_dockerfile",
    "Containerfile.*": "dockerfile:read_dockerfile",
    "*.Dockerfile": "dockerfile:read_dockerfile",
    "*.dockerfile": "dockerfile:read_dockerfile",
    "compose*.yml": "compose:read_compose",
    "compose*.yaml": "compose:read_compose",
    "docker-compose*.yml": "compose:read_compose",
    "docker-compose*.yaml": "compose:read_compose",
    ".github/workflows/*.yml": "workflow:read_workflow",
    ".github/workflows/*.yaml": "workflow:read_workflow",
    "action.yml": "workflow:read_workflow",
    "action.yaml": "workflow:read_workflow",
    "*.cdx.json": "cyclonedx_in:read_cyclonedx",
    "*.cdx.xml": "cyclonedx_in:read_cyclonedx",
    "bom.json": "cyclonedx_in:read_cyclonedx",
    "bom.xml": "cyclonedx_in:read_cyclonedx",
    "*.spdx.json": "spdx_in:read_spdx",
    "*constraints*.txt": "requirements:read_constraints",
    "constraints/*.txt": "requirements:read_constraints",
    "*requirements*.txt": "requirements:read_requirements",
    "*requirements*.in": "requirements:read_requirements",
    "requirements/*.txt": "requirements:read_requirements",
    "requirements/*.in": "requirements:read_requirements",
}
"""Which reader reads which files: `module:function` in this package, imported when the first such file is met.

A pattern is a name with `*`, or ends a path: then its parts match folder by folder. The first that matches counts.
"""

UNREAD: Mapping[str, str] = {
    "Cargo.lock": "crates.io",
    "go.sum": "Go",
    "Gemfile.lock": "RubyGems",
    "composer.lock": "Packagist",
    "packages.lock.json": "NuGet",
    "mix.lock": "Hex",
    "pubspec.lock": "Pub",
    "pom.xml": "Maven",
    "gradle.lockfile": "Maven",
    "bun.lock": "npm",
    "bun.lockb": "npm",
    "pdm.lock": "PyPI",
    "conda-lock.yml": "PyPI",
    "environment.yml": "PyPI",
    "pixi.lock": "PyPI",
}
"""Files that say what is depended on and that nobody here reads, by the ecosystem that goes unseen."""

LEFT_OUT = frozenset(
    {
        *(".git", ".hg", ".svn", ".jj", ".venv", "venv", "node_modules", "bower_components", "__pycache__"),
        *(".tox", ".nox", ".direnv", ".eggs", "__pypackages__", "site-packages", "dist-packages"),
        *(".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".cache", ".terraform"),
    }
)
"""Folders that hold what others wrote or what is made anew."""

LARGEST = 64 * 1024 * 1024
"""Bytes of one file."""
_DEEPEST = 64
_MOST_ENTRIES = 1_000_000
_MOST_FILES = 20_000
_FLAGS = os.O_RDONLY | sum(
    getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY", "O_BINARY")
)


@dataclass(frozen=True, slots=True)
class Manifests:
    """The files of one target that are to be read."""

    files: Mapping[str, str] = field(default_factory=dict)
    """Relative to the root with `/`, each with its reader (a value of `READERS`), in order."""
    environments: tuple[str, ...] = ()
    """Folders with a `pyvenv.cfg`, relative to the root."""
    gaps: tuple[Gap, ...] = ()


def reader(name: str) -> Reader:
    """The function that a value of `READERS` names."""
    module, _, function = name.partition(":")
    return cast("Reader", getattr(import_module(f"{_HERE}.{module}"), function))


def reader_of(file: str) -> str | None:
    """Which reader reads `file` (relative, with `/`); None when its name says nothing."""
    name = file.rpartition("/")[2]
    exact, patterns = _patterns()
    if name in exact:
        return exact[name]
    return next((found for pattern, found in patterns if pattern.search(file)), None)


def find_manifests(target: str, root: Path, *, exclude: tuple[str, ...] = (), links: bool = True) -> Manifests:
    """Every file below `root` that says what it depends on, by name; nothing is opened.

    Links are never followed. That one leads to a folder elsewhere is told, unless `links` is false: those of an
    image's file system mean places in it.

    What git would ignore is looked at as well, except for `LEFT_OUT`: asking git takes longer than the walk, and a
    file that git ignores may still be what is installed from. Rather too much is seen than something missed.
    """
    walk = _Walk(target, os.path.realpath(root), exclude, links=links)
    files = dict(walk.files())
    ordered = {file: files[file] for file in sorted(files, key=lambda file: (file.count("/"), file))}
    return Manifests(ordered, tuple(sorted(walk.environments)), tuple(walk.gaps))


def open_document(target: str, root: Path, file: str) -> Document | Gap:
    """The content of `file`, or why it is not read: it is a link that leads out of `root`, a pipe, too large."""
    shown = _shown(file)
    try:
        return Document(target, shown, _content(os.path.realpath(root), file))
    except FileNotFoundError:
        reason = "is asked for, but is not there."
    except _UnreadError as error:
        reason = str(error)
    except (OSError, ValueError) as error:  # loops of links; names that no file can have
        reason = f"cannot be read: {getattr(error, 'strerror', None) or type(error).__name__}."
    return Document(target, shown, b"").gap(reason)


class _UnreadError(Exception):
    """Says why a file is not read."""


def _content(root: str, file: str) -> bytes:
    real = os.path.realpath(os.path.join(root, file), strict=True)  # noqa: PTH118 - `file` may hold any bytes
    if not _inside(real, root):
        raise _UnreadError("leads out of the target, and is not followed.")
    # Not blocking: opening a pipe would wait for somebody who writes into it.
    with os.fdopen(os.open(real, _FLAGS), "rb") as opened:
        status = os.fstat(opened.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise _UnreadError("is no regular file.")
        content = opened.read(LARGEST + 1) if status.st_size <= LARGEST else b""
    if max(status.st_size, len(content)) > LARGEST:
        raise _UnreadError(f"is larger than {LARGEST >> 20} MiB.")
    return content


class _Walk:
    """One walk: what it passes, and what it could not see."""

    def __init__(self, target: str, root: str, exclude: tuple[str, ...], *, links: bool) -> None:
        self._target = target
        self._root = root
        self._exclude = exclude
        self._links = links
        self._entries = 0
        self._found = 0
        self.environments: list[str] = []
        self.gaps: list[Gap] = []

    def files(self) -> Iterator[tuple[str, str]]:
        """Files with their readers."""
        folders = [("", 0)]
        while folders:
            folder, depth = folders.pop()
            try:
                with os.scandir(os.path.join(self._root, folder)) as scan:  # noqa: PTH118
                    entries = list(scan)
            except OSError as error:
                self._gap(folder, f"cannot be listed: {error.strerror}.")
                continue
            self._entries += len(entries)
            if self._entries > _MOST_ENTRIES:
                self._gap(folder, f"is not looked at: more than {_MOST_ENTRIES} files; exclude what does not belong.")
                return
            if folder and any(entry.name == "pyvenv.cfg" for entry in entries):
                self.environments.append(folder)
                continue
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                if self._below(entry, path):
                    if depth >= _DEEPEST:
                        self._gap(path, f"is not looked at: more than {_DEEPEST} folders deep.")
                    else:
                        folders.append((path, depth + 1))
                elif (name := self._manifest(entry, path)) is not None:
                    self._found += 1
                    if self._found > _MOST_FILES:
                        self._gap(folder, f"is not looked at: more than {_MOST_FILES} files that declare something.")
                        return
                    yield path, name

    def _below(self, entry: os.DirEntry[str], path: str) -> bool:
        """Whether `entry` is a folder to go into; a link out of the target is a gap."""
        if entry.is_dir(follow_symlinks=False):
            if entry.name in LEFT_OUT:
                if entry.name in {".venv", "venv"} and not self._excluded(path):
                    self._environment(path)
                return False
            return not self._excluded(path)
        if self._links and entry.is_symlink() and entry.name not in LEFT_OUT and self._leads_out(entry, path):
            self._gap(path, "leads out of the target, and is not followed; exclude it, or name it as a target.")
        return False

    def _leads_out(self, entry: os.DirEntry[str], path: str) -> bool:
        """Whether a link leads to a folder elsewhere."""
        return _is_folder(entry) and not _inside(os.path.realpath(entry.path), self._root) and not self._excluded(path)

    def _manifest(self, entry: os.DirEntry[str], path: str) -> str | None:
        name = reader_of(path)
        ecosystem = UNREAD.get(entry.name)
        if (name is None and ecosystem is None) or self._excluded(path) or _is_folder(entry):
            return None
        if name is None:
            reason = f"is not understood: packages of {ecosystem} that it names are not looked at."
            self.gaps.append(Document(self._target, _shown(path), b"").gap(reason, ecosystem=ecosystem or ""))
        return name

    def _environment(self, path: str) -> None:
        if os.path.lexists(os.path.join(self._root, path, "pyvenv.cfg")):  # noqa: PTH118
            self.environments.append(path)

    def _excluded(self, path: str) -> bool:
        return any(
            PurePosixPath(path).match(pattern) or path.startswith(pattern.rstrip("/*") + "/")
            for pattern in self._exclude
        )

    def _gap(self, path: str, reason: str) -> None:
        self.gaps.append(Document(self._target, _shown(path), b"").gap(reason))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False


def _inside(real: str, root: str) -> bool:
    return real == root or real.startswith(root.rstrip(os.sep) + os.sep)


def _shown(file: str) -> str:
    """`file` as text that can be written anywhere: names of files may hold bytes that are no UTF-8."""
    return os.fsencode(file).decode("utf-8", errors="replace")


@cache
def _patterns() -> tuple[Mapping[str, str], tuple[tuple[re.Pattern[str], str], ...]]:
    """Patterns that are plain names, and the others as expressions for the end of a path."""
    exact = {pattern: name for pattern, name in READERS.items() if "*" not in pattern and "/" not in pattern}
    others = []
    for pattern, name in READERS.items():
        if pattern not in exact:
            expression = re.escape(pattern).replace(r"\*", "[^/]*")
            others.append((re.compile(rf"(?:^|/){expression}\Z"), name))
    return exact, tuple(others)
