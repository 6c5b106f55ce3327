"""Every record of every source, out of the graph and into it: for backups, and when keys change.

How facts are laid out in columns is `tasks.graph.columns`' to say; here rows of whole facts are made and read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from models.graph import Label, Ref, Type
from tasks.graph import cypher
from tasks.graph.checked import SHARED, digest, hash_of
from tasks.graph.columns import Fact, Statement, alone, past_row, said_row, statement, together
from tasks.graph.correct import Group
from tasks.graph.temporal import Record
from tasks.graph.transactions import Transaction, Transactions


async def every_statement(transactions: Transactions) -> AsyncIterator[Statement]:
    """All that every source says or ever said, streamed in no order.

    What is live comes before what is past, so that a record that is closed meanwhile comes twice, not never.
    """
    for label in Label:
        async for row in transactions.stream(cypher.every_node(label)):
            columns = row["columns"]
            if columns["scope"] != SHARED:
                yield Statement(Ref(label, columns["key"]), columns["scope"], alone(columns))
    for type_ in Type:
        async for row in transactions.stream(cypher.every_edge(type_)):
            columns = row["columns"]
            if columns["scope"] != SHARED:
                start = Ref(Label(row["start_label"]), row["start"])
                end = Ref(Label(row["end_label"]), row["end"])
                yield Statement((type_, start, end), columns["scope"], alone(columns))
    for text in (cypher.EVERY_SAID, cypher.EVERY_PAST):
        async for row in transactions.stream(text):
            yield statement(row["columns"])


async def put(tx: Transaction, facts: Sequence[tuple[Fact, Sequence[tuple[str, Record]]]]) -> None:
    """Write facts with every record that there is of each; writing them twice is writing them once.

    Args:
        tx: the transaction.
        facts: each with what sources say of it, at most one live record of each source.
    """
    past: list[dict[str, Any]] = []
    said: list[dict[str, Any]] = []
    live: dict[Group, list[dict[str, Any]]] = defaultdict(list)
    for fact, records in facts:
        of = hash_of(fact)
        now = {scope: record for scope, record in records if record.live}
        past += [past_row(fact, of, scope, record) for scope, record in records if not record.live]
        hashes = {scope: digest(record.value, scope) for scope, record in now.items()}
        if len(now) > 1:
            said += [said_row(fact, of, scope, record, hashes[scope]) for scope, record in now.items()]
        if now:
            columns = together(now, hashes)
            live[Group.of(fact)].append(
                {**columns, "key": fact.key}
                if isinstance(fact, Ref)
                else {"start": fact[1].key, "end": fact[2].key, "columns": {**columns, "uid": of}}
            )
    if past:
        await tx.rows(cypher.PUT_PAST, rows=past)
    if said:
        await tx.rows(cypher.PUT_SAID, rows=said)
    for group, rows in live.items():
        await tx.rows(group.put, rows=rows)


def by_fact(statements: Iterable[Statement]) -> list[tuple[Fact, list[tuple[str, Record]]]]:
    """Statements, grouped by the fact that they are about."""
    facts: dict[Fact, list[tuple[str, Record]]] = defaultdict(list)
    for one in statements:
        facts[one.fact].append((one.scope, one.record))
    return list(facts.items())
