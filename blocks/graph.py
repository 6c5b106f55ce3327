"""A knowledge graph behind Bolt as a block: Neo4j, or the embedded server that speaks the same protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

if TYPE_CHECKING:
    from neo4j import AsyncDriver, Driver


class Graph(Block):
    """A graph database that speaks Bolt."""

    _block_type_name: ClassVar[str] = "Lama graph"
    _block_type_slug: ClassVar[str] = "lama-graph"
    _documentation_url: ClassVar[Any] = "https://neo4j.com/docs/api/python-driver/current/"

    uri: str = Field(description="Where it is, such as `bolt://127.0.0.1:7687` or `neo4j+s://graph.example:7687`.")
    user: str = Field(default="neo4j", description="Who to sign in as.")
    password: SecretStr | None = Field(default=None, description="Its password; without one, nobody signs in.")
    database: str | None = Field(default=None, description="Which database; otherwise the server's default one.")
    timeout_s: float = Field(default=15.0, gt=0, description="Seconds to wait for a connection.")

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
