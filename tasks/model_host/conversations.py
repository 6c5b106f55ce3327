"""Conversations with language models in PostgreSQL."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import psycopg

from blocks.model_host_api import sendable

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
        # Of two runs at once, one adds its question and its answer after the other.
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"turns {conversation}",))
        await connection.execute(_ADD, (conversation, run_id, "user", sendable(question), None, now))
        await connection.execute(_ADD, (conversation, run_id, "assistant", sendable(answer), model, now))


async def forget_old(connection: psycopg.AsyncConnection[Any], *, now: datetime, days: float) -> int:
    """Delete conversations that nobody has taken up for `days`; how many turns that were."""
    cursor = await connection.execute(
        "DELETE FROM model_turn WHERE conversation IN"
        " (SELECT conversation FROM model_turn GROUP BY conversation HAVING max(said_at) < %s)",
        (now - timedelta(days=days),),
    )
    return cursor.rowcount


async def count_old(connection: psycopg.AsyncConnection[Any], *, now: datetime, days: float) -> int:
    """How many turns `forget_old` would delete."""
    cursor = await connection.execute(
        "SELECT coalesce(sum(turns), 0) FROM"
        " (SELECT count(*) AS turns FROM model_turn GROUP BY conversation HAVING max(said_at) < %s) AS old",
        (now - timedelta(days=days),),
    )
    row = await cursor.fetchone()
    return int(row[0]) if row else 0
