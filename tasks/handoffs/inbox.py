"""Messages become durable here, once a natural id, before whoever sent them is answered."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb
from pydantic import JsonValue

from models.handoff import CHANNEL, Message
from models.handoff_route import Route

_LONGEST_ID = 500

_COLUMNS = "route, message_id, source, conversation, received_at, occurred_at, content_type, raw, attributes"
_ARRAYS = (
    "%b::text[], %b::text[], %b::text[], %b::text[], %b::timestamptz[], %b::timestamptz[], %b::text[], %b::bytea[], "
    "%b::jsonb[]"
)
"""What `_arrays` gives, as parameters of `unnest`."""

FORGOTTEN = "('forgotten:' || encode(sha256(convert_to({id}, 'UTF8')), 'hex'))"
"""SQL for the id under which a message is known whose own id told who somebody is that was forgotten."""

# As NOT EXISTS it could become a join that reads the whole inbox; a value is looked up in the primary key, row by row.
_STORE = f"""
WITH fresh AS (
    INSERT INTO handoff_message ({_COLUMNS}, state)
    SELECT {_COLUMNS}, 'waiting' FROM unnest({_ARRAYS}) WITH ORDINALITY AS row ({_COLUMNS}, place)
    WHERE (SELECT known.seq FROM handoff_message AS known
           WHERE known.route = row.route AND known.message_id = {FORGOTTEN.format(id="row.message_id")}) IS NULL
    ORDER BY place
    ON CONFLICT (route, message_id) DO NOTHING
    RETURNING route
), told AS (SELECT pg_notify('{CHANNEL}', route) FROM (SELECT DISTINCT route FROM fresh) AS routes)
SELECT (SELECT count(*) FROM fresh), (SELECT count(*) FROM told)
"""  # noqa: S608 - no value in it

Row = tuple[str, Message]
"""A message, and the name of the route that is to take it."""


def rows(routes: Iterable[Route], messages: Sequence[Message]) -> list[Row]:
    """Each of `messages` for each of the `routes` that take its source, in order of arrival."""
    takers = tuple(routes)
    return [(route.name, message) for message in messages for route in takers if route.source == message.source]


def _arrays(arrived: Sequence[Row], received_at: datetime) -> tuple[list[Any], ...]:
    """`arrived` as the arrays that `_ARRAYS` stands for."""
    return (
        [route for route, _ in arrived],
        [natural_id(message.message_id) for _, message in arrived],
        [message.source for _, message in arrived],
        [storable(message.conversation)[:_LONGEST_ID] for _, message in arrived],
        [received_at] * len(arrived),
        [message.occurred_at for _, message in arrived],
        [storable(message.content_type)[:200] for _, message in arrived],
        [message.raw for _, message in arrived],
        [Jsonb(storable_document(message.attributes)) for _, message in arrived],
    )


async def store(connection: psycopg.AsyncConnection[Any], arrived: Sequence[Row], received_at: datetime) -> int:
    """Store `arrived` in one statement, and tell those who listen; how many were new.

    The caller commits, and answers only then.

    Raises:
        psycopg.Error: nothing is stored.
    """
    if not arrived:
        return 0
    cursor = await connection.execute(_STORE.encode(), _arrays(arrived, received_at))
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


def natural_id(text: str) -> str:
    """`text` as a key: what is too long for one is told apart by its digest."""
    told = storable(text)
    if len(told) <= _LONGEST_ID:
        return told
    return f"{told[:100]}#{hashlib.sha256(told.encode()).hexdigest()}"


def storable(text: str) -> str:
    """`text` as PostgreSQL can hold it: no NUL, no halves of surrogate pairs. The raw message keeps them."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def storable_document(value: JsonValue) -> JsonValue:
    """The same for all texts of a document."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list):
        return [storable_document(one) for one in value]
    if isinstance(value, dict):
        return {storable(key): storable_document(one) for key, one in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
