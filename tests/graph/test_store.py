"""The store against a real server: what is said, contradicted, said again, and asked for at any point of both times."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from models.graph import AsOf, Direction, Edge, Label, Node, NodeFact, Part, Ref, RelationshipFact, Type, Written
from tasks.graph.store import Store
from tests.graph.conftest import Clock

F = Label.function


def function(key: str) -> Ref:
    return Ref(F, key)


def node(key: str, **properties: Any) -> NodeFact:
    return NodeFact(function(key), properties)


def calls(start: str, end: str, **properties: Any) -> RelationshipFact:
    return RelationshipFact(Type.calls, function(start), function(end), properties)


async def live(store: Store) -> dict[str, dict[str, Any]]:
    return {one.ref.key: dict(one.properties) async for one in store.all_nodes()}


async def test_what_is_said_is_there_and_saying_it_again_changes_nothing(store: Store, clock: Clock) -> None:
    facts = (
        [node("a", line=1, ratio=1.0, tags=("x", "y"), public=True, none=()), node("b")],
        [calls("a", "b", lines=(3,))],
    )
    assert await store.replace("code:shop", *facts) == Written(created=3)
    first = await store.canonical_hash(history=True)
    clock.tick()
    assert await store.replace("code:shop", *facts) == Written(same=3)
    assert await store.write(*facts, scope="code:shop") == Written(same=3)
    assert await store.canonical_hash(history=True) == first
    got = (await store.get([function("a"), function("missing")]))[function("a")]
    assert got.properties == {"line": 1, "ratio": 1.0, "tags": ("x", "y"), "public": True, "none": ()}
    assert [type(got.properties[name]) for name in ("line", "ratio", "public")] == [int, float, bool]
    assert (got.scopes, got.valid_from, got.valid_to) == (("code:shop",), clock.now - timedelta(seconds=1), None)
    (edge,) = await store.edges([function("b")], direction=Direction.in_, properties=True)
    assert (edge.start, edge.end, edge.properties) == (function("a"), function("b"), {"lines": (3,)})


async def test_properties_may_be_named_like_words_of_cypher_and_differ_from_fact_to_fact(store: Store) -> None:
    """The rows of a batch have one place for each name that any of its facts has."""
    words = {"start": 1, "end": "x", "order": 2, "null": 3, "match": "m", "row": True, "value": ("a",), "now": 9}
    nodes = [node("a", **words), node("b", other=1), node("c")]
    both = RelationshipFact(Type.calls, function("a"), function("b"), words)
    edges = [both, calls("b", "c"), calls("a", "c", other=2)]
    await store.replace("s", nodes, edges)
    assert await live(store) == {one.ref.key: dict(one.properties) for one in nodes}
    found = {(one.start.key, one.end.key): dict(one.properties) async for one in store.all_edges()}
    assert found == {(one.start.key, one.end.key): dict(one.properties) for one in edges}
    assert await store.replace("s", nodes, edges) == Written(same=6)


async def test_a_contradiction_closes_what_was_said_before(store: Store, clock: Clock) -> None:
    begun = clock.now
    await store.replace("code:shop", [node("a", line=1)])
    changed = clock.tick()
    assert await store.replace("code:shop", [node("a", line=2)]) == Written(changed=1)
    assert await live(store) == {"a": {"line": 2}}
    assert (await store.get([function("a")], AsOf(recorded=begun)))[function("a")].properties == {"line": 1}
    assert (await store.get([function("a")], AsOf(valid=begun)))[function("a")].properties == {"line": 1}
    told = [
        (one.properties["line"], one.valid_from, one.valid_to, one.recorded_to)
        for one in await store.history(function("a"))
    ]
    assert told == [(1, begun, None, changed), (1, begun, changed, None), (2, changed, None, None)]


async def test_deletions_follow_the_source_and_no_other(store: Store, clock: Clock) -> None:
    await store.replace_all(
        [
            Part("code:shop/one", [node("a"), node("b")], [calls("a", "b"), calls("b", "c")], mark="1"),
            Part("code:shop/two", [node("c", line=3)], [calls("c", "a")], mark="2"),
        ]
    )
    clock.tick()
    assert await store.replace("code:shop/two", [], mark="3") == Written(closed=2)
    assert await live(store) == {"a": {}, "b": {}}
    assert {one.end.key for one in await store.edges([function("b")])} == {"c"}, "it calls what nobody says any more"
    assert await store.get([function("c")]) == {}
    assert await store.marks("code:shop/") == {"code:shop/one": "1", "code:shop/two": "3"}
    clock.tick()
    assert await store.forget(["code:shop/one"]) == Written(closed=4)
    assert await live(store) == {}
    counts = await store.count()
    assert (sum(counts.nodes.values()), sum(counts.relationships.values())) == (0, 0)
    assert await store.marks() == {"code:shop/two": "3"}


async def test_an_empty_node_goes_with_the_last_relationship_that_holds_it(store: Store, bolt: Any) -> None:
    await store.replace("one", [node("a")], [calls("a", "x"), calls("a", "y")])
    await store.replace("two", [node("b")], [calls("b", "x")])
    await store.replace("one", [node("a")])
    async with bolt.block.get_client() as driver:
        keys = (await driver.execute_query("MATCH (n:Function) RETURN n.key AS key")).records
        assert sorted(one["key"] for one in keys) == ["a", "b", "x"]
        await store.replace("two", [node("b")])
        keys = (await driver.execute_query("MATCH (n:Function) RETURN n.key AS key")).records
        assert sorted(one["key"] for one in keys) == ["a", "b"]


async def test_what_two_sources_say_differently_shows_both_and_neither_disturbs_the_other(
    store: Store, clock: Clock
) -> None:
    one, two = [node("a", line=1, name="a")], [node("a", line=9, owner="me")]
    await store.replace("code", one)
    await store.replace("audit", two)
    assert await live(store) == {"a": {"line": 9, "name": "a", "owner": "me"}}, "of what both say, the first by name"
    before = await store.canonical_hash(history=True)
    clock.tick()
    assert await store.replace("code", one) == Written(same=1)
    assert await store.replace("audit", two) == Written(same=1)
    assert await store.canonical_hash(history=True) == before
    clock.tick()
    assert await store.forget(["audit"]) == Written(closed=1)
    assert await live(store) == {"a": {"line": 1, "name": "a"}}
    assert (await store.get([function("a")]))[function("a")].scopes == ("code",)
    assert await store.replace("code", one) == Written(same=1)


async def test_who_says_a_relationship_says_its_start(store: Store, clock: Clock) -> None:
    await store.replace("code", [node("a", line=1)])
    assert await store.write([], [calls("a", "b")], scope="code") == Written(created=1, same=1)
    assert await live(store) == {"a": {"line": 1}}, "it contradicts nothing"
    await store.replace("docs", [], [calls("c", "a")])
    assert await live(store) == {"a": {"line": 1}, "c": {}}
    clock.tick()
    await store.replace("code", [], [calls("a", "b")])
    assert await live(store) == {"a": {}, "c": {}}, "that is all that it says"
    assert await store.retract("code", [function("a")]) == Written(closed=2)
    assert await live(store) == {"c": {}}


async def test_what_held_once_is_past_and_corrects_what_was_known(store: Store, clock: Clock) -> None:
    at = clock.now
    clock.tick(100)
    await store.write([NodeFact(function("a"), {"line": 2}, at + timedelta(seconds=50))], scope="s")
    clock.tick()
    late = NodeFact(function("a"), {"line": 1}, at, at + timedelta(seconds=50))
    assert await store.write([late], scope="s") == Written(changed=1)
    assert await store.write([late], scope="s") == Written(same=1)

    async def line(seconds: float) -> Any:
        got = await store.get([function("a")], AsOf(valid=at + timedelta(seconds=seconds)))
        return got[function("a")].properties["line"] if got else None

    assert [await line(second) for second in (-1, 0, 49, 50, 200)] == [None, 1, 1, 2, 2]
    assert await store.write([NodeFact(function("a"), {"line": 3}, at + timedelta(seconds=20))], scope="s")
    assert [await line(second) for second in (-1, 0, 19, 20, 200)] == [None, 1, 1, 3, 3]
    assert await store.write([NodeFact(function("a"), {"line": 3}, at + timedelta(seconds=10))], scope="s") == Written(
        changed=1
    )
    assert [await line(second) for second in (9, 10, 200)] == [1, 3, 3]


async def test_nodes_are_found_by_name(store: Store, clock: Clock) -> None:
    await store.replace("s", [node("m.one", name="one"), node("n.one", name="one"), node("two", name="two")])
    before = clock.now
    clock.tick()
    await store.replace("s", [node("m.one", name="other"), node("two", name="two")])
    assert await store.named(["one"]) == []
    assert await store.named(["one", "two"], labels=[F]) == [function("two")]
    assert await store.named(["one"], as_of=AsOf(recorded=before)) == [function("m.one"), function("n.one")]
    assert await store.named(["one"], labels=[Label.module], as_of=AsOf(recorded=before)) == []


async def test_a_level_has_its_types_directions_and_limit(store: Store) -> None:
    module = Ref(Label.module, "m")
    more = [RelationshipFact(Type.contains, module, function(f"f{at}")) for at in range(5)]
    await store.replace(
        "s", [NodeFact(module), *(node(f"f{at}") for at in range(5))], [*more, calls("f0", "f1"), calls("f1", "f1")]
    )
    assert len(await store.edges([module])) == 5
    assert len(await store.edges([module], limit=3)) == 3
    assert await store.edges([module], [Type.calls]) == []
    assert {one.type for one in await store.edges([function("f1")], direction=Direction.in_)} == {
        Type.contains,
        Type.calls,
    }
    both = await store.edges([function("f1"), module], direction=Direction.both)
    assert len(both) == len({(one.type, one.start, one.end) for one in both}) == 7


class Told:
    """What was said, statement by statement: the truth that the store is held against."""

    def __init__(self) -> None:
        self.said: dict[Any, dict[str, list[tuple[datetime, datetime, datetime, Any]]]] = defaultdict(
            lambda: defaultdict(list)
        )

    def say(
        self,
        fact: Any,
        scope: str,
        now: datetime,
        value: Any,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> None:
        self.said[fact][scope].append((now, start or now, end or datetime.max.replace(tzinfo=UTC), value))

    def at(self, fact: Any, scope: str, valid: datetime, recorded: datetime) -> Any:
        for now, start, end, value in reversed(self.said[fact][scope]):
            if now <= recorded and start <= valid < end:
                return value
        return None

    def shown(self, fact: Any, valid: datetime, recorded: datetime) -> tuple[tuple[str, ...], dict[str, Any]] | None:
        merged: dict[str, Any] = {}
        scopes = []
        for scope in sorted(self.said[fact]):
            value = self.at(fact, scope, valid, recorded)
            if value is not None:
                scopes.append(scope)
                merged = {**value, **merged}
        return (tuple(scopes), merged) if scopes else None


@pytest.mark.parametrize("seed", range(4))
async def test_any_point_of_both_times_shows_what_was_said_of_it_until_then(
    store: Store, clock: Clock, seed: int
) -> None:
    chance = random.Random(seed)
    keys, scopes, told, times = [f"k{at}" for at in range(6)], ["x", "y"], Told(), [clock.now]

    def some_facts(scope: str, *, whole: bool) -> tuple[list[NodeFact], list[RelationshipFact]]:
        now = clock.now
        nodes, edges = [], []
        for key in chance.sample(keys, chance.randint(0, 4)):
            since = chance.choice([None, None, chance.choice(times)])
            until = chance.choice([None, None, None, now]) if since and since < now else None
            nodes.append(NodeFact(function(key), {"line": chance.randint(0, 1), scope: 1}, since, until))
        for _ in range(chance.randint(0, 3)):
            edge = calls(chance.choice(keys), chance.choice(keys), line=chance.randint(0, 1))
            if all((edge.start, edge.end) != (one.start, one.end) for one in edges):
                edges.append(edge)
        open_ = {one.ref for one in nodes if one.valid_to is None}
        implied = [one.start for one in edges if one.start not in open_]
        said = {(Type.calls, one.start, one.end) for one in edges} | open_ | set(implied)
        if whole:
            for fact in list(told.said):
                if fact not in said and told.at(fact, scope, now, now) is not None:
                    late.append((fact, scope, None, None, None))
        said_first = [ref for ref in implied if whole or told.at(ref, scope, now, now) is None]
        early.extend((ref, scope, {}, None, None) for ref in said_first)
        for one in nodes:
            (early if one.valid_to is None else middle).append(
                (one.ref, scope, one.properties, one.valid_from, one.valid_to)
            )
        early.extend(((Type.calls, one.start, one.end), scope, one.properties, None, None) for one in edges)
        return nodes, edges

    for _ in range(25):
        now = clock.tick(chance.randint(1, 3))
        early: list[Any] = []
        middle: list[Any] = []
        late: list[Any] = []
        what = chance.random()
        if what < 0.6:
            await store.replace_all(
                [Part(scope, *some_facts(scope, whole=True)) for scope in chance.sample(scopes, chance.randint(1, 2))]
            )
        elif what < 0.85:
            scope = chance.choice(scopes)
            nodes, edges = some_facts(scope, whole=False)
            await store.write(nodes, edges, scope=scope)
        elif what < 0.95:
            scope, ref = chance.choice(scopes), function(chance.choice(keys))
            since = chance.choice(times)
            own = [
                fact
                for fact in told.said
                if isinstance(fact, tuple) and fact[1] == ref and told.at(fact, scope, now, now) is not None
            ]
            late = [(fact, scope, None, since, None) for fact in [ref, *own]]
            await store.retract(scope, [ref], valid_to=since)
        else:
            scope = chance.choice(scopes)
            late = [
                (fact, scope, None, None, None)
                for fact in list(told.said)
                if told.at(fact, scope, now, now) is not None
            ]
            await store.forget([scope])
        for fact, scope, value, start, end in [*early, *middle, *late]:
            told.say(fact, scope, now, value, start, end)
        times.append(now)
        await check(store, told, keys, AsOf(), clock.now)
    moment = timedelta(milliseconds=1)
    for _ in range(40):
        # Not in the very microsecond of a call: in it, several statements of one fact follow one another.
        recorded = chance.choice([None, chance.choice(times) + moment])
        point = AsOf(chance.choice([None, chance.choice(times), chance.choice(times) + moment]), recorded)
        await check(store, told, keys, point, clock.now)


async def check(store: Store, told: Told, keys: list[str], point: AsOf, now: datetime) -> None:
    valid, recorded = point.valid or now, point.recorded or now
    refs = [function(key) for key in keys]
    got = await store.get(refs, point)
    wanted = {ref: shown for ref in refs if (shown := told.shown(ref, valid, recorded))}
    assert {ref: (one.scopes, dict(one.properties)) for ref, one in got.items()} == wanted, point
    edges = {
        fact: shown for fact in told.said if isinstance(fact, tuple) and (shown := told.shown(fact, valid, recorded))
    }
    for direction in Direction:
        found = await store.edges(refs, direction=direction, as_of=point, properties=True)
        assert {(one.type, one.start, one.end): (one.scopes, dict(one.properties)) for one in found} == edges, (
            point,
            direction,
        )


async def test_times_of_what_is_shown_are_those_of_its_records(store: Store, clock: Clock) -> None:
    begun = clock.now
    await store.replace("s", [node("a", line=1)], [calls("a", "b")])
    ended = clock.tick()
    await store.forget(["s"])
    (edge,) = await store.edges([function("b")], direction=Direction.in_, as_of=AsOf(valid=begun))
    assert isinstance(edge, Edge)
    assert (edge.valid_from, edge.valid_to, edge.recorded_from, edge.recorded_to) == (begun, ended, ended, None)
    then = (await store.get([function("a")], AsOf(recorded=begun)))[function("a")]
    assert isinstance(then, Node)
    assert (then.valid_to, then.recorded_to) == (None, ended)
