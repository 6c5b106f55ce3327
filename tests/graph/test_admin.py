"""`lama graph migrate`, `backup`, `restore`, `rotate-key` and `cypher` as people call them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from blocks.errors import ConfigurationError
from blocks.graph import Graph
from blocks.graph_keys import graph_keys
from blocks.settings import Settings, settings
from lama.cli import cli
from models.graph import Label, NodeFact, Part, Ref
from models.graph_sensitive import MARK
from tasks.event_loop import run
from tasks.graph.migrations import LATEST
from tasks.graph.sealing import Seal
from tasks.graph.store import Store
from tasks.graph.tokens import QueryRefusedError
from tasks.graph.view import View
from tests.conftest import free_port


def _lama(*arguments: str) -> Any:
    result = CliRunner().invoke(cli, ["graph", *arguments], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return json.loads(result.stdout) if "--json" in arguments else result.stdout


def _fill(config: Settings) -> None:
    async def fill() -> None:
        async with Store.open(Graph.of(config)) as store:
            facts = [NodeFact(Ref(Label.memory, f"m{n}"), {"text": f"secret {n}", "name": f"m{n}"}) for n in range(3)]
            await View(store, Seal.of(config)).replace_all([Part("s", facts)])

    run(fill())


def _texts(config: Settings) -> list[str]:
    with Graph.of(config).get_sync_client() as driver:
        rows = driver.execute_query("MATCH (n:Memory) RETURN n.text AS text ORDER BY n.key").records
        return [row["text"] for row in rows]


def test_from_an_empty_graph_to_a_restored_one(graph: Settings, tmp_path: Path) -> None:
    assert _lama("migrate", "--to", "0", "--json")["after"] == 0
    assert "would go up 1" in _lama("migrate", "--dry-run")
    assert _lama("migrate", "--json")["after"] == LATEST
    assert f"version {LATEST}" in _lama("migrate")
    _fill(graph)
    file = tmp_path / "graph.backup"
    made = _lama("backup", str(file), "--json")
    assert (made["records"], made["schema"]) == (3, LATEST)
    (tmp_path / "second").write_text("somebody's own")
    with pytest.raises(ConfigurationError, match="second is there already"):
        _lama("backup", str(tmp_path / "second"))
    assert (tmp_path / "second").read_text() == "somebody's own"
    assert "3 records" in _lama("backup", str(tmp_path / "second"), "--overwrite")
    before = _texts(graph)
    with pytest.raises(ConfigurationError, match="not empty"):
        _lama("restore", str(file))
    assert "3 records are back" in _lama("restore", str(file), "--into-empty")
    assert _texts(graph) == before

    (old,) = graph_keys(graph)
    turned = _lama("rotate-key", "--json")
    assert (turned["renewed"], turned["dropped"], turned["kept"]) == (3, 0, 1)
    new = graph_keys(graph)[0]
    assert new.id == turned["key"] != old.id
    after = _texts(graph)
    assert all(text.startswith(f"{MARK}{new.id}:") for text in after)
    assert not set(before) & set(after)
    again = _lama("rotate-key", "--no-new-key", "--json")
    assert (again["renewed"], again["dropped"], again["key"]) == (0, 0, new.id)
    _lama("restore", str(file), "--into-empty")
    assert _texts(graph) == before, "a backup of before can still be read"
    last = _lama("rotate-key", "--no-new-key", "--forget-old", "--json")
    assert (last["renewed"], last["dropped"], last["kept"]) == (3, 1, 0)
    assert graph_keys(graph) == (new,)


def test_a_question_that_writes_is_refused(graph: Settings) -> None:
    _fill(graph)
    assert _lama("cypher", "MATCH (n:Memory) RETURN count(n) AS c", "--json")["rows"] == [[3]]
    with pytest.raises(QueryRefusedError, match="only read"):
        _lama("cypher", "MATCH (n) DETACH DELETE n")
    assert len(_texts(graph)) == 3


def test_where_there_is_no_graph_it_is_said(graph: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lama.toml").write_text("[graph]\nembedded = false\n")
    monkeypatch.setenv("LAMA_GRAPH_PORT", str(free_port()))
    monkeypatch.setenv("LAMA_CONFIG", str(tmp_path / "lama.toml"))
    settings.cache_clear()
    try:
        asked = (["migrate"], ["stats"], ["find", "x"], ["export"], ["cypher", "RETURN 1"], ["ingest"])
        for words in asked:
            result = CliRunner().invoke(cli, ["graph", *words], standalone_mode=False)
            assert isinstance(result.exception, ConfigurationError), (words, result.exception)
            assert "no graph server is run here: `embedded` of" in str(result.exception)
    finally:
        monkeypatch.undo()
        settings.cache_clear()
