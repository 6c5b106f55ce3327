"""What one health check looks at; every module is given the same."""

from __future__ import annotations

from dataclasses import dataclass

from blocks.settings import Settings
from models.configuration import Configuration
from models.health_check import Checkout


@dataclass(frozen=True)
class Target:
    """The subject of one run."""

    settings: Settings
    """Of this node."""
    configuration: Configuration
    """What `lama.toml` says."""
    checkouts: tuple[Checkout, ...]
    """Those to look at in this run; of the configuration, or named by whoever started it."""
    run_id: str
    """The flow run's id."""
    host: str
    """This machine's name, for the component of findings about it."""
