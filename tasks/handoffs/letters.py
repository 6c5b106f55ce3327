"""What people do with messages: look at one, mend what it was made into, send it again, have a person forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb
from pydantic import JsonValue

from blocks.errors import ConfigurationError
from models.handoff import CHANNEL
from models.handoff_route import Route
from tasks.handoffs.inbox import storable_document
from tasks.handoffs.transform import idempotency_key

_DEAD = """
SELECT message.route, message.message_id, message.received_at,
       coalesce(effect.state, message.state) AS state, coalesce(effect.attempts, 0) AS attempts,
       coalesce(effect.last_error, message.last_error) AS last_error
FROM handoff_message AS message LEFT JOIN handoff_effect AS effect USING (route, message_id)
WHERE message.route = ANY(%s) AND (message.state = 'dead' OR effect.state = 'dead')
ORDER BY message.seq LIMIT %s
"""

_ONE = """
SELECT message.*, effect.state AS effect_state, effect.payload, effect.attempts, effect.next_attempt_at,
       effect.lease_until, effect.delivered_at, effect.reference, effect.answer, effect.idempotency_key,
       effect.last_error AS effect_error,
       (SELECT jsonb_agg(jsonb_build_object('at', at, 'what', what) ORDER BY id) FROM handoff_edit AS edit
        WHERE edit.route = message.route AND edit.message_id = message.message_id) AS edits
FROM handoff_message AS message LEFT JOIN handoff_effect AS effect USING (route, message_id)
WHERE message.route = %s AND message.message_id = %s
"""

_RESEND_EFFECTS = """
UPDATE handoff_effect SET state = 'pending', attempts = 0, lease_until = NULL, next_attempt_at = clock_timestamp()
WHERE route = %(route)s AND state = 'dead' AND (%(all)s OR message_id = ANY(%(ids)s)) RETURNING message_id
"""
_RESEND_MESSAGES = """
UPDATE handoff_message SET state = 'waiting', last_error = NULL
WHERE route = %(route)s AND state = 'dead' AND (%(all)s OR message_id = ANY(%(ids)s)) RETURNING message_id
"""
_NOTE = """
INSERT INTO handoff_edit (route, message_id, at, what, before)
SELECT %s, message_id, clock_timestamp(), %s, NULL FROM unnest(%s::text[]) AS message_id
"""

_PUT = """
INSERT INTO handoff_effect (route, message_id, seq, conversation, idempotency_key, payload, state, attempts,
                            next_attempt_at)
SELECT route, message_id, seq, conversation, %(key)s, %(payload)s, 'pending', 0, clock_timestamp()
FROM handoff_message WHERE route = %(route)s AND message_id = %(message_id)s
ON CONFLICT (route, message_id) DO UPDATE SET payload = excluded.payload, state = 'pending', attempts = 0,
    lease_until = NULL, next_attempt_at = clock_timestamp()
WHERE handoff_effect.state = 'dead'
RETURNING message_id
"""


@dataclass(frozen=True)
class DeadLetter:
    """A message that waits for a person."""

    route: str
    message_id: str
    received_at: datetime
    state: str
    attempts: int
    last_error: str | None


async def dead_letters(
    connection: psycopg.AsyncConnection[Any], routes: list[str], *, limit: int = 100
) -> list[DeadLetter]:
    """The oldest dead letters of `routes`."""
    async with connection.cursor(row_factory=class_row(DeadLetter)) as cursor:
        await cursor.execute(_DEAD, (routes, limit))
        return await cursor.fetchall()


async def look_up(connection: psycopg.AsyncConnection[Any], route: str, message_id: str) -> dict[str, Any] | None:
    """All that is known of one message; None: there is no such message."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_ONE, (route, message_id))
        return await cursor.fetchone()


async def resend(connection: psycopg.AsyncConnection[Any], route: str, message_ids: list[str] | None) -> list[str]:
    """Put dead letters back in their places; None: all of the route. What was delivered is never sent again.

    Returns:
        The ids of those that were put back.
    """
    asked = {"route": route, "all": message_ids is None, "ids": message_ids or []}
    async with connection.transaction():
        put = [row[0] for row in await (await connection.execute(_RESEND_EFFECTS, asked)).fetchall()]
        put += [row[0] for row in await (await connection.execute(_RESEND_MESSAGES, asked)).fetchall()]
        await connection.execute(_NOTE, (route, "resend", put))
        await connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, route))
    return put


async def edit(
    connection: psycopg.AsyncConnection[Any], route: Route, message_id: str, payload: Mapping[str, JsonValue]
) -> None:
    """Give a dead letter another payload, and send it. What it was before is kept.

    Raises:
        ConfigurationError: there is no such message, or it is no dead letter.
    """
    async with connection.transaction():
        await connection.execute(
            "SELECT 1 FROM handoff_message WHERE route = %s AND message_id = %s FOR UPDATE", (route.name, message_id)
        )
        known = await look_up(connection, route.name, message_id)
        if known is None:
            raise ConfigurationError(f"the route {route.name!r} has no message {message_id!r}.", component="handoffs")
        if known["state"] != "dead" and known["effect_state"] != "dead":
            raise ConfigurationError(
                f"the message {message_id!r} is no dead letter: it is {known['effect_state'] or known['state']}.",
                component="handoffs",
                remedy="Only what was not delivered can be edited.",
            )
        await connection.execute(
            "INSERT INTO handoff_edit (route, message_id, at, what, before) VALUES (%s, %s, clock_timestamp(), %s, %s)",
            (route.name, message_id, "edit", None if known["payload"] is None else Jsonb(known["payload"])),
        )
        await connection.execute(
            _PUT,
            {
                "key": idempotency_key(route.name, message_id),
                "payload": Jsonb(storable_document(dict(payload))),
                "route": route.name,
                "message_id": message_id,
            },
        )
        await connection.execute(
            "UPDATE handoff_message SET state = 'accepted', last_error = NULL WHERE route = %s AND message_id = %s",
            (route.name, message_id),
        )
        await connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, route.name))
