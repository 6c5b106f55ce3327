"""SQLite databases: copied while they are written to, and replaced so that nothing of the old is taken for the new.

SQLite's locks are POSIX locks, and a process loses all of its locks on a file when it closes any descriptor of it. So
while one of these functions works on a database, nothing else in this process may open the file to read it
(https://www.sqlite.org/howtocorrupt.html, section 2.2).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

from blake3 import blake3

from blocks.errors import LamaError

SIDECARS = ("-wal", "-shm", "-journal")
"""How the files end that SQLite keeps beside a database while it is open, or after it was killed."""
_MAGIC = b"SQLite format 3\x00"
_HEADER = 100
_VERSION = 3_007_000
"""What a copy says that it was written by: the version that brought the field, so that all devices say the same."""
_PAGES = 2048
"""Pages that are copied between two looks at the clock."""
_CORRUPT, _NOTADB, _BUSY, _LOCKED, _READONLY, _CANTOPEN = 11, 26, 5, 6, 8, 14
"""Result codes (https://www.sqlite.org/rescode.html)."""


class DatabaseError(LamaError):
    """A database could not be copied or replaced."""


class UnsoundError(DatabaseError):
    """It is damaged, or cannot be shown not to be."""


class BusyError(DatabaseError):
    """Somebody else had it all the time."""


def is_database(path: Path) -> bool:
    """Whether `path` is a file that begins as SQLite databases do; one that has no page yet does not.

    Raises:
        OSError: it cannot be read.
    """
    return path.is_file() and _head(path, len(_MAGIC)) == _MAGIC


def sidecar(name: str) -> bool:
    """Whether `name` is one of a file that SQLite keeps beside a database: never synced, where the database is."""
    return any(name.endswith(ending) and name != ending for ending in SIDECARS)


def log_of(path: Path) -> str | None:
    """Why `path` alone is not the whole database: a file that SQLite keeps beside it. None: there is none."""
    beside = _beside(path)
    return f"somebody has it open: {beside[0].name} is beside it" if beside else None


def unsound(path: Path) -> str | None:
    """Why the database `path`, one file that nobody writes, is not to be taken; None: it is whole. Writes nothing.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with _named(path):
            _refuse_others(path)
            _check(path, "ro&immutable=1")
    except DatabaseError as error:
        return error.what
    return None


def fingerprint(path: Path) -> str:
    """Something cheap that is other after every transaction: none was committed while it stayed the same.

    Beside sizes and times it takes the counters that SQLite keeps: in the database's header for its rollback journal,
    and in the `-shm` for the write-ahead log. It can change where the content did not, when a log is written back.

    Raises:
        OSError: the database cannot be read.
    """
    digest = blake3()
    for ending, length in (("", _HEADER), ("-wal", 32), ("-shm", 136), ("-journal", 0)):
        file = path.with_name(path.name + ending)
        try:
            status = file.stat()
            told = (ending, status.st_ino, status.st_size, 0 if ending == "-shm" else status.st_mtime_ns)
            digest.update(repr((told, _head(file, length))).encode())
        except FileNotFoundError:
            if not ending:
                raise
    return digest.hexdigest(length=16)


def snapshot(source: Path, into: Path, *, patience: float = 30.0) -> None:
    """Copy the database `source` as it is at one moment, with what is still in its log, to the new file `into`.

    The copy is checked, one file without sidecars, and on the disk. It is the same, byte by byte, whenever the pages
    are: also when it is a copy of a copy, by another version of SQLite, and in another journal mode. A writer that has
    no write-ahead log waits while the pages are copied; one that has does not.

    Args:
        source: is only read. SQLite writes beside it what it needs to do so; it rolls back what a writer that was
            killed left half-done, as any that opens the database would.
        into: must not exist; is not left behind when this fails.
        patience: seconds that others may keep the database, and that the copy may take.

    Raises:
        UnsoundError: it is no database, or damaged.
        BusyError: others had it for longer than `patience`.
        DatabaseError: anything else that SQLite says, as that the disk is full, or that indexes are made by functions
            or collations of an application, without which it cannot be checked.
        OSError: there is no `source`, or there is an `into`.
    """
    source.stat()
    os.close(os.open(into, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        with _named(source):
            _copy(source, into, time.monotonic() + patience)
            _check(into)
        _settle(into)
    except BaseException:
        for file in (into, *_beside(into)):
            file.unlink(missing_ok=True)
        raise


def replaceable(path: Path, *, patience: float = 0.2) -> bool:
    """Whether nobody but this call has the database `path` open, as far as can be seen, or it does not exist.

    Locks are asked for, and so seen on every system. A connection of an other process that holds none is seen where the
    system shows open files of this user.
    """
    if not path.exists():
        return True
    try:
        with _named(path), _alone(path, patience):
            return True
    except BusyError:
        return False
    except UnsoundError:
        return not _holders(path)


def replace(path: Path, new: Path, *, keep: Path | None = None, patience: float = 5.0) -> None:
    """Put the database `new` where `path` is, whole or not at all.

    What is in the log of the old is written back first, and its sidecars are gone before the new one is there: a log
    of one database that is applied to another destroys it. The new one gets the journal mode of the old.

    Who opens the old one in the very moment in which it is replaced reads on in it; to write there is an error that
    SQLite raises (SQLITE_READONLY_DBMOVED).

    Args:
        path: the old database; need not exist, and may be damaged.
        new: a copy that `snapshot` made, on the same file system. It is gone afterwards.
        keep: where the old one goes, by a hard link on the same file system; must not exist, unless a call that was cut
            short made it. When the old one is damaged its log goes beside it. None: it is deleted.
        patience: seconds that others may keep the database.

    Raises:
        BusyError: somebody has it open. Nothing was changed, but that a log may have been written back.
        UnsoundError: `new` is no database of one file.
        DatabaseError: anything else that SQLite says.
        OSError: the files cannot be moved.
    """
    if not is_database(new) or _beside(new):
        raise UnsoundError(
            f"{new.name} is no database of one file", component=str(path), remedy="Copy it by `snapshot`."
        )
    if path.exists():
        try:
            with _named(path), _alone(path, patience, closes_log=True) as logs:
                if logs:
                    _write_at(new, 18, b"\x02\x02")
                _exchange(path, new, keep)
                return
        except UnsoundError as error:
            if _holders(path):
                raise BusyError("it is damaged, and open in another process", component=str(path)) from error
    # Without a database that SQLite can open there is no lock to take, and its sidecars are nothing that it could use.
    for beside in _beside(path):
        if keep is None:
            beside.unlink()
        else:
            beside.rename(keep.with_name(keep.name + beside.name.removeprefix(path.name)))
    _exchange(path, new, keep)


def _copy(source: Path, into: Path, deadline: float) -> None:
    with contextlib.closing(_opened(source, deadline)) as old, contextlib.closing(sqlite3.connect(into)) as new:
        old.backup(new, pages=_PAGES, progress=_until(deadline), sleep=0.05)
        old.rollback()
        new.execute("PRAGMA journal_mode=DELETE")


def _opened(source: Path, deadline: float) -> sqlite3.Connection:
    """A connection that holds `source` as it is now. By reading only, if it needs nothing written back first."""
    _refuse_others(source)
    for mode in ("ro", "rw"):
        connection = _connect(source, mode, max(deadline - time.monotonic(), 0.01))
        try:
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except sqlite3.Error as error:
            connection.close()
            if mode == "rw" or _code(error) not in {_READONLY, _CANTOPEN}:
                raise
        else:
            return connection
    raise AssertionError("the second mode returns or raises")


def _connect(path: Path, mode: str, patience: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?mode={mode}", uri=True, timeout=patience, isolation_level=None
    )
    connection.execute("PRAGMA trusted_schema=OFF")
    return connection


def _until(deadline: float) -> Callable[[int, int, int], None]:
    def look(_status: int, remaining: int, _total: int) -> None:
        if remaining and time.monotonic() > deadline:
            raise BusyError("it could not be copied in time")

    return look


def _check(path: Path, mode: str = "rw") -> None:
    with contextlib.closing(_connect(path, mode, 1.0)) as connection:
        connection.execute("PRAGMA cell_size_check=ON")
        found = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
    if found != ["ok"]:
        raise UnsoundError(f"it is damaged: {'; '.join(map(str, found))[:500]}")


def _settle(path: Path) -> None:
    """Make the header tell nothing of how often and by whom it was written, and bring it to the disk.

    The counter, by which a connection sees that what it remembers is outdated, is made of the content (section 1.3.11
    of https://www.sqlite.org/fileformat2.html).
    """
    with path.open("r+b") as file:
        header = bytearray(file.read(_HEADER))
        header[18:20] = b"\x01\x01"
        header[24:28] = header[92:96] = bytes(4)
        struct.pack_into(">I", header, 96, _VERSION)
        digest = blake3(header)
        while block := file.read(1 << 20):
            digest.update(block)
        header[24:28] = header[92:96] = digest.digest(length=4)
        file.seek(0)
        file.write(header)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _alone(path: Path, patience: float, *, closes_log: bool = False) -> Iterator[bool]:
    """Hold `path` so that nobody reads or writes it; tells whether it had a write-ahead log.

    With `closes_log` the log is written back and gone, and the database has none from then on.
    """
    if _holders(path):
        raise BusyError("it is open in another process, or elsewhere in this one")
    _refuse_others(path)
    with contextlib.closing(_connect(path, "rw", patience)) as connection:
        logs = connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        if not closes_log:
            # In this mode a database with a log is locked as a whole: whoever has it open, if only to read, is seen.
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        elif logs:
            connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("BEGIN EXCLUSIVE")
        try:
            # Who opened it before the lock and has none yet would go on with the old file.
            if _holders(path, but=os.getpid()):
                raise BusyError("it is open in another process")
            if closes_log and connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
                raise BusyError("somebody gave it a log again")
            yield logs
        finally:
            connection.rollback()


def _exchange(path: Path, new: Path, keep: Path | None) -> None:
    if keep is not None and path.exists() and not (keep.exists() and keep.samefile(path)):
        os.link(path, keep)
    new.replace(path)
    for folder in {path.parent, keep.parent if keep is not None else path.parent}:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _holders(path: Path, *, but: int = 0) -> set[int]:
    """The processes, but one, that have `path` open, of those whose files this user may see."""
    if sys.platform == "darwin":
        told = subprocess.run(["/usr/sbin/lsof", "-t", "--", str(path)], capture_output=True, text=True, check=False)
        return {int(line) for line in told.stdout.split()} - {but}
    wanted = path.stat()
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        # They end while they are looked at, and those of others are closed to us.
        with contextlib.suppress(OSError):
            for descriptor in os.scandir(process / "fd"):
                with contextlib.suppress(OSError):
                    status = descriptor.stat()
                    if (status.st_dev, status.st_ino) == (wanted.st_dev, wanted.st_ino):
                        found.add(int(process.name))
    return found - {but}


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Tell SQLite's errors, and ours, as what they mean for `path`."""
    try:
        yield
    except DatabaseError as error:
        error.component = error.component or str(path)
        raise
    except sqlite3.Error as error:
        code = _code(error)
        if code in {_CORRUPT, _NOTADB}:
            raise UnsoundError(
                f"it is damaged, or no database: {error}",
                component=str(path),
                remedy="Bring back an earlier one from the trash: `lama sync restore`.",
            ) from error
        if code in {_BUSY, _LOCKED}:
            raise BusyError(
                f"others have it: {error}", component=str(path), remedy="Close the application that uses it."
            ) from error
        raise DatabaseError(f"SQLite says: {error}", component=str(path)) from error


def _code(error: sqlite3.Error) -> int:
    """The result code without what extends it; 0 when it has none."""
    return int(getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def _refuse_others(path: Path) -> None:
    """Keep what is no database from SQLite, which would delete the log beside it."""
    if path.stat().st_size and not is_database(path):
        raise UnsoundError("it is damaged, or no database: it does not begin as one")


def _beside(path: Path) -> list[Path]:
    """The sidecars that `path` has."""
    files = (path.with_name(path.name + ending) for ending in SIDECARS)
    return [file for file in files if file.exists()]


def _head(path: Path, length: int) -> bytes:
    with path.open("rb") as file:
        return file.read(length)


def _write_at(path: Path, place: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
