"""The schema of the graph in numbered steps, each with a way up, a way down, and a check that it took.

Which step the database has reached is a node of its own, `(:Schema {id, version, owner, until})`; one process at a time
changes it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from blocks.errors import ConfigurationError, UnavailableError
from tasks.graph.migrations import constraints
from tasks.graph.transactions import Transaction, Transactions

LOCK_S = 600.0
"""Seconds after which a lock is taken for left behind by a crash."""


class Step(Protocol):
    """One numbered step; a module."""

    NUMBER: int
    SUBJECT: str

    async def up(self, transactions: Transactions) -> None:
        """Take the step; taking it twice is taking it once."""

    async def down(self, transactions: Transactions) -> None:
        """Take it back; no fact is lost by it."""

    async def problem(self, transactions: Transactions) -> str | None:
        """What is missing after the way up; None: nothing."""


STEPS: tuple[Step, ...] = (constraints,)
LATEST = len(STEPS)


@dataclass(frozen=True, slots=True)
class Migrated:
    """From which version to which, by which steps."""

    before: int
    after: int
    steps: tuple[str, ...]


async def version(transactions: Transactions) -> int:
    """The version of the database's schema; 0 when it has none."""
    rows = await transactions.read("MATCH (s:Schema {id: 'graph'}) RETURN s.version AS version")
    return int(rows[0]["version"] or 0) if rows else 0


async def refuse_newer(transactions: Transactions, *, latest: int = LATEST) -> int:
    """The version of the database's schema, unless a newer Lama has made it.

    Raises:
        ConfigurationError: it is newer than what this Lama knows.
    """
    found = await version(transactions)
    if found > latest:
        raise ConfigurationError(
            f"its schema has version {found}, and this Lama knows {latest}.",
            component="graph",
            remedy="Use the newer Lama, or let it go down again with `lama graph migrate --to`.",
        )
    return found


async def refuse_half_restored(transactions: Transactions) -> None:
    """Refuse a graph into which a backup is being put back.

    Raises:
        ConfigurationError: a restore was begun and has not ended.
    """
    if await transactions.read("MATCH (r:Restore) RETURN r.id AS id LIMIT 1"):
        raise ConfigurationError(
            "a restore was begun and has not ended.", component="graph", remedy="Run `lama graph restore` again."
        )


async def migrate(
    transactions: Transactions, *, to: int | None = None, dry_run: bool = False, steps: Sequence[Step] = STEPS
) -> Migrated:
    """Bring the schema to version `to`, or to the newest.

    Each step is checked after it was taken, and noted; a run that was killed is continued by the next.

    Args:
        transactions: the database's.
        to: which version.
        dry_run: only say what would be done.
        steps: all there are, numbered from 1.

    Raises:
        ConfigurationError: there is no such version, the schema is newer, or a step did not take.
        UnavailableError: another process is changing it.
    """
    wanted = len(steps) if to is None else to
    if not 0 <= wanted <= len(steps):
        raise ConfigurationError(f"there is no version {wanted}; there are 0 to {len(steps)}.", component="graph")
    before = await refuse_newer(transactions, latest=len(steps))
    planned = _plan(steps, before, wanted)
    if dry_run or not planned:
        return Migrated(before, wanted, tuple(_named(step, up=up) for step, up in planned))
    async with _alone(transactions):
        before = await refuse_newer(transactions, latest=len(steps))  # another may have been here meanwhile
        planned = _plan(steps, before, wanted)
        for step, up in planned:
            await (step.up(transactions) if up else step.down(transactions))
            if up and (problem := await step.problem(transactions)) is not None:
                raise ConfigurationError(f"step {step.NUMBER} ({step.SUBJECT}) did not take: {problem}.")
            await _note(transactions, step.NUMBER if up else step.NUMBER - 1)
    return Migrated(before, wanted, tuple(_named(step, up=up) for step, up in planned))


def _plan(steps: Sequence[Step], before: int, wanted: int) -> list[tuple[Step, bool]]:
    if wanted >= before:
        return [(step, True) for step in steps[before:wanted]]
    return [(step, False) for step in reversed(steps[wanted:before])]


def _named(step: Step, *, up: bool) -> str:
    return f"{'up' if up else 'down'} {step.NUMBER}: {step.SUBJECT}"


async def _note(transactions: Transactions, number: int) -> None:
    async def work(tx: Transaction) -> None:
        await tx.rows("MATCH (s:Schema {id: 'graph'}) SET s.version = $version", version=number)

    await transactions.write(work)


@asynccontextmanager
async def _alone(transactions: Transactions) -> AsyncIterator[None]:
    """While it lasts, nobody else migrates.

    Raises:
        UnavailableError: somebody does already.
    """
    await transactions.alone("CREATE CONSTRAINT Schema_id IF NOT EXISTS FOR (x:Schema) REQUIRE x.id IS UNIQUE")
    owner, now = secrets.token_hex(8), time.time()

    async def take(tx: Transaction) -> bool:
        # The first SET takes the node for this transaction, so that what is read of it then stays true.
        rows = await tx.rows(
            "MERGE (s:Schema {id: 'graph'}) ON CREATE SET s.version = 0, s.owner = '', s.until = 0.0 "
            "SET s.tries = coalesce(s.tries, 0) + 1 RETURN s.owner AS owner, s.until AS until"
        )
        if rows[0]["owner"] and rows[0]["until"] > now:
            return False
        await tx.rows(
            "MATCH (s:Schema {id: 'graph'}) SET s.owner = $owner, s.until = $until", owner=owner, until=now + LOCK_S
        )
        return True

    async def leave(tx: Transaction) -> None:
        await tx.rows(
            "MATCH (s:Schema {id: 'graph'}) WHERE s.owner = $owner SET s.owner = '', s.until = 0.0", owner=owner
        )

    if not await transactions.write(take):
        raise UnavailableError(
            "another process is changing its schema.",
            component="graph",
            remedy=f"Try again; the lock of one that crashed is void after {LOCK_S / 60:.0f} minutes.",
        )
    try:
        yield
    finally:
        await transactions.write(leave)
