"""`[audit]` of `lama.toml`: how dependencies are audited."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import Field, field_validator

from models.report import Severity, Value


class Remedy(StrEnum):
    """What an audit does about what it finds."""

    advise = "advise"
    patch = "patch"
    apply = "apply"
    propose = "propose"


class AuditSettings(Value):
    """`[audit]`."""

    index_url: str | None = Field(
        default=None, description="Simple-API index for newer versions; otherwise the one that pip is set up with."
    )
    npm_registry_url: str = Field(default="https://registry.npmjs.org", description="Registry of npm's packages.")
    github_url: str = Field(default="https://api.github.com", description="API that pull requests are made with.")
    environments: bool = Field(
        default=True, description="Whether the environment of a checkout (`.venv`) is looked into as well."
    )
    vex: tuple[Path, ...] = Field(
        default=(), description="VEX documents (OpenVEX or CycloneDX) whose `not_affected` and `fixed` are believed."
    )
    fail_level: Severity = Field(
        default=Severity.unknown, description="Findings from this severity on make the exit code 1."
    )
    timeout_s: float = Field(default=20.0, gt=0, description="Seconds for one answer of an index.")
    budget_s: float = Field(default=60.0, gt=0, description="Seconds for all answers of an index.")
    resolve_timeout_s: float = Field(
        default=300.0, gt=0, description="Seconds for the resolver that tries whether upgrades fit together."
    )

    @field_validator("vex", mode="after")
    @classmethod
    def _expanded(cls, paths: tuple[Path, ...]) -> tuple[Path, ...]:
        return tuple(path.expanduser() for path in paths)
