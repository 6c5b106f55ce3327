"""What statuses of WhatsApp tell of messages that we sent: each gives back the idempotency key that it was sent with.

`biz_opaque_callback_data`, https://developers.facebook.com/docs/whatsapp/cloud-api/reference/messages: the Cloud API
gives it back in the statuses of a message, and does nothing else with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from models.handoff import CHANNEL, Message
from tasks.handoffs.whatsapp_errors import refusal

_SENT = frozenset({"sent", "delivered", "read", "played"})
_LONGEST = 500

# A reference says whose failure is known already: statuses come late, twice, and in any order.
_DELIVERED = f"""
WITH heard AS (
    UPDATE handoff_effect SET state = 'delivered', lease_until = NULL, last_error = NULL, reference = %(id)s,
           delivered_at = clock_timestamp()
    WHERE idempotency_key = %(key)s AND state <> 'delivered' AND reference IS DISTINCT FROM %(id)s
    RETURNING route
) SELECT pg_notify('{CHANNEL}', route) FROM heard
"""  # noqa: S608 - no value in it
_FAILED = f"""
WITH heard AS (
    UPDATE handoff_effect SET state = 'dead', lease_until = NULL, last_error = %(failed)s, reference = %(id)s,
           delivered_at = NULL
    WHERE idempotency_key = %(key)s AND (
        state = 'delivered' AND reference = %(id)s
        OR state = 'pending' AND lease_until IS NOT NULL AND reference IS DISTINCT FROM %(id)s
        OR state = 'dead' AND reference IS NULL)
    RETURNING route
) SELECT pg_notify('{CHANNEL}', route) FROM heard
"""  # noqa: S608 - no value in it


@dataclass(frozen=True)
class Heard:
    """A status of a message that was sent with a key."""

    key: str
    id: str
    """WhatsApp's id of the message."""
    failed: str | None
    """Why it was not delivered; None: it was sent."""


def heard_of(messages: Sequence[Message]) -> list[Heard]:
    """The statuses among `messages` that give back a key."""
    found = []
    for message in messages:
        status = message.attributes.get("message")
        if message.attributes.get("kind") != "status" or not isinstance(status, Mapping):
            continue
        key, wamid, state = (status.get(name) for name in ("biz_opaque_callback_data", "id", "status"))
        if not (isinstance(key, str) and isinstance(wamid, str) and wamid and 0 < len(key) <= _LONGEST):
            continue
        if "\x00" in key + wamid or len(wamid) > _LONGEST:
            continue
        if state in _SENT:
            found.append(Heard(key, wamid, None))
        elif state == "failed":
            found.append(Heard(key, wamid, refusal(_code(status.get("errors"))).reason))
    return found


async def hear(connection: psycopg.AsyncConnection[Any], told: Sequence[Heard]) -> int:
    """Write down what `told` says of effects, and tell those who drain their routes; how many effects it was.

    It may be told again. With a connection in autocommit mode no two rows are held at a time, so that nobody who
    delivers has to wait.

    Raises:
        psycopg.Error: what is left is not written.
    """
    count = 0
    for one in told:
        statement = _DELIVERED if one.failed is None else _FAILED
        asked = {"key": one.key, "id": one.id, "failed": one.failed}
        count += (await connection.execute(statement.encode(), asked)).rowcount
    return count


def _code(errors: Any) -> int:
    first = errors[0] if isinstance(errors, list) and errors else None
    code = first.get("code") if isinstance(first, Mapping) else None
    return code if isinstance(code, int) else 0
