"""Deletes deliveries that are done and old, a few at a time so that nobody waits for it."""

from __future__ import annotations

import asyncio

from blocks.logs import logger
from services.connection import UNAVAILABLE, Connection

_log = logger("gateway")

_GROUP = 1000
_PAUSE_S = 0.2
_EVERY_S = 3600.0

# Never one that is still to be started, however old.
_DELETE = """
DELETE FROM delivery WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM delivery
    WHERE received_at < clock_timestamp() - make_interval(secs => %s) AND status <> 'stored'
    ORDER BY received_at LIMIT %s FOR UPDATE SKIP LOCKED
))
"""


async def prune(connection: Connection, retention_days: float) -> int:
    """Delete everything past its retention; returns how many.

    Raises:
        psycopg.Error, OSError, TimeoutError: the database is away.
    """
    deleted = 0
    while True:
        async with connection.use() as open_connection:
            cursor = await open_connection.execute(_DELETE, (retention_days * 86_400, _GROUP))
        deleted += cursor.rowcount
        if cursor.rowcount < _GROUP:
            return deleted
        await asyncio.sleep(_PAUSE_S)


async def keep_pruning(connection: Connection, retention_days: float) -> None:
    """Prune every hour until cancelled."""
    while True:
        try:
            deleted = await prune(connection, retention_days)
        except UNAVAILABLE as error:
            _log.warning("old deliveries not deleted, the database: %s", type(error).__name__)
        else:
            if deleted:
                _log.info("%d deliveries older than %g days deleted", deleted, retention_days)
        await asyncio.sleep(_EVERY_S)
