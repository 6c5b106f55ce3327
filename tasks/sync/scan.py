"""What stands in a folder: contents by path. What did not change since it was last hashed is not read again."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from blake3 import blake3

from models.sync_versions import Content, Kind, Tree
from tasks.sync.names import OWN, problem_of
from tasks.sync.placeholders import asks_for, stands_for

_CHUNK = 1 << 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_IN_THE_CLOUD = "..gitignore.icloud"
RACY_NS = 2_000_000_000
"""A file that changed so shortly before it was looked at may change again without its times telling: clocks of file
systems are as coarse as two seconds (FAT). It is hashed again the next time."""


class Mark(NamedTuple):
    """What stat(2) says of a file whose content is known."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    sure: bool
    """Whether the same values mean the same content."""

    def stands_for(self, status: os.stat_result) -> bool:
        """Whether the file of `status` is known to have the content that was hashed for this mark."""
        return (
            self.sure
            and self.inode == status.st_ino
            and self.size == status.st_size
            and self.mtime_ns == status.st_mtime_ns
            and self.ctime_ns == status.st_ctime_ns
        )


class Takes(Protocol):
    """What decides whether a path is synced."""

    def takes(self, path: str, is_directory: bool) -> bool:  # noqa: FBT001
        """Whether `path` is synced."""
        ...

    def with_ignores(self, directory: str, text: str) -> Takes:
        """The same, following also an ignore file of `directory`."""
        ...

    def following(self, texts: Mapping[str, str]) -> Takes:
        """The same, following also ignore files, whose texts these are, by the directory of each."""
        ...

    @property
    def follows_ignores(self) -> bool:
        """Whether ignore files count."""
        ...

    @property
    def fingerprint(self) -> str:
        """Stands for all that decides."""
        ...


class Everything:
    """A filter that takes everything."""

    follows_ignores = False
    fingerprint = "everything"

    def takes(self, path: str, is_directory: bool) -> bool:  # noqa: FBT001
        """It does."""
        return True

    def with_ignores(self, directory: str, text: str) -> Everything:
        """The same."""
        return self

    def following(self, texts: Mapping[str, str]) -> Everything:
        """The same."""
        return self


@dataclass
class Found:
    """What a scan found."""

    contents: dict[str, Content] = field(default_factory=dict)
    marks: dict[str, Mark] = field(default_factory=dict)
    """Of files."""
    spelled: dict[str, str] = field(default_factory=dict)
    """Paths whose names are written in another form of Unicode on the disk, and how."""
    skipped: dict[str, str] = field(default_factory=dict)
    """What could not be looked at, and why: nothing is concluded of it, nor of what lies below it."""
    left_out: set[str] = field(default_factory=set)
    """What the filter leaves out; of a directory, all below."""
    takes: Takes = field(default_factory=Everything)
    """What decided: the filter, and all ignore files that were found."""
    ignored: list[str] = field(default_factory=list)
    """What was synced until now and is ignored from now on."""
    heeded_again: list[str] = field(default_factory=list)
    """What was ignored until now, was synced before, and stands there."""
    folder: tuple[int, int] | None = None
    """Device and inode of the folder itself."""
    hashed_files: int = 0
    hashed_bytes: int = 0

    def on_disk(self, path: str) -> str:
        """`path` as its names are written on the disk."""
        if not self.spelled or path.isascii():
            return path
        names, at = [], ""
        for name in path.split("/"):
            at = f"{at}/{name}" if at else name
            names.append(self.spelled.get(at, at).rpartition("/")[2])
        return "/".join(names)

    def judged(self, path: str) -> bool:
        """Whether anything can be concluded from `path` not having been found."""
        if not self.skipped and not self.left_out:
            return True
        while path:
            if path in self.skipped or path in self.left_out:
                return False
            path = path.rpartition("/")[0]
        return True


@dataclass
class Scanner:
    """Looks through a folder.

    Args:
        root: the folder.
        takes: the filter.
        tree: versions by path of the last time.
        marks: of the files among them.
        largest: bytes; larger files are skipped.
        now_ns: see there.
    """

    root: Path
    takes: Takes
    tree: Tree
    marks: Mapping[str, Mark]
    largest: int
    now_ns: int
    """What the file system's own clock says as the scan begins (see `clock_of`)."""
    decided: bool = False
    """Whether `takes` is known to take all of `marks`, and decides by the name alone."""
    found: Found = field(default_factory=Found)
    _ignores: dict[str, str] = field(default_factory=dict)

    def scan(self) -> Found:
        """Look.

        Raises:
            OSError: the folder itself cannot be read.
        """
        status = self.root.stat()
        self.found.folder = (status.st_dev, status.st_ino)
        # A stack of our own: trees may be deeper than Python's.
        waiting = self._directory("", str(self.root), self.takes)
        while waiting:
            path, takes = waiting.pop()
            waiting += reversed(self._directory(path, f"{self.root}/{self.found.on_disk(path)}", takes))
        self.found.takes = self.takes.following(self._ignores)
        return self.found

    def _directory(self, path: str, place: str, takes: Takes) -> list[tuple[str, Takes]]:
        """Look at what is in a directory; the directories in it, with the filter for them."""
        try:
            # Whoever asks for what is in an open directory does not go through all above it again, for each.
            at = os.open(place, _FOLDER | os.O_NOFOLLOW if path else _FOLDER)
        except OSError as error:
            self._unread(path, error)
            return []
        try:
            with os.scandir(at) as listing:
                entries = list(listing)
            if takes.follows_ignores:
                takes = self._with_ignores(path, place, at, entries, takes)
            above = f"{path}/" if path else ""
            left = self._changed(above, entries) if self.decided else entries
            below: list[str] = []
            for entry in sorted(left, key=attrgetter("name")):
                if not entry.name.startswith(OWN):
                    self._entry(above, at, entry, takes, below)
        except OSError as error:
            self._unread(path, error)
            return []
        finally:
            os.close(at)
        return [(child, takes) for child in below]

    def _unread(self, path: str, error: OSError) -> None:
        if not path:
            raise error
        self.found.skipped[path] = f"it cannot be read: {error.strerror}"
        self.found.contents.pop(path, None)

    def _changed(self, above: str, entries: list[os.DirEntry[str]]) -> list[os.DirEntry[str]]:
        """Those of `entries` that are not the file which is known there; one that is, is found.

        Nearly all are, so that there is nothing here that could be elsewhere.
        """
        tree, marks, largest = self.tree, self.marks, self.largest
        contents, found = self.found.contents, self.found.marks
        left = []
        for entry in entries:
            path = above + entry.name
            mark, version = marks.get(path), tree.get(path)
            if mark is None or version is None or (content := version.content) is None:
                left.append(entry)
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                left.append(entry)
                continue
            same = mark == (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, True)
            if same and status.st_mode == stat.S_IFREG | content.mode and content.size <= largest:
                contents[path] = content
                found[path] = mark
            else:
                left.append(entry)
        return left

    @cached_property
    def _moved(self) -> dict[tuple[int, int, int, int], bytes]:
        """Digests of what is known: a directory that was renamed leaves inode and times of the files in it alone."""
        return {
            mark[:4]: content.digest
            for path, mark in self.marks.items()
            if mark.sure and (version := self.tree.get(path)) is not None and (content := version.content) is not None
        }

    def _with_ignores(self, path: str, place: str, at: int, entries: list[os.DirEntry[str]], takes: Takes) -> Takes:
        """`takes` with the `.gitignore` among `entries`.

        Raises:
            OSError: it cannot be read. Without it nothing can be said of the directory: what is ignored would be told.
        """
        for entry in entries:
            if entry.name == _IN_THE_CLOUD:
                asks_for(Path(place) / entry.name)
                raise OSError(errno.EAGAIN, "its .gitignore is in the cloud and not on this device")
            if entry.name == ".gitignore" and entry.is_file(follow_symlinks=False):
                fd = os.open(entry.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
                with os.fdopen(fd, encoding="utf-8", errors="replace") as file:
                    self._ignores[path] = text = file.read(_CHUNK)
                return takes.with_ignores(path, text)
        return takes

    def _entry(self, above: str, at: int, entry: os.DirEntry[str], takes: Takes, below: list[str]) -> None:
        found = self.found
        spelled = above + entry.name
        path = spelled if spelled.isascii() else unicodedata.normalize("NFC", spelled)
        if problem := problem_of(path):
            found.skipped[path] = problem
            return
        if entry.name.endswith(".icloud") and (stood_for := stands_for(path)) is not None:
            asks_for(self.root / spelled)
            found.skipped[stood_for] = "it is in the cloud and not on this device; it was asked for"
            return
        is_directory = entry.is_dir(follow_symlinks=False)
        if not takes.takes(path, is_directory):
            found.left_out.add(path)
            return
        if path in found.spelled or (path != spelled and path in found.contents):
            found.skipped[path] = "two names differ only in their form of Unicode"
            if path in found.marks:  # nobody can tell which of the two files is meant: both are left alone
                del found.contents[path], found.marks[path]
            return
        if path != spelled:
            found.spelled[path] = spelled
        try:
            status = entry.stat(follow_symlinks=False)
            kind = stat.S_IFMT(status.st_mode)
            if kind == stat.S_IFREG:
                self._file(path, at, entry.name, status)
            elif kind == stat.S_IFDIR:
                found.contents[path] = Content(Kind.directory, mode=status.st_mode & 0o777)
                below.append(path)
            elif kind == stat.S_IFLNK:
                target = os.readlink(entry.name, dir_fd=at)
                target.encode()
                found.contents[path] = Content(Kind.link, mode=0o777, target=target)
            else:
                found.skipped[path] = "it is no file, directory or link"
        except FileNotFoundError:
            found.skipped[path] = "it went away while it was looked at"
        except (OSError, UnicodeEncodeError) as error:
            found.skipped[path] = f"it cannot be read: {getattr(error, 'strerror', None) or type(error).__name__}"

    def _file(self, path: str, at: int, name: str, status: os.stat_result) -> None:
        found = self.found
        if status.st_size > self.largest:
            found.skipped[path] = f"it is larger than {self.largest / 1024 / 1024:g} MiB"
            return
        mode = status.st_mode & 0o777
        mark, version = self.marks.get(path), self.tree.get(path)
        known = version.content if version is not None else None
        if mark is not None and known is not None and mark.stands_for(status):
            found.contents[path] = known if known.mode == mode else known._replace(mode=mode)
            found.marks[path] = mark
            return
        key = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        digest = self._moved.get(key)
        if digest is not None:
            found.contents[path] = Content(Kind.file, digest, status.st_size, mode)
            found.marks[path] = Mark(*key, sure=True)
            return
        hashed = hash_file(name, self.now_ns, at=at)
        if hashed is None:
            found.skipped[path] = "it changed while it was read"
            return
        digest, mark = hashed
        found.hashed_files += 1
        found.hashed_bytes += mark.size
        found.contents[path] = Content(Kind.file, digest, mark.size, mode)
        found.marks[path] = mark


@contextlib.contextmanager
def opened(folder: Path, path: str) -> Iterator[BinaryIO]:
    """A file below `folder`, to be read; no link on the way is followed, and nothing waited for.

    Raises:
        OSError: it is not there, is no file, or cannot be read.
    """
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        *above, name = path.split("/")
        for one in above:
            below = os.open(one, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = below
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
    finally:
        os.close(at)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no file any more", path)
        yield file


def hash_file(place: str, now_ns: int, *, at: int | None = None) -> tuple[bytes, Mark] | None:
    """Digest and mark of a file; None: it changed while it was read.

    Args:
        place: the file.
        now_ns: a time by the file system's clock that is not later than now.
        at: the open directory that `place` is relative to.

    Raises:
        OSError: it cannot be read.
    """
    fd = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
    try:
        before = os.fstat(fd)
        if before.st_size <= _CHUNK:
            content = os.read(fd, before.st_size + 1)
            size = len(content)
            digest = blake3(content).digest()
        else:
            hasher = blake3(max_threads=blake3.AUTO)
            size = 0
            while chunk := os.read(fd, 8 * _CHUNK):
                hasher.update(chunk)
                size += len(chunk)
            digest = hasher.digest()
        after = os.fstat(fd)
    finally:
        os.close(fd)
    if (before.st_mtime_ns, before.st_ctime_ns, before.st_size) != (after.st_mtime_ns, after.st_ctime_ns, size):
        return None
    return digest, mark_of(after, now_ns)


def mark_of(status: os.stat_result, now_ns: int) -> Mark:
    """The mark of a file whose content was read at `now_ns` or later (by the file system's clock)."""
    newest = max(status.st_mtime_ns, status.st_ctime_ns)
    sure = newest + RACY_NS < now_ns
    return Mark(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, sure)


def clock_of(root: Path, who: str = "") -> int:
    """What time it is by the clock that the times of files in `root` are taken from, which may be another machine's.

    Args:
        root: the folder.
        who: who asks, where several may at the same time.

    Raises:
        OSError: nothing can be written there.
    """
    probe = root / f"{OWN[1]}clock{who}"
    probe.unlink(missing_ok=True)
    probe.touch(mode=0o600)
    try:
        return probe.stat().st_mtime_ns
    finally:
        probe.unlink(missing_ok=True)


def keeps_modes(root: Path, who: str = "") -> bool:
    """Whether the permissions of files in `root` are what they were set to; they are not on FAT, nor on many shares."""
    probe = root / f"{OWN[1]}mode{who}"
    try:
        probe.unlink(missing_ok=True)
        probe.touch(mode=0o600)
        try:
            kept = []
            for mode in (0o700, 0o640):
                probe.chmod(mode)
                kept.append(probe.stat().st_mode & 0o777 == mode)
            return all(kept)
        finally:
            probe.unlink()
    except OSError:
        return False


def ignores_case(root: Path) -> bool:
    """Whether names that differ only in case are one in `root`."""
    probe = root / f"{OWN[1]}case"
    try:
        probe.touch(mode=0o600)
        try:
            return probe.with_name(probe.name.upper()).exists()
        finally:
            probe.unlink()
    except OSError:
        return False
