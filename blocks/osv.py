"""OSV, the database of known vulnerabilities, as a block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from prefect.blocks.core import Block
from pydantic import Field

if TYPE_CHECKING:
    import httpx


class Osv(Block):
    """An OSV server's API."""

    _block_type_name: ClassVar[str] = "Lama OSV"
    _block_type_slug: ClassVar[str] = "lama-osv"
    _documentation_url: ClassVar[Any] = "https://google.github.io/osv.dev/api/"

    url: str = Field(default="https://api.osv.dev", description="Address of the API, without `/v1`.")
    connect_timeout_s: float = Field(default=5.0, gt=0, description="Seconds to wait for a connection.")
    timeout_s: float = Field(default=20.0, gt=0, description="Seconds to wait for a part of an answer.")
    connections: int = Field(default=16, ge=1, le=64, description="Requests at once.")

    def get_client(self) -> httpx.AsyncClient:
        """A client whose relative paths begin at `/v1/`; use it as a context manager."""
        import httpx  # noqa: PLC0415

        return httpx.AsyncClient(
            base_url=self.url.rstrip("/") + "/v1/",
            headers={"Accept": "application/json"},
            timeout=httpx.Timeout(self.timeout_s, connect=self.connect_timeout_s),
            limits=httpx.Limits(max_connections=self.connections),
        )
