"""Who can hold memory of a device: weights, leases, and what is wished for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from models.model_host import Footprint, Priority, Reserve


class Phase(StrEnum):
    """Where resident weights are in their life."""

    loading = "loading"
    ready = "ready"
    leaving = "leaving"


class Missing(NamedTuple):
    """Bytes by which each of the two sums would be over the capacity; zero or less: it fits."""

    memory: int
    work: int

    @property
    def fits(self) -> bool:
        """Whether nothing is missing."""
        return self.memory <= 0 and self.work <= 0


@dataclass(frozen=True)
class Want:
    """A wish for memory: of a request (KV of one model) or of a job (bytes of its own, and models that must stay)."""

    key: str
    accounts: tuple[str, ...]
    """Weights that have to be resident. A request has exactly one."""
    bytes: int
    priority: Priority
    since: float
    job: bool = False
    exclusive: bool = False
    """Of a job: nothing that is not guaranteed works beside it, but what it needs itself."""
    model: str = ""
    """The name that a request was for, where the weights are called otherwise."""

    @property
    def name(self) -> str:
        """Whose reserve a request draws on."""
        return self.model or self.accounts[0]


@dataclass(frozen=True)
class Resident:
    """Weights on the device. Names with the same weights share them."""

    account: str
    footprint: Footprint
    phase: Phase
    priority: Priority
    slots: int | None
    """Requests at a time, where the engine allocated all keys and values at its load; they take no other memory."""
    loaded_at: float
    idle_since: float
    return_s: float = 0.0
    """Seconds that it takes to bring it back after an eviction."""

    @property
    def taken(self) -> int:
        """Bytes that it takes now: while it is loaded, also what its file is unpacked to."""
        return self.footprint.loading if self.phase is Phase.loading else self.footprint.resident


@dataclass(frozen=True)
class Lease:
    """Memory that somebody works in."""

    want: Want
    bytes: int
    expires_at: float | None = None


@dataclass(frozen=True)
class Holdings:
    """All bytes and their holders at one moment; two are equal when the ledger is in the same state."""

    reserves: tuple[tuple[str, Reserve], ...]
    residents: tuple[tuple[str, Footprint, Phase], ...]
    leases: tuple[tuple[str, int], ...]
    parked: tuple[tuple[str, int], ...]
