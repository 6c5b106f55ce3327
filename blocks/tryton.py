"""Tryton as a block: an ERP whose sale opportunities are our leads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

if TYPE_CHECKING:
    import httpx


class Tryton(Block):
    """A Tryton server (8.0 or newer) with the module `sale_opportunity`."""

    _block_type_name: ClassVar[str] = "Lama Tryton"
    _block_type_slug: ClassVar[str] = "lama-tryton"
    _documentation_url: ClassVar[Any] = "https://docs.tryton.org/latest/server/topics/rpc.html"

    url: str = Field(pattern=r"^https?://", description="Address of the server, such as `http://127.0.0.1:8000`.")
    database: str = Field(pattern=r"^[A-Za-z0-9_-]+$", description="Name of its database.")
    user: str = Field(min_length=1, description="Login of a user who may create parties and opportunities.")
    password: SecretStr = Field(description="That user's password.")
    company: int | None = Field(default=None, ge=1, description="Id of the company; otherwise the user's own.")
    connect_timeout_s: float = Field(default=5.0, gt=0, description="Seconds to wait for a connection.")
    timeout_s: float = Field(default=20.0, gt=0, description="Seconds to wait for an answer.")
    connections: int = Field(
        default=1, ge=1, le=16, description="Requests at once; more than one only where its database is PostgreSQL."
    )

    def get_client(self) -> httpx.AsyncClient:
        """A client whose base is the database's RPC; use it as a context manager."""
        import httpx  # noqa: PLC0415

        return httpx.AsyncClient(
            base_url=f"{self.url.rstrip('/')}/{self.database}/",
            headers={"User-Agent": "lama"},
            timeout=httpx.Timeout(self.timeout_s, connect=self.connect_timeout_s),
            trust_env=False,
        )
