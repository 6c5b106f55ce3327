"""What was worked out about a content before: looked at once, remembered by what it was and who looked.

Losing the file loses time and nothing else, so whatever is wrong with it, it is put aside and begun anew. Entries may
be trusted because a key is the hash of everything that the result depends on: contents, and the version of what looked.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

_BUSY_S = 10.0
_KEEP_S = 30 * 86_400
_AT_ONCE = 500
_SCHEMA = (
    (
        "CREATE TABLE IF NOT EXISTS result (kind TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, "
        "used INTEGER NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID"
    ),
    # Or everything would be read whenever something is put, to find what is old.
    "CREATE INDEX IF NOT EXISTS result_used ON result (used)",
)


def content_key(*parts: bytes) -> bytes:
    """The key of a result that depends on exactly `parts`: 16 bytes of BLAKE2b over them and their lengths."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


class ResultCache:
    """Results by kind and key, in an SQLite file of mode 0600; with the path None it remembers nothing.

    A kind names what looked and its version, such as `secrets 1.5.0 4f2a`: results of another version are not found,
    and go when nobody has used them for a month. Safe for several processes and threads at once.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def get(self, kind: str, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The results that are known, by key."""
        wanted = list(keys)
        found: dict[bytes, bytes] = {}
        with self._opened() as connection:
            if connection is not None:
                for begin in range(0, len(wanted), _AT_ONCE):
                    part = wanted[begin : begin + _AT_ONCE]
                    marks = ",".join("?" * len(part))
                    query = f"SELECT key, value FROM result WHERE kind = ? AND key IN ({marks})"  # noqa: S608 - marks
                    found.update(connection.execute(query, (kind, *part)))
        return found

    def put(self, kind: str, results: Mapping[bytes, bytes], *, used: Iterable[bytes] = ()) -> None:
        """Remember `results`, and that those of the keys `used` are still of use."""
        now = int(time.time())
        with self._opened() as connection:
            if connection is None:
                return
            rows = [(kind, key, value, now) for key, value in results.items()]
            connection.executemany("INSERT OR REPLACE INTO result VALUES (?, ?, ?, ?)", rows)
            # Once a day is often enough: a write for each result that was only read would cost more than it saves.
            aged = [(now, kind, key, now - 86_400) for key in used]
            connection.executemany("UPDATE result SET used = ? WHERE kind = ? AND key = ? AND used < ?", aged)
            connection.execute("DELETE FROM result WHERE used < ?", (now - _KEEP_S,))
            connection.commit()

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection | None]:
        """A connection for one use; None where there is no cache. What breaks it is put aside, never raised."""
        connection = self._open()
        try:
            yield connection
        except sqlite3.DatabaseError:
            self._put_aside()
        finally:
            if connection is not None:
                connection.close()

    def _open(self) -> sqlite3.Connection | None:
        if self._path is None:
            return None
        for _ in range(2):
            try:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._path.touch(mode=0o600, exist_ok=True)
                connection = sqlite3.connect(self._path, timeout=_BUSY_S)
            except (OSError, sqlite3.Error):
                return None
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=NORMAL")
                for statement in _SCHEMA:
                    connection.execute(statement)
            except sqlite3.OperationalError:  # busy, or the disk is full: without it, then
                connection.close()
                return None
            except sqlite3.DatabaseError:
                connection.close()
                self._put_aside()
                continue
            return connection
        return None

    def _put_aside(self) -> None:
        if self._path is not None:
            for suffix in ("", "-wal", "-shm"):
                with contextlib.suppress(OSError):
                    Path(f"{self._path}{suffix}").unlink(missing_ok=True)
