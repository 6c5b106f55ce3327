"""WhatsApp as a block: a number of ours in Meta's Cloud API."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any, ClassVar

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from blocks.secure_address import SecureAddress

if TYPE_CHECKING:
    import httpx


class WhatsApp(Block):
    """A number that sends messages, and takes media, by the Cloud API."""

    _block_type_name: ClassVar[str] = "Lama WhatsApp"
    _block_type_slug: ClassVar[str] = "lama-whatsapp"
    _documentation_url: ClassVar[Any] = "https://developers.facebook.com/docs/whatsapp/cloud-api/reference/messages"

    phone_number_id: str = Field(pattern=r"^\d{5,30}$", description="Id of the number that sends, not the number.")
    access_token: SecretStr = Field(description="Token of a system user who may send (`whatsapp_business_messaging`).")
    app_secret: SecretStr | None = Field(
        default=None, description="The app's secret, where the app demands a proof of it (`appsecret_proof`)."
    )
    base_url: SecureAddress = Field(default="https://graph.facebook.com", description="Address of the Graph API.")
    version: str = Field(default="v23.0", pattern=r"^v\d{1,3}\.\d$", description="Version of the Graph API.")
    connect_timeout_s: float = Field(default=5.0, gt=0, description="Seconds to wait for a connection.")
    timeout_s: float = Field(default=20.0, gt=0, description="Seconds to wait for a part of an answer.")
    media_hosts: tuple[str, ...] = Field(
        default=("lookaside.fbsbx.com",), description="Hosts that files which people sent may be fetched from."
    )
    largest_media_mib: float = Field(default=100.0, gt=0, description="Largest file that is fetched, in MiB.")
    connections: int = Field(default=8, ge=1, le=64, description="Requests at once.")

    @property
    def proof(self) -> dict[str, str]:
        """The query that proves to know the app's secret.

        https://developers.facebook.com/docs/graph-api/guides/secure-requests#appsecret_proof
        """
        if self.app_secret is None:
            return {}
        key, token = self.app_secret.get_secret_value().encode(), self.access_token.get_secret_value().encode()
        return {"appsecret_proof": hmac.new(key, token, hashlib.sha256).hexdigest()}

    @property
    def largest_media_bytes(self) -> int:
        """`largest_media_mib` in bytes."""
        return int(self.largest_media_mib * 2**20)

    def get_client(self, transport: httpx.AsyncBaseTransport | None = None) -> httpx.AsyncClient:
        """A client whose base is this version of the API; use it as a context manager.

        With a `transport` it is one for files, elsewhere, and does not send the proof.
        """
        import httpx  # noqa: PLC0415

        return httpx.AsyncClient(
            base_url=f"{self.base_url}/{self.version}/",
            params=self.proof if transport is None else {},
            transport=transport,
            headers={"Authorization": f"Bearer {self.access_token.get_secret_value()}", "User-Agent": "lama"},
            timeout=httpx.Timeout(self.timeout_s, connect=self.connect_timeout_s),
            trust_env=False,
        )
