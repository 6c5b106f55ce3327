"""Sensitive properties: encrypted where they are kept, and bound to their place."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from blocks.errors import ConfigurationError
from blocks.graph import Graph
from blocks.graph_keys import GraphKey, add_graph_key, drop_graph_keys, graph_keys
from blocks.home import Home
from blocks.settings import Settings
from models.graph import Label, NodeFact, Part, Ref
from models.graph_sensitive import MARK, SENSITIVE
from tasks.graph.rotation import renew
from tasks.graph.sealing import Seal, SealError
from tasks.graph.store import Store
from tasks.graph.transactions import Transactions
from tasks.graph.view import View

REF = Ref(Label.memory, "note/1")
KEY = GraphKey(bytes(range(32)))
OTHER = GraphKey(bytes(range(1, 33)))
SEAL = Seal((KEY,), SENSITIVE)

VALUES = st.one_of(
    st.text(), st.integers(-(2**63), 2**63 - 1), st.booleans(), st.floats(allow_nan=False, allow_infinity=False),
    st.lists(st.text()).map(tuple),
)  # fmt: skip


@given(VALUES)
def test_what_was_encrypted_is_read_back(value: object) -> None:
    closed = SEAL.close(REF, "text", value)  # type: ignore[arg-type]
    assert SEAL.open(REF, "text", closed) == value
    assert SEAL.close(REF, "text", value) == closed  # type: ignore[arg-type]


def test_equal_values_look_different_elsewhere() -> None:
    places = [
        (REF, "text"),
        (Ref(Label.memory, "note/2"), "text"),
        (Ref(Label.agent, "note/1"), "text"),
        (REF, "summary"),
    ]
    closed = [SEAL.close(ref, name, "secret") for ref, name in places]
    assert len(set(closed)) == len(places)
    for number, (ref, name) in enumerate(places):
        for other, text in enumerate(closed):
            if number != other:
                with pytest.raises(SealError, match="changed, or belongs"):
                    SEAL.open(ref, name, text)


@given(st.integers(0, 200), st.integers(1, 255))
def test_what_was_tampered_with_is_refused(place: int, change: int) -> None:
    head, _, text = SEAL.close(REF, "text", "a secret of some length").rpartition(":")
    content = bytearray(base64.b64decode(text))
    content[place % len(content)] ^= change
    with pytest.raises(SealError):
        SEAL.open(REF, "text", f"{head}:{base64.b64encode(content).decode()}")


def test_a_wrong_key_is_said() -> None:
    closed = SEAL.close(REF, "text", "secret")
    with pytest.raises(SealError, match=KEY.id):
        Seal((OTHER,), SENSITIVE).open(REF, "text", closed)
    assert Seal((OTHER, KEY), SENSITIVE).open(REF, "text", closed) == "secret"


def test_only_what_is_sensitive_is_encrypted() -> None:
    fact = SEAL.node(NodeFact(REF, {"text": "secret", "name": "open"}))
    assert fact.properties["name"] == "open"
    assert str(fact.properties["text"]).startswith(MARK)
    module = NodeFact(Ref(Label.module, "a"), {"text": "open"})
    assert SEAL.node(module) is module


def test_a_text_that_only_looks_encrypted_is_left() -> None:
    """Anybody may write such a text into a checkout; it must not make the graph unreadable."""
    forged = {"name": f"{MARK}00000000:AAAA", "doc": MARK}
    assert SEAL.opened(Ref(Label.module, "a"), forged) == forged
    assert SEAL.renewed(Ref(Label.module, "a"), forged) is None
    assert SEAL.renewed(REF, {"name": f"{MARK}00000000:AAAA"}) is None
    for reads in (SEAL.opened, SEAL.renewed):
        with pytest.raises(SealError):
            reads(REF, {"text": f"{MARK}00000000:AAAA"})


async def test_what_can_be_kept_can_be_kept_encrypted(graph: Settings) -> None:
    """Encrypted, a text is longer; that is no reason to refuse it, and no way around the limits either."""
    facts = [
        _memory("long", "\N{SNOWMAN}\x01" * 50_000),
        NodeFact(Ref(Label.memory, "vector"), {"embedding": tuple(1 / (n + 1) for n in range(10_000))}),
    ]
    async with Store.open(Graph.of(graph)) as store:
        view = View(store, SEAL)
        await view.replace_all([Part("s", facts)])
        found = await view.get([fact.ref for fact in facts])
        assert {ref: node.properties for ref, node in found.items()} == {fact.ref: fact.properties for fact in facts}
        for wrong in ("x" * 100_001, "half \ud800", "nul \0"):
            with pytest.raises(ConfigurationError):
                await view.replace_all([Part("s", [_memory("wrong", wrong)])])
        forged = NodeFact(Ref(Label.function, "f"), {"text": MARK + "x" * 100_000})
        with pytest.raises(ConfigurationError, match="at most 100000"):
            await view.replace_all([Part("s", [forged])])


async def test_a_forged_text_stops_no_change_of_keys(graph: Settings) -> None:
    block = Graph.of(graph)
    async with Store.open(block) as store, block.get_client() as driver:
        forged = NodeFact(Ref(Label.function, "f"), {"summary": f"{MARK}00000000:AAAA"})
        await View(store, SEAL).replace_all([Part("s", [forged, _memory("one", "SECRET")])])
        assert await renew(Transactions(driver, block.database), Seal((OTHER, KEY), SENSITIVE)) == 1
        found = await View(store, Seal((OTHER,), SENSITIVE)).get([forged.ref, _memory("one", "").ref])
        assert found[forged.ref].properties == forged.properties


def test_keys_are_made_once_and_kept_from_others(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    Home(settings).prepare()
    (first,) = graph_keys(settings)
    assert graph_keys(settings) == (first,)
    assert (tmp_path / "secrets" / "graph-keys").stat().st_mode & 0o077 == 0
    second = add_graph_key(settings)
    assert graph_keys(settings) == (second, first)
    assert drop_graph_keys(settings, second) == 1
    assert graph_keys(settings) == (second,)
    assert base64.b64encode(second.content).decode() not in repr(second)


def test_keys_may_be_given(tmp_path: Path) -> None:
    one, two = (base64.b64encode(os.urandom(32)).decode() for _ in range(2))
    settings = Settings(home=tmp_path, graph_key=SecretStr(f"{one}, {two}"))
    assert len(graph_keys(settings)) == 2
    with pytest.raises(ConfigurationError, match="LAMA_GRAPH_KEY"):
        add_graph_key(settings)
    for wrong in ("short", "", "ä", base64.b64encode(b"x" * 31).decode()):
        with pytest.raises(ConfigurationError, match="32 bytes"):
            graph_keys(Settings(home=tmp_path, graph_key=SecretStr(wrong + ",")))


def _memory(key: str, text: str) -> NodeFact:
    return NodeFact(Ref(Label.memory, key), {"text": text, "name": key})


async def test_no_plain_text_is_in_the_database_and_keys_rotate(graph: Settings) -> None:
    """In live nodes, in what several sources say, and in the past; before and after the keys have changed."""
    block = Graph.of(graph)
    async with Store.open(block) as store, block.get_client() as driver:
        await store.prepare()
        transactions = Transactions(driver, block.database)
        view = View(store, SEAL)
        await view.replace_all([Part("a", [_memory("one", "SECRET-1"), _memory("two", "SECRET-2")], mark="m")])
        await view.replace_all([Part("b", [_memory("two", "SECRET-3")])])
        written = await view.replace_all(
            [Part("a", [_memory("one", "SECRET-4"), _memory("two", "SECRET-2")], mark="m")]
        )
        assert (written.changed, written.same) == (1, 1)
        again = await view.replace_all([Part("a", [_memory("one", "SECRET-4"), _memory("two", "SECRET-2")], mark="m")])
        assert (again.same, again.changed, again.created, again.closed) == (2, 0, 0, 0)

        async def everything() -> str:
            return repr([dict(row["p"]) for row in await transactions.read("MATCH (n) RETURN properties(n) AS p")])

        content = await everything()
        assert content.count(f"{MARK}{KEY.id}") >= 5
        assert "SECRET" not in content
        before = {
            ref: node.properties for ref, node in (await view.get([_memory(k, "").ref for k in ("one", "two")])).items()
        }
        assert before[Ref(Label.memory, "one")]["text"] == "SECRET-4"
        history = [node.properties["text"] for node in await view.history(Ref(Label.memory, "one"))]

        both = Seal((OTHER, KEY), SENSITIVE)
        assert await renew(transactions, both) == 2
        assert await renew(transactions, both) == 0
        content = await everything()
        assert KEY.id not in content
        assert "SECRET" not in content
        fresh = View(store, Seal((OTHER,), SENSITIVE))
        assert {ref: node.properties for ref, node in (await fresh.get(list(before))).items()} == before
        assert [node.properties["text"] for node in await fresh.history(Ref(Label.memory, "one"))] == history
        same = await fresh.replace_all([Part("a", [_memory("one", "SECRET-4"), _memory("two", "SECRET-2")], mark="m")])
        assert (same.same, same.changed) == (2, 0)
        with pytest.raises(SealError, match=OTHER.id):
            await view.get(list(before))
