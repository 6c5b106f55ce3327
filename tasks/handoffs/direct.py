"""Hands one message on at once, for somebody who waits for what becomes of it.

It holds the effect by the outbox's lease, as a drain does. What it leaves, because it was killed or because it is not
time yet, a drain takes up like anything else.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg

from models.handoff import Delivered, Effect, EffectState, Message, MessageState, Refused
from models.handoff_route import Route
from tasks.handoffs import outbox
from tasks.handoffs.deliver import call, with_outages
from tasks.handoffs.inbox import natural_id, store
from tasks.handoffs.outbox import Verdict, judge
from tasks.handoffs.target import Target
from tasks.handoffs.transform import Transformation
from tasks.handoffs.understand import understand

_STANDING = """
SELECT message.state, effect.state, coalesce(effect.last_error, message.last_error), effect.answer, effect.reference,
       extract(epoch FROM greatest(effect.next_attempt_at, effect.lease_until) - clock_timestamp())
FROM handoff_message AS message LEFT JOIN handoff_effect AS effect USING (route, message_id)
WHERE message.route = %s AND message.message_id = %s
"""


@dataclass(frozen=True)
class Standing:
    """How far a message has come."""

    message: MessageState
    effect: EffectState | None
    """None: it was not made into one, or not yet."""
    error: str | None
    answer: dict[str, Any] | None
    """What the target answered; None also where it is not kept any more."""
    reference: str | None
    due_s: float
    """Seconds until it may be tried, if it waits for that; not positive: now."""

    @property
    def settled(self) -> bool:
        """Whether nothing more happens by itself."""
        if self.effect is None:
            return self.message in {MessageState.dead, MessageState.ignored}
        return self.effect is not EffectState.pending


async def standing(connection: psycopg.AsyncConnection[Any], route: Route, message_id: str) -> Standing | None:
    """How far the message `message_id` of `route` has come; None: it is not known."""
    cursor = await connection.execute(_STANDING, (route.name, message_id))
    row = await cursor.fetchone()
    if row is None:
        return None
    message, effect, error, answer, reference, due_s = row
    return Standing(
        message=MessageState(message),
        effect=None if effect is None else EffectState(effect),
        error=error,
        answer=answer,
        reference=reference,
        due_s=0.0 if due_s is None else float(due_s),
    )


class Direct:
    """A route whose messages are handed on one by one, each at once."""

    def __init__(self, route: Route, transformation: Transformation, target: Target) -> None:
        self.route = route
        self._transformation = transformation
        self._target = target
        self._there_at = -math.inf

    async def take_in(self, connection: psycopg.AsyncConnection[Any], message: Message) -> Effect | None:
        """Store `message`, make it into an effect and hold that, in one transaction.

        Returns:
            What is to be delivered now; None: it was there before, became none, or others are before it.

        Raises:
            psycopg.Error: nothing is stored, unless the connection broke while it was committed.
        """
        async with connection.transaction():
            await store(connection, [(self.route.name, message)], datetime.now(UTC))
            message_id = natural_id(message.message_id)
            await understand(connection, self.route, self._transformation, only=message_id)
            return await self._held(connection, message_id)

    async def claim(self, connection: psycopg.AsyncConnection[Any], message_id: str) -> Effect | None:
        """The effect of a message that is there already, held, if it may be delivered now."""
        async with connection.transaction():
            return await self._held(connection, message_id)

    async def deliver(self, effect: Effect) -> Verdict:
        """Try `effect` once; what follows is to be recorded with `outbox.record`."""
        began = time.monotonic()
        (outcome,) = with_outages(await call(self.route, self._target, [effect]), began=began, there_at=self._there_at)
        if isinstance(outcome, Delivered | Refused):
            self._there_at = time.monotonic()
        return judge(self.route, effect, outcome)

    async def close(self) -> None:
        """Close the target's connections."""
        await self._target.close()

    async def _held(self, connection: psycopg.AsyncConnection[Any], message_id: str) -> Effect | None:
        effect = await outbox.claim_one(connection, self.route, message_id)
        if effect is not None:
            await outbox.lease(connection, self.route, [effect])
        return effect
