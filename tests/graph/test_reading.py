"""Questions in Cypher against the real server: nothing is written, and nothing runs on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from neo4j.exceptions import DriverError, Neo4jError

from blocks.errors import UnavailableError
from blocks.graph import Graph
from blocks.settings import Settings
from models.graph_settings import GraphRole
from tasks.graph.reading import Limits, QueryLimitError, query
from tasks.graph.tokens import QueryRefusedError
from tests.graph.test_guard import READS, WRITES

CONTENT = """
CREATE (a:Module {key: 'a', name: 'first'})-[:IMPORTS]->(b:Module {key: 'b', name: 'create'}),
       (b)-[:IMPORTS]->(c:Module {key: 'c', name: 'third'}), (d:Past {id: 'p', of: 'x'})
"""


def _write(settings: Settings, text: str) -> None:
    with Graph.of(settings).get_sync_client() as driver, driver.session() as session:
        session.run(text).consume()


def _all(settings: Settings) -> list[Any]:
    """Everything that is in the database, seen by the writer over a connection of its own."""
    with Graph.of(settings).get_sync_client() as driver, driver.session() as session:
        nodes = session.run("MATCH (n) RETURN labels(n) AS labels, properties(n) AS properties").data()
        edges = session.run("MATCH (a)-[r]->(b) RETURN a.key AS a, type(r) AS t, properties(r) AS p, b.key AS b").data()
        schema = [session.run(f"SHOW {what}").data() for what in ("INDEXES", "CONSTRAINTS")]
        labels = session.run("CALL db.labels()").data()
    return [sorted(map(repr, nodes)), sorted(map(repr, edges)), repr(schema), sorted(map(repr, labels))]


@pytest.fixture(scope="module")
def filled(graph_server: Settings) -> Iterator[Settings]:
    _write(graph_server, "MATCH (n) DETACH DELETE n")
    _write(graph_server, CONTENT)
    yield graph_server
    _write(graph_server, "MATCH (n) DETACH DELETE n")


async def test_no_attack_changes_anything(filled: Settings) -> None:
    """Through the guard, and past it: what the guard would let through by mistake, the server's reader cannot do."""
    before = _all(filled)
    reader = Graph.of(filled, reader=True)
    for text in WRITES:
        with pytest.raises(QueryRefusedError):
            await query(reader, text)
    assert _all(filled) == before
    allowed = []
    async with reader.get_client() as driver:
        for text in WRITES[:-1]:  # the last one writes nothing, but would take for ever
            try:
                async with driver.session() as session:
                    await (await session.run(text)).consume()
                allowed.append(text)
            except (Neo4jError, DriverError):
                continue
    assert _all(filled) == before, allowed


async def test_what_only_reads_is_answered(filled: Settings) -> None:
    before = _all(filled)
    reader = Graph.of(filled, reader=True)
    refused = {}
    for text in READS:
        try:
            await query(reader, text, {"name": "x"})
        except QueryRefusedError as error:
            refused[text] = str(error)
    assert not refused
    assert _all(filled) == before


async def test_an_answer_is_plain(filled: Settings) -> None:
    reader = Graph.of(filled, reader=True)
    answer = await query(
        reader, "MATCH p = (a:Module {key: $key})-[r]->(b) RETURN a, r, p, [1, {x: date('2026-01-02')}]", {"key": "a"}
    )
    node, edge, path, nested = answer.rows[0]
    assert answer.columns[:3] == ("a", "r", "p")
    assert node == {"labels": ["Module"], "properties": {"key": "a", "name": "first"}}
    assert edge["type"] == "IMPORTS"
    assert [one["properties"]["key"] for one in path["nodes"]] == ["a", "b"]
    assert nested == [1, {"x": "2026-01-02"}]


async def test_rows_are_cut_and_it_is_said(filled: Settings) -> None:
    reader = Graph.of(filled, reader=True)
    answer = await query(reader, "UNWIND range(1, 1000) AS x RETURN x", limits=Limits(rows=10))
    assert (len(answer.rows), answer.cut) == (10, True)
    answer = await query(reader, "UNWIND range(1, 10) AS x RETURN x", limits=Limits(rows=10))
    assert (len(answer.rows), answer.cut) == (10, False)


async def test_a_big_answer_is_refused(filled: Settings) -> None:
    reader = Graph.of(filled, reader=True)
    with pytest.raises(QueryLimitError, match="bytes"):
        await query(
            reader, "UNWIND range(1, 5000) AS x RETURN [y IN range(1, 100) | 'text']", limits=Limits(bytes=50_000)
        )


HUGE = "UNWIND range(1, 9000) AS a UNWIND range(1, 9000) AS b RETURN collect(toString(a) + '~' + toString(b))"
SLOW = "UNWIND range(1, 10000) AS a UNWIND range(1, 10000) AS b UNWIND range(1, 10000) AS c RETURN count(*)"


async def _running(settings: Settings) -> list[str]:
    async with Graph.of(settings, reader=True).get_client() as driver, driver.session() as session:
        result = await session.run("SHOW TRANSACTIONS YIELD currentQuery")
        return [text async for (text,) in result if "range" in text]


async def _ends(settings: Settings) -> None:
    deadline = time.monotonic() + 5
    while running := await _running(settings):
        assert time.monotonic() < deadline, running
        await asyncio.sleep(0.1)


async def test_what_takes_too_long_is_ended_on_the_server(filled: Settings) -> None:
    began = time.monotonic()
    with pytest.raises(QueryLimitError):
        await query(Graph.of(filled, reader=True), SLOW, limits=Limits(seconds=1))
    assert time.monotonic() - began < 8
    await _ends(filled)


async def test_who_goes_away_leaves_nothing_running(filled: Settings) -> None:
    task = asyncio.create_task(query(Graph.of(filled, reader=True), SLOW, limits=Limits(seconds=60)))
    deadline = time.monotonic() + 10
    while not await _running(filled):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _ends(filled)


async def test_errors_say_what_to_do(filled: Settings) -> None:
    with pytest.raises(QueryRefusedError, match="understand"):
        await query(Graph.of(filled, reader=True), "MATCH (n RETURN n) RETURN 1 WHERE")
    with pytest.raises(QueryRefusedError, match=r"range\(\) gives 10,000 numbers at most"):
        await query(Graph.of(filled, reader=True), "UNWIND range(1, 100000) AS x RETURN count(x)")
    with pytest.raises(UnavailableError, match="more memory than the server has"):
        await query(Graph.of(filled, reader=True), HUGE)
    nobody = Graph(uri="bolt://127.0.0.1:1", timeout_s=1)
    with pytest.raises(UnavailableError, match="does not answer"):
        await query(nobody, "RETURN 1")
    stranger = Graph.of(filled).model_copy(update={"user": "stranger"})
    with pytest.raises(UnavailableError, match="let us in"):
        await query(stranger, "RETURN 1")


async def test_a_restricted_role_asks_no_cypher(filled: Settings) -> None:
    reader = Graph.of(filled, reader=True)
    with pytest.raises(QueryRefusedError, match="role"):
        await query(reader, "RETURN 1", role=GraphRole(hidden_properties=("name",)))
    assert (await query(reader, "RETURN 1", role=GraphRole())).rows == ((1,),)
