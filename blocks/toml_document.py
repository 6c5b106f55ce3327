"""TOML files that users write: read within bounds, and every problem told with its file, line and key."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from blocks.errors import ConfigurationError
from models.place import PlaceError

V = TypeVar("V", bound=BaseModel)

_LARGEST = 1_000_000  # bytes; a configuration is not a database


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
            line = line_of(text, place)
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


def line_of(text: str, location: tuple[int | str, ...]) -> int:
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
