"""Files that people sent by WhatsApp, fetched into the table that attachments of mails are in.

https://developers.facebook.com/docs/whatsapp/cloud-api/reference/media: a message has the id of a file; `GET /{id}`
says where it is for five minutes, how large it is, and its SHA-256.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
from pydantic import JsonValue

from blocks.errors import UnavailableError
from blocks.settings import LOOPBACK
from blocks.whatsapp import WhatsApp
from models.handoff import Again, Refused
from tasks.handoffs.addresses import GuardedTransport
from tasks.handoffs.http_target import answer_to, parsed
from tasks.mail.reading import Attachment
from tasks.mail.storing import attach

_BATCH = 100

# WhatsApp keeps what it received for no longer than a month.
_MISSING = """
SELECT message_id, attributes -> 'media' FROM handoff_message AS message
WHERE route = %s AND received_at > now() - interval '30 days' AND raw <> '' AND state IN ('accepted', 'dead')
  AND attributes -> 'media' ->> 'id' IS NOT NULL AND attributes -> 'media' ->> 'problem' IS NULL
  AND NOT EXISTS (SELECT FROM mail_attachment AS attachment
                  WHERE attachment.route = message.route AND attachment.message_id = message.message_id)
ORDER BY seq LIMIT %s
"""
_NOTE = """
UPDATE handoff_message SET attributes = jsonb_set(attributes, '{media,problem}', to_jsonb(%s::text))
WHERE route = %s AND message_id = %s AND attributes ? 'media'
"""


@dataclass(frozen=True)
class Fetched:
    """What one look brought."""

    files: int = 0
    given_up: int = 0
    """Files that can never be had; their messages say why."""


class _NeverError(Exception):
    """The file cannot be had, whenever it is asked for."""


async def fetch_media(connection: psycopg.AsyncConnection[Any], route: str, block: WhatsApp) -> Fetched:
    """Fetch the files of the messages of `route` that are not here yet. It may be stopped anywhere, and be repeated.

    Args:
        connection: in autocommit mode; each file is stored with its message in a transaction of its own.
        route: the route's name.
        block: leads to the number that received them.

    Raises:
        UnavailableError: WhatsApp is away, or does not accept the token; what was fetched is stored.
        psycopg.Error: the database is away.
    """
    files = given_up = 0
    allowed = [host for host in block.media_hosts if host in LOOPBACK]
    async with block.get_client() as api, block.get_client(GuardedTransport(allowed)) as hosts:
        while True:
            missing = await (await connection.execute(_MISSING, (route, _BATCH))).fetchall()
            for message_id, media in missing:
                try:
                    attachment = await _file(api, hosts, block, media)
                except _NeverError as error:
                    await connection.execute(_NOTE, (str(error), route, message_id))
                    given_up += 1
                    continue
                async with connection.transaction():
                    await attach(connection, [route], [(message_id, [attachment])])
                files += 1
            if len(missing) < _BATCH:
                return Fetched(files, given_up)


async def _file(
    api: httpx.AsyncClient, hosts: httpx.AsyncClient, block: WhatsApp, media: Mapping[str, Any]
) -> Attachment:
    media_id = str(media["id"])
    if not media_id.isdigit():
        raise _NeverError("its id is no number")
    answer = parsed(await _got(api, api.build_request("GET", media_id), 100_000))
    told: Mapping[str, JsonValue] = answer if isinstance(answer, Mapping) else {}
    url, size, kind = str(told.get("url", "")), told.get("file_size"), str(told.get("mime_type", ""))
    if not isinstance(size, int) or size > block.largest_media_bytes:
        raise _NeverError(f"it is larger than {block.largest_media_mib:g} MiB")
    parts = urlsplit(url)
    secure = parts.scheme == "https" or parts.hostname in LOOPBACK
    if parts.hostname not in block.media_hosts or not secure:
        raise _NeverError("it is not on one of the hosts that the block names")
    content = await _got(hosts, hosts.build_request("GET", url), size)
    if content is None or len(content) != size:
        raise _NeverError("it is not as large as WhatsApp says")
    if hashlib.sha256(content).digest() != _digest(str(told.get("sha256", ""))):
        raise _NeverError("its SHA-256 is not the one that WhatsApp says")
    kind = kind.partition(";")[0].strip() or "application/octet-stream"
    name = str(media.get("filename") or f"{media_id}{mimetypes.guess_extension(kind) or ''}")
    return Attachment(name=name[:200], content_type=kind, content=content)


async def _got(client: httpx.AsyncClient, request: httpx.Request, largest: int) -> bytes | None:
    answered = await answer_to(client, request, largest=largest)
    if isinstance(answered, Refused):
        raise _NeverError(answered.reason)
    if isinstance(answered, Again):
        raise UnavailableError(f"{answered.reason}.", component="WhatsApp")
    response, body = answered
    if response.status_code in {401, 403, 408, 429} or response.status_code >= 500:
        raise UnavailableError(f"it answered {response.status_code}.", component="WhatsApp")
    if not response.is_success:
        raise _NeverError(f"WhatsApp answered {response.status_code}: it is not there any more")
    return body


def _digest(text: str) -> bytes:
    """A SHA-256 in hexadecimal, as the API writes it, or in base64, as webhooks do."""
    with contextlib.suppress(ValueError):
        return bytes.fromhex(text)
    with contextlib.suppress(ValueError):
        return base64.b64decode(text, validate=True)
    return b""
