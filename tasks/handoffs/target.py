"""What every target of handoffs is. Engines know targets by these Protocols alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import psycopg

from models.handoff import Delivered, Effect, Outcome, Refused


class Target(Protocol):
    """An outside system. An effect may be delivered more than once, so the far side must know it by its key."""

    batch: int
    """Effects that one call takes; 1: as they come, each by itself."""
    at_once: int
    """Calls that it can take at a time; the settings may allow fewer."""

    async def deliver(self, effects: Sequence[Effect]) -> Sequence[Outcome]:
        """Bring `effects` about, no two of one conversation; one outcome each, in their order.

        Whatever cannot be told (a timeout, a broken connection) is `Again`: the next try finds out by the key.
        """
        ...

    async def close(self) -> None:
        """Close its connections."""
        ...


@runtime_checkable
class CarefulTarget(Protocol):
    """A `Target` that knows no repetition: what may have happened there is `Uncertain`, and never sent again.

    Of a conversation it is given one effect at a time.
    """

    heard_within_s: float
    """Seconds within which it tells by itself, by another way, what became of an effect."""


@runtime_checkable
class InsideTarget(Protocol):
    """A target in our own database: its effects are committed together with the record that they were brought about."""

    async def apply(
        self, connection: psycopg.AsyncConnection[Any], effects: Sequence[Effect]
    ) -> Sequence[Delivered | Refused]:
        """Bring `effects` about within the transaction of `connection`, in their order; one outcome each."""
        ...
