"""Everything that is encrypted with an old key is encrypted with the first one, in the live graph and in the past."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from blocks.errors import UnavailableError
from models.graph import Label, Ref
from tasks.graph import cypher
from tasks.graph.checked import SHARED, canonical, hash_of, parsed
from tasks.graph.columns import Fact, Statement, alone, statement
from tasks.graph.sealing import Seal
from tasks.graph.statements import by_fact, every_statement, put
from tasks.graph.temporal import Record
from tasks.graph.transactions import Transaction, Transactions
from tasks.graph.write import batched

_FACTS = 20
"""Of one transaction: with all their past, and texts of the longest, the embedded server takes them at once."""
_ROUNDS = 5


async def renew(transactions: Transactions, seal: Seal) -> int:
    """Encrypt everything sensitive with the first key of `seal`; returns how many nodes that took.

    Whoever writes meanwhile with an older key is found in the next round. It can be killed and run again.

    Raises:
        SealError: something is encrypted with a key that is not here; what was renewed until then stays.
        UnavailableError: the server is not there, or somebody goes on writing with an old key.
    """
    renewed = 0
    for _ in range(_ROUNDS):
        stale = {
            one.fact: None
            async for one in every_statement(transactions)
            if isinstance(one.fact, Ref) and _value(seal, one) is not None
        }
        if not stale:
            return renewed
        labels: dict[Label, list[Ref]] = defaultdict(list)
        for ref in stale:
            labels[ref.label].append(ref)
        for label, refs in labels.items():
            for some in batched(refs, _FACTS):
                await transactions.write(lambda tx, label=label, some=some: _renew(tx, seal, label, some))  # type: ignore[misc]
        renewed += len(stale)
    raise UnavailableError(
        "somebody goes on writing with an old key.", component="graph", remedy="Restart it, and run this again."
    )


async def _renew(tx: Transaction, seal: Seal, label: Label, refs: Sequence[Ref]) -> None:
    hashes = {hash_of(ref): ref for ref in refs}
    found: list[Statement] = []
    empty: list[str] = []
    rows = [{"of": of, "key": ref.key} for of, ref in hashes.items()]
    for row in await tx.rows(cypher.take_nodes(label), rows=rows):
        ref, columns = hashes[row["of"]], row["columns"]
        if not columns["scope"]:
            empty.append(ref.key)
        elif columns["scope"] != SHARED:
            found.append(Statement(ref, columns["scope"], alone(columns)))
    for text in (cypher.SAID_OF, cypher.PAST_OF):
        found += [statement(row["columns"]) for row in await tx.rows(text, ofs=list(hashes))]
    facts: list[tuple[Fact, list[tuple[str, Record]]]] = by_fact(
        replace(one, record=replace(one.record, value=_value(seal, one) or one.record.value)) for one in found
    )
    await put(tx, facts)
    if empty:
        await tx.rows(cypher.put_nodes(label), rows=[{"key": key, "scope": "", "said": ""} for key in empty])


def _value(seal: Seal, one: Statement) -> str | None:
    """What it says encrypted anew; None: it needs not be."""
    if not isinstance(one.fact, Ref):
        return None
    renewed = seal.renewed(one.fact, parsed(one.record.value))
    return None if renewed is None else canonical(renewed)
