"""Real systems for the tests, each started once a session: PostgreSQL, the Prefect server, the whole platform."""

from __future__ import annotations

import os
import socket
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# A home of its own for the session, decided before anything reads the environment. Not below pytest's own folder:
# the paths of sockets are limited to some hundred bytes.
_HOME = Path(tempfile.mkdtemp(prefix="lama-test-"))
_KEPT = {"LAMA_HOME": str(_HOME)}


def free_port() -> int:
    """A TCP port on loopback that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# New examples of the property tests, rather than the same ones every time.
_EXPLORES = os.environ.get("LAMA_EXPLORE") == "1"

# How long the long tests are; nothing of ours reads these.
_LENGTHS = {
    "LAMA_CANCEL_MOMENTS",
    "LAMA_GRAPH_KILLS",
    "LAMA_HOST_STORM",
    "LAMA_SYNC_KILLS",
    "LAMA_SYNC_SEQUENCES",
    "LAMA_SYNC_SOAK_S",
}
for _name in [name for name in os.environ if name.startswith(("LAMA_", "PREFECT_")) and name not in _LENGTHS]:
    del os.environ[_name]
for _name in ("GOOGLE_API_KEY", "GEMINI_API_KEY"):
    os.environ.pop(_name, None)
os.environ.update(
    _KEPT,
    LAMA_PREFECT_PORT=str(free_port()),
    LAMA_GATEWAY_PORT=str(free_port()),
    LAMA_MODEL_HOST_PORT=str(free_port()),
    LAMA_GRAPH_PORT=str(free_port()),
)

from blocks.prefect_server import client_environment  # noqa: E402
from blocks.settings import Settings, settings  # noqa: E402

os.environ.update(client_environment(settings()))  # before Prefect is imported anywhere

import psycopg  # noqa: E402

from blocks.database import dsn  # noqa: E402
from deployments.embedded_postgres import EmbeddedPostgres  # noqa: E402
from deployments.platform import Platform  # noqa: E402
from deployments.schema import upgrade  # noqa: E402

# How long an example takes says how busy the machine is; what is slow has benchmarks of its own.
# The same examples every time, so that a change is judged by what it changes; `make explore` draws new ones.
hypothesis.settings.register_profile("lama", deadline=None, print_blob=True, derandomize=not _EXPLORES)
hypothesis.settings.load_profile("lama")

_TEMPLATE = "lama_template"


def pytest_configure(config: pytest.Config) -> None:
    """Silence the sockets to Prefect's server that Prefect's own clients leave to the garbage collector; no others."""
    port = os.environ["LAMA_PREFECT_PORT"]
    theirs = rf"unclosed <socket\.socket .*raddr=\('127\.0\.0\.1', {port}\)"
    config.addinivalue_line("filterwarnings", f"ignore:{theirs}:ResourceWarning")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Files that share a platform stay together, and what takes long begins first."""
    if config.getoption("dist") != "loadfile":
        return None
    from tests.scheduling import ByUnit

    return ByUnit(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a worker of pytest-xdist, the order in which units are handed out."""
    if hasattr(config, "workerinput"):
        from tests.scheduling import longest_first

        items.sort(key=lambda item: longest_first(item.nodeid))


@pytest.fixture(scope="session")
def config() -> Settings:
    """The settings of this test session: a temporary home and free ports."""
    return settings()


@pytest.fixture(scope="session")
def _servers(config: Settings) -> Iterator[Platform]:
    platform = Platform(config, only=["postgres"])
    with platform.in_use():  # commands that a test calls leave it up
        platform.start()
        with psycopg.connect(dsn(config, "postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{_TEMPLATE}"')
        upgrade(config, _TEMPLATE)
        yield platform
    platform.stop()
    if config.embeds_postgres:
        EmbeddedPostgres(config).remove()


@pytest.fixture(scope="session")
def postgres(_servers: Platform, config: Settings) -> Settings:
    """The embedded PostgreSQL with Lama's schema; returns the settings that lead to it."""
    return config


@pytest.fixture(scope="session")
def graph_server(_servers: Platform, config: Settings) -> Settings:
    """The embedded graph server, up; returns the settings that lead to it (see `blocks.graph.Graph.of`)."""
    Platform(config, only=["graph"]).start()  # whoever names it waits for it
    return config


@pytest.fixture
def graph(graph_server: Settings) -> Settings:
    """The same with nothing in it, for this test alone."""
    from blocks.graph import Graph

    with Graph.of(graph_server).get_sync_client() as driver, driver.session() as session:
        session.run("MATCH (n) DETACH DELETE n").consume()
    return graph_server


@pytest.fixture
def database(postgres: Settings) -> Iterator[str]:
    """The name of an empty database with Lama's schema, for this test alone (see `blocks.database.dsn`)."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(dsn(postgres, "postgres"), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{_TEMPLATE}"')
    yield name
    with psycopg.connect(dsn(postgres, "postgres"), autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
def prefect_server(_servers: Platform, config: Settings) -> Iterator[Settings]:
    """A real Prefect server on the embedded PostgreSQL, which PREFECT_API_URL of this process points at."""
    _servers.bring(["prefect"])
    yield config
    # Logs and events still to be sent go while the server is there; otherwise Prefect waits a minute for it at exit.
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    APILogWorker.drain_all(timeout=10)
    EventsWorker.drain_all(timeout=10)


@pytest.fixture(scope="session")
def migrated(prefect_server: Settings) -> Settings:
    """The same, with Lama's schema in its database: what a flow needs."""
    upgrade(prefect_server)
    return prefect_server


@pytest.fixture
def configured(migrated: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A `lama.toml` that this test writes, with one checkout `<tmp_path>/code`; all else is the session's."""
    path = tmp_path / "lama.toml"
    (tmp_path / "code").mkdir()
    path.write_text(f'[[checkouts]]\nname = "{tmp_path.name}"\npath = "{tmp_path / "code"}"\n')
    monkeypatch.setenv("LAMA_CONFIG", str(path))
    settings.cache_clear()
    yield path
    monkeypatch.undo()
    settings.cache_clear()
