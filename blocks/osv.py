"""OSV, the database of known vulnerabilities, as a block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

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


class AdvisoryFiles(Block):
    """Servers that files about vulnerabilities are fetched from: OSV's archives, EPSS's scores, CISA's catalogue."""

    _block_type_name: ClassVar[str] = "Lama advisory files"
    _block_type_slug: ClassVar[str] = "lama-advisory-files"
    _documentation_url: ClassVar[Any] = "https://google.github.io/osv.dev/data/#data-dumps"

    mirror_url: str = Field(
        default="https://osv-vulnerabilities.storage.googleapis.com",
        description="Where archives are, as `<ecosystem>/all.zip`.",
    )
    epss_url: str = Field(
        default="https://epss.empiricalsecurity.com/epss_scores-current.csv.gz", description="The file of EPSS scores."
    )
    kev_url: str = Field(
        default="https://www.cisa.gov/sites/default/files/feeds/known_exploited_vulnerabilities.json",
        description="CISA's catalogue of exploited vulnerabilities.",
    )
    connect_timeout_s: float = Field(default=10.0, gt=0, description="Seconds to wait for a connection.")
    timeout_s: float = Field(default=60.0, gt=0, description="Seconds to wait for a part of a file.")

    def archive_url(self, ecosystem: str) -> str:
        """Where the archive of an ecosystem is."""
        return f"{self.mirror_url.rstrip('/')}/{quote(ecosystem, safe=':')}/all.zip"

    def get_client(self) -> httpx.AsyncClient:
        """A client that takes files as they are; use it as a context manager."""
        import httpx  # noqa: PLC0415

        return httpx.AsyncClient(
            # Packed on the way, a file could not be continued where it broke off.
            headers={"Accept-Encoding": "identity"},
            timeout=httpx.Timeout(self.timeout_s, connect=self.connect_timeout_s),
            follow_redirects=True,
        )
