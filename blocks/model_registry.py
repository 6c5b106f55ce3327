"""The registry of trained models: MLflow's tracking and registry in a database of our PostgreSQL, files beside it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from functools import lru_cache
from os import environ
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import urlsplit, urlunsplit

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from blocks.database import dsn
from blocks.errors import StartError, UnavailableError
from blocks.settings import Settings, settings

if TYPE_CHECKING:
    import psycopg
    from mlflow import MlflowClient

DATABASE = "mlflow"
"""A database of its own: MLflow migrates it by itself, and its tables' names must not meet ours."""

_PREPARE = "lama.mlflow"


class ModelRegistry(Block):
    """Where trained models are registered, and where their files are."""

    _block_type_name: ClassVar[str] = "Lama model registry"
    _block_type_slug: ClassVar[str] = "lama-model-registry"
    _documentation_url: ClassVar[Any] = "https://mlflow.org/docs/latest/ml/model-registry/"

    url: SecretStr = Field(description="`postgresql://user:password@host:port/database` of MLflow's own database.")
    folder: Path = Field(description="Where the models' files are, by the hash of their content.")
    maintenance_url: SecretStr | None = Field(
        default=None, description="A database of the same server from which MLflow's is created where it is missing."
    )
    connect_timeout_s: int = Field(default=10, ge=1, description="Seconds to wait for a connection.")
    lock_timeout_s: float = Field(default=60.0, gt=0, description="Seconds to wait for others who change a model.")

    @classmethod
    def of(cls, config: Settings | None = None, database: str = DATABASE) -> Self:
        """The block for the registry of this node."""
        config = config or settings()
        return cls(
            url=SecretStr(dsn(config, database)),
            folder=config.home / "trained",
            maintenance_url=SecretStr(dsn(config, "postgres")),
        )

    def get_client(self) -> MlflowClient:
        """MLflow's client on the database, which is created and migrated where that is needed.

        Raises:
            StartError: the database is not there and we may not create it.
            UnavailableError: PostgreSQL does not answer.
        """
        return _client(self.url.get_secret_value(), self._maintenance(), self.connect_timeout_s)

    @contextlib.contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """A plain connection to MLflow's database.

        Raises:
            UnavailableError: PostgreSQL does not answer, or the database is not there.
        """
        import psycopg  # noqa: PLC0415

        try:
            opened = psycopg.connect(
                self.url.get_secret_value(), autocommit=True, connect_timeout=self.connect_timeout_s,
                options=f"-c statement_timeout={int(self.lock_timeout_s * 1000)}", application_name="lama",
            )  # fmt: skip
        except psycopg.OperationalError as error:
            raise UnavailableError(f"cannot be reached: {error}", component="model registry") from error
        with opened:
            yield opened

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Within it, nobody else on any node changes the model `name`.

        Raises:
            UnavailableError: PostgreSQL does not answer, or somebody held the lock for too long.
        """
        import psycopg  # noqa: PLC0415

        with self.connection() as held:
            try:
                held.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (f"lama.model:{name}",))
            except psycopg.errors.QueryCanceled as error:
                raise UnavailableError(
                    f"somebody else has been changing {name} for {self.lock_timeout_s:g} s.", component="model registry"
                ) from error
            yield  # closing the connection gives the lock back, however this ends

    def names(self) -> list[str]:
        """The names of all registered models, without importing MLflow; none where there is no registry yet."""
        import psycopg  # noqa: PLC0415

        try:
            with self.connection() as connection:
                rows = connection.execute("SELECT name FROM registered_models ORDER BY name").fetchall()
        except (UnavailableError, psycopg.errors.UndefinedTable):
            return []
        return [str(row[0]) for row in rows]

    def _maintenance(self) -> str | None:
        return None if self.maintenance_url is None else self.maintenance_url.get_secret_value()


@lru_cache(maxsize=8)
def _client(url: str, maintenance: str | None, timeout_s: int) -> MlflowClient:
    import psycopg  # noqa: PLC0415

    # Before MLflow is imported: otherwise it makes an installation's id and tells its authors what it is used for.
    # It asks nothing but the environment.
    environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if maintenance is not None:
        _create(url, maintenance, timeout_s)
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=timeout_s) as held:
            # one at a time: two who migrate an empty database at once meet in its tables
            held.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (_PREPARE,))
            from mlflow import MlflowClient  # noqa: PLC0415

            address = urlunsplit(("postgresql+psycopg", *urlsplit(url)[1:]))
            client = MlflowClient(tracking_uri=address, registry_uri=address)
            client.search_registered_models(max_results=1)  # makes it migrate now, under the lock
    except psycopg.OperationalError as error:
        raise UnavailableError(f"cannot be reached: {error}", component="model registry") from error
    return client


def _create(url: str, maintenance: str, timeout_s: int) -> None:
    import psycopg  # noqa: PLC0415

    database = urlsplit(url).path.lstrip("/")
    try:
        with psycopg.connect(maintenance, autocommit=True, connect_timeout=timeout_s) as connection:
            there = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone()
            if there is None:
                statement = psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(database))
                # another node may be first: then its database is the one
                with contextlib.suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                    connection.execute(statement)
    except psycopg.errors.InsufficientPrivilege as error:
        raise StartError(
            f"PostgreSQL refuses to create the database {database}: {error}", component="model registry",
            remedy=f"Let an administrator create the database {database}.",
        ) from error  # fmt: skip
    except psycopg.OperationalError as error:
        raise UnavailableError(f"cannot be reached: {error}", component="model registry") from error
