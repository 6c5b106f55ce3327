"""What may be said: hostile labels, types, names, values and keys, none of which reaches the server as anything else."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from blocks.errors import ConfigurationError
from blocks.settings import Settings
from models.graph import AsOf, Direction, Label, NodeFact, Part, Ref, RelationshipFact, Type, Written
from tasks.graph import checked, steps
from tasks.graph.store import Store
from tests.bolt_server import PASSWORD, BoltServer
from tests.graph.conftest import Clock

F = Label.function
HOSTILE = [
    "Function) DETACH DELETE n //",
    "Function` {key: 'x'}) SET n.owned = 1 //",
    "Function:Evil",
    "`",
    "``) MATCH (n) DETACH DELETE n //",
    "\\u0060) DETACH DELETE n",
    "Function\u2028",
    "function",
    "",
    "n' OR 1=1 --",
]
NAMES = [
    *HOSTILE[:-3],
    "",
    "a b",
    "a.b",
    "a-b",
    "1a",
    "ä",
    "a`b",
    "$key",
    "@rid",
    "@type",
    "key",
    "said",
    "scope",
    "scopes",
    "uid",
    "valid_from",
    "recorded_from",
    "x" * 65,
    "a\n",
]
VALUES: list[Any] = [
    math.nan,
    math.inf,
    -math.inf,
    2**63,
    -(2**63) - 1,
    10**400,
    "a\0b",
    "\ud800",
    "x" * 100_001,
    None,
    b"bytes",
    {"a": 1},
    [[1]],
    (1, "a"),
    (1, 2.0),
    (1, None),
    (math.nan,),
    ("\udfff",),
    (2**64,),
    tuple(range(10_001)),
    {1, 2},
    object(),
    datetime(2026, 1, 1, tzinfo=UTC),
    1j,
]
KEYS: list[Any] = ["", "a\0", "\ud800", "x" * 4_001, "ä" * 2_001, None, 7, b"a"]


def fact(**more: Any) -> NodeFact:
    return NodeFact(Ref(more.pop("label", F), more.pop("key", "k")), more.pop("properties", {}), **more)


def relation(type_: Any = Type.calls, properties: Any = None) -> RelationshipFact:
    return RelationshipFact(type_, Ref(F, "a"), Ref(F, "b"), properties or {})


REFUSED = [
    *(fact(label=cast("Any", label)) for label in HOSTILE),
    *(fact(key=key) for key in KEYS),
    *(fact(properties={name: 1}) for name in NAMES),
    *(fact(properties={"x": value}) for value in VALUES),
    fact(properties={f"p{at}": 1 for at in range(101)}),
    fact(properties={f"p{at}": "\\" * 300_000 for at in range(4)}),
    fact(properties={"name": "ä" * 2_001}),
    fact(valid_from=datetime(2026, 1, 1)),  # noqa: DTZ001 - that is what is wrong with it
    fact(valid_from=datetime(2030, 1, 1, tzinfo=UTC)),
    fact(valid_from=datetime(2025, 1, 2, tzinfo=UTC), valid_to=datetime(2025, 1, 1, tzinfo=UTC)),
]
REFUSED_RELATIONS = [
    *(relation(type_=type_) for type_ in HOSTILE),
    *(relation(properties={name: 1}) for name in NAMES),
    *(relation(properties={"x": value}) for value in VALUES),
]


async def everything(bolt: BoltServer) -> list[Any]:
    async with bolt.block.get_client() as driver:
        nodes = (await driver.execute_query("MATCH (n) RETURN labels(n) AS l, properties(n) AS p")).records
        edges = (await driver.execute_query("MATCH ()-[r]->() RETURN type(r) AS t, properties(r) AS p")).records
    return sorted(str(one.data()) for one in [*nodes, *edges])


async def test_what_cannot_be_kept_is_refused_before_anything_is_written(bolt: BoltServer, store: Store) -> None:
    await store.replace("s", [fact(key="there", properties={"x": 1})])
    before = await everything(bolt)
    good = [fact(key=f"good{at}") for at in range(3)]
    for one in REFUSED:
        with pytest.raises(ConfigurationError):
            await store.write([*good, one], scope="s")
    for other in REFUSED_RELATIONS:
        with pytest.raises(ConfigurationError):
            await store.replace_all([Part("other", good), Part("s", good, [other])])
    for scope in ["", "a\nb", "a\0", "+", "\ud800", "x" * 4_001]:
        with pytest.raises(ConfigurationError):
            await store.replace(scope, good)
    with pytest.raises(ConfigurationError):
        await store.replace("s", good, mark="\0")
    with pytest.raises(ConfigurationError, match="two things"):
        await store.replace("s", [fact(properties={"x": 1}), fact(properties={"x": 2})])
    with pytest.raises(ConfigurationError, match="twice"):
        await store.replace_all([Part("s"), Part("s")])
    assert await everything(bolt) == before


async def test_hostile_words_in_questions_are_refused_and_change_nothing(bolt: BoltServer, store: Store) -> None:
    await store.replace("s", [fact(key="there")], [relation()])
    before = await everything(bolt)
    calls: list[Callable[[Any], Any]] = [
        lambda word: store.get([Ref(word, "k")]),
        lambda word: store.edges([Ref(word, "k")]),
        lambda word: store.edges([Ref(F, "k")], [word]),
        lambda word: store.edges([Ref(word, "k")], direction=Direction.in_, as_of=AsOf(datetime.now(UTC))),
        lambda word: store.history(Ref(word, "k")),
        lambda word: store.retract("s", [Ref(word, "k")]),
        lambda word: store.retract("s", [], [(word, Ref(F, "a"), Ref(F, "b"))]),
        lambda word: store.named(["k"], labels=[word]),
    ]
    for word in HOSTILE:
        for call in calls:
            with pytest.raises((ConfigurationError, ValueError)):
                await call(word)
    assert await everything(bolt) == before


TEXTS = [
    "'}) DETACH DELETE n //",
    '"}) SET n.owned = 1 //',
    "\\",
    "\\'",
    *(f"${name}" for name in ("rows", "keys", "scopes", "starts", "said", "names", "of", "foo", "")),
    "`",
    "\u202eevil\u2066",
    "\u0000"[:0] + "\x01\x1f\x7f",
    "🐍" * 1_000,
    "x" * 399_999,
    "'; DROP DATABASE neo4j; --",
    "line\r\nline\u2028",
    "e\u0301 ≠ é",
]


@pytest.mark.parametrize("scope", ["'}) //", "$scopes", "$scope"])
async def test_hostile_texts_are_kept_as_they_are(bolt: BoltServer, store: Store, clock: Clock, scope: str) -> None:
    facts = [
        fact(key=text[:900], properties={"name": text[:900], "text": text, "all": tuple(TEXTS[:4])}) for text in TEXTS
    ]
    edges = [
        RelationshipFact(Type.calls, one.ref, two.ref, {"x": "'}]->() DELETE r //"})
        for one, two in zip(facts, facts[1:], strict=False)
    ]
    assert await store.replace(scope, facts, edges, mark="'\"`") == Written(created=len(facts) + len(edges))
    clock.tick()
    assert await store.replace(scope, facts, edges, mark="'\"`") == Written(same=len(facts) + len(edges))
    got = await store.get([one.ref for one in facts])
    assert {ref: dict(node.properties) for ref, node in got.items()} == {one.ref: dict(one.properties) for one in facts}
    assert len(await store.edges([one.ref for one in facts])) == len(edges)
    assert await store.named([text[:900] for text in TEXTS]) == sorted(one.ref for one in facts)
    assert await store.marks() == {scope: "'\"`"}
    clock.tick()
    assert await store.forget([scope]) == Written(closed=len(facts) + len(edges))
    then = await store.get([one.ref for one in facts], AsOf(recorded=clock.now - timedelta(seconds=1)))
    assert {ref: dict(node.properties) for ref, node in then.items()} == {
        one.ref: dict(one.properties) for one in facts
    }


async def test_the_longest_key_is_unique(store: Store) -> None:
    long = ["ä" * 1_999 + end for end in ("a", "b")]
    assert await store.replace("s", [fact(key=key) for key in long]) == Written(created=2)
    assert await store.replace("s", [fact(key=key) for key in long]) == Written(same=2)


PROPERTIES = st.dictionaries(
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,63}", fullmatch=True).filter(lambda name: name not in checked.RESERVED),
    st.one_of(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.booleans(),
        st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3).map(tuple),
        st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=3).map(tuple),
        st.lists(st.text("aä'\\", max_size=3), max_size=3).map(tuple),
        st.lists(st.booleans(), max_size=3).map(tuple),
    ),
    max_size=6,
)


@given(PROPERTIES)
def test_canonical_properties_are_read_back_as_they_were(properties: dict[str, Any]) -> None:
    text = checked.canonical(properties)
    assert checked.canonical(checked.parsed(text)) == text
    assert checked.parsed(text) == properties


@settings(max_examples=8)
@given(st.lists(PROPERTIES, min_size=20, max_size=20))
def test_what_the_server_gives_back_is_what_it_was_given(bolt: BoltServer, many: list[dict[str, Any]]) -> None:
    async def there_and_back() -> None:
        async with Store.open(bolt.block) as store:
            facts = [fact(key=f"round{at}", properties=one) for at, one in enumerate(many)]
            await store.replace("round", facts)
            got = await store.get([one.ref for one in facts])
            for one in facts:
                assert checked.canonical(got[one.ref].properties) == checked.canonical(one.properties)
            assert await store.replace("round", facts) == Written(same=len(facts))

    asyncio.run(there_and_back())


async def test_steps_write_single_facts_and_ask(bolt: BoltServer, store: Store) -> None:
    config = Settings(graph_uri=bolt.block.uri, graph_user="root", graph_password=SecretStr(PASSWORD))
    one, two = Ref(Label.agent, "one"), Ref(Label.flow, "two")
    assert await steps.create_node.fn(config, one.label, one.key, {"name": "One"}) == Written(created=1)
    assert await steps.create_relationship.fn(config, Type.runs, one, two) == Written(created=1, same=1)
    assert {edge.end for edge in await store.edges([one])} == {two}
    answer = await steps.query_graph.fn(config, "MATCH (a:Agent)-[:RUNS]->(f) RETURN a.name AS name, f.key AS key")
    assert [list(row) for row in answer.rows] == [["One", "two"]]
