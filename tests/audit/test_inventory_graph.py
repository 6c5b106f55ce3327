"""Who brings in what."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.advisories.package import NPM, PYPI, Package
from tasks.audit.component import Component, Evidence, Place
from tasks.audit.inventory.graph import mark


def asked(name: str, file: str = "pyproject.toml", ecosystem: str = PYPI) -> Component:
    return Component(Package(ecosystem, name), None, Place(file), Evidence.declared)


def locked(name: str, *requires: str, version: str = "1", file: str = "uv.lock", ecosystem: str = PYPI) -> Component:
    edges = tuple((required.partition("==")[0], required.partition("==")[2]) for required in requires)
    return Component(Package(ecosystem, name), version, Place(file), Evidence.locked, requires=edges)


def marked(*components: Component, own: frozenset[Package] = frozenset()) -> dict[tuple[str, str], Component]:
    return {(one.place.file, f"{one.package.name} {one.version}"): one for one in mark(components, own)}


def test_the_shortest_path_from_what_is_asked_for_is_told() -> None:
    found = marked(asked("a"), locked("a", "b"), locked("b", "c", "d"), locked("c", "d"), locked("d"), locked("e", "d"))
    told = {name: (one.direct, one.via) for (file, name), one in found.items() if file == "uv.lock"}
    assert told == {
        "a 1": (True, ()),
        "b 1": (False, ("a",)),
        "c 1": (False, ("a", "b")),
        "d 1": (False, ("a", "b")),
        "e 1": (False, ()),
    }


def test_of_several_versions_the_one_that_is_meant_is_followed() -> None:
    found = marked(asked("a"), locked("a", "b==2"), locked("b", version="1"), locked("b", version="2"))
    assert found["uv.lock", "b 1"].via == ()
    assert found["uv.lock", "b 2"].via == ("a",)


def test_each_folder_and_each_ecosystem_is_a_project_of_its_own() -> None:
    found = marked(
        asked("a", "one/pyproject.toml"),
        asked("b", "two/requirements/base.txt"),
        asked("a", "one/package.json", NPM),
        locked("a", "b", file="one/uv.lock"),
        locked("b", file="one/uv.lock"),
        locked("b", "a", file="two/locks/uv.lock"),
        locked("a", file="two/locks/uv.lock"),
        locked("c", file="three/uv.lock"),
    )
    assert found["one/uv.lock", "b 1"].via == ("a",)
    assert found["two/locks/uv.lock", "b 1"].direct is True
    assert found["two/locks/uv.lock", "a 1"].via == ("b",)
    assert found["three/uv.lock", "c 1"].direct is None


def test_what_the_locked_project_itself_needs_is_direct() -> None:
    found = marked(locked("site", "a"), locked("a", "b"), locked("b"), own=frozenset({Package(PYPI, "site")}))
    assert found["uv.lock", "site 1"].direct is None
    assert (found["uv.lock", "a 1"].direct, found["uv.lock", "b 1"].via) == (True, ("a",))


def test_an_environment_serves_all_projects_below_it() -> None:
    place = ".venv/lib/python3.12/site-packages/"
    installed = [
        Component(Package(PYPI, name), "1", Place(f"{place}{name}-1.dist-info"), Evidence.installed, requires=requires)
        for name, requires in (("a", (("b", "1"),)), ("b", ()))
    ]
    found = marked(asked("a", "apps/web/pyproject.toml"), *installed)
    assert found[f"{place}b-1.dist-info", "b 1"].via == ("a",)


def test_a_file_without_edges_learns_them_from_another_of_its_project() -> None:
    pin = Component(Package(PYPI, "b"), "1", Place("constraints.txt"), Evidence.constraint)
    bare = locked("b", file="Pipfile.lock")
    found = marked(asked("a"), locked("a", "b"), locked("b"), pin, bare)
    assert (found["constraints.txt", "b 1"].direct, found["constraints.txt", "b 1"].via) == (False, ("a",))
    assert found["Pipfile.lock", "b 1"].via == ("a",)


@settings(max_examples=50)
@given(
    st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=10), st.sets(st.integers(0, 9), min_size=1)
)
def test_every_path_is_a_path_and_none_is_shorter(edges, direct) -> None:
    count = len(edges)
    parts = [locked(f"p{at}", *(f"p{to}" for to in needs if to < count)) for at, needs in enumerate(edges)]
    starts = {at for at in direct if at < count}
    found = mark([*parts, *(asked(f"p{at}") for at in starts)], frozenset())[:count]
    distance = dict.fromkeys(starts, 0)
    for _ in range(count):
        for at, needs in enumerate(edges):
            for to in needs:
                if at in distance and to < count:
                    distance[to] = min(distance.get(to, count), distance[at] + 1)
    for at, one in enumerate(found):
        assert one.direct is (at in starts if starts else None)
        assert len(one.via) == distance.get(at, 0)
        steps = [*(int(name[1:]) for name in one.via), at]
        assert all(later in edges[earlier] for earlier, later in pairwise(steps))
        assert not one.via or steps[0] in starts
        assert replace(one, direct=None, via=()) == parts[at]


def test_25_000_components_and_a_graph_made_to_be_slow_take_seconds() -> None:
    many = [asked(f"p{at}-0", f"{at}/pyproject.toml") for at in range(50)]
    for at in range(50):
        file = f"{at}/uv.lock"
        many += [locked(f"p{at}-{to}", *(f"p{at}-{to + by}" for by in (1, 2, 3)), file=file) for to in range(500)]
    begun = time.monotonic()
    found = mark(many, frozenset())
    assert time.monotonic() - begun < 5  # 0.4 s on an idle machine
    assert found[-1].via[0] == "p49-0"
    same = [locked("a", *["a"] * 100, version=str(number)) for number in range(1_000)]
    chain = [locked(f"c{at}", f"c{at + 1}") for at in range(5_000)]
    begun = time.monotonic()
    found = mark([asked("a"), asked("c0"), *same, *chain], frozenset())
    assert time.monotonic() - begun < 10
    assert max(len(one.via) for one in found) < 100
