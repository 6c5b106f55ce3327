"""Databases are synced by copies of them: each as it was at one moment, in a folder of the home that the engine syncs.

A database is never copied while somebody writes it, nor with half of its log; and it is replaced only while nobody has
it open. What cannot be copied or replaced now stays as it is on both sides until the next run.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from models.sync import Category, Content, Kind, Version
from tasks.sync.apply import OURS
from tasks.sync.databases import (
    DatabaseError,
    UnsoundError,
    fingerprint,
    is_database,
    replace,
    replaceable,
    sidecar,
    snapshot,
    unsound,
)
from tasks.sync.names import OWN, conflict_path
from tasks.sync.scan import Takes, hash_file
from tasks.sync.trash import discard

_MAKING = f"{OWN[1]}making"
_TRIES = 3


@dataclass
class Shadow:
    """The copies of one category.

    Args:
        category: which; its folder has the databases.
        place: folder for the copies and what is remembered of them.
        takes: the filter.
    """

    category: Category
    place: Path
    takes: Takes
    skipped: dict[str, str] = field(default_factory=dict)
    """What could not be copied or replaced, and why."""

    def __post_init__(self) -> None:
        self._memory = self.place / "memory.json"
        self._known: dict[str, dict[str, str]] = {}
        if self._memory.exists():
            self._known = json.loads(self._memory.read_text(encoding="utf-8"))

    @property
    def folder(self) -> Path:
        """Where the copies are."""
        return self.place / "copies"

    @property
    def synced(self) -> Category:
        """The category as the engine is given it."""
        return self.category.model_copy(update={"folder": self.folder})

    def gather(self, device: str, at: int) -> None:
        """Copy what changed since the last time, and forget what was deleted.

        Raises:
            FileNotFoundError: the folder was there, and is not.
            OSError: it cannot be read, or the disk is full.
        """
        if self._known and not self.category.folder.is_dir():
            raise FileNotFoundError(2, "the folder of the databases is not there; is its disk mounted?")
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = set()
        for path in self._files(self.category.folder):
            found.add(path)
            try:
                self._copy(path, device, at)
            except (DatabaseError, OSError) as error:
                self.skipped[path] = f"it was not copied: {_told(error)}"
        for path in [path for path in self._known if path not in found]:
            copy = self.folder / path
            if copy.is_file() and _digest(copy) == self._known[path]["copy"]:
                copy.unlink()  # deleted here: so it is told
            del self._known[path]
        self._remember()

    def spread(self, run: str) -> None:
        """Bring what came from elsewhere to the databases themselves.

        Args:
            run: what the trash of this run is called.
        """
        self.category.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        copies = set(self._files(self.folder))
        for path in sorted(copies):
            try:
                self._place(path, run)
            except (DatabaseError, OSError) as error:
                self.skipped[path] = f"it was not replaced: {_told(error)}"
        for path in [path for path in self._known if path not in copies]:
            self._remove(path, run)
        self._remember()

    def _copy(self, path: str, device: str, at: int) -> None:
        live, copy = self.category.folder / path, self.folder / path
        known = self._known.get(path)
        if known is not None and known["live"] == _fingerprint(live):
            return
        making = self.folder / _MAKING
        if copy.is_file() and _broken(copy, live):
            raise UnsoundError("it was a database, and does not begin as one any more")
        now = _copied(live, making)
        digest = _digest(making)
        if known is not None and known["copy"] == digest:
            self._known[path] = {"live": now, "copy": digest}  # written, and nothing of it is new
            making.unlink()
            return
        if known is not None and copy.is_file() and _digest(copy) not in {known["copy"], digest}:
            # What came from elsewhere could not be brought here yet, and this changed meanwhile: both are kept.
            content = Content(Kind.file, bytes.fromhex(digest), making.stat().st_size)
            copy = self.folder / conflict_path(path, Version(content, (), device, at))
            self._known[path] = {"live": now, "copy": ""}
        else:
            self._known[path] = {"live": now, "copy": digest}
        copy.parent.mkdir(parents=True, exist_ok=True)
        if copy.is_file() and _digest(copy) == digest:
            making.unlink()
        else:
            making.replace(copy)

    def _place(self, path: str, run: str) -> None:
        copy, live = self.folder / path, self.category.folder / path
        digest = _digest(copy)
        known = self._known.get(path)
        if known is not None and known["copy"] == digest:
            return
        if live.is_file() and _broken(live, copy):
            raise UnsoundError("what came from elsewhere does not begin as a database")
        if is_database(copy) and (problem := unsound(copy)):
            raise UnsoundError(f"what came from elsewhere cannot be taken: {problem}")
        live.parent.mkdir(parents=True, exist_ok=True)
        making = live.with_name(f"{_MAKING}-{live.name[:100]}")
        making.unlink(missing_ok=True)
        shutil.copyfile(copy, making)
        try:
            if not os.path.lexists(live):
                os.link(making, live)  # fails where something stands meanwhile
            elif known is None or _fingerprint(live) != known["live"]:
                raise BlockingIOError(11, "it changed meanwhile")
            elif is_database(live) or is_database(copy):
                replace(live, making, keep=self._kept(path, run))
            else:
                discard(self.category.folder, path, run)
                os.link(making, live)
        finally:
            making.unlink(missing_ok=True)
        self._known[path] = {"live": _fingerprint(live), "copy": digest}

    def _kept(self, path: str, run: str) -> Path:
        """A name in the trash for the database at `path`."""
        trash = self.category.folder / OURS / "trash" / run
        trash.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = f"{len(list(trash.iterdir())) + 1}-{Path(path).name[:80]}"
        with (trash / "index.jsonl").open("a", encoding="utf-8") as index:
            index.write(json.dumps({"name": name, "path": path}) + "\n")
        return trash / name

    def _remove(self, path: str, run: str) -> None:
        """Put into the trash what was deleted elsewhere, if nobody has it and it is what was known."""
        live = self.category.folder / path
        if not live.is_file():
            del self._known[path]
        elif _fingerprint(live) != self._known[path]["live"]:
            del self._known[path]  # changed here: the next run tells
        elif is_database(live) and not replaceable(live):
            self.skipped[path] = "it was deleted elsewhere and is in use here"
        else:
            discard(self.category.folder, path, run)
            for name in (f"{path}-wal", f"{path}-shm", f"{path}-journal"):
                if (self.category.folder / name).is_file():
                    discard(self.category.folder, name, run)
            del self._known[path]

    def _files(self, root: Path) -> Iterator[str]:
        for place, folders, names in os.walk(root):
            above = Path(place).relative_to(root).as_posix()
            prefix = "" if above == "." else f"{above}/"
            folders[:] = sorted(
                name
                for name in folders
                if not name.startswith(OWN) and self.takes.takes(prefix + name, True)  # noqa: FBT003
            )
            for name in sorted(names):
                path = prefix + name
                taken = not name.startswith(OWN) and not sidecar(name) and self.takes.takes(path, False)  # noqa: FBT003
                if taken and not (root / path).is_symlink() and (root / path).is_file():
                    yield path

    def _remember(self) -> None:
        fresh = self._memory.with_suffix(".new")
        fresh.write_text(json.dumps(self._known), encoding="utf-8")
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        fresh.replace(self._memory)


def _copied(live: Path, making: Path) -> str:
    """Copy `live`, and give the fingerprint of what was copied; empty when it changes all the time."""
    for _ in range(_TRIES):
        now = _fingerprint(live)
        making.unlink(missing_ok=True)
        if is_database(live):
            snapshot(live, making)
        else:
            shutil.copyfile(live, making)
        if _fingerprint(live) == now:  # reading may write back a log, and so may others
            return now
    if not is_database(making):
        raise BlockingIOError(11, "it changed while it was read")
    return ""


def _broken(before: Path, now: Path) -> bool:
    """Whether `before` is a database and `now` none; one that has no page yet is empty."""
    return is_database(before) and now.stat().st_size > 0 and not is_database(now)


def _fingerprint(path: Path) -> str:
    if is_database(path):
        return fingerprint(path)
    status = path.stat()
    return f"{status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _digest(path: Path) -> str:
    hashed = hash_file(str(path), 0)
    if hashed is None:
        raise BlockingIOError(11, "it changed while it was read")
    return hashed[0].hex()


def _told(error: Exception) -> str:
    if isinstance(error, DatabaseError):
        return error.what
    with contextlib.suppress(AttributeError):
        return str(error.strerror or error)  # type: ignore[attr-defined]
    return str(error)
