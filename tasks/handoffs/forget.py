"""Personal data, taken out again: of one person when that is asked for, of everybody when its time is over.

The natural ids stay, so a message that is sent again is still known and is not handed on a second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from blocks.errors import ConfigurationError
from models.handoff_route import Route
from tasks.handoffs.functions import FieldError, phone

_BATCH = 5_000
_SHORTEST = 5

_NAMED = "CREATE TEMPORARY TABLE forgotten (route text, message_id text) ON COMMIT DROP"

_OF_PERSON = """
INSERT INTO forgotten SELECT message.route, message.message_id FROM handoff_message AS message
LEFT JOIN handoff_effect AS effect USING (route, message_id)
WHERE message.conversation = %(key)s OR message.conversation LIKE %(line)s
   OR message.attributes ->> 'from' = %(key)s OR message.attributes ->> 'to' = %(key)s
   OR effect.payload ->> 'phone' = %(key)s OR lower(effect.payload ->> 'email') = lower(%(key)s)
"""

_STEPS = {
    "messages": """
        UPDATE handoff_message AS message
        SET raw = '', attributes = '{}', conversation = 'forgotten', last_error = NULL,
            state = CASE WHEN state = 'accepted' THEN state ELSE 'ignored' END
        FROM forgotten WHERE message.route = forgotten.route AND message.message_id = forgotten.message_id
    """,
    "effects": """
        UPDATE handoff_effect AS effect SET payload = '{}', answer = NULL, conversation = 'forgotten', last_error = NULL
        FROM forgotten WHERE effect.route = forgotten.route AND effect.message_id = forgotten.message_id
        AND effect.state = 'delivered'
    """,
    "undelivered": """
        DELETE FROM handoff_effect AS effect USING forgotten
        WHERE effect.route = forgotten.route AND effect.message_id = forgotten.message_id
        AND effect.state <> 'delivered'
    """,
    "edits": """
        UPDATE handoff_edit AS edit SET before = NULL FROM forgotten
        WHERE edit.route = forgotten.route AND edit.message_id = forgotten.message_id
    """,
    "deliveries": "UPDATE delivery SET body = '' WHERE position(%(bytes)s::bytea IN body) > 0",
    "contacts": "DELETE FROM crm_contact WHERE phone = %(key)s OR lower(email) = lower(%(key)s)",
}

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
)
UPDATE handoff_message AS message SET raw = '', attributes = '{}' FROM old
WHERE message.route = old.route AND message.message_id = old.message_id
"""


@dataclass(frozen=True)
class Forgotten:
    """How much was taken out."""

    counts: dict[str, int]

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
    """Take out what is filed under `key`: messages, payloads, answers, contact, raw deliveries that hold it as it is.

    Found by sender, recipient, conversation, and by phone and e-mail of payloads; a number that is only mentioned
    within somebody's words, or written in another way there, is not looked for.

    What waits to be delivered is not delivered any more. Outside systems keep what they were given.
    """
    bare = key.removeprefix("+")
    values = {
        "key": key,
        "line": "%:" + bare.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_"),
        "bytes": bare.encode(),
    }
    counts = {}
    async with connection.transaction(force_rollback=dry_run):
        await connection.execute(_NAMED)
        await connection.execute(_OF_PERSON, values)
        for name, statement in _STEPS.items():
            cursor = await connection.execute(statement.encode(), values)
            counts[name] = cursor.rowcount
    return Forgotten(counts)


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
