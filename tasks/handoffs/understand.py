"""From the inbox to the outbox: a batch of messages is made into effects within one transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from blocks.logs import logger
from models.handoff import MessageState
from models.handoff_route import Route
from tasks.handoffs.inbox import storable, storable_document
from tasks.handoffs.transform import Quality, Transformation, Transformed, idempotency_key

_log = logger("handoffs")

LARGEST_PAYLOAD = 5_000_000
"""Characters of JSON."""
_LONGEST_ERROR = 1_000

_LOOK = """
SELECT message_id, seq, conversation, attributes FROM handoff_message
WHERE route = %s AND state = 'waiting' ORDER BY seq LIMIT %s
"""
_CLAIM = f"{_LOOK} FOR UPDATE SKIP LOCKED"

_CLAIM_THESE = """
SELECT message_id, seq, conversation, attributes FROM handoff_message
WHERE route = %s AND seq = ANY(%s) AND state = 'waiting' ORDER BY seq FOR UPDATE SKIP LOCKED
"""

_CLAIM_ONE = """
SELECT message_id, seq, conversation, attributes FROM handoff_message
WHERE route = %s AND message_id = %s AND state = 'waiting' FOR UPDATE SKIP LOCKED
"""

# A row that somebody else holds was passed over; what came after it in its conversation has to wait for it.
_PASSED_OVER = """
SELECT conversation, min(seq) FROM handoff_message
WHERE route = %s AND state = 'waiting' AND seq < %s AND NOT (seq = ANY(%s)) GROUP BY conversation
"""

_SETTLE = """
UPDATE handoff_message AS message SET state = row.state, last_error = row.error, conversation = row.conversation,
       given = row.given, valid = row.valid, required = row.required, filled = row.filled
FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::int[], %s::int[], %s::int[], %s::int[])
     AS row (message_id, state, error, conversation, given, valid, required, filled)
WHERE message.route = %s AND message.message_id = row.message_id
"""

# An effect that is there already stays: its message is looked at again, but is not handed on again.
_EFFECTS = """
INSERT INTO handoff_effect (route, message_id, seq, conversation, idempotency_key, payload, state, attempts,
                            next_attempt_at)
SELECT %s, message_id, seq, conversation, idempotency_key, payload, 'pending', 0, now()
FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::text[], %s::jsonb[])
     AS row (message_id, seq, conversation, idempotency_key, payload)
ON CONFLICT (route, message_id) DO NOTHING
"""


@dataclass(frozen=True)
class Understood:
    """What became of one batch."""

    taken: int = 0
    accepted: int = 0
    ignored: int = 0
    dead: int = 0
    accepted_seqs: frozenset[int] = frozenset()


@dataclass(frozen=True)
class _Settled:
    message_id: str
    seq: int
    conversation: str
    state: MessageState
    error: str | None
    result: Transformed


async def understand(
    connection: psycopg.AsyncConnection[Any],
    route: Route,
    transformation: Transformation,
    *,
    batch: int = 1,
    only: str | None = None,
    these: Sequence[int] | None = None,
) -> Understood:
    """Take up to `batch` waiting messages of `route`, oldest first, and make effects of them; or `only` that message.

    Args:
        connection: in autocommit mode.
        route: whose messages.
        transformation: what becomes of them.
        batch: how many at most.
        only: the id of one message.
        these: numbers of messages, instead of the oldest. What waits before one of them in its conversation holds it
            back.

    Raises:
        psycopg.Error: nothing has changed.
    """
    async with connection.transaction():
        if these is not None:
            cursor = await connection.execute(_CLAIM_THESE.encode(), (route.name, list(these)))
        elif only is None:
            cursor = await connection.execute(_CLAIM.encode(), (route.name, batch))
        else:
            cursor = await connection.execute(_CLAIM_ONE.encode(), (route.name, only))
        claimed = await cursor.fetchall()
        if not claimed:
            return Understood()
        held_back = await _held_back(connection, route.name, [row[1] for row in claimed])
        settled = [
            _settle(message_id, seq, conversation, attributes, transformation)
            for message_id, seq, conversation, attributes in claimed
            if seq < held_back.get(conversation, seq + 1)
        ]
        await connection.execute(_SETTLE, (*_columns(settled), route.name))
        accepted = [one for one in settled if one.state is MessageState.accepted]
        if accepted:
            await connection.execute(_EFFECTS, (route.name, *_effects(route.name, accepted)))
    return _counted(settled)


async def waiting(
    connection: psycopg.AsyncConnection[Any], route: Route, *, batch: int
) -> list[tuple[int, dict[str, Any]]]:
    """Numbers and documents of the oldest messages that wait; changes nothing."""
    cursor = await connection.execute(_LOOK, (route.name, batch))
    return [(seq, attributes) for _, seq, _, attributes in await cursor.fetchall()]


async def preview(
    connection: psycopg.AsyncConnection[Any], route: Route, transformation: Transformation, *, batch: int
) -> Understood:
    """What `understand` would make of the messages that wait; changes nothing."""
    cursor = await connection.execute(_LOOK, (route.name, batch))
    settled = [
        _settle(message_id, seq, conversation, attributes, transformation)
        for message_id, seq, conversation, attributes in await cursor.fetchall()
    ]
    return _counted(settled)


def _counted(settled: Sequence[_Settled]) -> Understood:
    return Understood(
        taken=len(settled),
        accepted=sum(one.state is MessageState.accepted for one in settled),
        ignored=sum(one.state is MessageState.ignored for one in settled),
        dead=sum(one.state is MessageState.dead for one in settled),
        accepted_seqs=frozenset(one.seq for one in settled if one.state is MessageState.accepted),
    )


async def _held_back(connection: psycopg.AsyncConnection[Any], route: str, claimed: list[int]) -> dict[str, int]:
    cursor = await connection.execute(_PASSED_OVER, (route, claimed[-1], claimed))
    return {str(conversation): int(seq) for conversation, seq in await cursor.fetchall()}


def _settle(
    message_id: str, seq: int, conversation: str, attributes: dict[str, Any], transformation: Transformation
) -> _Settled:
    try:
        result = transformation.apply(attributes)
    except Exception as cause:  # noqa: BLE001 - it is logged whole; the message waits for a person, others go on
        _log.exception("the transformation of message %d failed", seq)
        failed = f"the transformation failed: {type(cause).__name__}"
        result = Transformed(passed=True, payload={}, problems=(failed,), quality=Quality())
    error = "; ".join(result.problems)
    if result.passed and not error and len(json.dumps(result.payload)) > LARGEST_PAYLOAD:
        error = f"the payload is larger than {LARGEST_PAYLOAD} characters"
    state = MessageState.dead if error else MessageState.accepted if result.passed else MessageState.ignored
    return _Settled(
        message_id=message_id,
        seq=seq,
        conversation=storable(result.conversation or conversation),
        state=state,
        error=storable(error)[:_LONGEST_ERROR] or None,
        result=result,
    )


def _columns(settled: Sequence[_Settled]) -> tuple[list[Any], ...]:
    return (
        [one.message_id for one in settled],
        [one.state.value for one in settled],
        [one.error for one in settled],
        [one.conversation for one in settled],
        [one.result.quality.given for one in settled],
        [one.result.quality.valid for one in settled],
        [one.result.quality.required for one in settled],
        [one.result.quality.filled for one in settled],
    )


def _effects(route: str, accepted: Sequence[_Settled]) -> tuple[list[Any], ...]:
    return (
        [one.message_id for one in accepted],
        [one.seq for one in accepted],
        [one.conversation for one in accepted],
        [idempotency_key(route, one.message_id) for one in accepted],
        [Jsonb(storable_document(one.result.payload)) for one in accepted],
    )
