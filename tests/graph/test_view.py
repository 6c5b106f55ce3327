"""What a role does not see is not there for it: not by name, by neighbours, by paths, by numbers or by history."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.graph import Graph
from blocks.settings import Settings
from models.configuration import Configuration
from models.graph import Direction, Edge, Label, Node, NodeFact, Part, Ref, RelationshipFact, Type
from models.graph_sensitive import SENSITIVE
from models.graph_settings import GraphRole, GraphSettings
from tasks.graph.migrations import migrate
from tasks.graph.questions.asking import UnknownNodeError, find_one, level_of
from tasks.graph.questions.impact import impact
from tasks.graph.sealing import Seal
from tasks.graph.store import Store
from tasks.graph.transactions import Transactions
from tasks.graph.view import EVERYTHING, View, role_of, seen_edges, seen_nodes
from tests.graph.test_backup import START
from tests.graph.test_sealing import KEY

LABELS = [Label.module, Label.function, Label.memory, Label.document]
ROLE = GraphRole(labels=(Label.module, Label.function), hidden_properties=("owner", "Module.lines"))
NUMBERS = range(30)


def _ref(number: int) -> Ref:
    return Ref(LABELS[number % len(LABELS)], f"k{number}")


ROLES = st.builds(
    GraphRole,
    labels=st.none() | st.lists(st.sampled_from(LABELS), unique=True).map(tuple),
    hidden_properties=st.lists(st.sampled_from(["a", "b", "Module.a", "Memory.b"]), unique=True).map(tuple),
)
NODES = st.builds(
    Node, st.integers(0, 9).map(_ref), st.dictionaries(st.sampled_from("abc"), st.integers(0, 3)),
    st.just(("s",)), st.just(START), st.just(START),
)  # fmt: skip
EDGES = st.builds(
    Edge, st.sampled_from(Type), st.integers(0, 9).map(_ref), st.integers(0, 9).map(_ref),
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 3)),
)  # fmt: skip


@given(ROLES, st.lists(NODES), st.lists(EDGES))
def test_the_rules(role: GraphRole, nodes: list[Node], edges: list[Edge]) -> None:
    """Nothing of another label and no hidden property comes through; everything else does, and twice is once."""
    allowed = set(LABELS) if role.labels is None else set(role.labels)
    seen = seen_nodes(role, nodes)
    assert [node.ref for node in seen] == [node.ref for node in nodes if node.ref.label in allowed]
    for before, after in zip([node for node in nodes if node.ref.label in allowed], seen, strict=True):
        for name, value in before.properties.items():
            hidden = name in role.hidden_properties or f"{before.ref.label}.{name}" in role.hidden_properties
            assert (name not in after.properties) if hidden else after.properties[name] == value
    told = seen_edges(role, edges)
    assert [(e.start, e.end) for e in told] == [
        (e.start, e.end) for e in edges if e.start.label in allowed and e.end.label in allowed
    ]
    assert not any(name in role.hidden_properties for edge in told for name in edge.properties)
    assert seen_nodes(role, seen) == seen
    assert seen_edges(role, told) == told


@pytest.fixture
async def stores(graph: Settings) -> AsyncIterator[tuple[Store, Settings]]:
    block = Graph.of(graph)
    async with block.get_client() as driver, Store.open(block) as store:
        await migrate(Transactions(driver, block.database))
        yield store, graph


def _part() -> Part:
    chance = random.Random(3)
    nodes = [NodeFact(_ref(n), {"name": f"n{n % 7}", "owner": "x", "lines": n, "text": f"secret {n}"}) for n in NUMBERS]
    pairs = sorted({(chance.choice(NUMBERS), chance.choice(NUMBERS)) for _ in range(120)})
    edges = [RelationshipFact(Type.calls, _ref(a), _ref(b), {"owner": "x", "line": a}) for a, b in pairs]
    return Part("all", nodes, edges)


async def test_it_is_as_if_the_rest_were_not_there(stores: tuple[Store, Settings]) -> None:
    """The view of the whole graph, compared with the same view of a graph that holds only what the role sees."""
    store, _ = stores
    seal = Seal((KEY,), SENSITIVE)
    whole = View(store, seal, ROLE)
    await View(store, seal).replace_all([_part()])
    seen = await _everything(whole)
    part = _part()
    allowed = set(ROLE.labels or ())
    await store.forget(["all"])
    await store.replace(
        "all",
        [node for node in part.nodes if node.ref.label in allowed],
        [one for one in part.relationships if one.start.label in allowed and one.end.label in allowed],
    )
    assert seen == await _everything(whole)
    assert "secret" in repr(seen)  # of modules, whose text is not sensitive
    assert "owner" not in repr(seen)


async def _everything(view: View) -> list[object]:
    refs = [_ref(n) for n in NUMBERS]
    nodes = await view.get(refs)
    counts = await view.count()
    found: list[object] = [
        sorted((ref, sorted(node.properties.items())) for ref, node in nodes.items()),
        [(label, many) for label, many in counts.nodes.items() if many],
        [(type_, many) for type_, many in counts.relationships.items() if many],
        await view.named([f"n{n}" for n in range(7)]),
        [len(await view.history(ref)) > 0 for ref in refs],
        sorted([node.ref async for node in view.all_nodes()]),
        sorted([(edge.start, edge.end, sorted(edge.properties.items())) async for edge in view.all_edges()]),
        await view.marks() or None,
    ]
    for direction in Direction:
        for limit in (None, 1, 5, 1000):
            edges = await view.edges(refs, direction=direction, limit=limit, properties=True)
            found.append(len(edges) if limit else sorted((e.type, e.start, e.end) for e in edges))
    level = level_of(view)
    for ref in (_ref(0), _ref(1)):
        hits = (await impact(ref, level)).hits
        found.append(sorted((hit.ref, len(hit.path)) for hit in hits))
    return found


async def test_no_path_goes_through_what_is_not_seen(stores: tuple[Store, Settings]) -> None:
    store, _ = stores
    a, hidden, b = Ref(Label.module, "a"), Ref(Label.document, "h"), Ref(Label.function, "b")
    edges = [RelationshipFact(Type.calls, b, hidden), RelationshipFact(Type.calls, hidden, a)]
    await store.replace("s", [NodeFact(one, {"name": one.key}) for one in (a, hidden, b)], edges)
    assert [hit.ref for hit in (await impact(a, level_of(View(store, Seal((KEY,), SENSITIVE))))).hits] == [hidden, b]
    view = View(store, Seal((KEY,), SENSITIVE), ROLE)
    assert (await impact(a, level_of(view))).hits == ()
    assert await view.edges([hidden]) == []
    with pytest.raises(UnknownNodeError):
        await find_one(view, "Document:h")
    with pytest.raises(UnknownNodeError):
        await find_one(view, "h")


def test_who_asks_has_a_role() -> None:
    configured = GraphSettings(roles={"guest": ROLE}, callers={"gateway": "guest"})
    assert role_of(configured, None) is EVERYTHING
    assert role_of(GraphSettings(roles={"guest": ROLE}), "gateway") is EVERYTHING
    assert role_of(configured, "gateway") is configured.roles["guest"]
    assert EVERYTHING.unrestricted
    assert not ROLE.unrestricted


@pytest.mark.parametrize(
    "wrong",
    [
        {"callers": {"gateway": "nobody"}},
        {"callers": {"stranger": "guest"}, "roles": {"guest": {}}},
        {"roles": {"guest": {"hidden_properties": ["Nothing.name"]}}},
        {"roles": {"guest": {"hidden_properties": ["Module."]}}},
        {"roles": {"guest": {"labels": ["Nothing"]}}},
        {"roles": {"guest": {"label": ["Module"]}}},
        {"heap_mb": 1},
    ],
)
def test_a_configuration_that_guards_nothing_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"graph|role|label|input|permitted|greater"):
        Configuration.model_validate({"graph": wrong})
