"""What people do with messages: look at one, mend what it was made into, send it again, have it looked at anew."""

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
from models.handoff import CHANNEL, MessageState
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

# What was delivered, waits or is on its way has an effect that is not dead, or waits itself.
_REPLAYABLE = """
SELECT message.message_id, message.raw = '' AND message.attributes = '{}' AS emptied,
       coalesce((SELECT what = 'discard' FROM handoff_edit AS edit WHERE edit.route = message.route
                 AND edit.message_id = message.message_id ORDER BY id DESC LIMIT 1), false) AS discarded
FROM handoff_message AS message LEFT JOIN handoff_effect AS effect USING (route, message_id)
WHERE message.route = %(route)s AND (%(ids)s::text[] IS NULL OR message.message_id = ANY(%(ids)s))
  AND (%(since)s::timestamptz IS NULL OR message.received_at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR message.received_at < %(until)s)
  AND ((effect.state IS NULL AND message.state IN ('ignored', 'dead')) OR effect.state = 'dead')
ORDER BY message.seq FOR UPDATE OF message
"""
# A message that is not read yet has no effect; one that is under way is left to whoever delivers it.
_DISCARDABLE = """
SELECT message.message_id FROM handoff_message AS message LEFT JOIN handoff_effect AS effect USING (route, message_id)
WHERE message.route = %(route)s AND (%(ids)s::text[] IS NULL OR message.message_id = ANY(%(ids)s))
  AND ((effect.state IS NULL AND message.state = ANY(%(messages)s)) OR effect.state = ANY(%(effects)s))
  AND (effect.lease_until IS NULL OR effect.lease_until < clock_timestamp())
ORDER BY message.seq FOR UPDATE OF message
"""
_TAKE_OUT = """
DELETE FROM handoff_effect WHERE route = %(route)s AND message_id = ANY(%(ids)s) AND state = ANY(%(effects)s)
AND (lease_until IS NULL OR lease_until < clock_timestamp())
RETURNING message_id, payload, last_error
"""

# Whatever has an effect now was put back by somebody else in the meantime.
_TURN = """
WITH turned AS (
    UPDATE handoff_message AS message SET state = %(state)s::text,
        last_error = CASE WHEN %(state)s::text = 'ignored' THEN coalesce(row.error, message.last_error) END
    FROM unnest(%(ids)s::text[], %(payloads)s::jsonb[], %(errors)s::text[]) AS row (message_id, payload, error)
    WHERE message.route = %(route)s::text AND message.message_id = row.message_id
      AND NOT EXISTS (SELECT FROM handoff_effect AS effect
                      WHERE effect.route = message.route AND effect.message_id = message.message_id)
    RETURNING message.seq, message.message_id, row.payload
), noted AS (
    INSERT INTO handoff_edit (route, message_id, at, what, before)
    SELECT %(route)s::text, message_id, clock_timestamp(), %(what)s::text, payload FROM turned ORDER BY seq
), told AS (SELECT pg_notify(%(channel)s::text, %(route)s::text))
SELECT message_id FROM turned, told ORDER BY seq
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


@dataclass(frozen=True)
class Replayed:
    """What becomes of messages that somebody wants looked at anew."""

    put: tuple[str, ...]
    """Ids of those that wait again."""
    emptied: tuple[str, ...]
    """Ids of those of which nothing is left to look at."""
    discarded: tuple[str, ...]
    """Ids of those that a person had decided not to send; they are replayed only by their ids."""


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


async def replay(
    connection: psycopg.AsyncConnection[Any],
    route: str,
    *,
    message_ids: list[str] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    dry_run: bool = False,
) -> Replayed:
    """Have messages that were ignored or became dead letters looked at anew, by the route as it is now.

    What such a message was made into is kept with its edits. What was delivered, or is on its way, is left alone: it
    is never sent again.

    Args:
        connection: in autocommit mode.
        route: its name.
        message_ids: only these; None: all that came in the time.
        since: only what came then or later.
        until: only what came before that.
        dry_run: only say which ones.
    """
    asked = {"route": route, "ids": message_ids, "since": since, "until": until}
    async with connection.transaction():
        found = await (await connection.execute(_REPLAYABLE, asked)).fetchall()
        emptied = tuple(message_id for message_id, is_emptied, _ in found if is_emptied)
        left = [(message_id, is_discarded) for message_id, is_emptied, is_discarded in found if not is_emptied]
        discarded = tuple(message_id for message_id, is_discarded in left if is_discarded and message_ids is None)
        put = [message_id for message_id, is_discarded in left if not is_discarded or message_ids is not None]
        if not dry_run:
            put = await _turn(connection, route, put, ["dead"], to=MessageState.waiting, what="replay")
    return Replayed(put=tuple(put), emptied=emptied, discarded=discarded)


async def discard(
    connection: psycopg.AsyncConnection[Any], route: str, message_ids: list[str] | None, *, waiting: bool = False
) -> list[str]:
    """Decide not to send dead letters. What they hold back in their conversations goes on.

    The message stays until its route's time is over, and what it was made into is kept with its edits.

    Args:
        connection: in autocommit mode.
        route: its name; it need not be in `lama.toml` any more.
        message_ids: only these; None: all.
        waiting: also what waits and nobody has in hand: of a route that is there no more, nobody will ever take it up.

    Returns:
        The ids of those that were discarded.
    """
    effects = ["dead", "pending"] if waiting else ["dead"]
    messages = ["dead", "waiting"] if waiting else ["dead"]
    asked = {"route": route, "ids": message_ids, "messages": messages, "effects": effects}
    async with connection.transaction():
        ids = [row[0] for row in await (await connection.execute(_DISCARDABLE, asked)).fetchall()]
        return await _turn(connection, route, ids, effects, to=MessageState.ignored, what="discard")


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


async def _turn(
    connection: psycopg.AsyncConnection[Any],
    route: str,
    message_ids: list[str],
    effects: list[str],
    *,
    to: MessageState,
    what: str,
) -> list[str]:
    """Take out what `message_ids` were made into, where its state is one of `effects`; the ids of those turned."""
    if not message_ids:
        return []
    cursor = await connection.execute(_TAKE_OUT, {"route": route, "ids": message_ids, "effects": effects})
    gone = {message_id: (payload, error) for message_id, payload, error in await cursor.fetchall()}
    before = [gone.get(message_id, (None, None)) for message_id in message_ids]
    values = {
        "route": route,
        "ids": message_ids,
        "payloads": [None if payload is None else Jsonb(payload) for payload, _ in before],
        "errors": [error for _, error in before],
        "state": to.value,
        "what": what,
        "channel": CHANNEL,
    }
    return [row[0] for row in await (await connection.execute(_TURN, values)).fetchall()]
