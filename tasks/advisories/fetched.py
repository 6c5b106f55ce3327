"""What is known of the files of a mirror that were fetched: when, and what the server called them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import orjson

FILE = "fetched.json"
_LARGEST = 1_000_000


@dataclass(frozen=True, slots=True)
class Fetched:
    """One file, as it was when it was last asked for."""

    stamp: str
    """`stamp_of` it. A file with another stamp is not the one that was fetched."""
    at: datetime
    """When the server last gave it, or said that it had not changed."""
    etag: str = ""
    modified: str = ""
    """`Last-Modified`, as the server wrote it."""


def read_fetched(folder: Path) -> dict[str, Fetched]:
    """What is known, by path relative to `folder`; nothing where the file is missing or not what was written."""
    try:
        with (folder / FILE).open("rb") as file:
            described = orjson.loads(file.read(_LARGEST))
        return {
            str(name): Fetched(
                str(one["stamp"]), datetime.fromisoformat(one["at"]), str(one["etag"]), str(one["modified"])
            )
            for name, one in described.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # costs a download, and the age of quiet ecosystems is told as that of their newest record


def write_fetched(folder: Path, fetched: Mapping[str, Fetched]) -> None:
    """Replace what is known.

    Raises:
        OSError: it cannot be written.
    """
    draft = folder / f".{FILE}.new"
    with draft.open("wb") as file:
        file.write(orjson.dumps({name: asdict(one) for name, one in sorted(fetched.items())}))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / FILE)
