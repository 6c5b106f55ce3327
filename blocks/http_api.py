"""An HTTP API as a block: the credentials with which it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from prefect.blocks.core import Block
from pydantic import Field, SecretStr, field_validator

if TYPE_CHECKING:
    import httpx


class HttpApi(Block):
    """Credentials for an HTTP API, sent in one header."""

    _block_type_name: ClassVar[str] = "Lama HTTP API"
    _block_type_slug: ClassVar[str] = "lama-http-api"
    _documentation_url: ClassVar[Any] = "https://www.rfc-editor.org/rfc/rfc9110#name-authorization"

    header: str = Field(
        default="Authorization", pattern=r"^[A-Za-z0-9-]+$", description="Header that holds the credentials."
    )
    scheme: str = Field(
        default="Bearer", pattern=r"^[A-Za-z0-9-]*$", description="Word before the token; empty: the token alone."
    )
    token: SecretStr = Field(description="The token, or `user:password` in base64 for the scheme Basic.")
    connect_timeout_s: float = Field(default=5.0, gt=0, description="Seconds to wait for a connection.")
    timeout_s: float = Field(default=20.0, gt=0, description="Seconds to wait for a part of an answer.")

    @field_validator("token", mode="after")
    @classmethod
    def _sendable(cls, token: SecretStr) -> SecretStr:
        text = token.get_secret_value().strip()
        if not text or not text.isascii() or not text.isprintable():
            raise ValueError("it is empty, or holds characters that no header can have")
        return SecretStr(text)

    @property
    def headers(self) -> dict[str, str]:
        """The header that proves who calls."""
        return {self.header: f"{self.scheme} {self.token.get_secret_value()}".strip()}

    def get_client(self, transport: httpx.AsyncBaseTransport | None = None) -> httpx.AsyncClient:
        """A client that sends the credentials and follows no redirects; use it as a context manager."""
        import httpx  # noqa: PLC0415

        return httpx.AsyncClient(
            headers=self.headers | {"User-Agent": "lama"},
            timeout=httpx.Timeout(self.timeout_s, connect=self.connect_timeout_s),
            transport=transport,
            trust_env=False,
        )
