"""The outbox: which effects may be delivered now, and what became of those that were.

Of a conversation nothing is handed out while an earlier effect of it is under way, waits for another try or, where the
route says so, is a dead letter. Whoever takes effects holds them by a lease; one that has run out belongs to nobody.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from models.handoff import Delivered, Effect, EffectState, Outcome, Refused, Uncertain
from models.handoff_route import Route
from tasks.handoffs.inbox import storable, storable_document

_LONGEST_ERROR = 1_000
_LARGEST_ANSWER = 100_000

# Each state by itself has a partial index; asked for both at once, PostgreSQL reads every message of the route.
_BUSY = """
WITH busy AS MATERIALIZED (
    SELECT conversation FROM handoff_effect
    WHERE route = %(route)s AND state = 'pending' AND (attempts > 0 OR lease_until IS NOT NULL)
      AND (next_attempt_at > clock_timestamp() OR lease_until > clock_timestamp())
    UNION ALL
    SELECT conversation FROM handoff_effect WHERE %(block)s AND route = %(route)s AND state = 'dead'
), letters AS MATERIALIZED (
    SELECT conversation, min(seq) AS seq FROM (
        SELECT conversation, seq FROM handoff_message WHERE %(block)s AND route = %(route)s AND state = 'dead'
        UNION ALL
        SELECT conversation, seq FROM handoff_message WHERE %(block)s AND route = %(route)s AND state = 'waiting'
    ) AS of_either GROUP BY conversation
)
"""

# A message that was not understood is a dead letter too, though the outbox does not have it; sent again it waits to be
# looked at anew. What was understood before it is not held.
_FREE = """
route = %(route)s AND state = 'pending' AND conversation NOT IN (SELECT conversation FROM busy)
AND (conversation NOT IN (SELECT conversation FROM letters)
     OR seq < (SELECT letters.seq FROM letters WHERE letters.conversation = handoff_effect.conversation))
"""

_CLAIM = f"""{_BUSY}
SELECT message_id, conversation, seq, idempotency_key, payload, attempts + 1, lease_until IS NOT NULL
FROM handoff_effect
WHERE {_FREE} ORDER BY seq LIMIT %(limit)s FOR UPDATE SKIP LOCKED
"""  # noqa: S608 - no value in it

# Out of its turn, unless others of its conversation are before it: those a drain would have taken with it. What has a
# conversation of its own is called like it.
_CLAIM_ONE = f"""{_BUSY}
SELECT message_id, conversation, seq, idempotency_key, payload, attempts + 1, lease_until IS NOT NULL
FROM handoff_effect
WHERE {_FREE} AND message_id = %(message_id)s AND (conversation = message_id OR NOT (
    EXISTS (SELECT FROM handoff_effect AS earlier WHERE earlier.route = %(route)s AND earlier.state = 'pending'
            AND earlier.conversation = handoff_effect.conversation AND earlier.seq < handoff_effect.seq)
    OR EXISTS (SELECT FROM handoff_message AS earlier WHERE earlier.route = %(route)s AND earlier.state = 'waiting'
               AND earlier.seq < handoff_effect.seq)))
FOR UPDATE SKIP LOCKED
"""  # noqa: S608 - no value in it

_LEASE = """
UPDATE handoff_effect SET lease_until = clock_timestamp() + make_interval(secs => %s)
WHERE route = %s AND message_id = ANY(%s)
"""

_RECORD = """
UPDATE handoff_effect AS effect
SET state = row.state, attempts = row.attempts, lease_until = CASE WHEN row.held THEN effect.lease_until END,
    last_error = row.error,
    reference = coalesce(row.reference, effect.reference), answer = coalesce(row.answer, effect.answer),
    delivered_at = CASE WHEN row.state = 'delivered' THEN clock_timestamp() END,
    next_attempt_at = clock_timestamp() + make_interval(secs => row.wait)
FROM unnest(%s::text[], %s::text[], %s::int[], %s::text[], %s::text[], %s::jsonb[], %s::float8[],
            %s::bool[])
     AS row (message_id, state, attempts, error, reference, answer, wait, held)
WHERE effect.route = %s AND effect.message_id = row.message_id AND effect.state = 'pending'
"""

_RELEASE = """
UPDATE handoff_effect SET lease_until = NULL WHERE route = %s AND message_id = ANY(%s) AND state = 'pending'
"""

_DUE = f"""{_BUSY}
SELECT EXISTS (SELECT FROM handoff_message WHERE route = %(route)s AND state = 'waiting')
    OR EXISTS (SELECT FROM handoff_effect WHERE {_FREE}),
       (SELECT extract(epoch FROM min(greatest(next_attempt_at, lease_until)) - clock_timestamp())
        FROM handoff_effect
        WHERE route = %(route)s AND state = 'pending' AND (attempts > 0 OR lease_until IS NOT NULL))
"""  # noqa: S608 - no value in it


@dataclass(frozen=True)
class Verdict:
    """What is recorded about one effect."""

    effect: Effect
    outcome: Outcome
    state: EffectState
    attempts: int
    wait_s: float


async def claim(connection: psycopg.AsyncConnection[Any], route: Route, *, limit: int) -> list[Effect]:
    """Up to `limit` effects that may be delivered now, in order of arrival, locked by the caller's transaction."""
    cursor = await connection.execute(_CLAIM.encode(), _asked(route) | {"limit": limit})
    return _effects(route, await cursor.fetchall())


async def claim_one(connection: psycopg.AsyncConnection[Any], route: Route, message_id: str) -> Effect | None:
    """The effect of one message, locked by the caller's transaction, if it may be delivered now before its turn."""
    cursor = await connection.execute(_CLAIM_ONE.encode(), _asked(route) | {"message_id": message_id})
    return next(iter(_effects(route, await cursor.fetchall())), None)


def _effects(route: Route, rows: Sequence[tuple[Any, ...]]) -> list[Effect]:
    return [
        Effect(
            route=route.name,
            message_id=message_id,
            conversation=conversation,
            seq=seq,
            idempotency_key=key,
            payload=payload,
            attempt=attempt,
            unsure=unsure,
        )
        for message_id, conversation, seq, key, payload, attempt, unsure in rows
    ]


async def lease(
    connection: psycopg.AsyncConnection[Any], route: Route, effects: Sequence[Effect], *, longer_s: float = 0.0
) -> None:
    """Hold `effects` for as long as a delivery of one may take, times what is before it in its conversation.

    `longer_s` are seconds on top of that, in which what nobody told us may still be heard of.
    """
    depth: dict[str, int] = {}
    for effect in effects:
        depth[effect.conversation] = depth.get(effect.conversation, 0) + 1
    longest = max(depth.values(), default=1)
    await connection.execute(
        _LEASE,
        (route.retry.timeout_s * longest + route.lease_s + longer_s, route.name, [one.message_id for one in effects]),
    )


async def release(connection: psycopg.AsyncConnection[Any], route: str, effects: Sequence[Effect]) -> None:
    """Let go of `effects` that nobody has tried."""
    await connection.execute(_RELEASE, (route, [effect.message_id for effect in effects]))


def judge(route: Route, effect: Effect, outcome: Outcome, jitter: Callable[[], float] = random.random) -> Verdict:
    """What follows from `outcome`: done, dead, or another try and when."""
    if isinstance(outcome, Delivered):
        return Verdict(effect, outcome, EffectState.delivered, effect.attempt, 0.0)
    if isinstance(outcome, Refused):
        return Verdict(effect, outcome, EffectState.dead, effect.attempt, 0.0)
    if isinstance(outcome, Uncertain):  # its lease stays: whoever takes it when that has run out sees that it was tried
        return Verdict(effect, outcome, EffectState.pending, effect.attempt, 0.0)
    attempts = effect.attempt - 1 if outcome.outage else effect.attempt
    if attempts >= route.retry.tries and not outcome.outage:
        return Verdict(effect, outcome, EffectState.dead, attempts, 0.0)
    wait = route.retry.wait_s(effect.attempt, jitter()) if outcome.after_s is None else outcome.after_s
    # An outage is not counted as a try, but the row must look tried: what follows in its conversation waits for it.
    # A target may say whole seconds; psycopg refuses a list of both kinds, and with it the whole batch.
    return Verdict(effect, outcome, EffectState.pending, max(attempts, 1), float(min(wait, 86_400.0)))


async def record(connection: psycopg.AsyncConnection[Any], route: str, verdicts: Sequence[Verdict]) -> None:
    """Write `verdicts` down; the caller commits."""
    await connection.execute(
        _RECORD,
        (
            [one.effect.message_id for one in verdicts],
            [one.state.value for one in verdicts],
            [one.attempts for one in verdicts],
            [None if isinstance(one.outcome, Delivered) else _sentence(one.outcome.reason) for one in verdicts],
            [storable(one.outcome.reference)[:500] if isinstance(one.outcome, Delivered) else None for one in verdicts],
            [_answer(one.outcome) for one in verdicts],
            [one.wait_s for one in verdicts],
            [isinstance(one.outcome, Uncertain) for one in verdicts],
            route,
        ),
    )


async def due(connection: psycopg.AsyncConnection[Any], route: Route) -> float | None:
    """In how many seconds there is something to do for `route`; 0: now, None: only when something new comes."""
    cursor = await connection.execute(_DUE.encode(), _asked(route))
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    now, later = row
    return 0.0 if now else None if later is None else max(0.0, float(later))


def _asked(route: Route) -> dict[str, Any]:
    return {"route": route.name, "block": route.on_dead == "block"}


def _sentence(reason: str) -> str:
    return storable(reason)[:_LONGEST_ERROR]


def _answer(outcome: Outcome) -> Jsonb | None:
    if not isinstance(outcome, Delivered) or not outcome.answer:
        return None
    told = storable_document(outcome.answer)
    size = len(json.dumps(told))
    return Jsonb(told if size <= _LARGEST_ANSWER else {"left_out": f"{size} characters"})
