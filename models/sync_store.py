"""What devices tell each other through the store."""

from __future__ import annotations

from dataclasses import dataclass

from models.sync import Version


@dataclass(frozen=True)
class Manifest:
    """What one device holds of a category."""

    device: str
    category: str
    counter: int
    """Of the device; it only ever grows."""
    tree: dict[str, Version]
    digest: bytes
    """BLAKE3 of the encoded manifest: equal ones say nothing new."""


@dataclass(frozen=True)
class StoreProblem:
    """Something in the store that cannot be believed or read."""

    what: str
    component: str
