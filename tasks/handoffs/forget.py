"""Personal data, taken out again: of one person when that is asked for, of everybody when its time is over.

The natural ids stay, or their digests where they tell who somebody is, so a message that is sent again is still known
and is not handed on a second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from blocks.errors import ConfigurationError
from models.handoff_route import Route
from tasks.handoffs.functions import FieldError, phone
from tasks.handoffs.inbox import FORGOTTEN
from tasks.handoffs.mentions import Mentions, like
from tasks.mail.storing import drop_unused

_BATCH = 5_000
_SHORTEST = 5

_LARGE = 1_000_000
"""Bytes of a raw message above which only the keys as they are are looked for in it."""

_PERSON = """
SELECT phone, email FROM crm_contact WHERE phone = ANY(%(keys)s) OR lower(email) = ANY(%(small)s)
"""

_NAMED = (
    "CREATE TEMPORARY TABLE forgotten (route text, message_id text, PRIMARY KEY (route, message_id)) ON COMMIT DROP"
)

_OF_PERSON = """
INSERT INTO forgotten SELECT message.route, message.message_id FROM handoff_message AS message
LEFT JOIN handoff_effect AS effect USING (route, message_id)
WHERE message.conversation = ANY(%(keys)s) OR message.conversation LIKE ANY(%(lines)s)
   OR message.attributes ->> 'from' = ANY(%(keys)s) OR message.attributes ->> 'to' = ANY(%(keys)s)
   OR effect.payload ->> 'phone' = ANY(%(keys)s) OR lower(effect.payload ->> 'email') = ANY(%(small)s)
   OR lower(message.attributes ->> 'from') = ANY(%(small)s)
   OR message.message_id LIKE ANY(%(in_ids)s)
"""

_MAY_MENTION = f"""
SELECT message.route, message.message_id, message.attributes::text, coalesce(effect.payload::text, ''),
       CASE WHEN octet_length(message.raw) <= {_LARGE} THEN message.raw END
FROM handoff_message AS message LEFT JOIN handoff_effect AS effect USING (route, message_id)
WHERE (message.raw <> '' OR message.attributes <> '{{}}' OR effect.payload <> '{{}}')
  AND NOT EXISTS (SELECT FROM forgotten WHERE forgotten.route = message.route
                  AND forgotten.message_id = message.message_id)
  AND (message.attributes::text ~ ANY(%(patterns)s) OR lower(message.attributes::text) LIKE ANY(%(likes)s)
       OR effect.payload::text ~ ANY(%(patterns)s) OR lower(effect.payload::text) LIKE ANY(%(likes)s)
       OR CASE WHEN octet_length(message.raw) <= {_LARGE}
               THEN encode(message.raw, 'escape') ~ ANY(%(patterns)s)
                    OR lower(encode(message.raw, 'escape')) LIKE ANY(%(likes)s)
               ELSE EXISTS (SELECT FROM unnest(%(plain)s::bytea[]) AS key WHERE position(key IN message.raw) > 0) END)
"""  # noqa: S608 - no value in it

_MENTIONED = "INSERT INTO forgotten SELECT * FROM unnest(%s::text[], %s::text[]) ON CONFLICT DO NOTHING"

_DELIVERIES = f"""
SELECT source, delivery_id, CASE WHEN octet_length(body) <= {_LARGE} THEN body END,
       EXISTS (SELECT FROM unnest(%(bytes)s::bytea[]) AS key WHERE position(key IN body) > 0) FROM delivery
WHERE body <> '' AND (
    EXISTS (SELECT FROM unnest(%(plain)s::bytea[] || %(bytes)s::bytea[]) AS key WHERE position(key IN body) > 0)
    OR CASE WHEN octet_length(body) <= {_LARGE} THEN encode(body, 'escape') ~ ANY(%(patterns)s)
            OR lower(encode(body, 'escape')) LIKE ANY(%(likes)s) END)
"""  # noqa: S608 - no value in it
_EMPTY_DELIVERIES = """
UPDATE delivery SET body = '' FROM unnest(%s::text[], %s::text[]) AS named (source, delivery_id)
WHERE delivery.source = named.source AND delivery.delivery_id = named.delivery_id
"""

_STEPS = {
    "messages": """
        UPDATE handoff_message AS message
        SET raw = '', attributes = '{}', conversation = 'forgotten', last_error = NULL,
            state = CASE WHEN state = 'accepted' THEN state ELSE 'ignored' END
        FROM forgotten WHERE message.route = forgotten.route AND message.message_id = forgotten.message_id
        AND (message.raw <> '' OR message.attributes <> '{}' OR message.conversation <> 'forgotten')
    """,
    "effects": """
        UPDATE handoff_effect AS effect SET payload = '{}', answer = NULL, conversation = 'forgotten', last_error = NULL
        FROM forgotten WHERE effect.route = forgotten.route AND effect.message_id = forgotten.message_id
        AND effect.state = 'delivered' AND effect.conversation <> 'forgotten'
    """,
    "undelivered": """
        DELETE FROM handoff_effect AS effect USING forgotten
        WHERE effect.route = forgotten.route AND effect.message_id = forgotten.message_id
        AND effect.state <> 'delivered'
    """,
    "edits": """
        UPDATE handoff_edit AS edit SET before = NULL FROM forgotten
        WHERE edit.route = forgotten.route AND edit.message_id = forgotten.message_id AND edit.before IS NOT NULL
    """,
    "attachments": """
        DELETE FROM mail_attachment AS attachment USING forgotten
        WHERE attachment.route = forgotten.route AND attachment.message_id = forgotten.message_id
    """,
    "contacts": "DELETE FROM crm_contact WHERE phone = ANY(%(keys)s) OR lower(email) = ANY(%(small)s)",
    "interactions": """
        DELETE FROM crm_interaction AS said USING forgotten
        WHERE said.route = forgotten.route AND said.message_id = forgotten.message_id
    """,
    "tasks": "DELETE FROM board_task WHERE requester = ANY(%(keys)s) OR lower(requester) = ANY(%(small)s)",
    "retold": """
        UPDATE board_task AS task SET title = 'forgotten', description = NULL
        FROM forgotten, board_entry AS entry
        WHERE entry.route = forgotten.route AND entry.message_id = forgotten.message_id AND entry.task_id = task.id
        AND entry.id = (SELECT min(first.id) FROM board_entry AS first WHERE first.task_id = task.id)
    """,
    "entries": """
        DELETE FROM board_entry AS entry
        WHERE author = ANY(%(keys)s) OR lower(author) = ANY(%(small)s)
           OR EXISTS (SELECT FROM forgotten WHERE entry.route = forgotten.route
                      AND entry.message_id = forgotten.message_id)
    """,
}

_LEAVE_IDS = "AND message_id LIKE ANY(%(in_ids)s) AND message_id NOT LIKE 'forgotten:%%'"
_IDS = f"SELECT count(*) FROM handoff_message WHERE conversation = 'forgotten' {_LEAVE_IDS}"  # noqa: S608 - no value in it

# Nobody may store anything meanwhile: what is sent again at this moment would be known by neither id.
_RENAME = f"""
WITH renamed AS (
    UPDATE handoff_message SET message_id = {FORGOTTEN.format(id="message_id")}
    WHERE conversation = 'forgotten' {_LEAVE_IDS} RETURNING 1
), followed AS (
    UPDATE handoff_edit SET message_id = {FORGOTTEN.format(id="message_id")} WHERE true {_LEAVE_IDS}
)
SELECT count(*) FROM renamed
"""  # noqa: S608 - no value in it

_OLD = """
WITH old AS (
    SELECT route, message_id FROM handoff_message AS message
    WHERE route = %(route)s AND raw <> '' AND received_at < now() - make_interval(secs => %(seconds)s)
      AND (state = 'ignored' OR EXISTS (SELECT FROM handoff_effect AS effect WHERE effect.route = message.route
           AND effect.message_id = message.message_id AND effect.state = 'delivered'))
    LIMIT %(batch)s
), emptied AS (
    UPDATE handoff_effect AS effect SET payload = '{}', answer = NULL FROM old
    WHERE effect.route = old.route AND effect.message_id = old.message_id
), unkept AS (
    UPDATE handoff_edit AS edit SET before = NULL FROM old
    WHERE edit.route = old.route AND edit.message_id = old.message_id
), detached AS (
    DELETE FROM mail_attachment AS attachment USING old
    WHERE attachment.route = old.route AND attachment.message_id = old.message_id
)
UPDATE handoff_message AS message SET raw = '', attributes = '{}' FROM old
WHERE message.route = old.route AND message.message_id = old.message_id
"""


@dataclass(frozen=True)
class Forgotten:
    """How much was taken out."""

    counts: dict[str, int]
    keys: tuple[str, ...] = ()
    """What the person was known by."""
    mentioning: int = 0
    """Messages that only mention the person."""

    @property
    def nothing(self) -> bool:
        """Whether nothing was known of the person."""
        return not any(self.counts.values())


def key_of(text: str, region: str) -> str:
    """A person's phone number in E.164, or the e-mail address or conversation as it is.

    Raises:
        ConfigurationError: it is too short to mean one person.
    """
    told = text.strip()
    if len(told) < _SHORTEST:
        raise ConfigurationError(
            f"a key of fewer than {_SHORTEST} characters could mean anybody.",
            component="handoffs",
            remedy="Give a phone number, an e-mail address, or a conversation.",
        )
    if "@" in told:
        return told
    try:
        return phone(told, region)
    except FieldError:
        return told


async def forget(connection: psycopg.AsyncConnection[Any], key: str, *, dry_run: bool = False) -> Forgotten:
    """Take out what is known of the person with `key`: messages, payloads, answers, contact, tasks, raw deliveries.

    Found by sender, recipient, conversation and id, by phone and e-mail of payloads, and wherever the number or the
    address stands within somebody's words, however it is written. A contact that has both makes them one person.

    What waits to be delivered is not delivered any more. Outside systems keep what they were given.
    """
    async with connection.transaction(force_rollback=dry_run):
        await connection.execute("SET LOCAL statement_timeout = 0")  # everything is looked at, however much that is
        keys = await _keys_of(connection, key)
        mentions = Mentions(keys)
        values = _values(keys, mentions)
        await connection.execute(_NAMED)
        await connection.execute(_OF_PERSON, values)
        mentioning = await _add_mentions(connection, mentions, values)
        counts = {}
        for name, statement in _STEPS.items():
            counts[name] = (await connection.execute(statement.encode(), values)).rowcount
        counts["deliveries"] = await _empty_deliveries(connection, mentions, values)
        row = await (await connection.execute(_IDS.encode(), values)).fetchone()
        counts["ids"] = int(row[0]) if row else 0
    if not dry_run:
        async with connection.transaction():
            await connection.execute("LOCK TABLE handoff_message IN SHARE ROW EXCLUSIVE MODE")
            await connection.execute(_RENAME.encode(), values)
        await drop_unused(connection)
    return Forgotten(counts, keys=tuple(keys), mentioning=mentioning)


async def _keys_of(connection: psycopg.AsyncConnection[Any], key: str) -> list[str]:
    """`key`, and the other keys of the same contact."""
    keys = [key]
    while True:
        found = await (await connection.execute(_PERSON, _small(keys))).fetchall()
        more = [one for row in found for one in row if one and one.lower() not in _small(keys)["small"]]
        if not more:
            return keys
        keys += dict.fromkeys(more)


async def _add_mentions(connection: psycopg.AsyncConnection[Any], mentions: Mentions, values: dict[str, Any]) -> int:
    """Add to what is to be forgotten whatever mentions the person; how many messages that are."""
    found: list[tuple[str, str]] = []
    async with connection.cursor(name="may_mention") as cursor:
        cursor.itersize = 50
        await cursor.execute(_MAY_MENTION.encode(), values)
        async for route, message_id, attributes, payload, raw in cursor:
            texts = [attributes, payload, *([raw.decode("utf-8", "replace")] if raw is not None else ())]
            if raw is None or any(mentions.found_in(text) for text in texts):
                found.append((route, message_id))
    await connection.execute(_MENTIONED, ([route for route, _ in found], [message_id for _, message_id in found]))
    return len(found)


async def _empty_deliveries(
    connection: psycopg.AsyncConnection[Any], mentions: Mentions, values: dict[str, Any]
) -> int:
    found: list[tuple[str, str]] = []
    async with connection.cursor(name="deliveries") as cursor:
        cursor.itersize = 50
        await cursor.execute(_DELIVERIES.encode(), values)
        async for source, delivery_id, body, as_it_is in cursor:
            if as_it_is or body is None or mentions.found_in(body.decode("utf-8", "replace")):
                found.append((source, delivery_id))
    named = ([source for source, _ in found], [delivery_id for _, delivery_id in found])
    return (await connection.execute(_EMPTY_DELIVERIES, named)).rowcount


def _small(keys: Sequence[str]) -> dict[str, Any]:
    return {"keys": list(keys), "small": [key.lower() for key in keys]}


def _values(keys: Sequence[str], mentions: Mentions) -> dict[str, Any]:
    bare = [key.removeprefix("+") for key in keys]
    return _small(keys) | {
        "lines": [f"%:{like(one)}" for one in bare],
        "bytes": [one.encode() for one in bare],
        "patterns": mentions.patterns,
        "likes": mentions.likes,
        "plain": mentions.plain,
        "in_ids": mentions.in_ids,
    }


async def empty_old(connection: psycopg.AsyncConnection[Any], routes: Sequence[Route]) -> int:
    """Empty what is done and older than its route keeps it; how many messages that were."""
    total = 0
    for route in routes:
        while True:
            asked = {"route": route.name, "seconds": route.retention_days * 86_400.0, "batch": _BATCH}
            count = (await connection.execute(_OLD.encode(), asked)).rowcount
            total += count
            if count < _BATCH:
                break
    return total
