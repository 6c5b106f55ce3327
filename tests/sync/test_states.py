"""What a device remembers survives in PostgreSQL, as it was, and only what changed is written again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blocks.database import dsn
from blocks.settings import Settings
from models.sync import Content, Kind, Version
from tasks.sync.scan import Mark
from tasks.sync.state import State
from tasks.sync.states import Counters, PostgresStates, summaries

contents = st.builds(
    Content, st.sampled_from(Kind), st.binary(min_size=32, max_size=32), st.integers(0, 2**50), st.integers(0, 0o777),
    st.text("äb/.", max_size=5),
)  # fmt: skip
counts = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(1, 2**40))
versions = st.builds(
    Version, st.none() | contents, counts.map(lambda one: tuple(sorted(one.items()))),
    st.text("ab-1", min_size=1, max_size=8), st.integers(0, 2**40),
)  # fmt: skip
paths = st.text("ab/ä", min_size=1, max_size=8)
marks = st.builds(Mark, *[st.integers(0, 2**63 - 1)] * 4, sure=st.booleans())
states = st.builds(
    State,
    tree=st.dictionaries(paths, versions, max_size=20),
    counter=st.integers(0, 2**40),
    kept=st.sets(paths, max_size=3),
    bases=st.dictionaries(paths, st.binary(min_size=32, max_size=32), max_size=3),
    seen=st.dictionaries(st.sampled_from(["a", "b"]), st.binary(min_size=32, max_size=32)),
    ignored=st.dictionaries(paths, versions, max_size=3),
    filter=st.text("0f", max_size=5),
    began=st.booleans(),
).flatmap(lambda state: st.dictionaries(st.sampled_from(sorted(state.tree) or ["-"]), marks).map(
    lambda found: dataclasses.replace(state, marks={p: m for p, m in found.items() if p in state.tree})
))  # fmt: skip


@pytest.fixture
def connection(postgres: Settings, database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(dsn(postgres, database), autocommit=True) as opened:
        yield opened


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=states, second=states)
def test_what_was_remembered_is_known_again(connection: psycopg.Connection[Any], first: State, second: State) -> None:
    connection.execute("TRUNCATE sync_category, sync_shard, sync_done")
    for state in (first, second):
        keeper = PostgresStates(connection, "anna", "run")
        keeper.load("notes")
        keeper.save("notes", state, {})
        assert PostgresStates(connection, "anna", "run").load("notes") == state
    assert PostgresStates(connection, "bert", "run").load("notes") == State()
    assert list(summaries(connection, "anna")) == ["notes"]


def _version(number: int) -> Version:
    return Version(Content(Kind.file, bytes([number % 256]) * 32, number), (("anna", number),), "anna", 1)


def test_only_the_pieces_that_changed_are_written(connection: psycopg.Connection[Any]) -> None:
    keeper = PostgresStates(connection, "anna", "run-1")
    state = keeper.load("notes")
    for number in range(2000):
        state.tree[f"{number % 100}/{number}.txt"] = _version(number)
    keeper.save("notes", state, dict.fromkeys(state.tree, "told"))
    before = dict(connection.execute("SELECT shard, xmin::text FROM sync_shard").fetchall())
    state.tree["7/7.txt"] = _version(8)
    keeper.save("notes", state, {"7/7.txt": "done"})
    after = dict(connection.execute("SELECT shard, xmin::text FROM sync_shard").fetchall())
    assert sum(before[shard] != after[shard] for shard in after) == 1
    rows = connection.execute("SELECT run, what, cardinality(paths) FROM sync_done ORDER BY id").fetchall()
    assert rows == [("run-1", "told", 2000), ("run-1", "done", 1)]


def test_what_cannot_be_saved_whole_is_not_saved_at_all(connection: psycopg.Connection[Any]) -> None:
    keeper = PostgresStates(connection, "anna", "run")
    state = keeper.load("notes")
    state.tree["a"] = _version(1)
    keeper.save("notes", state, {"a": "told"})
    state.tree["a"] = _version(2)
    connection.execute("ALTER TABLE sync_done ADD CONSTRAINT full_disk CHECK (what <> 'done')")
    with pytest.raises(psycopg.Error):
        keeper.save("notes", state, {"a": "done"})
    connection.execute("ALTER TABLE sync_done DROP CONSTRAINT full_disk")
    assert PostgresStates(connection, "anna", "run").load("notes").tree == {"a": _version(1)}
    keeper.save("notes", state, {"a": "done"})
    assert PostgresStates(connection, "anna", "run").load("notes").tree == {"a": _version(2)}


def test_counters_of_the_store_are_known_again_and_tidying_is_due_now_and_then(
    connection: psycopg.Connection[Any],
) -> None:
    counters = Counters(connection, "anna")
    assert counters.load() == {}
    assert not counters.due(days=1)
    counters.save({("bert", "notes"): 3, ("bert", "code"): 4})
    assert counters.load() == {("bert", "notes"): 3, ("bert", "code"): 4}
    assert counters.due(days=1)
    assert not counters.due(days=1)
