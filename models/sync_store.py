"""What a store of sync holds, and what can be wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from models.sync_versions import Tree


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one device says of one category."""

    device: str
    """Its id."""
    category: str
    counter: int
    """Grows with every one that the device publishes of the category."""
    tree: Tree
    digest: bytes = b""
    """BLAKE3 of the encoded manifest: equal means nothing new. Filled by the store; empty before it is published."""


@dataclass(frozen=True, slots=True)
class StoreProblem:
    """Something in the store that was not believed or could not be read."""

    what: str
    component: str
    """The device, or the file within the store."""


class DeviceState(StrEnum):
    """Whether a device takes part."""

    active = "active"
    waiting = "waiting"
    revoked = "revoked"


@dataclass(frozen=True, slots=True)
class Device:
    """One that takes part, asks to, or did."""

    id: str
    name: str
    platform: str
    """As `sys.platform` says it there."""
    registered: int | None
    """When it was let in, in seconds since 1970 by the clock of the device that did; None: it never was."""
    last_seen: int | None
    """When it last published, by its own clock; None: its record cannot be read."""
    state: DeviceState
    fingerprint: str
    """Of its keys; what `lama sync devices` shows on both devices before one lets the other in."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a walk through the store is."""

    done: int
    total: int
    size: int
    """Bytes read so far."""
