"""A registry for the tests, on the real PostgreSQL: MLflow migrates one database a session, each test has it empty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from blocks.database import dsn
from blocks.model_registry import ModelRegistry
from blocks.settings import Settings

_DATABASE = "mlflow_tests"


@pytest.fixture(scope="session")
def _mlflow(postgres: Settings) -> Iterator[ModelRegistry]:
    registry = ModelRegistry.of(postgres, _DATABASE)
    registry.get_client()
    yield registry
    with psycopg.connect(dsn(postgres, "postgres"), autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{_DATABASE}" WITH (FORCE)')


@pytest.fixture
def registry(_mlflow: ModelRegistry, tmp_path: Path) -> ModelRegistry:
    """An empty registry."""
    with _mlflow.connection() as connection:
        connection.execute("TRUNCATE registered_models, runs CASCADE")
    return _mlflow.model_copy(update={"folder": tmp_path / "trained"})
