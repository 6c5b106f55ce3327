"""A backup of the graph as one file: compressed JSON lines of every record of every source, with a checksum.

It is of one moment, the cut, also while others write: what was recorded after it is left out, and what was closed after
it is open again. Writers that began before the cut may still be writing then; so the graph is read until two readings
in a row agree on all that was recorded before it. Encrypted properties stay encrypted.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from blocks.errors import ConfigurationError, UnavailableError
from models.graph import Ref
from tasks.graph import cypher
from tasks.graph.backup_file import FORM, line_of, verify
from tasks.graph.checked import hash_of, micros
from tasks.graph.columns import Statement
from tasks.graph.migrations import refuse_half_restored, refuse_newer
from tasks.graph.statements import every_statement
from tasks.graph.temporal import FOREVER
from tasks.graph.transactions import Transactions

READINGS = 6
"""How often the graph is read at most until two readings agree."""
_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class BackedUp:
    """What a backup holds."""

    cut: datetime
    schema: int
    records: int
    scopes: int
    sha256: str
    bytes: int


async def back_up(transactions: Transactions, file: Path, *, now: datetime) -> BackedUp:
    """Write a backup to `file`, mode 0600, whole or not at all.

    Args:
        transactions: the database's.
        file: where; one that is there is replaced.
        now: the cut.

    Raises:
        ConfigurationError: the schema is newer than ours, or the file cannot be written.
        UnavailableError: the server is not there, or one who writes since before the cut does not end.
    """
    schema = await refuse_newer(transactions)
    await refuse_half_restored(transactions)
    cut = micros(now)
    try:
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".graph-backup-") as folder:
            reading = await _agreed(transactions, cut, Path(folder))
            with contextlib.closing(reading):
                backed_up = _write(reading, Path(folder) / "backup", cut, schema, now)
            verify(Path(folder) / "backup")  # what cannot be restored is known now, not when it is needed
            (Path(folder) / "backup").replace(file)
    except OSError as error:
        raise ConfigurationError(
            f"it cannot be written: {error.strerror or error}.", component=str(file), remedy="Name another place."
        ) from error
    return backed_up


async def _agreed(transactions: Transactions, cut: int, folder: Path) -> _Reading:
    before: _Reading | None = None
    for number in range(READINGS):
        reading = _Reading(folder / f"reading-{number}")
        await reading.fill(transactions, cut)
        if before is not None:
            agreed = before.digest == reading.digest
            reading.marks = {n: m for n, m in reading.marks.items() if before.marks.get(n) == m}
            before.close()
            before.path.unlink()
            if agreed:
                return reading
        before = reading
    if before is not None:
        before.close()
    raise UnavailableError(
        "somebody who began to write before has not ended.", component="graph", remedy="Try again when it has."
    )


class _Reading:
    """What was in the graph at the cut, as one reading found it: on disk, sorted, each record once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.marks: dict[str, str] = {}
        self.digest = ""
        self._touched: set[str] = set()
        self._database = sqlite3.connect(path)
        self._database.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = FILE;"
            "CREATE TABLE record (kind INTEGER, of TEXT, scope TEXT, valid_from INTEGER, recorded_from INTEGER, "
            "line BLOB, PRIMARY KEY (kind, of, scope, valid_from, recorded_from)) WITHOUT ROWID"
        )

    def close(self) -> None:
        """Leave the file alone."""
        self._database.close()

    async def fill(self, transactions: Transactions, cut: int) -> None:
        """Read the graph, and keep what was in it at `cut`."""
        marks = await _marks(transactions)
        rows: list[tuple[Any, ...]] = []
        async for one in every_statement(transactions):
            record = one.record
            if record.recorded_from > cut:
                self._touched.add(one.scope)
                continue
            if record.recorded_to != FOREVER and record.recorded_to > cut:
                self._touched.add(one.scope)
                record = replace(record, recorded_to=FOREVER)
            rows.append(_row(Statement(one.fact, one.scope, record)))
            if len(rows) >= _ROWS:
                self._keep(rows)
                rows = []
        self._keep(rows)
        after = await _marks(transactions)
        # The mark of a source says that all of it is written: not of one of which something had to be left out.
        self.marks = {n: m for n, m in marks.items() if after.get(n) == m and (not m or n not in self._touched)}
        digest = hashlib.sha256()
        for line in self.lines():
            digest.update(line)
        self.digest = digest.hexdigest()

    def _keep(self, rows: list[tuple[Any, ...]]) -> None:
        # Of one that was closed while it was read the later reading holds, which is the past's.
        self._database.executemany("INSERT OR REPLACE INTO record VALUES (?, ?, ?, ?, ?, ?)", rows)

    def lines(self) -> Iterator[bytes]:
        """Every record as a line, nodes before relationships, all of one fact together."""
        query = "SELECT line FROM record ORDER BY kind, of, scope, valid_from, recorded_from"
        for (line,) in self._database.execute(query):
            yield bytes(line)


async def _marks(transactions: Transactions) -> dict[str, str]:
    return {row["name"]: row["mark"] for row in await transactions.read(cypher.MARKS, prefix="")}


def _row(one: Statement) -> tuple[Any, ...]:
    kind = 0 if isinstance(one.fact, Ref) else 1
    record = one.record
    return kind, hash_of(one.fact), one.scope, record.valid_from, record.recorded_from, line_of(one)


def _write(reading: _Reading, path: Path, cut: int, schema: int, now: datetime) -> BackedUp:
    digest = hashlib.sha256()
    records = 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:

        def put(line: bytes) -> None:
            digest.update(line)
            file.write(line)

        put(orjson.dumps({"form": FORM, "schema": schema, "cut": cut}) + b"\n")
        for line in reading.lines():
            put(line)
            records += 1
        for name, mark in sorted(reading.marks.items()):
            put(orjson.dumps({"scope": name, "mark": mark}) + b"\n")
        file.write(orjson.dumps({"records": records, "sha256": digest.hexdigest()}) + b"\n")
        file.close()
        raw.flush()
        os.fsync(raw.fileno())
    return BackedUp(now.astimezone(UTC), schema, records, len(reading.marks), digest.hexdigest(), path.stat().st_size)
