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
    ".gitea/workflows/*.yml": "workflow:read_workflow",
    ".gitea/workflows/*.yaml": "workflow:read_workflow",
    ".forgejo/workflows/*.yml": "workflow:read_workflow",
    ".forgejo/workflows/*.yaml": "workflow:read_workflow",
    "action.yml": "workflow:read_workflow",
    "action.yaml": "workflow:read_workflow",
    "*.cdx.json": "cyclonedx_in:read_cyclonedx",
    "*.cdx.xml": "cyclonedx_in:read_cyclonedx",
    "bom.json": "cyclonedx_in:read_cyclonedx",
    "bom.xml": "cyclonedx_in:read_cyclonedx",
    "*.bom.json": "cyclonedx_in:read_cyclonedx",
    "sbom.json": "cyclonedx_in:read_cyclonedx",
    "*.sbom.json": "cyclonedx_in:read_cyclonedx",
    "sbom.xml": "cyclonedx_in:read_cyclonedx",
    "*.spdx.json": "spdx_in:read_spdx",
    "spdx.json": "spdx_in:read_spdx",
    "*constraints*.txt": "requirements:read_constraints",
    "constraints/*.txt": "requirements:read_constraints",
    "*requirement*.txt": "requirements:read_requirements",
    "*requirement*.in": "requirements:read_requirements",
    "*requirement*.pip": "requirements:read_requirements",
    "*requirement*.lock": "requirements:read_requirements",
    "reqs*.txt": "requirements:read_requirements",
    "requirements/*.txt": "requirements:read_requirements",
    "requirements/*.in": "requirements:read_requirements",
}
"""Which reader reads which files: `module:function` in this package, imported when the first such file is met.

A pattern is a name with `*`, or ends a path: then its parts match folder by folder. The first that matches counts.
In names and in patterns without capitals, small and capital letters are the same: on some systems they are to the
tools as well.
"""

UNREAD: Mapping[str, str] = {
    "Cargo.lock": "crates.io",
    "Cargo.toml": "crates.io",
    "go.sum": "Go",
    "go.mod": "Go",
    "Gemfile.lock": "RubyGems",
    "gems.locked": "RubyGems",
    "Gemfile": "RubyGems",
    "*.gemspec": "RubyGems",
    "composer.lock": "Packagist",
    "composer.json": "Packagist",
    "packages.lock.json": "NuGet",
    "packages.config": "NuGet",
    "Directory.Packages.props": "NuGet",
    "*.csproj": "NuGet",
    "*.fsproj": "NuGet",
    "*.vbproj": "NuGet",
    "mix.lock": "Hex",
    "mix.exs": "Hex",
    "rebar.lock": "Hex",
    "pubspec.lock": "Pub",
    "pubspec.yaml": "Pub",
    "pom.xml": "Maven",
    "gradle.lockfile": "Maven",
    "libs.versions.toml": "Maven",
    "build.gradle": "Maven",
    "build.gradle.kts": "Maven",
    "build.sbt": "Maven",
    "Package.resolved": "SwiftURL",
    "Package.swift": "SwiftURL",
    "Podfile.lock": "CocoaPods",
    "Podfile": "CocoaPods",
    "conan.lock": "ConanCenter",
    "conanfile.txt": "ConanCenter",
    "conanfile.py": "ConanCenter",
    "stack.yaml.lock": "Hackage",
    "stack.yaml": "Hackage",
    "*.cabal": "Hackage",
    "renv.lock": "CRAN",
    "bun.lock": "npm",
    "bun.lockb": "npm",
    "deno.lock": "npm",
    "shrinkwrap.yaml": "npm",
    "bower.json": "npm",
    "package.json5": "npm",
    "package.yaml": "npm",
    "pdm.lock": "PyPI",
    "conda-lock.yml": "PyPI",
    "conda-lock.yaml": "PyPI",
    "environment.yml": "PyPI",
    "environment.yaml": "PyPI",
    "pixi.lock": "PyPI",
    "pixi.toml": "PyPI",
    "*.spdx": "",
    "*.spdx.yaml": "",
    "*.spdx.yml": "",
}
"""Files that say what is depended on and that nobody here reads, by the ecosystem that goes unseen; of those of one
ecosystem in one folder the first is told. Bills of materials may be of any.
"""

LEFT_OUT = frozenset(
    {
        *(".git", ".hg", ".svn", ".jj", ".venv", "venv", "node_modules", "bower_components", "__pycache__"),
        *(".tox", ".nox", ".direnv", ".eggs", "site-packages", "dist-packages"),
        *(".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".cache", ".terraform"),
    }
)
"""Folders that hold what others wrote or what is made anew."""

_NPM_LOCKS = ("package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", "bun.lock", "bun.lockb")
_ENVIRONMENTS = frozenset({"pyvenv.cfg", "conda-meta"})
"""What only the folder of an environment holds."""
_SUBMODULE = re.compile(r"^[ \t]*path[ \t]*=[ \t]*(\S[^\n]{0,1000})$", re.MULTILINE)
LARGEST = 64 * 1024 * 1024
"""Bytes of one file."""
_DEEPEST = 64
_MOST_OF_GIT = 200_000
"""Characters of a `.gitmodules`."""
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
    """Environments, and other folders that hold distributions, relative to the root."""
    gaps: tuple[Gap, ...] = ()


def reader(name: str) -> Reader:
    """The function that a value of `READERS` names."""
    module, _, function = name.partition(":")
    return cast("Reader", getattr(import_module(f"{_HERE}.{module}"), function))


def reader_of(file: str) -> str | None:
    """Which reader reads `file` (relative, with `/`); None when its name says nothing."""
    small = file.lower()
    name = small.rpartition("/")[2]
    exact, patterns, any_of_them = _patterns()
    if name in exact:
        return exact[name]
    if any_of_them.search(file) is None:
        return None
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
        self._unread: dict[str, tuple[int, str]] = {}
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
            if folder and any(entry.name in _ENVIRONMENTS for entry in entries):
                self.environments.append(folder)
                continue
            if self._links and any(entry.name.endswith(".dist-info") and entry.is_dir() for entry in entries):
                self.environments.append(folder)  # distributions that somebody has put into the target
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
            self._tell_unread()

    def _below(self, entry: os.DirEntry[str], path: str) -> bool:
        """Whether `entry` is a folder to go into; a link out of the target is a gap."""
        if entry.is_dir(follow_symlinks=False):
            if entry.name in LEFT_OUT:
                if not self._excluded(path):
                    self._left_out(entry.name, path)
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
        unread = _unread(entry.name) if name is None else None
        is_git = entry.name == ".gitmodules"
        if (name is None and unread is None and not is_git) or self._excluded(path) or _is_folder(entry):
            return None
        if is_git:
            self._submodules(path)
        if unread is not None:
            rank, ecosystem = unread
            self._unread[ecosystem] = min(self._unread.get(ecosystem, (rank, path)), (rank, path))
        return name

    def _tell_unread(self) -> None:
        for ecosystem, (_, path) in sorted(self._unread.items()):
            of = f" of {ecosystem}" if ecosystem else ""
            reason = f"is not understood: packages{of} that it names are not looked at."
            document = Document(self._target, _shown(path), b"")
            self.gaps.append(document.gap(reason, ecosystem=ecosystem, kind="unread"))
        self._unread.clear()

    def _submodules(self, path: str) -> None:
        """Submodules that nobody has checked out are folders without anything in them."""
        document = open_document(self._target, Path(self._root), path)
        if not isinstance(document, Document):
            self.gaps.append(document)
            return
        for found in _SUBMODULE.findall(document.text[:_MOST_OF_GIT]):
            place = os.path.normpath(os.path.join(os.path.dirname(path), found.strip().strip('"')))  # noqa: PTH118,PTH120
            real = os.path.realpath(os.path.join(self._root, place))  # noqa: PTH118
            if _inside(real, self._root) and not self._excluded(place) and not _holds_anything(real):
                self._gap(place, "is a submodule that is not checked out, and is not looked at.")

    def _left_out(self, name: str, path: str) -> None:
        """Notes what a folder that is not gone into holds all the same."""
        whole = os.path.join(self._root, path)  # noqa: PTH118
        is_own = name in {".venv", "venv"} and os.path.lexists(os.path.join(whole, "pyvenv.cfg"))  # noqa: PTH118
        is_loose = name in {"site-packages", "dist-packages"} and self._links and _holds_anything(whole, ".dist-info")
        if is_own or is_loose:
            self.environments.append(path)
        elif name == "node_modules" and self._links and not self._is_locked(path) and _holds_anything(whole):
            reason = "holds packages of npm, and no lock file says which: they are not looked at."
            self.gaps.append(Document(self._target, _shown(path), b"").gap(reason, ecosystem="npm", kind="unlocked"))

    def _is_locked(self, path: str) -> bool:
        """Whether there is a lock file of npm beside `path` or above."""
        while path:
            path = path.rpartition("/")[0]
            if any(os.path.lexists(os.path.join(self._root, path, name)) for name in _NPM_LOCKS):  # noqa: PTH118
                return True
        return False

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


def _holds_anything(folder: str, end: str = "") -> bool:
    """Whether there is something in `folder` that is not hidden, and whose name ends so."""
    try:
        with os.scandir(folder) as scan:
            return any(entry.name.endswith(end) and not entry.name.startswith(".") for entry in scan)
    except OSError:
        return False


def _unread(name: str) -> tuple[int, str] | None:
    """The ecosystem of a file that nobody reads, and its rank among those; None for others."""
    small = name.lower()
    exact, others = _unread_patterns()
    return exact.get(small) or next((found for end, found in others.items() if small.endswith(end)), None)


@cache
def _unread_patterns() -> tuple[Mapping[str, tuple[int, str]], Mapping[str, tuple[int, str]]]:
    """Plain names, and how others end."""
    ranked = {name.lower(): (rank, ecosystem) for rank, (name, ecosystem) in enumerate(UNREAD.items())}
    ends = {name.removeprefix("*"): found for name, found in ranked.items() if name.startswith("*")}
    return {name: found for name, found in ranked.items() if not name.startswith("*")}, ends


@cache
def _patterns() -> tuple[Mapping[str, str], tuple[tuple[re.Pattern[str], str], ...], re.Pattern[str]]:
    """Plain names in small letters; the other patterns as expressions for the end of a path; any of those."""
    exact = {pattern.lower(): name for pattern, name in READERS.items() if "*" not in pattern and "/" not in pattern}
    others = []
    for pattern, name in READERS.items():
        if pattern.lower() not in exact:
            expression = re.escape(pattern).replace(r"\*", "[^/]*")
            # `Dockerfile.dev` is one, `dockerfile.py` is a module.
            case = "i" if pattern == pattern.lower() else ""
            others.append((rf"(?{case}:(?:^|/){expression}\Z)", name))
    any_of_them = re.compile("|".join(expression for expression, _ in others))
    return exact, tuple((re.compile(expression), name) for expression, name in others), any_of_them
