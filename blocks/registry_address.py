"""Addresses of registries, and how they are asked: data and a client, without what makes a block of them. Prefect takes
a second to load, and a command that audits one lock file takes less.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, Field, SecretStr

from blocks.errors import ConfigurationError
from blocks.settings import Settings, settings

if TYPE_CHECKING:
    import httpx

JSON = "application/vnd.pypi.simple.v1+json"
"""The content type of the simple API in JSON (PEP 691)."""

ABBREVIATED = "application/vnd.npm.install-v1+json"
"""The content type of what installers need of a package, without readmes and people."""


class IndexAddress(BaseModel):
    """An index that speaks the simple API, in JSON (PEP 691) or HTML (PEP 503)."""

    url: SecretStr = Field(description="Address of the index, such as `https://host/simple`; may hold a password.")
    ca_file: Path | None = Field(default=None, description="Certificates to trust instead of the usual ones.")
    connect_timeout_s: float = Field(default=5.0, gt=0, description="Seconds to wait for a connection.")
    timeout_s: float = Field(default=20.0, gt=0, description="Seconds to wait for a part of an answer.")
    connections: int = Field(default=16, ge=1, le=64, description="Requests at once.")

    @classmethod
    def of(cls, url: str | None = None, *, config: Settings | None = None, timeout_s: float = 20.0) -> Self:
        """The index at `url`; without one, the index that pip is set up with (environment, files, its default).

        Raises:
            ConfigurationError: there is neither a URL nor a pip that would know one.
        """
        ca_file: Path | None = None
        if url is None:
            given = (config or settings()).pip_index_url
            if given is not None:
                url = given.get_secret_value()
            else:
                url, certificate = _of_pip()
                ca_file = Path(certificate) if certificate and Path(certificate).is_file() else None
        return cls(url=SecretStr(url), ca_file=ca_file, timeout_s=timeout_s)

    def get_client(self) -> httpx.AsyncClient:
        """A client whose relative paths begin at the index; use it as a context manager."""
        import ssl  # noqa: PLC0415

        import httpx  # noqa: PLC0415

        return httpx.AsyncClient(
            base_url=self.url.get_secret_value().rstrip("/") + "/",
            headers={"Accept": f"{JSON}, text/html;q=0.1"},
            timeout=httpx.Timeout(self.timeout_s, connect=self.connect_timeout_s),
            limits=httpx.Limits(max_connections=self.connections),
            verify=ssl.create_default_context(cafile=str(self.ca_file)) if self.ca_file else True,
            follow_redirects=True,
        )


class NpmAddress(BaseModel):
    """A registry that speaks npm's API."""

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


def _of_pip() -> tuple[str, str | None]:
    """Index and certificate file of pip, by its own configuration: only pip knows where that is on every system."""
    try:
        from pip._internal.configuration import Configuration  # noqa: PLC0415
        from pip._internal.exceptions import PipError  # noqa: PLC0415
        from pip._internal.models.index import PyPI  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(
            "pip is not installed here, so the index is not known.",
            component="package index",
            remedy="Set index_url in [audit] of lama.toml.",
        ) from error
    configuration = Configuration(isolated=False)
    try:
        configuration.load()
    except PipError as error:
        raise ConfigurationError(f"pip's configuration cannot be read: {error}", component="package index") from error
    values = dict(configuration.items())
    index = values.get("global.index-url") or PyPI.simple_url
    return str(index), values.get("global.cert")
