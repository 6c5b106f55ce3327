"""`lama graph` against a real server: questions answered, in words and as JSON, and errors that say what to do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from click.testing import CliRunner, Result

from blocks.errors import LamaError
from blocks.settings import settings
from lama.cli import cli
from models.graph import Label, NodeFact, Part, Ref, RelationshipFact, Type
from tasks.graph.store import Store
from tests.bolt_server import PASSWORD, BoltServer

_SAVE = Ref(Label.function, "shop:app.store.save")
_SHOW = Ref(Label.function, "shop:app.page.show")
_FLOW = Ref(Label.flow, "shop:nightly")
_OTHER = Ref(Label.function, "web:lib.store.save")
_EVIL = Ref(Label.document, "shop:docs/\u202e[red]evil[/red].md")
_GONE = Ref(Label.class_, "shop:app.away")
_HOPS = [(Type.calls, _SHOW, _SAVE), (Type.uses, _FLOW, _SHOW), (Type.describes, _EVIL, _SAVE)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoltServer]:
    running = BoltServer(tmp_path_factory.mktemp("graph"))
    try:
        running.start()
        asyncio.run(_fill(running))
        yield running
    finally:
        running.kill()


async def _fill(server: BoltServer) -> None:
    nodes = [NodeFact(one, {"name": one.key.rpartition(".")[2]}) for one in (_SAVE, _SHOW, _OTHER)]
    nodes += [NodeFact(_FLOW, {"name": "nightly"}), NodeFact(_EVIL, {"name": _EVIL.key.rpartition("/")[2]})]
    async with Store.open(server.block) as store:
        await store.prepare()
        await store.replace_all([Part("test", nodes, [RelationshipFact(*hop) for hop in _HOPS])])
        changed = [NodeFact(_SAVE, {"name": "save", "summary": "Keeps."}), *nodes[1:]]
        await store.replace_all([Part("test", changed, [RelationshipFact(*hop) for hop in _HOPS])])
        many = [NodeFact(Ref(Label.class_, f"many:m.C{n}.Meta"), {"name": "Meta"}) for n in range(1_500)]
        await store.replace_all([Part("many", many), Part("gone", [NodeFact(_GONE, {"name": "away"})])])
        await store.forget(["gone"])


@pytest.fixture
def here(server: BoltServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("LAMA_GRAPH_URI", f"bolt://{server.address}")
    monkeypatch.setenv("LAMA_GRAPH_USER", "root")
    monkeypatch.setenv("LAMA_GRAPH_PASSWORD", PASSWORD)
    settings.cache_clear()
    yield
    monkeypatch.undo()
    settings.cache_clear()


def ask(*words: str) -> Result:
    return CliRunner().invoke(cli, ["graph", *words], standalone_mode=False)


def answer(*words: str) -> Any:
    result = ask(*words, "--json")
    assert result.exception is None, result.exception
    return json.loads(result.stdout)


@pytest.mark.usefixtures("here")
def test_impact_is_told_with_its_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # a narrow table would break the names
    told = answer("impact", "app.store.save")
    assert [(hit["key"], hit["distance"], hit["sure"]) for hit in told["hits"]] == [
        (_EVIL.key, 1, True), (_SHOW.key, 1, True), (_FLOW.key, 2, True),
    ]  # fmt: skip
    words = ask("impact", "shop:app.store.save", "--paths").stdout
    assert "3 hang on it" in words
    assert "\u202e" not in words, "what turns the direction of writing does not reach the terminal"
    assert "[red]evil[/red]" in words, "and what a terminal's markup would be is shown as it is"
    assert answer("impact", "app.store.save", "--type", "CALLS")["hits"][0]["key"] == _SHOW.key
    assert answer("impact", "app.store.save", "--limit", "1")["cut"]
    assert "changes: at least 1 hang on it" in ask("impact", "shop:app.store.save", "--limit", "1").stdout


@pytest.mark.usefixtures("here")
def test_a_name_that_several_have_lists_them_and_one_that_nobody_has_says_so() -> None:
    with_both = ask("impact", "store.save")
    assert isinstance(with_both.exception, LamaError)
    assert "Function:shop:app.store.save, Function:web:lib.store.save" in str(with_both.exception)
    assert "nothing that is called 'gone'" in str(ask("impact", "gone").exception)
    assert ask("find", "store.save").stdout.split() == ["Function:shop:app.store.save", "Function:web:lib.store.save"]
    assert ask("find", "nightly", "--label", "flow").stdout.split() == ["Flow:shop:nightly"]
    assert ask("find", "nightly", "--label", "function").return_value == 2
    as_json = ask("find", "nightly", "--label", "function", "--json")
    assert (as_json.return_value, json.loads(as_json.stdout)) == (2, [])


@pytest.mark.usefixtures("here")
def test_a_path_is_told_whichever_of_both_is_named_first() -> None:
    told = "2 steps: Flow:shop:nightly -USES-> Function:shop:app.page.show -CALLS-> Function:shop:app.store.save\n"
    assert ask("path", "nightly", "app.store.save").stdout == told
    assert ask("path", "app.store.save", "nightly").stdout == told
    assert "does not lead to" in ask("path", "nightly", "lib.store.save").stdout
    assert "evil" in ask("path", "nightly", _EVIL.key, "--any").stdout


@pytest.mark.usefixtures("here")
def test_what_was_once_is_told(server: BoltServer) -> None:
    records = answer("history", "app.store.save")
    assert [record["properties"].get("summary") for record in records][-1] == "Keeps."
    assert len(records) >= 2
    first = records[0]["recorded_from"]
    assert answer("neighbours", "app.page.show", "--recorded", first)["nodes"]
    assert isinstance(ask("impact", "app.store.save", "--valid", "2001-01-01").exception, LamaError), "it was not yet"
    assert "no time such as" in str(ask("impact", "app.store.save", "--valid", "yesterday").exception)


@pytest.mark.usefixtures("here")
def test_one_of_very_many_of_a_name_is_found_by_as_much_as_tells_it_apart() -> None:
    for n in (0, 777, 1_499):
        assert ask("find", f"C{n}.Meta").stdout == f"Class:many:m.C{n}.Meta\n"
        assert answer("impact", f"Class:many:m.C{n}.Meta")["of"]["key"] == f"many:m.C{n}.Meta"


@pytest.mark.usefixtures("here")
def test_what_has_gone_has_a_history() -> None:
    for name in ("Class:shop:app.away", "shop:app.away", "app.away", "away"):
        assert answer("history", name)[-1]["valid_to"] is not None
    assert isinstance(ask("history", "never.was").exception, LamaError)
    assert isinstance(ask("impact", "Class:shop:app.away").exception, LamaError)


@pytest.mark.usefixtures("here")
def test_neighbours_stats_and_cypher() -> None:
    words = ask("neighbours", "app.page.show").stdout
    assert "Function:shop:app.store.save" in words
    assert "Flow:shop:nightly" in words
    assert answer("stats")["nodes"]["Function"] == 3
    table = ask("stats").stdout
    assert "nodes in all" in table
    assert "relationships in all" in table
    assert answer("cypher", "MATCH (n:Function) RETURN count(n) AS n")["rows"] == [[3]]
    assert answer("cypher", "--read-only", "RETURN $x AS x", "-p", "x=[1]")["rows"] == [[[1]]]
    refused = ask("cypher", "MATCH (n) DETACH DELETE n")
    assert isinstance(refused.exception, LamaError)
    assert answer("stats")["nodes"]["Function"] == 3


@pytest.mark.usefixtures("here")
def test_the_graph_is_written_out(tmp_path: Path) -> None:
    target = tmp_path / "graph.graphml"
    assert ask("export", "--output", str(target)).return_value == 0
    assert len(nx.read_graphml(target)) == 1_505
    assert [path.name for path in tmp_path.iterdir()] == ["graph.graphml"]
    assert target.stat().st_mode & 0o777 == 0o600
    assert ask("export", "--format", "cypher").stdout.count("MERGE (n:") >= 4
    assert isinstance(ask("export", "--output", str(tmp_path / "gone" / "x")).exception, LamaError)


def test_a_server_that_is_away_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMA_GRAPH_URI", "bolt://127.0.0.1:9")
    settings.cache_clear()
    try:
        for words in (["impact", "x"], ["stats"], ["export"], ["cypher", "RETURN 1"]):
            error = ask(*words).exception
            assert isinstance(error, LamaError), words
            assert "does not answer" in str(error), error
            assert "lama status" in str(error), error
    finally:
        monkeypatch.undo()
        settings.cache_clear()


def test_labels_are_completed_without_a_server() -> None:
    from click.shell_completion import ShellComplete

    completing = ShellComplete(cli, {}, "lama", "_LAMA_COMPLETE")
    assert [one.value for one in completing.get_completions(["graph", "impact"], "d")] == [
        "Deployment:", "Dependency:", "Document:",
    ]  # fmt: skip
