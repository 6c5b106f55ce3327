"""Step 1: what makes facts unique, and what finds them."""

from __future__ import annotations

from tasks.graph import cypher
from tasks.graph.transactions import Transactions

NUMBER = 1
SUBJECT = "keys are unique under every label, and past records are indexed"


async def up(transactions: Transactions) -> None:
    """Create every constraint and index of the store that is missing."""
    there = await _there(transactions)
    for place, text in cypher.schema().items():
        if place not in there:
            await transactions.alone(text)


async def down(transactions: Transactions) -> None:
    """Drop them."""
    for record in await transactions.read("SHOW CONSTRAINTS"):
        # The embedded server also lists the types of indexed properties, as constraints of which nobody is the owner.
        if "UNIQUENESS" in record["type"] and (record["labelsOrTypes"][0], record["properties"][0]) in cypher.schema():
            await transactions.alone(f"DROP CONSTRAINT `{record['name']}` IF EXISTS")
    for record in await transactions.read("SHOW INDEXES"):
        if record["labelsOrTypes"] and (record["labelsOrTypes"][0], record["properties"][0]) in cypher.schema():
            await transactions.alone(f"DROP INDEX `{record['name']}` IF EXISTS")


async def problem(transactions: Transactions) -> str | None:
    """Which of them are not there."""
    missing = [f"{word}.{name}" for word, name in cypher.schema().keys() - await _there(transactions)]
    return f"there is no index of {', '.join(sorted(missing))}" if missing else None


async def _there(transactions: Transactions) -> set[tuple[str, str]]:
    records = await transactions.read("SHOW INDEXES")
    return {(record["labelsOrTypes"][0], record["properties"][0]) for record in records if record["labelsOrTypes"]}
