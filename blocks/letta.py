"""A Letta server as a block: how to speak to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

if TYPE_CHECKING:
    from letta_client import AsyncLetta, Letta


class LettaServer(Block):
    """A Letta server, self-hosted or in the cloud."""

    _block_type_name: ClassVar[str] = "Lama Letta server"
    _block_type_slug: ClassVar[str] = "lama-letta"
    _documentation_url: ClassVar[Any] = "https://docs.letta.com/api-reference"

    url: str = Field(description="Where it is, such as `http://127.0.0.1:8283`.")
    token: SecretStr | None = Field(
        default=None, description="What it asks for; a server without a password needs none."
    )
    timeout_s: float = Field(default=30.0, gt=0, description="Seconds to wait for an answer.")
    attempts: int = Field(default=1, ge=1, le=10, description="Tries in all; steps bring retries of their own.")

    def get_client(self) -> AsyncLetta:
        """A client for asynchronous code; use it as a context manager.

        It follows no redirect: the token goes to `url` and nowhere else.
        """
        from letta_client import AsyncLetta, DefaultAsyncHttpxClient  # noqa: PLC0415

        client = AsyncLetta(
            base_url=self.url,
            api_key=self._key(),
            timeout=self.timeout_s,
            max_retries=self.attempts - 1,
            http_client=DefaultAsyncHttpxClient(follow_redirects=False, timeout=self.timeout_s),
        )
        client.api_key = client.api_key or None  # else it sends an empty token, which is no valid header
        return client

    def get_sync_client(self) -> Letta:
        """The same for synchronous code."""
        from letta_client import DefaultHttpxClient, Letta  # noqa: PLC0415

        client = Letta(
            base_url=self.url,
            api_key=self._key(),
            timeout=self.timeout_s,
            max_retries=self.attempts - 1,
            http_client=DefaultHttpxClient(follow_redirects=False, timeout=self.timeout_s),
        )
        client.api_key = client.api_key or None
        return client

    def _key(self) -> str:
        # Never None: the client would take LETTA_API_KEY from the environment and send it to whatever `url` names.
        return self.token.get_secret_value() if self.token else ""
