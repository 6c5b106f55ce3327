"""What was read from documents, in our own database: each content once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from models.documents import DocumentRead
from tasks.handoffs.inbox import storable_document

_KEEP = """
INSERT INTO property_document (sha256, name, reader, complete, document, read_at) VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (sha256) DO UPDATE SET
    reader = excluded.reader, complete = excluded.complete, document = excluded.document, read_at = excluded.read_at
"""


async def known(
    connection: psycopg.AsyncConnection[Any], digests: Sequence[str], *, reader: str
) -> dict[str, DocumentRead]:
    """Those of `digests` that were read whole by the same `reader`."""
    cursor = await connection.execute(
        "SELECT sha256, document FROM property_document WHERE sha256 = ANY(%s) AND reader = %s AND complete",
        (list(digests), reader),
    )
    return {sha256: DocumentRead.model_validate(document) for sha256, document in await cursor.fetchall()}


async def keep(
    connection: psycopg.AsyncConnection[Any], document: DocumentRead, *, reader: str, complete: bool, at: datetime
) -> None:
    """Keep what was read. A later reading of the same content replaces it."""
    told = Jsonb(storable_document(document.model_dump(mode="json")))
    await connection.execute(_KEEP, (document.sha256, document.name, reader, complete, told, at))


async def listed(connection: psycopg.AsyncConnection[Any], *, limit: int) -> list[dict[str, Any]]:
    """What was read, the latest first."""
    cursor = connection.cursor(row_factory=dict_row)
    await cursor.execute(
        "SELECT sha256, name, complete, read_at::text AS read_at, document FROM property_document "
        "ORDER BY property_document.read_at DESC LIMIT %s",
        (limit,),
    )
    return await cursor.fetchall()


async def forget(connection: psycopg.AsyncConnection[Any], sha256: str) -> bool:
    """Take out what was read from a content, by its digest or the beginning of it; whether there was exactly one."""
    cursor = await connection.execute(
        "DELETE FROM property_document WHERE sha256 LIKE %(like)s "
        "AND 1 = (SELECT count(*) FROM property_document WHERE sha256 LIKE %(like)s)",
        {"like": f"{sha256}%"},
    )
    return cursor.rowcount == 1
