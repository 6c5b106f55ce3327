"""The model host as a block: where language models answer, and where memory for runs is leased."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from blocks.model_host_api import key_of
from blocks.secure_address import SecureAddress
from blocks.settings import Settings

if TYPE_CHECKING:
    import httpx


class ModelHost(Block):
    """A model host of Lama."""

    _block_type_name: ClassVar[str] = "Lama Model Host"
    _block_type_slug: ClassVar[str] = "lama-model-host"
    _documentation_url: ClassVar[Any] = "https://platform.openai.com/docs/api-reference"

    url: SecureAddress = Field(default="http://127.0.0.1:8767", description="Its address, without `/v1`.")
    key: SecretStr = Field(description="Key that it asks for.")
    connect_timeout_s: float = Field(default=5.0, gt=0, description="Seconds to wait for a connection.")
    timeout_s: float = Field(default=300.0, gt=0, description="Seconds to wait for a part of an answer.")

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The one of this node."""
        return cls(url=settings.model_host_url, key=SecretStr(key_of(settings)))

    def get_client(self) -> httpx.AsyncClient:
        """A client whose relative paths begin at the host; use it as a context manager."""
        import httpx  # noqa: PLC0415

        return httpx.AsyncClient(
            base_url=self.url + "/",
            headers={"Authorization": f"Bearer {self.key.get_secret_value()}", "User-Agent": "lama"},
            timeout=httpx.Timeout(self.timeout_s, connect=self.connect_timeout_s),
            trust_env=False,
        )
