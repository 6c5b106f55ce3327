"""GitHub as a block: where pull requests are made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from prefect.blocks.core import Block
from pydantic import Field, SecretStr, field_validator

if TYPE_CHECKING:
    import httpx


class GitHub(Block):
    """GitHub's API, or that of an Enterprise Server."""

    _block_type_name: ClassVar[str] = "Lama GitHub"
    _block_type_slug: ClassVar[str] = "lama-github"
    _documentation_url: ClassVar[Any] = "https://docs.github.com/en/rest"

    url: str = Field(
        default="https://api.github.com",
        description="Address of the API; of an Enterprise Server it is `https://host/api/v3`.",
    )
    token: SecretStr = Field(
        description="Token that may write contents and pull requests of the repositories, and nothing else."
    )
    connect_timeout_s: float = Field(default=5.0, gt=0, description="Seconds to wait for a connection.")
    timeout_s: float = Field(default=20.0, gt=0, description="Seconds to wait for a part of an answer.")
    connections: int = Field(default=4, ge=1, le=16, description="Requests at once.")

    @field_validator("token", mode="after")
    @classmethod
    def _sendable(cls, token: SecretStr) -> SecretStr:
        text = token.get_secret_value().strip()
        # A line end in it would make the HTTP client complain in words that hold the token.
        if not text or not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError("it is empty, or holds characters that no token has")
        return SecretStr(text)

    @property
    def host(self) -> str:
        """The host that repositories of this API are cloned from."""
        host = (urlsplit(self.url).hostname or "").lower()
        return "github.com" if host == "api.github.com" else host

    def get_client(self) -> httpx.AsyncClient:
        """A client whose relative paths begin at the API; use it as a context manager.

        It follows no redirects: the token goes to the address that was set, and to no other.
        """
        import httpx  # noqa: PLC0415

        return httpx.AsyncClient(
            base_url=self.url.rstrip("/") + "/",
            headers={
                "Accept": "application/vnd.github+json",
                "Authorization": f"Bearer {self.token.get_secret_value()}",
                "X-GitHub-Api-Version": "2022-11-28",
                "User-Agent": "lama",
            },
            timeout=httpx.Timeout(self.timeout_s, connect=self.connect_timeout_s),
            limits=httpx.Limits(max_connections=self.connections),
        )
