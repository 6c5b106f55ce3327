"""The graph's schema goes up and down by steps, once at a time, and never under a newer one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from blocks.errors import ConfigurationError, UnavailableError
from blocks.graph import Graph
from blocks.settings import Settings
from tasks.graph import cypher
from tasks.graph.migrations import LATEST, STEPS, migrate, refuse_newer, version
from tasks.graph.transactions import Transactions


@pytest.fixture
async def transactions(graph: Settings) -> AsyncIterator[Transactions]:
    block = Graph.of(graph)
    async with block.get_client() as driver:
        transactions = Transactions(driver, block.database)
        await STEPS[0].down(transactions)
        yield transactions
        await migrate(transactions)


async def _indexed(transactions: Transactions) -> set[tuple[str, str]]:
    rows = await transactions.read("SHOW INDEXES")
    return {(row["labelsOrTypes"][0], row["properties"][0]) for row in rows if row["labelsOrTypes"]}


def test_steps_are_numbered_without_a_gap() -> None:
    assert [step.NUMBER for step in STEPS] == list(range(1, LATEST + 1))


async def test_up_and_down(transactions: Transactions) -> None:
    assert await version(transactions) == 0
    dry = await migrate(transactions, dry_run=True)
    assert (dry.before, dry.after, len(dry.steps)) == (0, LATEST, LATEST)
    assert not cypher.schema().keys() & await _indexed(transactions)
    assert (await migrate(transactions)).steps == dry.steps
    assert await version(transactions) == LATEST
    assert cypher.schema().keys() <= await _indexed(transactions)
    assert (await migrate(transactions)).steps == ()
    down = await migrate(transactions, to=0)
    assert down.steps[-1].startswith("down 1")
    assert await version(transactions) == 0
    assert not cypher.schema().keys() & await _indexed(transactions)


async def test_going_down_loses_no_fact(transactions: Transactions) -> None:
    await migrate(transactions)
    await transactions.write(lambda tx: tx.rows("CREATE (n:Module {key: 'a', scope: 's'})"))
    await migrate(transactions, to=0)
    await migrate(transactions)
    assert len(await transactions.read("MATCH (n:Module {key: 'a'}) RETURN n")) == 1


async def test_a_newer_schema_is_refused(transactions: Transactions) -> None:
    await transactions.write(lambda tx: tx.rows("CREATE (s:Schema {id: 'graph', version: 99})"))
    with pytest.raises(ConfigurationError, match="version 99"):
        await refuse_newer(transactions)
    with pytest.raises(ConfigurationError, match="version 99"):
        await migrate(transactions)
    with pytest.raises(ConfigurationError, match="version 99"):
        await migrate(transactions, to=0)
    await transactions.write(lambda tx: tx.rows("MATCH (s:Schema) DELETE s"))


@pytest.mark.parametrize("to", [-1, LATEST + 1])
async def test_an_unknown_version_is_refused(transactions: Transactions, to: int) -> None:
    with pytest.raises(ConfigurationError, match="no version"):
        await migrate(transactions, to=to)


async def _nothing(_transactions: Transactions) -> None:
    return None


def _step(number: int, **given: Any) -> Any:
    return SimpleNamespace(**{"NUMBER": number, "SUBJECT": f"step {number}", "up": _nothing, "down": _nothing,
                              "problem": _nothing, **given})  # fmt: skip


async def test_two_at_once_take_turns(graph: Settings, transactions: Transactions) -> None:
    """Of two that start together one migrates; the other is told, or finds it done."""
    taken: list[int] = []

    async def slow(_transactions: Transactions) -> None:
        taken.append(1)
        await asyncio.sleep(1)

    steps = (_step(1, up=slow),)

    async def one() -> str:
        block = Graph.of(graph)
        async with block.get_client() as driver:
            try:
                return "did" if (await migrate(Transactions(driver, block.database), steps=steps)).steps else "found"
            except UnavailableError as error:
                return error.what

    outcomes = await asyncio.gather(*(one() for _ in range(4)))
    assert len(taken) == 1, outcomes
    assert outcomes.count("did") == 1
    assert set(outcomes) <= {"did", "found", "another process is changing its schema."}
    await transactions.write(lambda tx: tx.rows("MATCH (s:Schema) DELETE s"))


async def test_a_step_that_fails_is_taken_again(transactions: Transactions) -> None:
    tries: list[int] = []

    async def fails_once(_transactions: Transactions) -> None:
        tries.append(1)
        if len(tries) == 1:
            raise UnavailableError("gone")

    steps = (_step(1), _step(2, up=fails_once))
    with pytest.raises(UnavailableError, match="gone"):
        await migrate(transactions, steps=steps)
    assert await version(transactions) == 1
    assert (await migrate(transactions, steps=steps)).before == 1
    assert await version(transactions) == 2
    await transactions.write(lambda tx: tx.rows("MATCH (s:Schema) DELETE s"))


async def test_a_step_that_did_not_take_is_said(transactions: Transactions) -> None:
    async def missing(_transactions: Transactions) -> str:
        return "there is no index of Module.key"

    with pytest.raises(ConfigurationError, match="no index"):
        await migrate(transactions, steps=(_step(1, problem=missing),))
    assert await version(transactions) == 0
    await transactions.write(lambda tx: tx.rows("MATCH (s:Schema) DELETE s"))
