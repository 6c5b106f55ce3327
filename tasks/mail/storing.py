"""A mail becomes durable: for every route that takes it a message in the inbox, and its files, each content once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import psycopg

from models.handoff_route import Route
from tasks.handoffs.inbox import natural_id, rows, storable, store
from tasks.mail.reading import Attachment, Mail

# DO UPDATE rather than DO NOTHING: it locks the row, so that nobody takes a file away that is being attached.
_FILES = """
INSERT INTO mail_file (digest, size, content) SELECT * FROM unnest(%b::bytea[], %b::bigint[], %b::bytea[])
ON CONFLICT (digest) DO UPDATE SET size = excluded.size
"""

# A message that was emptied keeps its id, and gets no files again when it is sent again.
_ATTACH = """
INSERT INTO mail_attachment (route, message_id, place, digest, name, content_type)
SELECT message.route, message.message_id, row.place, row.digest, row.name, row.content_type
FROM unnest(%b::int[], %b::bytea[], %b::text[], %b::text[]) AS row (place, digest, name, content_type),
     handoff_message AS message
WHERE message.message_id = %b AND message.route = ANY(%b) AND message.raw <> ''
ON CONFLICT DO NOTHING
"""

_DROP_UNUSED = """
DELETE FROM mail_file WHERE digest IN (
    SELECT digest FROM mail_file AS file WHERE NOT EXISTS (
        SELECT FROM mail_attachment AS attachment WHERE attachment.digest = file.digest)
    LIMIT %s FOR UPDATE SKIP LOCKED)
"""


async def store_mails(
    connection: psycopg.AsyncConnection[Any], routes: Sequence[Route], mails: Sequence[Mail], received_at: datetime
) -> int:
    """Store `mails` in one transaction; how many messages were new.

    Raises:
        psycopg.Error: nothing is stored.
    """
    if not mails:
        return 0
    source = mails[0].message.source
    takers = [route.name for route in routes if route.source == source]
    async with connection.transaction():
        new = await store(connection, rows(routes, [mail.message for mail in mails]), received_at)
        kept = [(natural_id(mail.message.message_id), mail.attachments) for mail in mails if mail.attachments]
        if kept and takers:
            await attach(connection, takers, kept)
    return new


async def attach(
    connection: psycopg.AsyncConnection[Any], routes: Sequence[str], kept: Sequence[tuple[str, Sequence[Attachment]]]
) -> None:
    """Keep files with messages of `routes`: pairs of a message's id and its files. The caller commits.

    Raises:
        psycopg.Error: nothing is stored.
    """
    files = {one.digest: one.content for _, attachments in kept for one in attachments}
    digests = sorted(files)  # in one order for everybody: two that share files wait for each other, never both
    values = [bytes.fromhex(digest) for digest in digests]
    await connection.execute(
        _FILES.encode(), (values, [len(files[one]) for one in digests], [files[one] for one in digests])
    )
    for message_id, attachments in kept:
        await connection.execute(
            _ATTACH.encode(),
            (
                list(range(len(attachments))),
                [bytes.fromhex(one.digest) for one in attachments],
                [storable(one.name) for one in attachments],
                [storable(one.content_type) for one in attachments],
                message_id,
                list(routes),
            ),
        )


async def drop_unused(connection: psycopg.AsyncConnection[Any], *, batch: int = 500) -> int:
    """Take away files that no message has any more; how many."""
    total = 0
    while True:
        count = (await connection.execute(_DROP_UNUSED.encode(), (batch,))).rowcount
        total += count
        if count < batch:
            return total
