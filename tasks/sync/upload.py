"""Contents on their way from a folder into a store, side by side where the store takes them so."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from models.sync_versions import Content
from tasks.sync.faults import Changed
from tasks.sync.state import Store

LARGE = 1 << 18
"""Bytes from which on a content is worth a thread."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a content."""

    path: str
    content: Content
    size: int = 0
    """Bytes that were read for it; 0 where the store had it."""
    error: OSError | Changed | None = None
    """Why it was not stored."""


def upload(root: Path, store: Store, wanted: Sequence[tuple[str, str, Content]]) -> Iterator[Sent]:
    """Put contents of files below `root` into `store`; what could not be read is told, and the rest is put.

    Args:
        root: the folder.
        store: says itself how many it takes side by side.
        wanted: paths, how they are written on the disk, and their contents.

    Raises:
        LamaError: the store cannot be used.
    """
    # A small one is over before another thread has taken the interpreter's lock: side by side they would take longer.
    large = [one for one in wanted if one[2].size >= LARGE]
    yield from _group(root, store, [one for one in wanted if one[2].size < LARGE])
    if store.at_once < 2 or len(large) < 2:
        yield from _group(root, store, large)
        return
    with ThreadPoolExecutor(store.at_once) as pool:
        try:
            for sent in pool.map(lambda one: list(_group(root, store, [one])), large):
                yield from sent
        finally:
            pool.shutdown(cancel_futures=True)


def _group(root: Path, store: Store, wanted: Sequence[tuple[str, str, Content]]) -> Iterator[Sent]:
    with contextlib.closing(_Folder(root)) as folder:
        for path, place, content in wanted:
            source = _Source(folder, place, content.size)
            try:
                store.put(content.digest, cast("BinaryIO", source))
                sent = Sent(path, content, content.size if source.opened else 0)
            except (OSError, Changed) as error:
                sent = Sent(path, content, error=error)
            finally:
                source.close()
            yield sent


class _Source:
    """A file that is opened when somebody reads: what the store has already is not read again."""

    def __init__(self, folder: _Folder, path: str, size: int) -> None:
        self._folder = folder
        self._path = path
        self._most = size + 1  # what is longer by now is not what was found; nobody need have the room for it
        self._fd = -1

    @property
    def opened(self) -> bool:
        return self._fd >= 0

    def read(self, size: int = -1) -> bytes:
        if self._fd < 0:
            self._fd = self._folder.open(self._path)
        return os.read(self._fd, self._most if size < 0 else min(size, self._most))

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)


class _Folder:
    """Files below a folder; no link on the way is followed, and nothing waited for. The last directory stays open."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path: str | None = None
        self._at = -1

    def open(self, path: str) -> int:
        above, _, name = path.rpartition("/")
        if above != self._path:
            self.close()
            self._at, self._path = self._directory(above), above
        fd = os.open(name, _FILE, dir_fd=self._at)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, "it is no file any more", path)
        return fd

    def _directory(self, path: str) -> int:
        at = os.open(self._root, _FOLDER)
        for name in path.split("/") if path else ():
            try:
                below = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=at)
            finally:
                os.close(at)
            at = below
        return at

    def close(self) -> None:
        if self._at >= 0:
            os.close(self._at)
        self._at, self._path = -1, None
