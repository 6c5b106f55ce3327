"""A backup back into a graph."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import orjson

from blocks.errors import ConfigurationError
from tasks.graph import cypher
from tasks.graph.backup_file import Contents, lines_of, statement_of, verify
from tasks.graph.columns import Fact
from tasks.graph.migrations import LATEST, migrate, refuse_newer
from tasks.graph.statements import put
from tasks.graph.temporal import Record
from tasks.graph.transactions import Transactions
from tasks.graph.write import batched

_FACTS = 2_000
_BYTES = 4 * 1024 * 1024
"""Of what the facts of one transaction say: the embedded server takes 16 MiB at once."""
_DELETED = 5_000


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
    await refuse_newer(transactions)
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
    for some in _batches(file):
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


def _facts(file: Path) -> Iterator[tuple[Fact, list[tuple[str, Record]]]]:
    records = (statement_of(line) for line in lines_of(file) if line.startswith(b"["))
    for fact, statements in groupby(records, key=lambda one: one.fact):
        yield fact, [(one.scope, one.record) for one in statements]


def _batches(file: Path) -> Iterator[list[tuple[Fact, list[tuple[str, Record]]]]]:
    some: list[tuple[Fact, list[tuple[str, Record]]]] = []
    size = 0
    for fact, records in _facts(file):
        more = sum(len(record.value) for _, record in records)
        if some and (len(some) >= _FACTS or size + more > _BYTES):
            yield some
            some, size = [], 0
        some.append((fact, records))
        size += more
    if some:
        yield some


def _marks(file: Path) -> Iterator[dict[str, str]]:
    for line in lines_of(file):
        if line.startswith(b'{"scope"'):
            entry = orjson.loads(line)
            yield {"name": entry["scope"], "mark": entry["mark"]}


async def _begun(transactions: Transactions) -> str:
    rows = await transactions.read("MATCH (r:Restore) RETURN r.id AS id")
    return str(rows[0]["id"]) if rows else ""


async def _filled(transactions: Transactions) -> bool:
    rows = await transactions.read("MATCH (n) WHERE NOT n:Schema AND NOT n:Restore RETURN 1 AS one LIMIT 1")
    return bool(rows)
