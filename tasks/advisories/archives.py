"""What a mirror's folder holds: OSV's zip files, and the index that was made of them."""

from __future__ import annotations

import re
from pathlib import Path

from blocks.errors import UnavailableError
from tasks.advisories.mirror_index import Index

INDEX = "advisories.sqlite"
ARCHIVE = "all.zip"
ECOSYSTEM = re.compile(r"[A-Za-z][A-Za-z0-9 ._:-]{0,63}")
"""A name that is a folder's as well."""


def archives_in(folder: Path) -> dict[str, Path]:
    """OSV's zip files in `folder`, by ecosystem.

    Raises:
        UnavailableError: the folder is there and cannot be read.
    """
    found: dict[str, Path] = {}
    try:
        for part in sorted(folder.iterdir()):
            archive = part / ARCHIVE
            if ECOSYSTEM.fullmatch(part.name) and archive.is_file():
                found[part.name] = archive
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UnavailableError(f"cannot be read: {error.strerror}.", component=str(folder)) from error
    return found


def stamp_of(path: Path) -> str:
    """Differs when the file was replaced or written to.

    Raises:
        OSError: it cannot be looked at.
    """
    state = path.stat()
    return f"{state.st_size}/{state.st_mtime_ns}"


def is_current(folder: Path) -> bool:
    """Whether the index was made of exactly the archives that are there."""
    try:
        with Index(folder / INDEX) as index:
            held = {archive.ecosystem: archive.stamp for archive in index.archives()}
        return held == {name: stamp_of(path) for name, path in archives_in(folder).items()}
    except (UnavailableError, OSError):
        return False
