"""The embedded graph server: who gets in, what is on the disk, and what a crash leaves."""

from __future__ import annotations

import signal
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from neo4j import GraphDatabase
from neo4j.exceptions import AuthError, DriverError, Neo4jError
from pydantic import SecretStr, ValidationError

from blocks.errors import ConfigurationError
from blocks.graph import Graph
from blocks.graph_access import DATABASE, READER_SECRET, WRITER_SECRET
from blocks.home import Home
from blocks.settings import Settings
from deployments.embedded_graph import EmbeddedGraph, not_run_because
from deployments.programs import programs
from models.graph_settings import GraphSettings
from tasks.health_check.architecture.answer import Outcome
from tasks.health_check.architecture.look import own_parts
from tasks.health_check.architecture.probe import probe
from tests.graph.own_server import OwnServer, own_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    with own_server(tmp_path_factory.mktemp("home")) as server:
        yield server


def _listening(server: OwnServer) -> list[str]:
    assert server.process is not None
    connections = psutil.Process(server.process.pid).net_connections(kind="tcp")
    return [f"{one.laddr.ip}:{one.laddr.port}" for one in connections if one.status == psutil.CONN_LISTEN]


def test_it_listens_on_loopback_only(server: OwnServer) -> None:
    listening = _listening(server)
    assert listening
    assert {place.rpartition(":")[0].removeprefix("::ffff:") for place in listening} == {"127.0.0.1"}


def test_its_other_protocol_lets_in_nobody_but_its_users(server: OwnServer) -> None:
    port = next(
        one for place in _listening(server) if (one := place.rpartition(":")[2]) != str(server.settings.graph_port)
    )
    url = f"http://127.0.0.1:{port}/api/v1/server"
    for auth in (None, ("root", "playwithdata"), ("root", "root"), ("root", ""), ("admin", "admin")):
        assert httpx.get(url, auth=auth).status_code in {401, 403}
    reader = ("lama-reader", Home(server.settings).secret(READER_SECRET))
    for command in ('create user {"name": "eve", "password": "eve-eve-eve"}', f"drop database {DATABASE}", "shutdown"):
        assert httpx.post(url, auth=reader, json={"command": command}).status_code >= 400
    assert server.embedded.ready()


def test_passwords_show_nowhere(server: OwnServer) -> None:
    home = Home(server.settings)
    secrets = [home.secret(WRITER_SECRET), home.secret(READER_SECRET)]
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    assert process.name() == "java"
    shown = " ".join(process.cmdline()) + " ".join(f"{n}={v}" for n, v in process.environ().items())
    written = "".join(
        path.read_text(errors="replace") for path in server.settings.home.rglob("*")
        if path.is_file() and home.secrets not in path.parents
    )  # fmt: skip
    for secret in secrets:
        assert secret not in shown
        assert secret not in written
    assert not [name for name in process.environ() if name.startswith("LAMA_") and name != "LAMA_INSTANCE"]


def test_nobody_else_reads_its_files(server: OwnServer) -> None:
    folder = server.embedded.path
    open_to_others = [
        str(path) for path in (folder, *folder.rglob("*"))
        if not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]  # fmt: skip
    assert not open_to_others


def test_strangers_are_refused(server: OwnServer) -> None:
    graph = Graph.of(server.settings)
    for user, password in (("root", "playwithdata"), ("neo4j", "neo4j"), ("lama", ""), ("lama", "wrong-password")):
        with (
            GraphDatabase.driver(graph.uri, auth=(user, password)) as driver,
            pytest.raises((AuthError, DriverError, Neo4jError)),
        ):
            driver.execute_query("RETURN 1")


def test_the_reader_changes_nothing(server: OwnServer) -> None:
    with Graph.of(server.settings, reader=True).get_sync_client() as driver, pytest.raises(Neo4jError):
        driver.execute_query("CREATE (n:Attack)")
    with Graph.of(server.settings).get_sync_client() as driver:
        assert driver.execute_query("MATCH (n:Attack) RETURN count(n) AS c").records[0]["c"] == 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_what_was_acknowledged_survives(server: OwnServer, how: signal.Signals) -> None:
    """Killed or stopped while four write: what they were told is written is there after the next start."""
    acknowledged: list[str] = []
    halfway = threading.Event()
    with Graph.of(server.settings).get_sync_client() as driver:  # labels are there before facts, as by the migrations
        driver.execute_query("CREATE CONSTRAINT kept IF NOT EXISTS FOR (n:Kept) REQUIRE n.key IS UNIQUE")

    def write(name: str) -> None:
        with Graph.of(server.settings).get_sync_client() as driver, driver.session() as session:
            for number in range(2000):
                key = f"{how.name}-{name}-{number}"
                try:
                    session.run("CREATE (n:Kept {key: $key})", key=key).consume()
                except (Neo4jError, DriverError, OSError):
                    if not server.embedded.ready():
                        return
                    continue
                acknowledged.append(key)
                if len(acknowledged) > 100:
                    halfway.set()

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    assert halfway.wait(60)
    code = server.end(how)
    for thread in threads:
        thread.join(90)
    assert code == -how
    server.start()
    with Graph.of(server.settings).get_sync_client() as driver:
        found = {record["key"] for record in driver.execute_query("MATCH (n:Kept) RETURN n.key AS key").records}
    lost = set(acknowledged) - found
    assert not lost, (len(acknowledged), len(lost))


def test_too_big_a_question_ends_it_and_it_comes_back(server: OwnServer) -> None:
    with Graph.of(server.settings).get_sync_client() as driver:
        driver.execute_query("CREATE (n:Kept {key: 'before'})")
    doubled = "WITH 'a' AS s " + "WITH s + s AS s " * 40 + "RETURN s"
    with (
        Graph.of(server.settings, reader=True).get_sync_client() as driver,
        pytest.raises((DriverError, Neo4jError)),
        driver.session() as session,  # which does not try again
    ):
        session.run(doubled).consume()
    assert server.process is not None
    if not server.embedded.ready():
        assert server.process.wait(30) != 0
        server.start()
    with Graph.of(server.settings).get_sync_client() as driver:
        assert driver.execute_query("MATCH (n:Kept {key: 'before'}) RETURN count(n) AS c").records[0]["c"] == 1


def test_when_it_is_not_run_is_said(config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not_run_because(config, GraphSettings()) is None
    assert "graph" in programs(config)
    elsewhere = config.model_copy(update={"graph_uri": "bolt://graph.example:7687", "graph_password": SecretStr("x")})
    assert "LAMA_GRAPH_URI" in str(not_run_because(elsewhere, GraphSettings()))
    assert "graph" not in programs(elsewhere)
    assert Graph.of(elsewhere).uri == "bolt://graph.example:7687"
    assert "embedded" in str(not_run_because(config, GraphSettings(embedded=False)))
    monkeypatch.setattr("deployments.embedded_graph.embedded_installed", lambda: False)
    assert "not installed" in str(not_run_because(config, GraphSettings()))
    assert "graph" not in programs(config)


def test_a_planted_link_is_refused(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    Home(settings).prepare()
    (tmp_path / "elsewhere").mkdir()
    (settings.home / "graph").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="link"):
        EmbeddedGraph(settings, GraphSettings()).prepare()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_its_memory_is_the_one_that_is_set(config: Settings) -> None:
    command = EmbeddedGraph(config, GraphSettings(heap_mb=2048)).command()
    assert "-Xmx2048m" in command


async def test_the_health_check_looks_at_it(server: OwnServer) -> None:
    service, password = own_parts(server.settings, graph=True)[-1]
    answer = await probe(service, password)
    assert answer.outcome is Outcome.up, answer
    assert "ArcadeDB" in str(answer.version)
    elsewhere = server.settings.model_copy(update={"graph_uri": "bolt://graph.example:7687", "graph_user": "a@b"})
    assert own_parts(elsewhere, graph=True)[-1][0].url == "bolt://a%40b@graph.example:7687"


@pytest.mark.parametrize("uri", ["http://127.0.0.1:1", "bolt://", "bolt://ada:secret-word@graph.example", "graph"])
def test_an_address_that_is_none_is_refused(uri: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(graph_uri=uri)
    assert "secret-word" not in str([one["msg"] for one in caught.value.errors()])
