"""What sync speaks of: contents, and versions with their vectors.

Apart from settings and tables, and of nothing but the standard library: the engine starts in less time than it takes to
import what those are made of, and a small folder is synced in less.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

NAME = r"^[a-z0-9][a-z0-9-]{0,62}$"


class Kind(StrEnum):
    """What stands at a path."""

    file = "file"
    directory = "directory"
    link = "link"


class Content(NamedTuple):
    """What stands at a path. A tuple, as is `Version`: there are hundreds of thousands, made and compared at once."""

    kind: Kind
    digest: bytes = b""
    """BLAKE3 of a file, 32 bytes."""
    size: int = 0
    """Bytes of a file."""
    mode: int = 0o644
    """Permissions of a file or directory."""
    target: str = ""
    """Where a link leads, as it is written there."""

    @property
    def essence(self) -> tuple[str, bytes, str]:
        """What two contents differ in when one of them cannot stand for the other; permissions are no such thing."""
        return (self.kind.value, self.digest, self.target)


Vector = tuple[tuple[str, int], ...]
"""A version vector: for each device that ever changed the path how often it counted, sorted by device."""


class Version(NamedTuple):
    """A state of a path, and which changes led to it (Parker et al. 1983, "Detection of Mutual Inconsistency")."""

    content: Content | None
    """None: it was deleted."""
    vector: Vector
    device: str
    """Who made the content what it is."""
    at: int
    """When, in seconds since 1970 by the clock of that device. For names and the `newest` policy; it orders nothing."""


Tree = Mapping[str, Version]
"""Versions by path: relative to the category's folder, `/` between names, NFC."""


class Policy(StrEnum):
    """What becomes of two changes of one path that knew nothing of each other."""

    keep_both = "keep-both"
    newest = "newest"
    prefer = "prefer"
    merge = "merge"
