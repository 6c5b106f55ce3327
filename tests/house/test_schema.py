"""The schema of Lama's database: migrations lead to what the models say, forth and back, on any number of nodes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlmodel import SQLModel

import models.delivery
import models.record  # noqa: F401 - both register their tables
from blocks.database import dsn
from blocks.postgres import Postgres
from blocks.settings import CHECKOUT, Settings
from deployments.schema import newest_revision, upgrade


def test_the_migrations_lead_to_what_the_models_say(postgres: Settings, database: str) -> None:
    engine = Postgres.of(postgres, database).engine()
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []
    engine.dispose()


def test_migrations_are_one_chain_and_files_are_named_after_their_revision() -> None:
    configuration = Config()
    configuration.set_main_option("script_location", str(CHECKOUT / "models" / "migrations"))
    script = ScriptDirectory.from_config(configuration)
    assert script.get_heads() == [newest_revision()]


def test_two_nodes_that_start_at_once_migrate_one_after_the_other(postgres: Settings, database: str) -> None:
    with psycopg.connect(dsn(postgres, database), autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: upgrade(postgres, database), range(4)))
    with psycopg.connect(dsn(postgres, database)) as connection:
        row = connection.execute("SELECT count(*), max(version_num) FROM alembic_version").fetchone()
    assert row == (1, newest_revision())
