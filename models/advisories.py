"""`[advisories]` of `lama.toml`: where known vulnerabilities are looked up."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import Field, field_validator

from models.report import Value


class SourceName(StrEnum):
    """A source of advisories."""

    mirror = "mirror"
    osv = "osv"
    github = "github"
    pypi = "pypi"
    rules = "rules"


class AdvisoriesSettings(Value):
    """`[advisories]`."""

    sources: tuple[SourceName, ...] = Field(
        default=(),
        description="Where to look; otherwise the local mirror when there is one, else OSV's API, and `github` and "
        "`rules` when their paths are set.",
    )
    ecosystems: tuple[str, ...] = Field(
        default=("PyPI", "npm", "GitHub Actions"),
        min_length=1,
        description="What `lama advisories update` fetches, by OSV's names; also `Debian:12` and the like.",
    )
    mirror: Path | None = Field(
        default=None, description="Folder of the local mirror; otherwise `advisories` in the home."
    )
    mirror_url: str = Field(
        default="https://osv-vulnerabilities.storage.googleapis.com",
        description="Where OSV's zip files are, as `<ecosystem>/all.zip`.",
    )
    max_age_days: float = Field(default=7.0, gt=0, description="Age above which a local copy is stale.")
    osv_url: str = Field(default="https://api.osv.dev", description="OSV's API.")
    github_database: Path | None = Field(
        default=None, description="A checkout of the GitHub Advisory Database, or its folder `advisories`."
    )
    pypi_url: str = Field(default="https://pypi.org/pypi", description="PyPI's JSON API.")
    rules: Path | None = Field(default=None, description="TOML file with advisories of your own.")
    epss: Path | None = Field(
        default=None, description="EPSS scores as CSV, gzipped or not; otherwise `epss.csv.gz` in the mirror."
    )
    kev: Path | None = Field(
        default=None, description="CISA's catalogue of exploited vulnerabilities; otherwise `kev.json` in the mirror."
    )
    epss_url: str = Field(
        default="https://epss.empiricalsecurity.com/epss_scores-current.csv.gz", description="Where EPSS scores are."
    )
    kev_url: str = Field(
        default="https://www.cisa.gov/sites/default/files/feeds/known_exploited_vulnerabilities.json",
        description="Where CISA's catalogue is.",
    )
    timeout_s: float = Field(default=20.0, gt=0, description="Seconds for one answer of a source.")
    budget_s: float = Field(default=60.0, gt=0, description="Seconds for all answers of one source to one audit.")

    @field_validator("mirror", "github_database", "rules", "epss", "kev", mode="after")
    @classmethod
    def _expanded(cls, path: Path | None) -> Path | None:
        return path.expanduser() if path is not None else None
