"""Files of a store whose folder anybody may have tampered with: no link is followed, no size believed."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import secrets
import stat
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from blocks.errors import UnavailableError
from tasks.sync.calls import sync_whole
from tasks.sync.faults import Unsafe

MARKER = ".lama-sync.json"
TEMPORARY = ".lama-tmp-"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK a planted pipe would hold us for ever.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_HELD = 64 if os.name == "posix" and os.uname().sysname == "Darwin" else 256
"""Folders that stay open: of the 256 files that macOS lets a process have by default, or of 1024 elsewhere."""
_WRONG_KIND = {errno.ELOOP, errno.ENOTDIR, errno.EMLINK}

Place = tuple[str, ...]
"""A path within the store, name by name."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What of a file changes when the file does."""

    size: int
    mtime_ns: int
    inode: int


@dataclass(slots=True)
class Draft:
    """A file that is written and has no name yet."""

    place: Place
    temporary: str
    file: BinaryIO | None
    """None: it is written."""


class Shelf:
    """The files under one root. Every access checks that the root is still there.

    Args:
        root: the folder; it may itself be a link, since its owner chose it.
        durable: whether what is written has reached the disk before it gets its name.

    Raises:
        UnavailableError: everywhere: the root went away, or it cannot be read or written.
        Unsafe: everywhere: a link, a device or a pipe stands where a file or folder should.
        FileNotFoundError: where something is read.
    """

    def __init__(self, root: Path, *, durable: bool) -> None:
        self.root = root
        self.durable = durable
        self._run = secrets.token_hex(8)
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._holders = 0
        self._top: int | None = None
        self._held: dict[Place, int] = {}

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Within, folders stay open once they are reached, for all but `write` and `commit`.

        Drafts get their names by the path, so that it is seen when a folder, or the root, was put in another's place
        meanwhile: the draft is not in it.
        """
        with self._lock:
            self._holders += 1
            if self._holders == 1:
                with contextlib.suppress(OSError):  # whoever uses the store is told why
                    self._top = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                if self._holders == 0:
                    for descriptor in self._held.values():
                        os.close(descriptor)
                    self._held.clear()
                    if self._top is not None:
                        os.close(self._top)
                        self._top = None

    def found(self, marker: bytes) -> None:
        """Write the marker that makes the root a store.

        Raises:
            UnavailableError: there is one already, or it cannot be written.
        """
        path = self.root / MARKER
        try:
            descriptor = os.open(path, _NEW, 0o666)
            with os.fdopen(descriptor, "wb") as file:
                file.write(marker)
                file.flush()
                os.fsync(descriptor)
        except OSError as error:
            raise UnavailableError(f"{MARKER} cannot be made: {error.strerror}.", component=str(self.root)) from error

    def read(self, place: Place, limit: int) -> tuple[bytes, Stamp]:
        """A whole file of at most `limit` bytes."""
        with self.open(place) as (file, stamp):
            with self._translated(place):
                data = file.read(limit + 1) if stamp.size <= limit else b""
            if stamp.size > limit or len(data) > limit:
                raise Unsafe(f"it is larger than {limit} bytes.", component="/".join(place))
            return data, stamp

    @contextlib.contextmanager
    def open(self, place: Place) -> Iterator[tuple[BinaryIO, Stamp]]:
        """A file to be read."""
        with self._translated(place), self._near(place[:-1]) as folder:
            descriptor = os.open(place[-1], _READ, dir_fd=folder)
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            os.close(descriptor)
            raise Unsafe("it is no file.", component="/".join(place))
        with os.fdopen(descriptor, "rb") as file:
            yield file, _stamp(found)

    def stamp(self, place: Place) -> Stamp | None:
        """What a file looks like from outside; None: there is none."""
        try:
            with self._translated(place), self._near(place[:-1]) as folder:
                found = os.stat(place[-1], dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return _stamp(found) if stat.S_ISREG(found.st_mode) else None

    def names(self, place: Place) -> list[str]:
        """What is in a folder, sorted, without what is hidden; nothing where there is no folder."""
        try:
            with self._translated(place), self._folder(place) as folder, os.scandir(folder) as found:
                return sorted(entry.name for entry in found if not entry.name.startswith("."))
        except FileNotFoundError:
            return []

    def write(self, place: Place, data: bytes) -> None:
        """A whole file, or none: temporary file, fsync, rename, fsync of the folder."""
        with self._translated(place), self._folder(place[:-1], create=True) as folder:
            temporary = TEMPORARY + secrets.token_hex(8)
            descriptor = os.open(temporary, _NEW, 0o666, dir_fd=folder)
            try:
                try:
                    _write(descriptor, data)
                    if self.durable:
                        os.fsync(descriptor)
                finally:
                    os.close(descriptor)
                os.rename(temporary, place[-1], src_dir_fd=folder, dst_dir_fd=folder)
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(temporary, dir_fd=folder)
                raise
            if self.durable:
                os.fsync(folder)

    def draft(self, place: Place) -> Draft:
        """A file to be written, which gets its name by `commit` and goes by `discard`."""
        with self._translated(place), self._near(place[:-1], create=True) as folder:
            temporary = TEMPORARY + secrets.token_hex(8)
            descriptor = os.open(temporary, _NEW, 0o666, dir_fd=folder)
            return Draft(place, temporary, os.fdopen(descriptor, "wb"))

    def drafted(self, place: Place, data: bytes) -> Draft:
        """A draft that holds `data`."""
        with self._translated(place), self._near(place[:-1], create=True) as folder:
            temporary = f"{TEMPORARY}{self._run}-{next(self._numbers)}"
            descriptor = os.open(temporary, _NEW, 0o666, dir_fd=folder)
            try:
                try:
                    _write(descriptor, data)
                finally:
                    os.close(descriptor)
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(temporary, dir_fd=folder)
                raise
            return Draft(place, temporary, None)

    def close(self, draft: Draft) -> None:
        """Hand a draft to the operating system; it is not on the disk yet."""
        if draft.file is not None:
            with self._translated(draft.place):
                draft.file.close()
            draft.file = None

    def settle(self) -> bool:
        """Everything written while it was `held` is on the disk; False: `commit` has to see to each draft.

        Raises:
            UnavailableError: something could not be written.
        """
        if not self.durable:
            return True
        with self._translated((".",)):
            return self._top is not None and sync_whole(self._top)

    def commit(self, drafts: Sequence[Draft], *, settled: bool = False) -> None:
        """Get drafts of one folder onto the disk, and give them their names. All are tried; those that fail go.

        Args:
            drafts: of one folder.
            settled: whether `settle` has seen to what they hold, and will to their names.
        """
        place = drafts[0].place
        waits = self.durable and not settled
        try:
            with self._translated(place), self._folder(place[:-1]) as folder:
                failed: OSError | None = None
                for draft in drafts:
                    try:
                        _name(draft, folder, durable=waits)
                    except OSError as error:
                        failed = failed or error
                        self.discard(draft)
                if failed is not None:
                    raise failed
                if waits:
                    os.fsync(folder)
        except (UnavailableError, Unsafe, FileNotFoundError):
            for draft in drafts:
                self.discard(draft)
            raise

    def discard(self, draft: Draft) -> None:
        """Remove a draft."""
        if draft.file is not None:
            with contextlib.suppress(OSError):
                draft.file.close()
        with contextlib.suppress(OSError, UnavailableError, Unsafe), self._folder(draft.place[:-1]) as folder:
            os.unlink(draft.temporary, dir_fd=folder)

    def rename(self, place: Place, to: Place) -> None:
        """Move a file within the store."""
        with (
            self._translated(place),
            self._folder(place[:-1]) as source,
            self._folder(to[:-1], create=True) as target,
        ):
            os.rename(place[-1], to[-1], src_dir_fd=source, dst_dir_fd=target)

    def remove(self, place: Place) -> None:
        """Remove a file."""
        with self._translated(place), self._folder(place[:-1]) as folder:
            os.unlink(place[-1], dir_fd=folder)

    def touch(self, place: Place, at: float) -> None:
        """Make a file as young as `at`; a store that does not keep that is none the worse."""
        with contextlib.suppress(OSError), self._folder(place[:-1]) as folder:
            os.utime(place[-1], (at, at), dir_fd=folder, follow_symlinks=False)

    def leftovers(self, place: Place, before: float) -> Iterator[Place]:
        """Temporary files of a folder that are older than `before`: whoever wrote them was cut off."""
        try:
            with self._translated(place), self._folder(place) as folder, os.scandir(folder) as found:
                names = [entry.name for entry in found if entry.name.startswith(TEMPORARY)]
        except FileNotFoundError:
            return
        for name in names:
            stamp = self.stamp((*place, name))
            if stamp is not None and stamp.mtime_ns < before * 1e9:
                yield (*place, name)

    @contextlib.contextmanager
    def _near(self, place: Place, *, create: bool = False) -> Iterator[int]:
        """As `_folder`; one that is held is not reached again."""
        descriptor = self._held.get(place)
        if descriptor is not None:
            yield descriptor
            return
        with self._folder(place, create=create) as descriptor:
            with self._lock:
                if self._holders and place not in self._held and len(self._held) < _MOST_HELD:
                    self._held[place] = os.dup(descriptor)
            yield descriptor

    @contextlib.contextmanager
    def _folder(self, place: Place, *, create: bool = False) -> Iterator[int]:
        """The descriptor of a folder, reached name by name, so that no link on the way leads elsewhere."""
        try:
            descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise UnavailableError(
                f"the store cannot be opened: {error.strerror}.",
                component=str(self.root),
                remedy="Mount or connect it, or correct `store` in `[sync]`.",
            ) from error
        try:
            # An unmounted disk leaves an empty folder: nothing is read from it and nothing made in it.
            try:
                os.stat(MARKER, dir_fd=descriptor, follow_symlinks=False)
            except FileNotFoundError as error:
                raise UnavailableError(
                    f"the store went away: there is no {MARKER} in it.",
                    component=str(self.root),
                    remedy="Mount or connect it; a new one is made by `lama sync devices create`.",
                ) from error
            for name in place:
                below = _below(name, descriptor, create=create)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _translated(self, place: Place) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            where = "/".join(place)
            if error.errno in _WRONG_KIND:
                raise Unsafe("a link or a file stands where it should not.", component=where) from error
            remedy = "Make room in the store." if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG} else ""
            raise UnavailableError(
                f"{where} cannot be read or written: {error.strerror or error}.",
                component=str(self.root),
                remedy=remedy,
            ) from error


def _name(draft: Draft, folder: int, *, durable: bool) -> None:
    if durable:
        descriptor = os.open(draft.temporary, _READ, dir_fd=folder)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    os.rename(draft.temporary, draft.place[-1], src_dir_fd=folder, dst_dir_fd=folder)


def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _below(name: str, folder: int, *, create: bool) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=folder)
    except FileNotFoundError:
        if not create:
            raise
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, dir_fd=folder)
    return os.open(name, _DIRECTORY, dir_fd=folder)


def _stamp(found: os.stat_result) -> Stamp:
    return Stamp(found.st_size, found.st_mtime_ns, found.st_ino)
