"""A backup back into a graph."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import orjson

from blocks.errors import ConfigurationError
from models.graph import NodeFact, Ref, RelationshipFact
from tasks.graph import checked, cypher
from tasks.graph.backup import FORM, LONGEST_LINE, statement_of
from tasks.graph.batches import batched
from tasks.graph.checked import parsed
from tasks.graph.columns import Fact, Statement
from tasks.graph.migrations import LATEST, migrate
from tasks.graph.statements import put
from tasks.graph.temporal import Record
from tasks.graph.transactions import Transactions

_FACTS = 2_000
_DELETED = 5_000


@dataclass(frozen=True, slots=True)
class Contents:
    """What a backup says of itself, once it was read to its end and its checksum held."""

    schema: int
    cut: int
    """Microseconds since 1970 UTC."""
    records: int
    sha256: str


async def restore(transactions: Transactions, file: Path, *, emptying: bool = False) -> Contents:
    """Put a backup into the graph, which is empty, or holds what an interrupted restore of the same file has put there.

    Args:
        transactions: the database's.
        file: the backup; read whole and checked before anything is changed.
        emptying: take everything out of the graph first.

    Raises:
        ConfigurationError: it is no backup, damaged, or of a newer schema; or the graph is not empty.
        UnavailableError: the server is not there; the same call again completes it.
    """
    contents = verify(file)
    if contents.schema > LATEST:
        raise ConfigurationError(
            f"its schema has version {contents.schema}, and this Lama knows {LATEST}.",
            component=str(file),
            remedy="Restore it with the newer Lama.",
        )
    begun = await _begun(transactions)
    if begun != contents.sha256:
        if emptying:
            await empty(transactions)
        elif begun or await _filled(transactions):
            raise ConfigurationError(
                "the graph is not empty." if not begun else "the restore of another file was begun and not ended.",
                component="graph",
                remedy="Make a backup of it if it matters, and ask for it to be emptied (--into-empty).",
            )
    await migrate(transactions)
    await transactions.write(lambda tx: tx.rows("MERGE (r:Restore {id: $id})", id=contents.sha256))
    for some in batched(_facts(file), _FACTS):
        await transactions.write(lambda tx, some=some: put(tx, some))  # type: ignore[misc]
    for rows in batched(_marks(file), _FACTS):
        await transactions.write(lambda tx, rows=rows: tx.rows(cypher.MARK_SCOPES, rows=rows))  # type: ignore[misc]
    await transactions.write(lambda tx: tx.rows("MATCH (r:Restore) DELETE r"))
    return contents


async def empty(transactions: Transactions) -> None:
    """Take everything out of the graph, but its schema."""
    await transactions.write(lambda tx: tx.rows("MERGE (r:Restore {id: 'emptying'})"))
    while await transactions.write(
        lambda tx: tx.rows(
            f"MATCH (n) WHERE NOT n:Schema AND NOT n:Restore WITH n LIMIT {_DELETED} DETACH DELETE n RETURN 1 AS one"
        )
    ):
        pass
    await transactions.write(lambda tx: tx.rows("MATCH (r:Restore) DELETE r"))


def verify(file: Path) -> Contents:
    """What `file` says of itself, after all of it was read.

    Raises:
        ConfigurationError: it is no backup, or not as it was written.
    """
    try:
        return _contents(file)
    except OSError as error:
        what = error.strerror or str(error)
        raise ConfigurationError(f"it cannot be read: {what}.", component=str(file)) from error
    except (ConfigurationError, ValueError, KeyError, TypeError, AttributeError, EOFError, zlib.error) as error:
        raise ConfigurationError(
            f"it cannot be restored: {str(error)[:200]}.", component=str(file), remedy="Take another backup."
        ) from error


def _contents(file: Path) -> Contents:
    digest, records = hashlib.sha256(), 0
    lines = _lines(file)
    head = orjson.loads(next(lines, b"{}"))
    if head.get("form") != FORM:
        raise ValueError("it is no backup of a graph")
    digest.update(_line(head))
    for line in lines:
        if line.startswith(b"["):
            _checked(statement_of(line))
            records += 1
        else:
            entry = orjson.loads(line)
            if "sha256" in entry:
                break
            checked.checked_scope(entry["scope"])
            checked.checked_mark(entry["mark"])
        digest.update(line)
    else:
        raise ValueError("its end is missing")
    if next(lines, None) is not None:
        raise ValueError("it goes on after its end")
    if entry["sha256"] != digest.hexdigest() or entry["records"] != records:
        raise ValueError("its checksum does not hold: it was changed")
    return Contents(int(head["schema"]), int(head["cut"]), records, digest.hexdigest())


def _line(entry: dict[str, Any]) -> bytes:
    return orjson.dumps(entry) + b"\n"


def _lines(file: Path) -> Iterator[bytes]:
    with gzip.open(file, "rb") as lines:
        while line := lines.readline(LONGEST_LINE):
            if not line.endswith(b"\n"):
                raise ValueError("a line is longer than any record, or cut off")
            yield line


def _checked(one: Statement) -> None:
    """Refuse what the store itself would not have taken: a backup may come from anywhere."""
    record, properties = one.record, parsed(one.record.value)
    if record.valid_from >= record.valid_to or record.recorded_from >= record.recorded_to:
        raise ValueError("a record ends before it begins")
    if isinstance(one.fact, Ref):
        checked.node(NodeFact(one.fact, properties), checked.checked_scope(one.scope), 0)
    else:
        checked.relationship(RelationshipFact(*one.fact, properties), checked.checked_scope(one.scope), 0)


def _facts(file: Path) -> Iterator[tuple[Fact, list[tuple[str, Record]]]]:
    records = (statement_of(line) for line in _lines(file) if line.startswith(b"["))
    for fact, statements in groupby(records, key=lambda one: one.fact):
        yield fact, [(one.scope, one.record) for one in statements]


def _marks(file: Path) -> Iterator[dict[str, str]]:
    for line in _lines(file):
        if line.startswith(b'{"scope"'):
            entry = orjson.loads(line)
            yield {"name": entry["scope"], "mark": entry["mark"]}


async def _begun(transactions: Transactions) -> str:
    rows = await transactions.read("MATCH (r:Restore) RETURN r.id AS id")
    return str(rows[0]["id"]) if rows else ""


async def _filled(transactions: Transactions) -> bool:
    rows = await transactions.read("MATCH (n) WHERE NOT n:Schema AND NOT n:Restore RETURN 1 AS one LIMIT 1")
    return bool(rows)
