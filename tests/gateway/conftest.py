"""Gateways for the tests: one that a whole module shares, and fresh ones for those that break things."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from blocks.database import dsn
from blocks.settings import Settings
from tests.conftest import free_port
from tests.gateway.running import RunningGateway

NewGateway = Callable[..., RunningGateway]


@pytest.fixture
def new_gateway(postgres: Settings, database: str, tmp_path: Path) -> Iterator[NewGateway]:
    """Makes gateways, not started, on an empty database of this test's own."""
    made: list[RunningGateway] = []

    def make(toml: str = "") -> RunningGateway:
        home = tmp_path / f"home{len(made)}"
        home.mkdir(mode=0o700)
        made.append(RunningGateway(home, free_port(), dsn(postgres, database), postgres, toml))
        return made[-1]

    yield make
    for gateway in made:
        gateway.stop()


@pytest.fixture(scope="module")
def shared_url(postgres: Settings) -> Iterator[str]:
    """The URL of a database for the gateway that a module shares."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(dsn(postgres, "postgres"), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "lama_template"')
    yield dsn(postgres, name)
    with psycopg.connect(dsn(postgres, "postgres"), autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


NOBODY = "http://127.0.0.1:9/api"
"""A Prefect that is away."""

SHARED = """
[webhooks]
body_limit_bytes = 100_000
body_timeout_s = 2
routes = []

[[webhooks.sources]]
name = "empty"
kind = "github"

[[webhooks.sources]]
name = "shop"
kind = "hmac"
signature_header = "X-Shop-Signature"
encoding = "base64"
algorithm = "sha512"
prefix = "v0="
id_header = "X-Shop-Id"
timestamp_header = "X-Shop-Time"
signed = "{timestamp}:{body}"
"""


@pytest.fixture(scope="module")
def gateway(postgres: Settings, shared_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A running gateway that a module shares; Prefect is away from its point of view."""
    home = tmp_path_factory.mktemp("gateway")
    running = RunningGateway(home, free_port(), shared_url, postgres, SHARED)
    running.start(LAMA_PREFECT_API_URL=NOBODY, PREFECT_API_URL=NOBODY)
    yield running
    assert running.stop() in {0, -15}, running.logged()


def rows(url: str, statement: str = "SELECT source, delivery_id, status FROM delivery") -> list[tuple[object, ...]]:
    """What the database holds."""
    with psycopg.connect(url) as connection:
        return connection.execute(statement.encode()).fetchall()
