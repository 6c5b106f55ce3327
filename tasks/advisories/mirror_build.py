"""Builds a mirror's index from OSV's zip files, entry by entry: nothing is unpacked, what has not changed is not read.

`python -m tasks.advisories.mirror_build FOLDER [--anew]` does it as a process of its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import shutil
import sqlite3
import struct
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from blocks.errors import UnavailableError
from tasks.advisories.archives import INDEX, archives_in, is_current, stamp_of
from tasks.advisories.mirror_index import Index, Unusable, Writer, shown

LARGEST_ENTRY = 8_000_000
"""Bytes of one record, unpacked; the largest real ones have less than 2 MB."""
LARGEST_TOTAL = 8_000_000_000
"""Bytes of all records of an archive, unpacked."""
LARGEST_RATIO = 250
"""Unpacked bytes of a whole archive for each of its own; JSON comes to 30 at most."""
LARGEST_DIRECTORY = 64_000_000
"""Bytes of an archive's directory: some 800,000 entries."""
WAIT_S = 600.0
"""Seconds that a second builder waits for the first."""

Observer = Callable[[str, int, int], None]
"""Is told now and then: ecosystem, entries done, entries in all."""

_TELL_EVERY = 5_000
_ALWAYS = 256_000_000  # bytes that an archive may unpack to however small it is
_BROKEN = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError),
    OverflowError,
)


def build(
    folder: Path, *, now: datetime, observe: Observer | None = None, anew: bool = False, wait_s: float = WAIT_S
) -> bool:
    """Bring the index of `folder` to what its archives hold; the old one serves until the new one is whole.

    Args:
        folder: the mirror.
        now: records that claim to be from later do not make it fresh.
        observe: is told how far it is.
        anew: read everything again, also what has not changed.
        wait_s: seconds to wait for somebody else who is building it.

    Returns:
        Whether there was anything to do.

    Raises:
        UnavailableError: there is no archive, the index cannot be written, or another process does not come to an
            end with it. A damaged archive is no error: the index knows of it, and so do those who ask it.
    """
    archives = archives_in(folder)
    if not archives:
        raise UnavailableError(
            "holds no archive.", component=str(folder), remedy="`lama advisories update` fetches them."
        )
    path = folder / INDEX

    def fill(writer: Writer) -> None:
        held = writer.archives()
        for ecosystem in held.keys() - archives.keys():
            writer.forget(ecosystem)
        for ecosystem, archive in archives.items():
            stamp = stamp_of(archive)
            if held.get(ecosystem) != stamp:
                problem = _read(writer, ecosystem, archive, observe)
                writer.conclude(ecosystem, archive.stat().st_size, stamp, problem, now=now)

    with only_one(folder / f".{INDEX}.lock", wait_s=wait_s):
        if not anew and is_current(folder):
            return False
        replace(path, fill, anew=anew)
    return True


def replace(path: Path, fill: Callable[[Writer], None], *, anew: bool = False) -> None:
    """Put a copy of the index at `path`, changed by `fill`, in its place; a damaged one is begun from nothing.

    Raises:
        UnavailableError: it cannot be written.
    """
    draft = path.with_name(f"{path.name}.new")  # whoever was killed here left one behind
    try:
        draft.unlink(missing_ok=True)
        if anew or not _is_sound(path) or not _filled(draft, fill, copied_from=path):
            _filled(draft, fill, copied_from=None)
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        draft.replace(path)
        _sync_folder(path.parent)
    except sqlite3.Error as error:
        raise UnavailableError(f"cannot be written ({error}); is the disk full?", component=str(path)) from error
    except OSError as error:
        raise UnavailableError(f"cannot be written: {error.strerror or error}.", component=str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


@contextlib.contextmanager
def only_one(lock: Path, *, wait_s: float) -> Iterator[None]:
    """Within it nobody else holds `lock`; the system takes it back from a process that dies.

    Raises:
        UnavailableError: somebody else held it for `wait_s` seconds, or the folder cannot be written.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("a")
    except OSError as error:
        raise UnavailableError(f"cannot be written: {error.strerror}.", component=str(lock.parent)) from error
    with file:
        _acquire(file, lock, wait_s)
        yield


def _acquire(file: IO[str], lock: Path, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                what = "another process is at work in it."
                raise UnavailableError(what, component=str(lock.parent)) from error
            time.sleep(0.05)
        except OSError as error:  # a file system without locks
            raise UnavailableError(f"cannot be locked: {error.strerror}.", component=str(lock.parent)) from error
        else:
            return


def _filled(draft: Path, fill: Callable[[Writer], None], *, copied_from: Path | None) -> bool:
    """Fill `draft`; False when what it was copied from turned out to be damaged."""
    if copied_from is not None:
        shutil.copyfile(copied_from, draft)
    writer = Writer(draft)
    try:
        fill(writer)
        writer.finish()
    except sqlite3.Error:
        if copied_from is None:
            raise
        return False
    finally:
        writer.close()
        if copied_from is not None and sys.exc_info()[0] is not None:
            draft.unlink(missing_ok=True)
    return True


def _is_sound(path: Path) -> bool:
    try:
        with Index(path) as index:
            index.check()
    except UnavailableError:
        return False
    return True


def entries_of(archive: Path) -> list[str]:
    """The names of the records in an archive, by its directory.

    Raises:
        ValueError: it is no zip file, or damaged.
        OSError: it cannot be read.
    """
    try:
        with _Bounded(io.FileIO(archive)) as file, zipfile.ZipFile(file) as opened:
            return [entry.filename for entry in _records(opened)]
    except _BROKEN as error:
        raise ValueError(shown(str(error)) or type(error).__name__) from error


def _read(writer: Writer, ecosystem: str, archive: Path, observe: Observer | None) -> str:
    """Bring the entries of one archive into the index; returns why it could not be read to its end."""
    try:
        with _Bounded(io.FileIO(archive)) as file, zipfile.ZipFile(file) as opened:
            entries = _records(opened)
            if not entries:
                return "holds no record; fetch it again"
            return _take(writer, ecosystem, opened, entries, archive.stat().st_size, observe)
    except _BROKEN as error:
        return f"is damaged ({shown(str(error)) or type(error).__name__}); fetch it again"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"


def _records(opened: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    return [entry for entry in opened.infolist() if entry.filename.lower().endswith(".json")]


def _take(
    writer: Writer,
    ecosystem: str,
    opened: zipfile.ZipFile,
    entries: list[zipfile.ZipInfo],
    size: int,
    observe: Observer | None,
) -> str:
    total, most = 0, min(LARGEST_TOTAL, _ALWAYS + LARGEST_RATIO * size)
    kept: set[int] = set()
    for done, entry in enumerate(entries):
        if observe is not None and done % _TELL_EVERY == 0:
            observe(ecosystem, done, len(entries))
        name = entry.filename
        while (held := writer.known(ecosystem, name)) is not None and held[0] in kept:
            name += "+"  # two entries of one name are two records
        if held is not None and held[1:] == (entry.CRC, entry.file_size):
            kept.add(held[0])
            continue
        content = _content(opened, entry)
        total += entry.file_size if isinstance(content, Unusable) else len(content)
        if total > most:
            return f"unpacks to more than {most} bytes"
        if held is not None:
            writer.remove([held[0]])
        kept.add(writer.add(ecosystem, name, entry.CRC, entry.file_size, content))
    writer.remove([entry for entry in writer.ids(ecosystem) if entry not in kept])
    if observe is not None:
        observe(ecosystem, len(entries), len(entries))
    return "" if writer.tells(ecosystem) else f"holds nothing about {ecosystem}; is it another one's?"


def _content(opened: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes | Unusable:
    """An entry's bytes, or why there are none. What its header says of its size is not believed."""
    if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        return Unusable("is packed in a way that OSV does not use")
    try:
        with opened.open(entry) as stream:
            content = stream.read(LARGEST_ENTRY + 1)
    except (*_BROKEN, OSError) as error:
        return Unusable(f"is damaged ({type(error).__name__})")
    if len(content) > LARGEST_ENTRY:
        return Unusable(f"unpacks to more than {LARGEST_ENTRY} bytes")
    return content


class _Bounded(io.BufferedReader):
    """A file of which nobody gets an absurd amount at once: a hostile archive's directory would fill the memory."""

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(LARGEST_DIRECTORY + 1 if size is None or size < 0 else min(size, LARGEST_DIRECTORY + 1))
        if len(content) > LARGEST_DIRECTORY:
            raise zipfile.BadZipFile("its directory is too large")
        return content


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def main() -> int:
    """Build the index of the folder that the command line names; its outcome is the exit code."""
    try:
        build(Path(sys.argv[1]), now=datetime.now(UTC), anew="--anew" in sys.argv[2:])
    except UnavailableError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
