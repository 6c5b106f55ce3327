"""The folder that a site is written into: whole files only, and never over what a person put there or changed.

What is ours is known by a manifest of hashes in `.lama-docs`. A file is replaced or taken away only while it is what we
wrote. What is about to be written is noted in a journal before: after a kill the next build knows it for ours.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Any

import orjson

from blocks.errors import ConfigurationError, UnavailableError

STATE = ".lama-docs"
"""Folder of the manifest, inside of the site's."""
_MANIFEST = "manifest.json"
_JOURNAL = "journal"
_PATIENCE_S = 60.0


def content_hash(content: bytes) -> str:
    """What tells one content of a file from another."""
    return blake2b(content, digest_size=16).hexdigest()


@dataclass(slots=True)
class Written:
    """A file of ours, as it was when we wrote it."""

    hash: str
    size: int
    mtime_ns: int


@dataclass(slots=True)
class Done:
    """What a build did to the folder."""

    written: int = 0
    removed: int = 0
    kept: dict[str, str] = field(default_factory=dict)
    """Files that are a person's, by why they were left as they are: `changed` or `there before`."""


def check_place(output: Path, root: Path, packages: tuple[Path, ...]) -> Path:
    """`output` with its links resolved.

    Raises:
        ConfigurationError: pages there would be among the sources, or would be found again as sources.
    """
    real, source = output.expanduser().resolve(), root.resolve()
    remedy = "Choose another output folder, such as build/site."
    if source.is_relative_to(real):
        raise ConfigurationError(f"{output} holds the checkout itself.", component="docs", remedy=remedy)
    if real.is_relative_to(source / ".git"):
        raise ConfigurationError(f"{output} is inside of the repository's own folder.", component="docs", remedy=remedy)
    for package in packages:
        if real.is_relative_to(package.resolve()):
            raise ConfigurationError(
                f"{output} is inside of the package {package.name}.", component="docs", remedy=remedy
            )
    if real.exists() and not real.is_dir():
        raise ConfigurationError(f"{output} is not a folder.", component="docs", remedy=remedy)
    return real


class Output:
    """One folder of pages, while it is built. Use as a context: it is this process's alone in between."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._root = str(folder)
        self.state: dict[str, Any] = {}
        """What the last build that came to its end has left for the next one."""
        self.done = Done()
        self._files: dict[str, Written] = {}
        self._ours: dict[str, set[str]] = {}
        self._kept: set[str] = set()
        self._folders: dict[str, bool] = {"": True}
        self._lock = -1
        self._journal = -1
        self._count = 0

    def __enter__(self) -> Output:
        if (self.folder / STATE).is_symlink():
            raise ConfigurationError(f"{STATE} is a link.", component=str(self.folder), remedy="Take it away.")
        try:
            (self.folder / STATE).mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.folder / STATE / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
            self._wait()
            self._read()
        except OSError as error:
            self.__exit__()
            raise _unwritable(self.folder, error) from error
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in (self._journal, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._lock = self._journal = -1

    @property
    def files(self) -> frozenset[str]:
        """The files of ours, relative to the folder."""
        return frozenset(self._files)

    def is_whole(self) -> bool:
        """Whether every file is there as we left it, as far as size and time tell."""
        return not (self.folder / STATE / _JOURNAL).exists() and all(
            self._untouched(relative, known) for relative, known in self._files.items()
        )

    def holds(self, relative: str) -> bool:
        """Whether `relative` is a file of ours, and still as we left it."""
        known = self._files.get(relative)
        return known is not None and self._untouched(relative, known)

    def write(self, relative: str, content: bytes) -> None:
        """Bring the file to `content`, unless it is so already or is a person's.

        Raises:
            UnavailableError: it cannot be written; what was there is there.
        """
        path = self._path(relative)
        known = self._files.get(relative)
        digest = content_hash(content)
        if known is not None and known.hash == digest and self._untouched(relative, known):
            return
        if not self._inside(relative):
            self._keep(relative, "in the way")
            return
        try:
            there = self._standing(path)
            if there is not None:
                if there == digest:
                    self._note(relative, path, digest)
                    return
                if there not in self._ours.get(relative, ()) and (known is None or known.hash != there):
                    self._keep(relative, "there before" if known is None else "changed")
                    return
            self._intend(relative, digest)
            self._replace(path, content)
            self._note(relative, path, digest)
        except OSError as error:
            raise _unwritable(path, error) from error
        self.done.written += 1

    def remove_all_but(self, wanted: frozenset[str]) -> None:
        """Take away the files of ours that are not among `wanted`; those that a person has changed stay.

        Raises:
            UnavailableError: one cannot be taken away.
        """
        gone = {name: {known.hash} for name, known in self._files.items() if name not in wanted}
        for name, hashes in self._ours.items():  # what a build that was killed has written
            if name not in wanted:
                gone.setdefault(name, set()).update(hashes)
        folders: set[PurePosixPath] = set()
        for relative in sorted(gone):
            path = self._path(relative)
            try:
                there = self._standing(path) if self._inside(relative) else None
                if there is not None and there in gone[relative]:
                    path.unlink()
                    folders.update(PurePosixPath(relative).parents)
                    self.done.removed += 1
                elif there is not None:
                    self._keep(relative, "changed")
            except OSError as error:
                raise _unwritable(path, error) from error
            self._files.pop(relative, None)
        for folder in sorted(folders, key=lambda one: -len(one.parts)):
            if folder.parts:
                with contextlib.suppress(OSError):  # not empty: somebody's files are in it
                    (self.folder / folder).rmdir()

    def finish(self, state: dict[str, Any]) -> None:
        """Note that this build came to its end, and leave `state` for the next one.

        Raises:
            UnavailableError: the manifest cannot be written.
        """
        kept = {name: (one.hash, one.size, one.mtime_ns) for name, one in self._files.items()}
        content = orjson.dumps({"files": kept, "state": state}, option=orjson.OPT_SORT_KEYS)
        path = self.folder / STATE / _MANIFEST
        try:
            self._replace(path, content)
            if self._journal >= 0:
                os.close(self._journal)
                self._journal = -1
            (self.folder / STATE / _JOURNAL).unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(path, error) from error

    def _wait(self) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise UnavailableError(
                        "another build writes into it.", component=str(self.folder), remedy="Wait for its end."
                    ) from None
                time.sleep(0.05)
            else:
                return

    def _read(self) -> None:
        """What the last build left, and what one that did not come to its end was about to write."""
        with contextlib.suppress(FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
            # Garbage is as good as nothing: what is there is then taken for a person's, unless it is the same.
            told = orjson.loads((self.folder / STATE / _MANIFEST).read_bytes())
            files = {name: Written(*one) for name, one in told["files"].items() if _is_below(name)}
            self.state, self._files = dict(told["state"]), files
        with contextlib.suppress(FileNotFoundError):
            for line in (self.folder / STATE / _JOURNAL).read_text(encoding="utf-8", errors="replace").splitlines():
                digest, _, name = line.partition(" ")
                if _is_below(name):
                    self._ours.setdefault(name, set()).add(digest)
        for left in (self.folder / STATE).glob("new-*"):
            left.unlink(missing_ok=True)

    def _intend(self, relative: str, digest: str) -> None:
        if self._journal < 0:
            path = self.folder / STATE / _JOURNAL
            self._journal = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
        line = f"{digest} {relative}\n".encode()
        if os.write(self._journal, line) != len(line):
            raise OSError(28, os.strerror(28))  # half a line: the disk is full
        self._ours.setdefault(relative, set()).add(digest)

    def _replace(self, path: Path, content: bytes) -> None:
        self._count += 1
        new = self.folder / STATE / f"new-{os.getpid()}-{self._count}"
        try:
            with new.open("xb") as file:
                file.write(content)
            new.replace(path)
        except OSError:
            new.unlink(missing_ok=True)
            raise

    def _note(self, relative: str, path: Path, digest: str) -> None:
        state = path.stat(follow_symlinks=False)
        self._files[relative] = Written(digest, state.st_size, state.st_mtime_ns)

    def _keep(self, relative: str, why: str) -> None:
        self._files.pop(relative, None)
        self._kept.add(relative)
        self.done.kept[relative] = why

    def _untouched(self, relative: str, known: Written) -> bool:
        try:
            state = os.lstat(f"{self._root}/{relative}")
        except OSError:
            return False
        return state.st_size == known.size and state.st_mtime_ns == known.mtime_ns

    def _standing(self, path: Path) -> str | None:
        """The hash of what is at `path`; None: nothing. What is no plain file has one that nothing else has."""
        try:
            if path.is_symlink() or not path.is_file():
                return None if not os.path.lexists(path) else "no file"
            return content_hash(path.read_bytes())
        except FileNotFoundError:
            return None

    def _path(self, relative: str) -> Path:
        if not _is_below(relative):
            raise ValueError(f"{relative!r} is no place inside of the site")
        return self.folder / relative

    def _inside(self, relative: str) -> bool:
        """Make the folder of `relative`; whether it is a real one, with no link on the way."""
        folder = relative.rpartition("/")[0]
        known = self._folders.get(folder)
        if known is None:
            if not self._inside(folder):
                known = False
            else:
                path = self.folder / folder
                try:
                    with contextlib.suppress(FileExistsError):
                        path.mkdir()
                except OSError as error:
                    raise _unwritable(path, error) from error
                known = path.is_dir() and not path.is_symlink()
            self._folders[folder] = known
        return known


def _is_below(relative: str) -> bool:
    """Whether it is a plain relative path of ours: nothing hidden, nothing that leads upwards."""
    parts = relative.split("/")
    return all(part and not part.startswith(".") and "\0" not in part and "\n" not in part for part in parts)


def _unwritable(path: Path, error: OSError) -> UnavailableError:
    return UnavailableError(
        f"cannot be written: {error.strerror or error}.", component=str(path), remedy="Make room, or choose another."
    )


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Output]:
    """The folder, for one build."""
    with Output(folder) as output:
        yield output
