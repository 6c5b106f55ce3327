"""The databases of a node, embedded or not: created where they are missing, their schema at the newest revision."""

from __future__ import annotations

import contextlib

from blocks.database import LAMA_DATABASE, PREFECT_DATABASE, dsn
from blocks.errors import StartError, UnavailableError
from blocks.settings import CHECKOUT, Settings

_LOCK = 0x1A3A  # any number of our own: two nodes that start at once migrate one after the other

_REQUIRED = {PREFECT_DATABASE: ("pg_trgm",), LAMA_DATABASE: ("pg_trgm",)}
_WELCOME = {LAMA_DATABASE: ("vector", "pg_stat_statements")}
"""Extensions that are created where the server has them."""


def create_databases(settings: Settings) -> None:
    """Create the databases and extensions that are not there yet.

    Raises:
        StartError: the server does not let us; the message says what an administrator has to do.
        UnavailableError: the server cannot be reached.
    """
    import psycopg  # noqa: PLC0415

    wanted = [LAMA_DATABASE] + ([PREFECT_DATABASE] if settings.embeds_prefect else [])
    try:
        with psycopg.connect(dsn(settings, "postgres"), autocommit=True) as connection:
            existing = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
            for database in (_named(settings, name) for name in wanted):
                if database not in existing:
                    with contextlib.suppress(psycopg.errors.DuplicateDatabase):  # another node was first
                        connection.execute(
                            psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(database))
                        )
        for name in wanted:
            _create_extensions(settings, name)
    except psycopg.errors.InsufficientPrivilege as error:
        raise StartError(
            f"PostgreSQL refuses to prepare the databases: {error}",
            component="postgres",
            remedy="Let an administrator create the databases `lama` and `prefect` with the extension pg_trgm.",
        ) from error
    except psycopg.OperationalError as error:
        raise UnavailableError(f"cannot be reached: {error}", component="postgres") from error


def _named(settings: Settings, database: str) -> str:
    from urllib.parse import urlsplit  # noqa: PLC0415

    return urlsplit(dsn(settings, database)).path.lstrip("/") or database


def _create_extensions(settings: Settings, database: str) -> None:
    import psycopg  # noqa: PLC0415

    with psycopg.connect(dsn(settings, database), autocommit=True) as connection:
        here = {row[0] for row in connection.execute("SELECT extname FROM pg_extension")}
        offered = {row[0] for row in connection.execute("SELECT name FROM pg_available_extensions")}
        welcome = [name for name in _WELCOME.get(database, ()) if name in offered]
        for extension in {*_REQUIRED[database], *welcome} - here:
            statement = psycopg.sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(psycopg.sql.Identifier(extension))
            try:
                connection.execute(statement)
            except psycopg.errors.UniqueViolation:  # another node was first
                continue
            except psycopg.errors.InsufficientPrivilege:
                if extension in _REQUIRED[database]:
                    raise


def upgrade(settings: Settings, database: str = LAMA_DATABASE) -> None:
    """Apply the migrations that are missing, all or none; a second caller waits for the first.

    Raises:
        StartError: the database was made by a newer Lama.
        UnavailableError: the server cannot be reached.
    """
    revision = _revision(settings, database)
    if revision == newest_revision():
        return  # known without importing Alembic and SQLAlchemy, which takes longer than all the rest of a start
    _refuse_unknown(revision, database)
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.migration import MigrationContext  # noqa: PLC0415
    from sqlalchemy import text  # noqa: PLC0415
    from sqlalchemy.exc import InterfaceError, OperationalError  # noqa: PLC0415

    from blocks.postgres import Postgres  # noqa: PLC0415

    engine = Postgres.of(settings, database).engine()
    try:
        with engine.begin() as connection:
            # The time limits are for queries: the wait for another node, and a migration, take as long as they take.
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            # Asked again: the node that held the lock may have been a newer one.
            _refuse_unknown(MigrationContext.configure(connection).get_current_revision(), database)
            configuration = Config()
            configuration.set_main_option("script_location", str(CHECKOUT / "models" / "migrations"))
            configuration.attributes["connection"] = connection
            command.upgrade(configuration, "head")
    except (OperationalError, InterfaceError) as error:
        raise UnavailableError(f"cannot be migrated: {error.orig}", component="postgres") from error
    finally:
        engine.dispose()


def newest_revision() -> str:
    """The revision that this checkout knows last; files of migrations begin with their revision."""
    return max(_known_revisions())


def _known_revisions() -> set[str]:
    versions = CHECKOUT / "models" / "migrations" / "versions"
    return {path.name.partition("_")[0] for path in versions.glob("[0-9]*_*.py")}


def _refuse_unknown(revision: str | None, database: str) -> None:
    if revision is not None and revision not in _known_revisions():
        raise StartError(
            f"the database {database} was made by a newer Lama: "
            f"it is at revision {revision}, this one knows up to {newest_revision()}.",
            component="postgres",
            remedy="Update Lama, or give it another database.",
        )


def _revision(settings: Settings, database: str) -> str | None:
    import psycopg  # noqa: PLC0415

    try:
        with psycopg.connect(dsn(settings, database)) as connection:
            known = connection.execute("SELECT to_regclass('alembic_version') IS NOT NULL").fetchone()
            if known is None or not known[0]:
                return None
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            return None if row is None else str(row[0])
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise UnavailableError(f"cannot be reached: {error}", component="postgres") from error
