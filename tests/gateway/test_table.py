"""The table that migrations make is the one that the code declares."""

from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlmodel import SQLModel

import models.delivery
import models.record  # noqa: F401 - both register their tables
from blocks.postgres import Postgres
from blocks.settings import Settings


def test_migrations_and_tables_agree(postgres: Settings, database: str) -> None:
    engine = Postgres.of(postgres, database).engine()
    try:
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            differences = compare_metadata(context, SQLModel.metadata)
        ours = {"delivery", "report", "snapshot"}
        assert [d for d in differences if not isinstance(d, tuple) or getattr(d[1], "name", "") in ours] == []
    finally:
        engine.dispose()
