"""Conversations with language models in PostgreSQL."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import psycopg

_MOST_TURNS = 200

_READ = """
SELECT role, content FROM (
    SELECT id, role, content FROM model_turn WHERE conversation = %s AND run_id <> %s ORDER BY id DESC LIMIT %s
) AS latest ORDER BY id
"""
_ADD = """
INSERT INTO model_turn (conversation, run_id, role, content, model, said_at) VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (conversation, run_id, role) DO NOTHING
"""


async def turns(connection: psycopg.AsyncConnection[Any], conversation: str, *, run_id: str) -> list[dict[str, str]]:
    """What was said before the run `run_id`, as messages of a chat, oldest first; at most the last 200."""
    cursor = await connection.execute(_READ, (conversation, run_id, _MOST_TURNS))
    return [{"role": role, "content": content} for role, content in await cursor.fetchall()]


async def add(
    connection: psycopg.AsyncConnection[Any],
    conversation: str,
    *,
    run_id: str,
    question: str,
    answer: str,
    model: str,
    now: datetime,
) -> None:
    """Add a question and its answer, both or neither; once for a run, however often it is repeated."""
    async with connection.transaction():
        await connection.execute(_ADD, (conversation, run_id, "user", _storable(question), None, now))
        await connection.execute(_ADD, (conversation, run_id, "assistant", _storable(answer), model, now))


async def forget_old(connection: psycopg.AsyncConnection[Any], *, now: datetime, days: float) -> int:
    """Delete conversations that nobody has taken up for `days`; how many turns that were."""
    cursor = await connection.execute(
        "DELETE FROM model_turn WHERE conversation IN"
        " (SELECT conversation FROM model_turn GROUP BY conversation HAVING max(said_at) < %s)",
        (now - timedelta(days=days),),
    )
    return cursor.rowcount


def _storable(text: str) -> str:
    """PostgreSQL takes no NUL, and no half of a surrogate pair."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
