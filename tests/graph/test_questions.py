"""Questions of the graph against networkx: the same distances, real paths, and a word where something was cut."""

from __future__ import annotations

import asyncio
import random

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.graph import Label, Ref, Type
from tasks.graph.questions.impact import Impact, impact
from tasks.graph.questions.neighbourhood import neighbourhood
from tasks.graph.questions.path import Way, shortest
from tasks.graph.questions.walk import Bounds, Hop
from tests.graph.listed import Listed

_WIDE = Bounds(depth=64, nodes=10_000, edges=100_000)


def ref(label: Label, key: object) -> Ref:
    return Ref(label, str(key))


_SORTS = (Label.function, Label.module, Label.class_, Label.flow, Label.component)
_REFS = [ref(label, n) for label in _SORTS for n in range(3)]


@st.composite
def _graphs(draw: st.DrawFn) -> list[Hop]:
    ends = st.sampled_from(_REFS)
    return draw(st.lists(st.tuples(st.sampled_from(list(Type)), ends, ends), max_size=60))


def _chained(path: tuple[Hop, ...], first: Ref, last: Ref, hops: list[Hop], *, directed: bool) -> bool:
    at = first
    for hop in path:
        assert hop in hops
        if hop[1] == at:
            at = hop[2]
        elif hop[2] == at and not directed:
            at = hop[1]
        else:
            return False
    return at == last


@given(_graphs(), st.sampled_from(_REFS), st.sampled_from(_REFS), st.sampled_from(Way))
def test_a_path_is_a_path_and_none_is_shorter(hops: list[Hop], first: Ref, last: Ref, way: Way) -> None:
    graph = nx.DiGraph() if way is Way.along else nx.Graph()
    graph.add_nodes_from(_REFS)
    graph.add_edges_from((start, end) for _, start, end in hops)
    found = asyncio.run(shortest(first, last, Listed(hops), way=way, bounds=_WIDE))
    if not nx.has_path(graph, first, last):
        assert found.path is None
        assert not found.cut
        return
    assert found.path is not None
    assert len(found.path) == nx.shortest_path_length(graph, first, last)
    assert _chained(found.path, first, last, hops, directed=way is Way.along)


def _referee(of: Ref, hops: list[Hop]) -> dict[Ref, tuple[bool, int]]:
    """What travels where by the words of the guide, as one directed graph over (node, how), asked by networkx."""
    holds = (Label.module, Label.class_, Label.component)
    inside = nx.DiGraph()
    inside.add_node(of)
    inside.add_edges_from((s, e) for kind, s, e in hops if kind is Type.contains and s.label in holds)
    parts = {of} | nx.descendants(inside, of)
    steps = nx.DiGraph()
    steps.add_nodes_from((one, "sure") for one in parts)
    for kind, start, end in hops:
        if start in parts or start == end:
            continue
        if kind is Type.contains and start.label is Label.module:
            if end.label is not Label.module:
                steps.add_edges_from(((end, how), (start, "part")) for how in ("sure", "through"))
        elif kind is Type.contains and start.label is Label.component:
            continue
        elif kind is Type.contains and start.label is not Label.class_:
            steps.add_edges_from(((end, how), (start, "through")) for how in ("sure", "through", "part"))
        elif end.label is Label.module and end not in parts and kind is not Type.contains:
            weak = "through" if kind in {Type.imports, Type.depends_on} else "sure"
            steps.add_edge((end, "sure"), (start, weak))
            steps.add_edge((end, "through"), (start, "through"))
            if kind is not Type.depends_on:
                steps.add_edge((end, "part"), (start, "through"))
        else:
            steps.add_edges_from(((end, how), (start, how)) for how in ("sure", "through", "part"))
    lengths = nx.multi_source_dijkstra_path_length(steps, {(one, "sure") for one in parts})
    found: dict[Ref, tuple[bool, int]] = {}
    for how in ("part", "through", "sure"):
        found |= {one: (how == "sure", length) for (one, by), length in lengths.items() if by == how}
    return {one: told for one, told in found.items() if one not in parts}


@given(_graphs(), st.sampled_from(_REFS))
@settings(max_examples=300)
def test_impact_is_what_a_change_reaches(hops: list[Hop], of: Ref) -> None:
    level = Listed(hops)
    told = asyncio.run(impact(of, level, bounds=_WIDE))
    expected = _referee(of, hops)
    assert not told.cut
    assert {hit.ref: (hit.sure, hit.distance) for hit in told.hits} == expected
    for hit in told.hits:
        at = of
        for hop in hit.path:
            assert hop in hops
            assert at in hop[1:]
            at = hop[2] if hop[1] == at else hop[1]
        assert at == hit.ref
        assert len(hit.path) - hit.distance == sum(
            hop[0] is Type.contains and hop[1] == was for hop, was in _walked(of, hit.path)
        ), "only the way into its own parts is for nothing"
    assert [(not hit.sure, hit.distance) for hit in told.hits] == sorted((not h.sure, h.distance) for h in told.hits)
    assert level.asked <= 3 * (max((length for _, length in expected.values()), default=0) + 1) + len(_REFS)


def _walked(of: Ref, path: tuple[Hop, ...]) -> list[tuple[Hop, Ref]]:
    at, seen = of, []
    for hop in path:
        seen.append((hop, at))
        at = hop[2] if hop[1] == at else hop[1]
    return seen


@given(_graphs(), st.sampled_from(_REFS), st.randoms())
def test_the_order_of_an_answer_changes_nothing(hops: list[Hop], of: Ref, draw: random.Random) -> None:
    shuffled = list(hops)
    draw.shuffle(shuffled)
    assert asyncio.run(impact(of, Listed(hops))) == asyncio.run(impact(of, Listed(shuffled)))
    last = _REFS[3]
    assert asyncio.run(shortest(of, last, Listed(hops))) == asyncio.run(shortest(of, last, Listed(shuffled)))


def _impact(of: Ref, hops: list[Hop], **bounds: int) -> Impact:
    return asyncio.run(impact(of, Listed(hops), bounds=Bounds(**bounds)))


_SAVE, _CALLER = ref(Label.function, "store.save"), ref(Label.function, "publish.write")
_STORE, _PUBLISH, _PAGE = ref(Label.module, "store"), ref(Label.module, "publish"), ref(Label.module, "page")
_OTHER = ref(Label.module, "takes only something else")
_FLOW, _DEPLOYMENT = ref(Label.flow, "audit"), ref(Label.deployment, "audit/audit")


def test_what_only_hangs_on_the_module_is_told_apart_from_what_hangs_on_the_function() -> None:
    told = _impact(
        _SAVE,
        [
            (Type.contains, _STORE, _SAVE),
            (Type.contains, _PUBLISH, _CALLER),
            (Type.calls, _CALLER, _SAVE),
            (Type.imports, _PUBLISH, _STORE),
            (Type.imports, _PAGE, _STORE),
            (Type.depends_on, _OTHER, _STORE),
            (Type.uses, _FLOW, _CALLER),
            (Type.runs, _DEPLOYMENT, _FLOW),
        ],
    )
    sure = [(hit.ref, hit.distance) for hit in told.hits if hit.sure]
    assert sure == [(_CALLER, 1), (_FLOW, 2), (_DEPLOYMENT, 3)]
    assert {hit.ref for hit in told.hits if not hit.sure} == {_STORE, _PUBLISH, _PAGE}
    assert next(hit.path for hit in told.hits if hit.ref == _DEPLOYMENT) == (
        (Type.calls, _CALLER, _SAVE),
        (Type.uses, _FLOW, _CALLER),
        (Type.runs, _DEPLOYMENT, _FLOW),
    )


def test_a_method_that_changes_reaches_the_subclasses_of_its_class() -> None:
    method, base, child = ref(Label.function, "Base.go"), ref(Label.class_, "Base"), ref(Label.class_, "Child")
    told = _impact(method, [(Type.contains, base, method), (Type.inherits, child, base)])
    assert [(hit.ref, hit.sure) for hit in told.hits] == [(base, True), (child, True)]


def test_what_was_cut_is_said() -> None:
    many: list[Hop] = [(Type.calls, ref(Label.function, f"caller{n}"), _SAVE) for n in range(50)]
    assert len(_impact(_SAVE, many, nodes=20).hits) == 20
    assert "only the nearest 20 that are sure are told" in _impact(_SAVE, many, nodes=20).cut
    assert _impact(_SAVE, many, nodes=50).cut == ()
    assert "relationships at once" in _impact(_SAVE, many, edges=30).cut[0]
    chain: list[Hop] = [(Type.calls, ref(Label.function, n + 1), ref(Label.function, n)) for n in range(10)]
    assert _impact(ref(Label.function, 0), chain, depth=9).cut == ("deeper than 9 steps was not looked",)
    assert _impact(ref(Label.function, 0), chain, depth=10).cut == ()


def test_a_search_that_gives_up_does_not_say_that_there_is_no_path() -> None:
    chain: list[Hop] = [(Type.calls, ref(Label.function, n), ref(Label.function, n + 1)) for n in range(30)]
    ends = ref(Label.function, 0), ref(Label.function, 30)
    assert "longer than 10" in asyncio.run(shortest(*ends, Listed(chain), bounds=Bounds(depth=10))).cut
    found = asyncio.run(shortest(*ends, Listed(chain), bounds=Bounds(depth=30)))
    assert found.path is not None
    assert len(found.path) == 30
    assert asyncio.run(shortest(*reversed(ends), Listed(chain), way=Way.any, bounds=Bounds(depth=30))).path is not None
    assert asyncio.run(shortest(*reversed(ends), Listed(chain), bounds=Bounds(depth=30))).path is None


@given(_graphs(), st.lists(st.sampled_from(_REFS), min_size=1, max_size=3), st.integers(3, 20))
def test_a_neighbourhood_is_whole_or_says_that_it_is_not(hops: list[Hop], opened: list[Ref], most: int) -> None:
    told = asyncio.run(neighbourhood(opened, Listed(hops), nodes=most))
    shown = {one for one, _ in told.nodes}
    assert set(told.opened) <= shown
    assert len(shown) == len(told.nodes) <= most
    around = {end for hop in hops for end in hop[1:] if set(hop[1:]) & set(opened)}
    assert told.cut or shown == around | set(opened)
    assert set(told.hops) == {hop for hop in hops if set(hop[1:]) <= shown}
    assert told.nodes[0] == (opened[0], 0)


@pytest.mark.parametrize("bounds", [{"depth": 0}, {"nodes": 0}, {"edges": -1}, {"depth": 1_000}])
def test_bounds_that_make_no_sense_are_refused(bounds: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(bounds))} is"):
        Bounds(**bounds)
