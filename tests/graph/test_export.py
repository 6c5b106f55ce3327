"""The graph in other forms: what networkx reads, and what another database makes of it, is the same graph."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.graph import Edge, Label, Node, Property, Ref, Type
from tasks.graph.questions.cypher_script import to_cypher
from tasks.graph.questions.graphml import to_graphml
from tests.bolt_server import BoltServer

_NOW = datetime(2026, 11, 28, tzinfo=UTC)
_TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
_HARM = [
    "'; MATCH (n) DETACH DELETE n //", "\\", "\\'", "`}) //", "\u2028", "\x00\x0b\ufffe", "]]>", "<!--", "&amp;",
    "\u202eevil", "\U0001f600", "'}]) AS row CREATE (x:Module) //", "\n\r\t", '"', "\\u0027", "x" * 10_000,
]  # fmt: skip
_VALUES: st.SearchStrategy[Property] = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    _TEXT,
    st.sampled_from(_HARM),
    st.lists(_TEXT, max_size=3).map(tuple),
)
_REFS = st.builds(
    Ref,
    st.sampled_from([Label.module, Label.function, Label.class_]),
    st.one_of(_TEXT.filter(bool), st.sampled_from(_HARM)),
)
_PROPERTIES = st.dictionaries(st.sampled_from(["name", "label", "key", "type", "a b", "score"]), _VALUES, max_size=4)


@st.composite
def _graphs(draw: st.DrawFn) -> tuple[list[Node], list[Edge]]:
    refs = draw(st.lists(_REFS, min_size=1, max_size=8, unique=True))
    nodes = [Node(ref, draw(_PROPERTIES), (), _NOW, _NOW) for ref in refs]
    ends = st.sampled_from(refs)
    hops = draw(st.lists(st.tuples(st.sampled_from([Type.calls, Type.imports]), ends, ends), max_size=8, unique=True))
    return nodes, [Edge(*hop, draw(_PROPERTIES)) for hop in hops]


async def _each(items: Iterable[Node] | Iterable[Edge]) -> AsyncIterator[object]:
    for item in items:
        yield item


def _written(write: object, nodes: Iterable[Node], edges: Iterable[Edge]) -> str:
    out = io.StringIO()
    asyncio.run(write(_each(nodes), _each(edges), out))  # type: ignore[operator]
    return out.getvalue()


@given(_graphs())
def test_networkx_reads_the_same_graph(made: tuple[list[Node], list[Edge]]) -> None:
    nodes, edges = made
    read = nx.parse_graphml(_written(to_graphml, nodes, edges), force_multigraph=True)
    assert read.is_directed()
    assert len(read) == len(nodes)
    assert read.number_of_edges() == len(edges)
    told = {(data["label"], data["key"]) for _, data in read.nodes(data=True)}
    for node in nodes:
        if node.ref.key.isprintable():
            assert (node.ref.label.value, node.ref.key) in told
            (found,) = [
                one
                for _, one in read.nodes(data=True)
                if (one["label"], one["key"]) == (node.ref.label.value, node.ref.key)
            ]
            for name, value in node.properties.items():
                if name == "score" and all(
                    type(other.properties.get("score", value)) is type(value) for other in nodes
                ):
                    expected = json.dumps(value, ensure_ascii=False) if isinstance(value, tuple) else value
                    assert found["score"] == expected or not str(expected).isprintable()


def test_an_end_that_nobody_says_is_a_node_in_either_form(server: BoltServer) -> None:
    said, unsaid = Ref(Label.flow, "x:f"), Ref(Label.module, "x:m")
    nodes, edges = [Node(said, {"name": "f"}, (), _NOW, _NOW)], [Edge(Type.uses, said, unsaid)] * 2
    text = _written(to_graphml, nodes, edges)
    assert text.count("<node ") == 2
    assert {data["key"] for _, data in nx.parse_graphml(text).nodes(data=True)} == {"x:f", "x:m"}
    with server.block.get_sync_client() as driver:
        for line in _written(to_cypher, nodes, edges).splitlines():
            driver.execute_query(line.removesuffix(";"))
        records, _, _ = driver.execute_query("MATCH (:Flow {key: 'x:f'})-[:USES]->(m:Module) RETURN m.key AS key")
        driver.execute_query("MATCH (n) WHERE n.key STARTS WITH 'x:' DETACH DELETE n")
    assert [one["key"] for one in records] == ["x:m"]


def test_an_int_here_and_a_float_there_are_numbers_to_networkx() -> None:
    ones: list[Property] = [1, 2.5]
    nodes = [Node(Ref(Label.module, str(n)), {"score": value}, (), _NOW, _NOW) for n, value in enumerate(ones)]
    read = nx.parse_graphml(_written(to_graphml, nodes, []))
    assert sorted(data["score"] for _, data in read.nodes(data=True)) == [1.0, 2.5]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoltServer]:
    running = BoltServer(tmp_path_factory.mktemp("graph"))
    try:
        running.start()
        yield running
    finally:
        running.kill()


def test_another_database_makes_the_same_graph_of_the_script(server: BoltServer, tmp_path: Path) -> None:
    refs = [Ref(label, text) for text in _HARM[:-1] for label in (Label.module, Label.function)]
    values: list[Property] = [True, -(2**63), 2.5, *_HARM, ("a", "'"), (1, 2)]
    nodes = [
        Node(ref, {"name": values[n % len(values)], "a b`c": values[(n + 7) % len(values)]}, (), _NOW, _NOW)
        for n, ref in enumerate(refs)
    ]
    edges = [
        Edge(Type.calls, one, other, {"count": n}) for n, (one, other) in enumerate(zip(refs, refs[3:], strict=False))
    ]
    script = _written(to_cypher, nodes, edges)
    assert script.isascii()
    lines = script.splitlines()
    assert all(line.endswith(";") for line in lines), "one statement a line, whatever is in the names"
    with server.block.get_sync_client() as driver:
        for _ in range(2):  # running it again makes nothing twice
            for line in lines:
                driver.execute_query(line.removesuffix(";"))
        records, _, _ = driver.execute_query("MATCH (n) RETURN labels(n)[0] AS label, properties(n) AS p")
        made = {(one["label"], one["p"].pop("key")): one["p"] for one in records}
        records, _, _ = driver.execute_query("MATCH (a)-[r:CALLS]->(b) RETURN a.key AS a, b.key AS b, r.count AS count")
        hung = sorted((one["a"], one["b"], one["count"]) for one in records)
    said = {
        (n.ref.label.value, n.ref.key): {k: list(v) if isinstance(v, tuple) else v for k, v in n.properties.items()}
        for n in nodes
    }
    assert made == said
    assert hung == sorted((one.start.key, one.end.key, one.properties["count"]) for one in edges)
