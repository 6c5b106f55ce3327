"""Files of a store whose folder anybody may have tampered with: no link is followed, no size believed."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from blocks.errors import UnavailableError
from tasks.sync.faults import Unsafe

MARKER = ".lama-sync.json"
TEMPORARY = ".lama-tmp-"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK a planted pipe would hold us for ever.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
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
    file: BinaryIO


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
        with self._translated(place), self._folder(place[:-1]) as folder:
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
            with self._translated(place), self._folder(place[:-1]) as folder:
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
                    left = memoryview(data)
                    while left:
                        left = left[os.write(descriptor, left) :]
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
        with self._translated(place), self._folder(place[:-1], create=True) as folder:
            temporary = TEMPORARY + secrets.token_hex(8)
            descriptor = os.open(temporary, _NEW, 0o666, dir_fd=folder)
            return Draft(place, temporary, os.fdopen(descriptor, "wb"))

    def append(self, draft: Draft, data: bytes) -> None:
        """Write on."""
        with self._translated(draft.place):
            draft.file.write(data)

    def close(self, draft: Draft) -> None:
        """Hand a draft to the operating system; it is not on the disk yet."""
        with self._translated(draft.place):
            draft.file.close()

    def commit(self, draft: Draft, *, in_batch: bool = False) -> None:
        """Get a draft onto the disk, and give it its name; in a batch, `sync` of its folder makes the name last."""
        self.close(draft)
        with self._translated(draft.place), self._folder(draft.place[:-1]) as folder:
            if self.durable:
                descriptor = os.open(draft.temporary, _READ, dir_fd=folder)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            os.rename(draft.temporary, draft.place[-1], src_dir_fd=folder, dst_dir_fd=folder)
            if self.durable and not in_batch:
                os.fsync(folder)

    def sync(self, place: Place) -> None:
        """Get the names in a folder onto the disk."""
        if self.durable:
            with self._translated(place), self._folder(place) as folder:
                os.fsync(folder)

    def discard(self, draft: Draft) -> None:
        """Remove a draft."""
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
