"""A registry of npm packages as a block: where their versions are looked up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

if TYPE_CHECKING:
    import httpx

ABBREVIATED = "application/vnd.npm.install-v1+json"
"""The content type of what installers need of a package, without readmes and people."""


class NpmRegistry(Block):
    """A registry that speaks npm's API."""

    _block_type_name: ClassVar[str] = "Lama npm registry"
    _block_type_slug: ClassVar[str] = "lama-npm-registry"
    _documentation_url: ClassVar[Any] = "https://github.com/npm/registry/blob/main/docs/responses/package-metadata.md"

    url: SecretStr = Field(
        default=SecretStr("https://registry.npmjs.org"), description="Address of the registry; may hold a password."
    )
    connect_timeout_s: float = Field(default=5.0, gt=0, description="Seconds to wait for a connection.")
    timeout_s: float = Field(default=20.0, gt=0, description="Seconds to wait for a part of an answer.")
    connections: int = Field(default=16, ge=1, le=64, description="Requests at once.")

    def get_client(self) -> httpx.AsyncClient:
        """A client whose relative paths begin at the registry; use it as a context manager."""
        import httpx  # noqa: PLC0415

        return httpx.AsyncClient(
            base_url=self.url.get_secret_value().rstrip("/") + "/",
            headers={"Accept": f"{ABBREVIATED}, application/json;q=0.5"},
            timeout=httpx.Timeout(self.timeout_s, connect=self.connect_timeout_s),
            limits=httpx.Limits(max_connections=self.connections),
            follow_redirects=True,
        )
