"""Known vulnerabilities from a local copy of OSV's zip files (`PyPI/all.zip`), read entry by entry, never unpacked."""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from packaging.utils import canonicalize_name

from blocks.errors import UnavailableError
from tasks.advisories.package import PYPI
from tasks.advisories.record import Advisory, AdvisoryError, read_advisory

LARGEST_ENTRY = 8_000_000
"""Bytes of one record, unpacked; the largest real ones have less than 2 MB."""
LARGEST_TOTAL = 4_000_000_000
"""Bytes of all records, unpacked."""

_NAME = re.compile(rb'"name"\s*:\s*"([^"]{1,300})"')
_MODIFIED = re.compile(rb'"modified"\s*:\s*"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)[^"]{0,32}"')
_MENTIONED = 5  # bad entries that are named; of more only the number is told


@dataclass(frozen=True)
class Mirror:
    """What a mirror says about a set of packages."""

    advisories: tuple[Advisory, ...]
    records: int
    """How many it holds in all."""
    newest: datetime | None
    """When the newest of its records was modified: how old the mirror is at most."""
    unreadable: tuple[str, ...]
    """Entries that could not be used, and why."""


def read_mirror(folder: Path, packages: Iterable[str], *, now: datetime) -> Mirror:
    """The records about any of `packages` (normalised names) in the mirror at `folder`.

    Raises:
        UnavailableError: there is no mirror, it is no zip file, or it unpacks to an absurd size.
    """
    wanted = frozenset(packages)
    archive = folder / PYPI / "all.zip"
    advisories: list[Advisory] = []
    unreadable: list[str] = []
    newest: datetime | None = None
    records = total = 0
    try:
        with zipfile.ZipFile(archive) as opened:
            for entry in opened.infolist():
                if entry.is_dir() or not entry.filename.endswith(".json"):
                    continue
                records += 1
                content = _content(opened, entry)
                if isinstance(content, str):
                    unreadable.append(f"{_shown(entry.filename)} {content}")
                    continue
                total += len(content)
                if total > LARGEST_TOTAL:
                    raise UnavailableError(f"unpacks to more than {LARGEST_TOTAL} bytes.", component=str(archive))
                newest = _newer(newest, content, now)
                if _mentions(content, wanted):
                    try:
                        advisories.append(read_advisory(json.loads(content)))
                    except (AdvisoryError, ValueError, RecursionError):
                        unreadable.append(f"{_shown(entry.filename)} is no OSV record")
                elif not content.rstrip().endswith(b"}"):
                    unreadable.append(f"{_shown(entry.filename)} ends too early")
    except FileNotFoundError as error:
        raise UnavailableError("is not there; fetch OSV's zip file into it.", component=str(archive)) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise UnavailableError(f"is damaged: {error}; fetch it again.", component=str(archive)) from error
    except OSError as error:
        raise UnavailableError(f"cannot be read: {error.strerror or error}.", component=str(archive)) from error
    if not records:
        raise UnavailableError("holds no record; fetch it again.", component=str(archive))
    return Mirror(tuple(advisories), records, newest, _few(unreadable))


def _content(opened: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes | str:
    """An entry's bytes, or why there are none. What its header says of its size is not believed."""
    try:
        with opened.open(entry) as stream:
            content = stream.read(LARGEST_ENTRY + 1)
            if len(content) > LARGEST_ENTRY:
                return f"unpacks to more than {LARGEST_ENTRY} bytes"
            return content
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        return f"is damaged ({type(error).__name__})"


def _mentions(content: bytes, wanted: frozenset[str]) -> bool:
    """Whether a record names one of the packages; decoding all records to find out would take ten times longer."""
    for name in _NAME.findall(content):
        if b"\\" in name or canonicalize_name(name.decode("utf-8", errors="replace")) in wanted:
            return True
    return False


def _newer(newest: datetime | None, content: bytes, now: datetime) -> datetime | None:
    found = _MODIFIED.search(content)
    if found is None:
        return newest
    try:
        modified = datetime.fromisoformat(found[1].decode()).replace(tzinfo=UTC)
    except ValueError:
        return newest
    if modified > now + timedelta(days=1):  # one wrong date must not make the mirror fresh for ever
        return newest
    return modified if newest is None else max(newest, modified)


def _few(unreadable: list[str]) -> tuple[str, ...]:
    more = len(unreadable) - _MENTIONED
    return (*unreadable[:_MENTIONED], f"{more} more entries cannot be used") if more > 0 else tuple(unreadable)


def _shown(name: str) -> str:
    return name[-80:].encode("ascii", errors="replace").decode()
