"""PostgreSQL as a block: how to speak to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import urlsplit, urlunsplit

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from blocks.database import LAMA_DATABASE, dsn
from blocks.settings import Settings, settings

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy import Engine


class Postgres(Block):
    """A PostgreSQL database (15 or newer)."""

    _block_type_name: ClassVar[str] = "Lama PostgreSQL"
    _block_type_slug: ClassVar[str] = "lama-postgres"
    _documentation_url: ClassVar[Any] = "https://www.postgresql.org/docs/current/libpq-connect.html"

    url: SecretStr = Field(description="`postgresql://user:password@host:port/database`.")
    connect_timeout_s: int = Field(default=10, ge=1, description="Seconds to wait for a connection.")
    statement_timeout_s: float = Field(
        default=60.0, gt=0, description="Seconds after which the server ends a statement."
    )

    @classmethod
    def of(cls, config: Settings | None = None, database: str = LAMA_DATABASE) -> Self:
        """The block for Lama's own database, embedded or given by URL."""
        return cls(url=SecretStr(dsn(config or settings(), database)))

    def get_client(self, *, autocommit: bool = False) -> psycopg.Connection[Any]:
        """A new synchronous connection; use it as a context manager.

        Raises:
            psycopg.OperationalError: the server cannot be reached.
        """
        import psycopg  # noqa: PLC0415

        return psycopg.connect(
            self.url.get_secret_value(),
            autocommit=autocommit,
            connect_timeout=self.connect_timeout_s,
            options=self._options(),
            application_name="lama",
        )

    async def get_async_client(self, *, autocommit: bool = False) -> psycopg.AsyncConnection[Any]:
        """The same for asynchronous code."""
        import psycopg  # noqa: PLC0415

        return await psycopg.AsyncConnection.connect(
            self.url.get_secret_value(),
            autocommit=autocommit,
            connect_timeout=self.connect_timeout_s,
            options=self._options(),
            application_name="lama",
        )

    def engine(self) -> Engine:
        """A SQLAlchemy engine for SQLModel; dispose of it when done."""
        from sqlalchemy import create_engine  # noqa: PLC0415

        parts = urlsplit(self.url.get_secret_value())
        return create_engine(
            urlunsplit(("postgresql+psycopg", *parts[1:])),
            pool_pre_ping=True,
            pool_size=2,
            connect_args={
                "connect_timeout": self.connect_timeout_s,
                "options": self._options(),
                "application_name": "lama",
            },
        )

    def _options(self) -> str:
        return f"-c statement_timeout={int(self.statement_timeout_s * 1000)}"
