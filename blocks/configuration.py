"""Reads `lama.toml`, and says file, line and key of whatever is wrong with it."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from blocks.errors import ConfigurationError
from blocks.settings import CHECKOUT, Settings
from models.configuration import Configuration
from models.health_check import Checkout
from models.place import PlaceError

V = TypeVar("V", bound=BaseModel)

_FLOORS = ("lama", "services", "deployments", "flows", "tasks", "blocks", "models")
_LARGEST = 1_000_000  # bytes; a configuration is not a database


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
    return f"{path}:{_line_of(read_document(path), location)}" if path.exists() else str(path)


def parse_document(model: type[V], text: str, name: str) -> V:
    """TOML `text` as a `model`; `name` is what messages call the file.

    Raises:
        ConfigurationError: every problem, each with its line and key.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{name}: not valid TOML: {error}.") from error
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = []
        for problem in error.errors():
            cause = problem.get("ctx", {}).get("error")
            location = problem["loc"] + (cause.location if isinstance(cause, PlaceError) else ())
            place = _existing(data, location)
            key = _dotted(location) or "the file"
            line = _line_of(text, place)
            problems.append(f"{name}:{line}: {key}: {problem['msg']}")
        raise ConfigurationError("\n".join(problems)) from error


def read_document(path: Path) -> str:
    """The text of a file that a user wrote.

    Raises:
        ConfigurationError: it cannot be read, is absurdly large, or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise ConfigurationError(f"larger than {_LARGEST} bytes.", component=str(path))
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigurationError(f"{path}:{line}: not UTF-8.") from error
    except OSError as error:
        raise ConfigurationError(f"cannot be read: {error.strerror}.", component=str(path)) from error


def _dotted(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _existing(data: Any, location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """The longest part of `location` that is in the file: of a missing key, the table that lacks it."""
    for depth, part in enumerate(location):
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return location[:depth]
    return location


def _line_of(text: str, location: tuple[int | str, ...]) -> int:
    """The line at which the value at `location` begins.

    The TOML parser itself is the judge: the value is on the first line with which the text up to there parses and
    holds the value. Values over several lines begin where the text before them last parsed.
    """
    if not location:
        return 1
    lines = text.splitlines(keepends=True)
    begins = 1
    for number in range(1, len(lines) + 1):
        try:
            data: Any = tomllib.loads("".join(lines[:number]))
        except tomllib.TOMLDecodeError:
            continue
        if _existing(data, location) == location:
            return begins
        begins = number + 1
    return begins
