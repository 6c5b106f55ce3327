"""`[scan]` of `lama.toml`: what is scanned for, and what is allowed."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import Field

from models.report import Severity, Value


class Engine(StrEnum):
    """A part of the scan. One that could not run makes the report incomplete."""

    secrets = "secrets"
    history = "history"
    code = "code"
    rules = "rules"
    containers = "containers"
    workflows = "workflows"
    modes = "modes"
    licences = "licences"
    services = "services"


class ScanSettings(Value):
    """`[scan]`."""

    engines: tuple[Engine, ...] = Field(default=tuple(Engine), description="What `lama scan` looks with.")
    rules: Path | None = Field(default=None, description="TOML file with rules of your own.")
    allowed_listeners: tuple[str, ...] = Field(
        default=(), description="`address:port` pairs that may listen beyond loopback; `*` stands for any."
    )
    licences_allowed: tuple[str, ...] = Field(
        default=(), description="SPDX licences that dependencies may have; empty: all that are not denied."
    )
    licences_denied: tuple[str, ...] = Field(
        default=(), description="SPDX licences that dependencies must not have, such as `AGPL-3.0-only`."
    )
    default_passwords: bool = Field(
        default=False, description="Whether configured services are tried with the passwords that they come with."
    )
    fail_level: Severity = Field(
        default=Severity.medium, description="Findings from this severity on make the exit code 1."
    )
    timeout_s: float = Field(default=120.0, gt=0, description="Seconds for one engine on one checkout.")
    history_timeout_s: float = Field(default=600.0, gt=0, description="Seconds for the git history of one checkout.")
