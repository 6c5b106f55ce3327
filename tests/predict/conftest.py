"""A registry of a test's own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import psycopg
import pytest
from pydantic import SecretStr

from blocks.database import dsn
from blocks.model_registry import ModelRegistry
from blocks.settings import Settings


@pytest.fixture(scope="module")
def registry(postgres: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelRegistry]:
    """An empty registry, with a database and a folder of its own."""
    name = f"mlflow_{uuid.uuid4().hex[:12]}"
    yield ModelRegistry(
        url=SecretStr(dsn(postgres, name)),
        folder=tmp_path_factory.mktemp("trained"),
        maintenance_url=SecretStr(dsn(postgres, "postgres")),
    )
    with psycopg.connect(dsn(postgres, "postgres"), autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
