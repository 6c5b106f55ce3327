"""The schema of Lama's database: migrations lead to what the models say, forth and back, on any number of nodes."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import SecretStr
from sqlmodel import SQLModel

import models.crm
import models.delivery
import models.documents
import models.draft
import models.handoff
import models.qualify
import models.record  # noqa: F401 - all register their tables
from blocks.database import dsn
from blocks.errors import StartError, UnavailableError
from blocks.postgres import Postgres
from blocks.settings import CHECKOUT, Settings
from deployments.schema import _LOCK, newest_revision, upgrade


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


def test_a_start_waits_for_a_node_that_migrates_however_long_it_takes(
    postgres: Settings, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Postgres, "_options", lambda _: "-c statement_timeout=200 -c lock_timeout=200")
    with psycopg.connect(dsn(postgres, database), autocommit=True) as other, ThreadPoolExecutor(1) as pool:
        other.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        other.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        waiting = pool.submit(upgrade, postgres, database)
        with pytest.raises(TimeoutError):
            waiting.result(3)
        assert other.execute("SELECT to_regclass('alembic_version')").fetchone() == (None,), "it waited for the lock"
        other.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))
        waiting.result(60)
        assert other.execute("SELECT version_num FROM alembic_version").fetchone() == (newest_revision(),)


def test_a_database_of_a_newer_lama_is_refused_in_words(postgres: Settings, database: str) -> None:
    with psycopg.connect(dsn(postgres, database), autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        with pytest.raises(StartError, match=f"made by a newer Lama.*9999.*{newest_revision()}"):
            upgrade(postgres, database)
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)


def test_a_newer_node_that_migrated_while_we_waited_is_refused_in_words(postgres: Settings, database: str) -> None:
    with psycopg.connect(dsn(postgres, database), autocommit=True) as other, ThreadPoolExecutor(1) as pool:
        other.execute("UPDATE alembic_version SET version_num = '0001'")
        other.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        waiting = pool.submit(upgrade, postgres, database)
        deadline = time.monotonic() + 30
        while other.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").fetchone() == (
            0,
        ):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        other.execute("UPDATE alembic_version SET version_num = '9999'")
        other.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))
        with pytest.raises(StartError, match="newer Lama"):
            waiting.result(60)


def test_a_server_that_is_not_there_is_said_in_words(postgres: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"postgresql://lama:hunter2@127.0.0.1:{taken.getsockname()[1]}/lama"
        config = postgres.model_copy(update={"database_url": SecretStr(url)})
        with pytest.raises(UnavailableError, match="cannot be reached") as first:
            upgrade(config)
        monkeypatch.setattr("deployments.schema._revision", lambda *_: None)  # it went away after the first question
        with pytest.raises(UnavailableError, match="cannot be migrated") as second:
            upgrade(config)
    assert "hunter2" not in str(first.value) + str(second.value)
