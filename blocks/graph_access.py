"""Where a knowledge graph is and who signs in there. Apart from its block, so that who only asks the graph waits for no
Prefect, and who starts the embedded server does not import it before its environment is set.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field, SecretStr

from blocks.home import Home
from blocks.settings import Settings

if TYPE_CHECKING:
    from typing import Self

    from neo4j import AsyncDriver, Driver

DATABASE = "lama"
"""Of the embedded server."""
WRITER = "lama"
READER = "lama-reader"
"""Reads, and can commit nothing."""
WRITER_SECRET = "graph-writer"  # noqa: S105  # nosec B105 - the name of a file in the home's secrets
READER_SECRET = "graph-reader"  # noqa: S105  # nosec B105


def embedded_installed() -> bool:
    """Whether the embedded server is there to be run; it is looked for, not imported."""
    return importlib.util.find_spec("arcadedb_embedded") is not None


class GraphAccess(BaseModel):
    """A graph database that speaks Bolt: Neo4j, or the embedded server."""

    uri: str = Field(description="Where it is, such as `bolt://127.0.0.1:7687` or `neo4j+s://graph.example:7687`.")
    user: str = Field(default="neo4j", description="Who to sign in as.")
    password: SecretStr | None = Field(default=None, description="Its password; without one, nobody signs in.")
    database: str | None = Field(default=None, description="Which database; otherwise the server's default one.")
    timeout_s: float = Field(default=15.0, gt=0, description="Seconds to wait for a connection.")

    @classmethod
    def of(cls, settings: Settings, *, reader: bool = False) -> Self:
        """The graph of a node: the embedded server of its home, or the one that was given by URI.

        Args:
            settings: the node's settings.
            reader: sign in as who may only read; with a server of one's own that needs `LAMA_GRAPH_READER_USER`.
        """
        if settings.graph_uri is not None:
            user, password = settings.graph_user, settings.graph_password
            if reader and settings.graph_reader_user is not None:
                user, password = settings.graph_reader_user, settings.graph_reader_password
            return cls(uri=settings.graph_uri, user=user, password=password, database=settings.graph_database)
        return cls(
            uri=f"bolt://127.0.0.1:{settings.graph_port}",
            user=READER if reader else WRITER,
            password=SecretStr(Home(settings).secret(READER_SECRET if reader else WRITER_SECRET)),
            database=DATABASE,
        )

    def get_client(self) -> AsyncDriver:
        """A driver for asynchronous code; use it as a context manager."""
        from neo4j import AsyncGraphDatabase  # noqa: PLC0415

        return AsyncGraphDatabase.driver(self.uri, **self._options())

    def get_sync_client(self) -> Driver:
        """The same for synchronous code."""
        from neo4j import GraphDatabase  # noqa: PLC0415

        return GraphDatabase.driver(self.uri, **self._options())

    def _options(self) -> dict[str, Any]:
        return {
            "auth": (self.user, self.password.get_secret_value()) if self.password else None,
            "connection_timeout": self.timeout_s,
            "connection_acquisition_timeout": self.timeout_s,
            "user_agent": "lama",
            "telemetry_disabled": True,
        }
