"""Brings the schema of Lama's database to the newest revision."""

from __future__ import annotations

from blocks.database import LAMA_DATABASE
from blocks.settings import CHECKOUT, Settings

_LOCK = 0x1A3A  # any number of our own: two nodes that start at once migrate one after the other


def upgrade(settings: Settings, database: str = LAMA_DATABASE) -> None:
    """Apply the migrations that are missing, all or none; a second caller waits for the first."""
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from sqlalchemy import text  # noqa: PLC0415

    from blocks.postgres import Postgres  # noqa: PLC0415

    engine = Postgres.of(settings, database).engine()
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            configuration = Config()
            configuration.set_main_option("script_location", str(CHECKOUT / "models" / "migrations"))
            configuration.attributes["connection"] = connection
            command.upgrade(configuration, "head")
    finally:
        engine.dispose()
