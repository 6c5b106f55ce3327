"""HubSpot as a block: a CRM whose contacts are our leads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from blocks.secure_address import SecureAddress

if TYPE_CHECKING:
    import httpx


class HubSpot(Block):
    """An account of HubSpot, spoken to as one of its private apps."""

    _block_type_name: ClassVar[str] = "Lama HubSpot"
    _block_type_slug: ClassVar[str] = "lama-hubspot"
    _documentation_url: ClassVar[Any] = "https://developers.hubspot.com/docs/apps/legacy-apps/private-apps/overview"

    token: SecretStr = Field(description="Access token of a private app that may read and write contacts.")
    base_url: SecureAddress = Field(default="https://api.hubapi.com", description="Address of the API.")
    connect_timeout_s: float = Field(default=5.0, gt=0, description="Seconds to wait for a connection.")
    timeout_s: float = Field(default=20.0, gt=0, description="Seconds to wait for an answer.")
    connections: int = Field(default=2, ge=1, le=16, description="Requests at once, each with up to 100 leads.")

    def get_client(self) -> httpx.AsyncClient:
        """A client that sends the token; use it as a context manager."""
        import httpx  # noqa: PLC0415

        return httpx.AsyncClient(
            base_url=self.base_url,
            headers={"Authorization": f"Bearer {self.token.get_secret_value()}", "User-Agent": "lama"},
            timeout=httpx.Timeout(self.timeout_s, connect=self.connect_timeout_s),
            trust_env=False,
        )
