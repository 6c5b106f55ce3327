"""A URL of the user's own leads to the same database whichever driver reads it."""

from __future__ import annotations

import asyncio
import inspect
import tempfile
from pathlib import Path

import asyncpg
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from blocks.database import dsn
from blocks.errors import ConfigurationError
from blocks.home import Home
from blocks.settings import Settings

_URLS = (
    "postgresql://u:p@h/db",
    "postgres://u:p@h:6432/db?sslmode=require&channel_binding=require",
    "postgresql://u:p@h/db?sslmode=verify-full&sslrootcert=/etc/ca.pem&sslcert=/c.pem&sslkey=/k.pem",
    "postgresql://u:p@h/db?ssl=true",
    "postgresql://u:p@h/db?ssl=verify-ca&direct_tls=true&prepared_statement_cache_size=0",
    "postgresql://u:p@h/db?connect_timeout=5&application_name=mine&keepalives_idle=30&options=-c%20search_path%3Dx",
    "postgresql://u:a%40b%2Fc@h/db?target_session_attrs=read-write&gssencmode=disable",
    "postgresql://u@/db?host=/run/my%20sockets&port=5433",
    "postgresql://u:p@/db?hostaddr=10.0.0.1&sslnegotiation=direct&sslmode=require",
)


def _given(url: str) -> Settings:
    return Settings(database_url=SecretStr(url))


def _asyncpg_arguments(url: str) -> dict[str, object]:
    """What SQLAlchemy calls `asyncpg.connect` with."""
    _, arguments = PGDialect_asyncpg().create_connect_args(make_url(url))  # type: ignore[no-untyped-call]
    arguments.pop("prepared_statement_cache_size", None)
    return dict(arguments)


@pytest.mark.parametrize("url", _URLS)
def test_both_drivers_take_every_parameter_that_is_left(url: str) -> None:
    arguments = _asyncpg_arguments(dsn(_given(url), driver="postgresql+asyncpg"))
    assert arguments.keys() <= inspect.signature(asyncpg.connect).parameters.keys()
    assert all(isinstance(value, str) or name == "port" for name, value in arguments.items())
    words = conninfo_to_dict(dsn(_given(url)))  # libpq refuses what it does not know
    for name in ("user", "password"):
        assert words.get(name) == arguments.get(name)
    assert words["dbname"] == arguments["database"] == "db"


@pytest.mark.parametrize(
    ("query", "libpq", "ours"),
    [
        ("sslmode=require", "require", "require"),
        ("ssl=require", "require", "require"),
        ("ssl=true", "require", "require"),
        ("ssl=false", "disable", "disable"),
        ("sslmode=verify-full", "verify-full", "verify-full"),
        ("sslmode=require&sslrootcert=/ca.pem", "require", "verify-ca"),  # as libpq reads it
        ("sslmode=verify-full&sslrootcert=system", "verify-full", "verify-full"),
        ("", None, None),
    ],
)
def test_encryption_is_asked_for_in_the_words_of_the_driver(query: str, libpq: str | None, ours: str | None) -> None:
    config = _given(f"postgresql://u:p@h/db?{query}")
    assert conninfo_to_dict(dsn(config)).get("sslmode") == libpq
    assert _asyncpg_arguments(dsn(config, driver="postgresql+asyncpg")).get("ssl") == ours


def test_values_survive_as_libpq_reads_them() -> None:
    config = _given("postgresql://u@/db?host=/run/a+b%26c%3Fd&passfile=/my%20pass")
    for driver in ("postgresql", "postgresql+asyncpg"):
        url = make_url(dsn(config, driver=driver))
        assert dict(url.query) == {"host": "/run/a+b&c?d", "passfile": "/my pass"}


@pytest.mark.parametrize("driver", ["postgresql", "postgresql+asyncpg"])
def test_a_database_named_among_the_parameters_does_not_stand_for_all(driver: str) -> None:
    config = _given("postgresql://u:p@h/?dbname=mine")
    assert make_url(dsn(config, driver=driver)).database == "mine"
    assert make_url(dsn(config, "prefect", driver=driver)).database == "prefect"
    assert "dbname" not in make_url(dsn(config, "prefect", driver=driver)).query


def test_both_drivers_really_connect(postgres: Settings) -> None:
    extra = "&sslmode=prefer&connect_timeout=5&application_name=mine&keepalives=1"
    config = postgres.model_copy(update={"database_url": SecretStr(dsn(postgres) + extra)})

    async def ask() -> str:
        engine = create_async_engine(dsn(config, driver="postgresql+asyncpg"))
        async with engine.connect() as connection:
            found = (await connection.execute(text("SELECT current_database()"))).scalar_one()
        await engine.dispose()
        return str(found)

    assert asyncio.run(ask()) == "lama"
    with psycopg.connect(dsn(config)) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == ("lama",)


def test_the_sockets_of_a_long_home_are_where_every_shell_finds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Settings(home=tmp_path / ("long" * 30))
    found = set()
    for folder in (tmp_path, Path("/var/tmp")):
        monkeypatch.setenv("TMPDIR", str(folder))
        monkeypatch.setattr(tempfile, "tempdir", None)  # as in a new process
        assert tempfile.gettempdir() == str(folder)
        found.add(Home(config).sockets)
    (sockets,) = found
    assert sockets.parent == Path("/tmp")


def test_sockets_that_somebody_else_planted_are_refused(tmp_path: Path) -> None:
    config = Settings(home=tmp_path / ("long" * 30))
    sockets = Home(config).sockets
    sockets.symlink_to(tmp_path)
    try:
        with pytest.raises(ConfigurationError, match="not a folder"):
            Home(config).prepare()
    finally:
        sockets.unlink()
