"""Makes a folder what a plan says. Nothing that stands there is ever destroyed: it goes to the trash, and only if it is
what the plan was made for.

Killed at any instruction, nothing is lost: a content is put into its place by one rename, what it replaces comes out of
the same rename, and the next run puts what it finds half-way into the trash.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, BinaryIO, Protocol

from models.sync_versions import Content, Kind
from tasks.sync.calls import Calls
from tasks.sync.checked import Checked
from tasks.sync.names import OWN
from tasks.sync.reconcile import Move, Put, Remove
from tasks.sync.scan import Found, Mark, hash_file, mark_of

OURS = f"{OWN[0]}"
"""The directory of a folder that holds our things: what is being made, and the trash."""
STAGE = "stage"
PART = ".part"
TRASH = "trash"
INDEX = "index.jsonl"
_CHUNK = 1 << 20
_MOST_OPEN = 200
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Fetch(Protocol):
    """Where contents are had from."""

    def __call__(self, digest: bytes, into: BinaryIO, *, size: int | None = None) -> None:
        """Write the content with that digest; raises an OSError or a LamaError when it cannot be had."""
        ...


class Meanwhile(Exception):  # noqa: N818 - it is no error: somebody else was faster
    """What stands there is not what the plan was made for."""


@dataclass
class Applied:
    """What became of a plan."""

    done: set[str] = field(default_factory=set)
    """Paths that are as they are to be."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Those that are not, and why."""
    marks: dict[str, Mark] = field(default_factory=dict)
    """Of files that were put or moved."""
    kept: set[str] = field(default_factory=set)
    """Directories that were to go and hold what is not synced."""
    bytes: int = 0


class Applier:
    """Changes one folder.

    Args:
        root: the folder.
        found: what was found there, with its marks.
        run: what the trash of this run is called; unique.
        calls: the system calls.
        durable: whether `settle` waits for the disk.
        stage: the directory where things are made; of one's own where several devices have the same folder.
    """

    def __init__(
        self,
        root: Path,
        found: Found,
        run: str,
        calls: Calls | None = None,
        *,
        durable: bool = True,
        stage: str = STAGE,
    ) -> None:
        self._root = root
        self._found = found
        self._run = run
        self._calls = calls or Calls()
        self._durable = durable
        self._stage_name = stage
        self._stage = -1
        self._staged_for: dict[str, str] = {}
        self._staged_as: dict[str, str] = {}
        self._permitted: dict[str, int] = {}
        self._open: dict[str, int] = {}
        self._trash: int | None = None
        self._trash_index: IO[str] | None = None
        self._number = 0
        self._lock = threading.Lock()
        self.applied = Applied()

    def __enter__(self) -> Applier:
        top = self._open[""] = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._check_root(top)
            self._open[OURS] = self._ours(OURS, self._open[""])
            self._stage = self._open["stage"] = self._ours(self._stage_name, self._open[OURS])
        except BaseException:
            self._close()
            raise
        return self

    def _check_root(self, fd: int) -> None:
        status = os.fstat(fd)
        if self._found.folder not in {None, (status.st_dev, status.st_ino)}:
            raise OSError(errno.ESTALE, "another folder has taken its place", str(self._root))

    def __exit__(self, *_told: object) -> None:
        self._close()

    def _close(self) -> None:
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()
        if self._trash_index is not None:
            self._trash_index.close()
        if self._trash is not None:
            os.close(self._trash)

    def _ours(self, name: str, at: int) -> int:
        with contextlib.suppress(FileExistsError):
            self._calls.mkdir(name, at)
        return os.open(name, _FOLDER, dir_fd=at)

    # What an earlier run left.

    def recover(self, now_ns: int, wanted: Callable[[bytes], bool] = lambda _digest: True) -> int:
        """Put into the trash what a run that was killed had in its hands; how much. Contents that are `wanted` stay."""
        count = 0
        for name in sorted(os.listdir(self._stage)):  # noqa: PTH208 - of an open directory
            with contextlib.suppress(OSError):
                hashed = hash_file(name, now_ns, at=self._stage)
                if hashed is not None and hashed[0].hex() == name.partition("-")[0] and wanted(hashed[0]):
                    continue  # whole: it is used again
            self._to_trash(name, self._stage, f"recovered/{name}")
            count += 1
        return count

    # Contents, before anything is changed.

    def comes_alone(self, one: Put) -> bool:
        """Whether `stage` can be called for `one` in a thread beside others: it is a copy of nothing that is here."""
        return one.content.kind is Kind.file and one.source is None and self._stage_for(one) == one.content.digest.hex()

    def stage(self, one: Put, fetch: Fetch) -> None:
        """Have the content of `one` ready.

        Raises:
            Meanwhile: what it was to be copied from has changed.
            OSError: it cannot be had, or the disk is full.
        """
        if one.content.kind is not Kind.file:
            return
        name = self._stage_for(one)
        if self._staged(name, one.content):
            return
        making = f"{name}{PART}"
        try:
            self._make(one, making, fetch)
            self._calls.rename_new(making, self._stage, name, self._stage)
        except Exception:
            # A copy of what is elsewhere; where the disk is full, it is what fills it.
            with contextlib.suppress(OSError):
                self._calls.unlink(making, self._stage)
            raise

    def _make(self, one: Put, making: str, fetch: Fetch) -> None:
        try:
            fd = self._calls.open_new(making, self._stage)
        except FileExistsError:
            self._calls.unlink(making, self._stage)
            fd = self._calls.open_new(making, self._stage)
        mode = one.content.mode
        with os.fdopen(fd, "wb", buffering=1 << 16) as file:
            checked = Checked(file, self._calls)
            if one.source is not None:
                self._copy(*self._place(one.source), checked)
            elif (first := one.content.digest.hex()) != making.removesuffix(PART):
                self._copy(self._stage, first, checked)
            else:
                fetch(one.content.digest, checked, size=one.content.size)  # type: ignore[arg-type]
            if checked.digest() != one.content.digest:
                raise Meanwhile("what it is copied from has another content")
            file.flush()
            if mode & stat.S_IRUSR:  # otherwise it could not be copied from, nor be recognised after a crash
                self._calls.permit(fd, mode)
                self._permitted[making.removesuffix(PART)] = mode
        with self._lock:
            self.applied.bytes += checked.size

    def _staged(self, name: str, content: Content) -> bool:
        try:
            status = os.stat(name, dir_fd=self._stage, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return stat.S_ISREG(status.st_mode) and status.st_size == content.size

    def _stage_for(self, one: Put) -> str:
        """The name under which the content is made ready; its digest, but for further files with the same content."""
        name = digest = one.content.digest.hex()
        number = 0
        while self._staged_for.get(name, one.path) != one.path:
            number += 1
            name = f"{digest}-{number}"
        self._staged_for[name] = one.path
        self._staged_as[one.path] = name
        return name

    def _copy(self, folder: int, name: str, into: Checked) -> None:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        with os.fdopen(fd, "rb", buffering=0) as file:
            while chunk := file.read(_CHUNK):
                into.write(chunk)

    def settle(self) -> None:
        """What was staged, or changed, is on the disk."""
        if self._durable:
            self._calls.sync_files(self._open[""])

    # Changes.

    def clear(self, one: Remove) -> None:
        """Take away what stands in the way of a directory."""
        self._remove(one)

    def make_directory(self, path: str, mode: int) -> None:
        """Have a directory at `path`."""
        folder, name = self._place(path)
        with contextlib.suppress(FileExistsError):
            self._calls.mkdir(name, folder)
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            raise Meanwhile("something else stands there")
        if status.st_mode & 0o777 != mode:
            self._calls.chmod(name, folder, mode)

    def move(self, one: Move) -> None:
        """Give a file another path."""
        folder, name = self._place(one.path)
        to_folder, to_name = self._place(one.to, beside=True)
        self._expect(one.path, one.expected, folder, name)
        try:
            self._calls.rename_new(name, folder, to_name, to_folder)
        except FileExistsError:
            raise Meanwhile("something stands where it is to go") from None
        if not self._is(self._found.marks.get(one.path), to_folder, to_name):
            # Somebody changed it between the look and the rename: that is their change of the new path.
            return
        if one.content.mode != one.expected.mode:
            self._calls.chmod(to_name, to_folder, one.content.mode)
        self._mark(one.to, to_folder, to_name)

    def put(self, one: Put) -> None:
        """Put a staged file, or a link, into its place."""
        folder, name = self._place(one.path)
        staged = self._staged_as.get(one.path, one.content.digest.hex())
        if one.content.kind is Kind.link:
            self._number += 1
            staged = f"link-{self._run}-{self._number}"
            self._calls.symlink(one.content.target, staged, self._stage)
        elif self._permitted.pop(staged, None) != one.content.mode:
            self._calls.chmod(staged, self._stage, one.content.mode)
        if one.expected is None:
            try:
                self._calls.rename_new(staged, self._stage, name, folder)
            except FileExistsError:
                raise Meanwhile("something stands there that did not before") from None
        else:
            self._expect(one.path, one.expected, folder, name)
            self._replace(one, staged, folder, name)
        if one.content.kind is Kind.file:
            del self._staged_for[self._staged_as.pop(one.path)]
            self._mark(one.path, folder, name)

    def _replace(self, one: Put, staged: str, folder: int, name: str) -> None:
        stage = self._stage
        try:
            exchanged = self._calls.exchange(staged, stage, name, folder)
        except FileNotFoundError:
            raise Meanwhile("it has gone") from None
        if not exchanged:
            # Without the call: a second name keeps what is there.
            old = self._trash_name(one.path)
            self._calls.link(name, folder, old, self._trash_fd())
            self._tell_trash(old, one.path, one.expected)
            self._calls.replace(staged, stage, name, folder)
            return
        if not self._was(one.path, one.expected, stage, staged):
            self._calls.exchange(staged, stage, name, folder)
            raise Meanwhile("it changed in the last moment")
        self._to_trash(staged, stage, one.path, one.expected)

    def set_mode(self, path: str, now: Content, content: Content) -> None:
        """Give `path` other permissions."""
        folder, name = self._place(path)
        if now.kind is Kind.file:
            self._expect(path, now, folder, name)
        self._calls.chmod(name, folder, content.mode)
        if now.kind is Kind.file:
            self._mark(path, folder, name)

    def remove(self, one: Remove) -> None:
        """Put a file or link into the trash."""
        self._remove(one)

    def remove_directory(self, one: Remove) -> bool:
        """Remove an empty directory; False: it holds what is not synced, and stays."""
        folder, name = self._place(one.path)
        for known in [known for known in self._open if f"{known}/".startswith(f"/{one.path}/")]:
            os.close(self._open.pop(known))
        try:
            self._calls.rmdir(name, folder)
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
                return False
            raise
        return True

    def _remove(self, one: Remove) -> None:
        folder, name = self._place(one.path)
        self._expect(one.path, one.expected, folder, name)
        old = self._to_trash(name, folder, one.path, one.expected)
        if not self._was(one.path, one.expected, self._trash_fd(), old):
            with contextlib.suppress(FileExistsError):
                self._calls.rename_new(old, self._trash_fd(), name, folder)
            raise Meanwhile("it changed in the last moment")

    # Looking.

    def _expect(self, path: str, expected: Content, folder: int, name: str) -> None:
        if not self._was(path, expected, folder, name):
            raise Meanwhile("it is not what it was")

    def _was(self, path: str, expected: Content | None, folder: int, name: str) -> bool:
        """Whether what stands there is what the scan found at `path`."""
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        if expected is None:
            return False
        if expected.kind is Kind.link:
            return stat.S_ISLNK(status.st_mode) and os.readlink(name, dir_fd=folder) == expected.target
        if expected.kind is Kind.directory:
            return stat.S_ISDIR(status.st_mode)
        mark = self._found.marks.get(path)
        return stat.S_ISREG(status.st_mode) and mark is not None and _same(mark, status)

    def _is(self, mark: Mark | None, folder: int, name: str) -> bool:
        return mark is not None and _same(mark, os.stat(name, dir_fd=folder, follow_symlinks=False))

    def _mark(self, path: str, folder: int, name: str) -> None:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        # Unsure: what was put just now may be changed within the same tick of the clock.
        self.applied.marks[path] = mark_of(status, 0)

    def _place(self, path: str, *, beside: bool = False) -> tuple[int, str]:
        """The open directory that `path` lies in, and its name there. No link on the way is followed.

        Until the next call it stays open; `beside`: so does that of the call before.
        """
        if not beside and len(self._open) > _MOST_OPEN:
            for known in [known for known in self._open if known.startswith("/")]:
                os.close(self._open.pop(known))
        return self._directory(path.rpartition("/")[0]), self._name(path)

    def _directory(self, path: str) -> int:
        missing: list[str] = []
        while path and f"/{path}" not in self._open:
            missing.append(path)
            path = path.rpartition("/")[0]
        at = self._open[f"/{path}" if path else ""]
        passed: int | None = None
        try:
            while missing:
                path = missing.pop()
                at, above = os.open(self._name(path), _FOLDER, dir_fd=at), passed
                passed = at
                if above is not None:
                    os.close(above)
                if not missing or len(self._open) <= _MOST_OPEN:
                    self._open[f"/{path}"], passed = at, None
        except OSError:
            if passed is not None:
                os.close(passed)
            raise
        return at

    def _name(self, path: str) -> str:
        return self._found.spelled.get(path, path).rpartition("/")[2]

    # The trash.

    def _trash_fd(self) -> int:
        if self._trash is None:
            top = self._ours(TRASH, self._open[OURS])
            try:
                self._trash = self._ours(self._run, top)
            finally:
                os.close(top)
            fd = os.open(INDEX, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600, dir_fd=self._trash)
            self._trash_index = os.fdopen(fd, "a", encoding="utf-8")
        return self._trash

    def _trash_name(self, path: str) -> str:
        self._number += 1
        name = path.rpartition("/")[2]
        return f"{self._number}-{name.encode()[:200].decode('utf-8', 'ignore')}"

    def _to_trash(self, name: str, at: int, path: str, content: Content | None = None) -> str:
        """Move what `name` is into the trash, as what stood at `path`; its name there."""
        trash = self._trash_fd()
        while True:
            old = self._trash_name(path)
            # Told first: a name in the index without a file says less than a file without a path.
            self._tell_trash(old, path, content)
            try:
                self._calls.rename_new(name, at, old, trash)
            except FileExistsError:
                continue
            except FileNotFoundError:
                raise Meanwhile("it has gone") from None
            return old

    def _tell_trash(self, name: str, path: str, content: Content | None) -> None:
        index = self._trash_index
        assert index is not None  # noqa: S101 - opened with the trash
        digest = {"digest": content.digest.hex()} if content is not None and content.digest else {}
        index.write(json.dumps({"name": name, "path": path, **digest}) + "\n")
        index.flush()


def _same(mark: Mark, status: os.stat_result) -> bool:
    """Whether `status` is of the file of `mark`; renaming it has changed its ctime."""
    return (mark.inode, mark.size, mark.mtime_ns) == (status.st_ino, status.st_size, status.st_mtime_ns)
