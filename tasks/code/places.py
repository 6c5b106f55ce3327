"""Where the modules of a checkout are: its packages, and the files of which each module is made."""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.code import Unread

LARGEST_SOURCE = 5_000_000
"""Bytes above which a source is not read."""

_NOT_CODE = frozenset(
    {
        "tests", "test", "docs", "doc", "examples", "benchmarks", "scripts", "build", "dist", "venv", "env",
        "node_modules", "site-packages",
    }
)  # fmt: skip
_NOT_MODULES = frozenset({"setup", "conftest", "noxfile", "tasks_file"})
_NEVER = frozenset({"__pycache__", "node_modules", "site-packages"})
_DEEPEST = 60
_NAMESPACE_DEPTH = 3


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a file's entry says of it; as long as it says the same, the bytes are the same."""

    modified_ns: int
    changed_ns: int
    size: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """That of `status`."""
        return cls(status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)


@dataclass(frozen=True, slots=True)
class Source:
    """One module's file, and the stub beside it."""

    module: str
    place: str
    """Relative to the checkout, with slashes."""
    stamp: Stamp
    stub: str | None = None
    """The `.pyi` beside a `.py`."""
    stub_stamp: Stamp | None = None

    @property
    def package(self) -> bool:
        """Whether it is the `__init__` of one."""
        return self.place.rpartition("/")[2].startswith("__init__.")


def excluded(relative: str, globs: Sequence[str]) -> bool:
    """Whether a path relative to the checkout is left out."""
    return any(fnmatch.fnmatch(relative, glob) or fnmatch.fnmatch(relative, f"{glob.rstrip('/')}/*") for glob in globs)


def is_package_itself(root: Path) -> bool:
    """Whether `root` is a package rather than a checkout of some: what is in it would be called without its name."""
    project = ("pyproject.toml", "setup.py", "setup.cfg", ".git")
    return (root / "__init__.py").is_file() and not any((root / name).exists() for name in project)


def packages_of(
    root: Path, packages: Sequence[str] | None, exclude: Sequence[str]
) -> tuple[list[tuple[str, Path]], list[Unread]]:
    """Top-level packages and modules of a checkout as (name, folder that it lies in); those that are asked for, or all.

    They lie in the checkout itself or in its `src`. A folder without a Python file of its own counts when packages lie
    up to three folders below it (a namespace). Tests, examples and the like are left out unless they are asked for.
    """
    places = [folder for folder in (root, root / "src") if _is_folder(folder)]
    return _asked(places, packages) if packages else _found(root, places, exclude)


def _asked(places: list[Path], packages: Sequence[str]) -> tuple[list[tuple[str, Path]], list[Unread]]:
    found, unread = [], []
    for name in packages:
        usable = name.isidentifier()  # never a path that leads elsewhere
        home = next((p for p in places if usable and (_is_folder(p / name) or _module_file(p, name))), None)
        if home is None:
            unread.append(Unread(name, "there is no such package"))
        else:
            found.append((name, home))
    return found, unread


def _found(root: Path, places: list[Path], exclude: Sequence[str]) -> tuple[list[tuple[str, Path]], list[Unread]]:
    found: list[tuple[str, Path]] = []
    unread: list[Unread] = []
    for place in places:
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError as error:
            unread.append(Unread(place.relative_to(root).as_posix(), _reason(error)))
            continue
        for entry in entries:
            name = entry.name.removesuffix(".py").removesuffix(".pyi")
            if not name.isidentifier() or name in _NOT_CODE or name in _NOT_MODULES:
                continue
            relative = Path(entry.path).relative_to(root).as_posix()
            if excluded(relative, exclude) or any(known == name for known, _ in found):
                continue
            if name != entry.name:
                found.append((name, place))  # whether it is a file that can be read is seen when it is
            elif entry.is_symlink():
                if entry.is_dir() and _has_python(Path(entry.path), 0):
                    unread.append(Unread(relative, _LINKED_FOLDER))
            elif entry.is_dir():
                if (problem := _shut(entry.path)) is not None:
                    unread.append(Unread(relative, problem))
                elif _is_package(place, name):
                    found.append((name, place))
    return found, unread


def _is_there(path: Path) -> bool:
    return os.path.lexists(path)  # `Path.exists` raises where a folder may not be entered


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - likewise


def _shut(path: str) -> str | None:
    """Why a folder cannot be listed; whether it holds code is not known then."""
    try:
        with os.scandir(path):
            return None
    except OSError as error:
        return _reason(error)


def _is_package(place: Path, name: str) -> bool:
    folder = place / name
    return name != "src" and not _is_there(folder / "pyvenv.cfg") and _has_python(folder, _NAMESPACE_DEPTH)


def _has_python(folder: Path, depth: int) -> bool:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return False
    if any(entry.name.endswith((".py", ".pyi")) for entry in entries):
        return True
    below = (
        e for e in entries if e.name.isidentifier() and e.name not in _NOT_CODE and e.is_dir(follow_symlinks=False)
    )
    return depth > 0 and any(
        _is_there(Path(entry.path) / "__init__.py") or _has_init(Path(entry.path), depth - 1) for entry in below
    )


def _has_init(folder: Path, depth: int) -> bool:
    if depth <= 0:
        return False
    try:
        below = [e for e in os.scandir(folder) if e.name.isidentifier() and e.is_dir(follow_symlinks=False)]
    except OSError:
        return False
    return any(_is_there(Path(e.path) / "__init__.py") or _has_init(Path(e.path), depth - 1) for e in below)


def _module_file(place: Path, name: str) -> bool:
    return any(_is_there(place / f"{name}{suffix}") for suffix in (".py", ".pyi"))


_LINKED_FOLDER = "a link to a folder; links to folders are not followed"


class Places:
    """The sources of the packages of one checkout."""

    def __init__(self, root: Path, exclude: Sequence[str]) -> None:
        self._root = root
        self._exclude = exclude
        self._inside = f"{os.path.realpath(root).rstrip('/')}/"
        self.unread: list[Unread] = []

    def sources(self, tops: Sequence[tuple[str, Path]]) -> list[Source]:
        """The modules of the packages `tops`, one a dotted path, by their path; what is no module is in `unread`."""
        files: dict[str, dict[str, tuple[str, Stamp]]] = {}
        for name, place in tops:
            folder = place / name
            if _is_folder(folder):
                self._folder(folder, name, files)
            for suffix in (".py", ".pyi"):
                path = place / f"{name}{suffix}"
                if os.path.lexists(path):
                    self._file(path, name, suffix, files)
        return [source for module in sorted(files) if (source := self._source(module, files[module])) is not None]

    def _source(self, module: str, found: dict[str, tuple[str, Stamp]]) -> Source | None:
        # A package goes before a module of the same name, as it does for Python.
        order = [key for key in ("__init__.py", ".py", "__init__.pyi", ".pyi") if key in found]
        first = order[0]
        place, stamp = found[first]
        stub = None
        for other in order[1:]:
            if other == f"{first}i":
                stub = found[other]
            else:
                self.unread.append(Unread(found[other][0], f"{place} stands for the same module, {module}"))
        return Source(module, place, stamp, *(stub or (None, None)))

    def _folder(self, folder: Path, module: str, files: dict[str, dict[str, tuple[str, Stamp]]]) -> None:
        todo = [(os.fspath(folder), module, 0)]
        root = f"{os.fspath(self._root).rstrip('/')}/"
        while todo:
            path, inside, depth = todo.pop()
            try:
                with os.scandir(path) as entries:
                    listed = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                self._skip(path.removeprefix(root), _reason(error))
                continue
            for entry in listed:
                name = entry.name
                stem, dot, suffix = name.rpartition(".")
                if dot and suffix in {"py", "pyi"}:
                    if not self._named(stem):
                        self._skip(entry.path.removeprefix(root), "its name is none of a module")
                        continue
                    init = stem == "__init__"
                    path_of = inside if init else f"{inside}.{stem}"
                    self._file(entry, path_of, f"__init__.{suffix}" if init else f".{suffix}", files)
                elif name.isidentifier() and name not in _NEVER and entry.is_dir():
                    self._inner(entry, f"{inside}.{name}", depth, todo, root)

    def _inner(
        self, entry: os.DirEntry[str], module: str, depth: int, todo: list[tuple[str, str, int]], root: str
    ) -> None:
        relative = entry.path.removeprefix(root)
        if excluded(relative, self._exclude) or _is_there(Path(entry.path, "pyvenv.cfg")):
            return
        if entry.is_symlink():
            if _has_python(Path(entry.path), 0):
                self._skip(relative, _LINKED_FOLDER)
        elif depth >= _DEEPEST:
            self._skip(relative, f"more than {_DEEPEST} folders deep")
        else:
            todo.append((entry.path, module, depth + 1))

    @staticmethod
    def _named(stem: str) -> bool:
        # A file such as `my-script.py` is a module that nobody can import; it is read all the same.
        return stem.isprintable() and "." not in stem and " " not in stem and stem != ""

    def _file(
        self,
        entry: os.DirEntry[str] | Path,
        module: str,
        form: str,
        files: dict[str, dict[str, tuple[str, Stamp]]],
    ) -> None:
        path = os.fspath(entry)
        relative = path.removeprefix(f"{os.fspath(self._root).rstrip('/')}/")
        if self._exclude and excluded(relative, self._exclude):
            return
        try:
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                if not os.path.realpath(path).startswith(self._inside):
                    self._skip(relative, "a link that leads out of the checkout")
                    return
                status = os.stat(path)  # noqa: PTH116 - a path as text, of which there may be a hundred thousand
        except OSError as error:
            self._skip(relative, _reason(error))
            return
        if stat.S_ISDIR(status.st_mode):
            self._skip(relative, "a folder with the name of a module's file")
        elif not stat.S_ISREG(status.st_mode):
            self._skip(relative, "not a regular file")
        elif status.st_size > LARGEST_SOURCE:
            self._skip(relative, f"larger than {LARGEST_SOURCE} bytes")
        else:
            files.setdefault(module, {})[form] = (relative, Stamp.of(status))

    def _skip(self, relative: str, reason: str) -> None:
        self.unread.append(Unread(relative.encode("utf-8", "backslashreplace").decode(), reason))


def read_file(path: str, *, inside: str | None = None) -> tuple[bytes, Stamp]:
    """The bytes of a regular file, and its entry when they were read; never waits for a pipe or a device.

    Raises:
        OSError: it cannot be read, or is no regular file of at most `LARGEST_SOURCE` bytes.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("not a regular file")
        if inside is not None and not os.path.realpath(path).startswith(inside):
            raise OSError("a link that leads out of the checkout")
        parts: list[bytes] = []
        left = LARGEST_SOURCE + 1
        while left > 0 and (part := os.read(handle, min(left, 1 << 20))):
            parts.append(part)
            left -= len(part)
    finally:
        os.close(handle)
    if left <= 0:
        raise OSError(f"larger than {LARGEST_SOURCE} bytes")
    return b"".join(parts), Stamp.of(status)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
