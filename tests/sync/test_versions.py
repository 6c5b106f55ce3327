"""Devices that hear of the same versions come to the same, in whatever order they hear of them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.sync import Content, Kind, Policy, Vector, Version
from tasks.sync.names import conflict_path, folded, is_conflict, original_of, problem_of
from tasks.sync.reconcile import converge
from tasks.sync.versions import compare, counted, joined, merge, rank_of

ALIKE = rank_of(Policy.keep_both, None)
NAMES = ("anna", "bert", "cleo")
paths = st.sampled_from(["a", "a/b", "a/b/c", "d"])
steps = st.lists(
    st.tuples(st.sampled_from(NAMES), paths, st.sampled_from(["write", "delete", "folder", "hear"]), st.integers(0, 2)),
    max_size=25,
)


def file(number: int, mode: int = 0o644) -> Content:
    return Content(Kind.file, number.to_bytes(32, "big"), 1, mode)


def histories(happened: list[tuple[str, str, str, int]]) -> list[dict[str, Version]]:
    """The trees of three devices after what happened: changes of each, and each hearing of others now and then."""
    trees: dict[str, dict[str, Version]] = {name: {} for name in NAMES}
    for count, (name, path, what, other) in enumerate(happened, start=1):
        tree = trees[name]
        if what == "hear":
            trees[name] = converge(tree, [trees[NAMES[other]]], ALIKE).tree
            continue
        content = {"write": file(count), "delete": None, "folder": Content(Kind.directory, mode=0o755)}[what]
        before = tree.get(path)
        tree[path] = Version(content, counted(before.vector if before else (), name, count), name, count)
    return list(trees.values())


@given(steps, st.randoms(use_true_random=False))
def test_the_order_of_hearing_changes_nothing(happened: list[tuple[str, str, str, int]], choose: random.Random) -> None:
    trees = histories(happened)
    whole = converge({}, trees, ALIKE).tree
    shuffled = list(trees)
    choose.shuffle(shuffled)
    first, *others = shuffled
    again = converge(first, [*others, *others], ALIKE).tree
    # What lost its place may be known by a longer or shorter history; what stands there is the same.
    assert {path: one.content for path, one in again.items()} == {path: one.content for path, one in whole.items()}
    rest = converge(whole, trees, ALIKE)
    assert {path: one.content for path, one in rest.tree.items()} == {p: one.content for p, one in whole.items()}


@given(steps)
def test_everything_that_lives_lies_in_folders_that_live(happened: list[tuple[str, str, str, int]]) -> None:
    tree = converge({}, histories(happened), ALIKE).tree
    for path, version in tree.items():
        parent = path.rpartition("/")[0]
        if version.content is not None and parent:
            above = tree[parent].content
            assert above is not None
            assert above.kind is Kind.directory


def test_what_was_known_when_it_was_replaced_is_no_conflict_later() -> None:
    edited = Version(file(1), (("anna", 1),), "anna", 1)
    deleted = Version(None, (("bert", 1),), "bert", 1)
    survived, loser = merge(edited, deleted, ALIKE)  # at bert's
    assert (survived.content, loser) == (file(1), None)
    edited_again = Version(file(2), (("anna", 2),), "anna", 2)
    for one, other in ((survived, edited_again), (edited_again, survived)):
        winner, loser = merge(one, other, ALIKE)
        assert (winner.content, loser) == (file(2), None)
        assert winner.vector == (("anna", 2), ("bert", 1))


def test_permissions_alone_are_no_conflict() -> None:
    one = Version(file(1, 0o644), (("anna", 1),), "anna", 1)
    other = Version(file(1, 0o755), (("bert", 1),), "bert", 1)
    winner, loser = merge(one, other, ALIKE)
    assert winner.content == file(1, 0o755)
    assert loser is None


def test_policies_rank_and_disagreeing_devices_agree_all_the_same() -> None:
    older = Version(file(1), (("anna-00000000", 1),), "anna-00000000", 5)
    newer = Version(file(2), (("bert-00000000", 1),), "bert-00000000", 9)
    assert merge(older, newer, rank_of(Policy.newest, None)) == (
        newer._replace(vector=joined(older.vector, newer.vector)),
        older,
    )
    for_anna, _ = merge(older, newer, rank_of(Policy.prefer, "anna"))
    for_bert, _ = merge(older, newer, rank_of(Policy.prefer, "bert"))
    assert (for_anna.content, for_bert.content) == (file(1), file(2))
    results = {merge(for_anna, for_bert, rank_of(Policy.prefer, name))[0].content for name in ("anna", "bert")}
    assert len(results) == 1


@pytest.mark.parametrize(
    ("one", "other", "order"),
    [
        ((("a", 1),), (("a", 1),), "same"),
        ((("a", 2),), (("a", 1),), "newer"),
        ((("a", 1),), (("a", 1), ("b", 1)), "older"),
        ((("a", 2),), (("a", 1), ("b", 1)), "concurrent"),
        ((), (("a", 1),), "older"),
    ],
)
def test_how_vectors_stand_to_each_other(one: Vector, other: Vector, order: str) -> None:
    assert compare(one, other) == order


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc",
        "a/../b",
        "a//b",
        "./a",
        "a/",
        "a\x00",
        "é".replace("é", "e\u0301"),
        "\udcff",
        "x" * 256,
        ".lama-sync/a",
    ],
)
def test_names_that_could_escape_or_mean_something_else_are_refused(path: str) -> None:
    assert problem_of(path)


@given(st.text(min_size=1, max_size=300), st.integers(-(10**10), 10**13), st.text(max_size=80))
def test_conflict_copies_have_names_that_can_be(name: str, at: int, device: str) -> None:
    path = f"folder/{name}"
    if problem_of(path) is not None:
        return
    place = conflict_path(path, Version(file(3), (), device or "x", at))
    assert problem_of(place) is None
    assert is_conflict(place)
    assert conflict_path(place, Version(file(3), (), device or "x", at)) == place
    if len(name.encode()) < 150:
        assert folded(original_of(place)) == folded(path) or is_conflict(path)
