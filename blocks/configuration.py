"""Reads `lama.toml`, and says file, line and key of whatever is wrong with it."""

from __future__ import annotations

import sys
from pathlib import Path

from blocks.errors import ConfigurationError
from blocks.settings import CHECKOUT, Settings
from blocks.toml_document import line_of, parse_document, read_document
from models.configuration import Configuration
from models.health_check import Checkout

_FLOORS = ("lama", "services", "deployments", "flows", "tasks", "blocks", "models")


def load_configuration(settings: Settings) -> Configuration:
    """The configuration of this node; the defaults when there is no file. Without checkouts, our own is watched.

    Raises:
        ConfigurationError: the file was named but is not there, cannot be read, or is not valid.
    """
    path = settings.config_path
    if not path.exists():
        if settings.config is not None and settings.config_path != settings.home / "lama.toml":
            raise ConfigurationError("there is no such file.", component=str(path), remedy="Correct LAMA_CONFIG.")
        configuration = Configuration()
    else:
        configuration = parse_configuration(read_document(path), str(path))
    if configuration.checkouts:
        return configuration
    ours = {"lama": _FLOORS} | configuration.architecture.layers
    return configuration.model_copy(
        update={
            "checkouts": (Checkout(name="lama", path=CHECKOUT, environment=_environment()),),
            "architecture": configuration.architecture.model_copy(update={"layers": ours}),
        }
    )


def _environment() -> Path | None:
    """Where our own packages are, unless in `.venv`: in containers and in CI they are those of the Python that runs."""
    return None if (CHECKOUT / ".venv").is_dir() else Path(sys.prefix)


def parse_configuration(text: str, name: str) -> Configuration:
    """`text` as a configuration; `name` is what messages call the file.

    Raises:
        ConfigurationError: every problem, each with its line and key.
    """
    return parse_document(Configuration, text, name)


def place_in(settings: Settings, *location: int | str) -> str:
    """`file:line` of what `lama.toml` says at `location`, for mistakes that only others can see."""
    path = settings.config_path
    return f"{path}:{line_of(read_document(path), location)}" if path.exists() else str(path)
