"""Fetches what is new in a mailbox. Two marks say how far: stored here, and settled (marked or moved) there.

The mark of what is stored is committed with the mails. Killed between storing and settling, the next fetch settles
first; nothing is stored twice, because a mail that was is known by its natural id.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg

from blocks.errors import UnavailableError
from models.handoff_route import Route
from models.mail import Mailbox
from tasks.handoffs.drain import only_one
from tasks.mail.imap import Folder, Waiting
from tasks.mail.reading import Mail
from tasks.mail.storing import store_mails
from tasks.mail.taking import take_mail

if TYPE_CHECKING:
    from imap_tools.mailbox import BaseMailBox

T = TypeVar("T")

_MOST_AT_ONCE = 100
_BYTES_AT_ONCE = 8_000_000

_MARKS = 'SELECT uidvalidity, stored_uid, settled_uid, "left" FROM mail_mailbox WHERE name = %s'
_WRITE = """
INSERT INTO mail_mailbox (name, uidvalidity, stored_uid, settled_uid, "left", fetched_at)
VALUES (%s, %s, %s, %s, %s, now())
ON CONFLICT (name) DO UPDATE SET uidvalidity = excluded.uidvalidity, stored_uid = excluded.stored_uid,
    settled_uid = excluded.settled_uid, "left" = excluded."left", fetched_at = excluded.fetched_at
"""


@dataclass
class Fetched:
    """What a fetch did."""

    found: int = 0
    """Mails that were not looked at before."""
    stored: int = 0
    """Of them, stored for the first time, counted once for each route that takes them."""
    too_large: list[Waiting] = field(default_factory=list)
    """Left where they are."""
    held_elsewhere: bool = False
    """Another fetch of the mailbox was at it."""


@dataclass
class Marks:
    """How far a mailbox has been fetched: UIDs."""

    uidvalidity: int
    stored: int
    settled: int
    left: list[int] = field(default_factory=list)
    """UIDs up to `stored` that were too large: looked at again each time, as long as they are there."""
    fetched_at: datetime | None = None


async def fetch(
    connection: psycopg.AsyncConnection[Any],
    mailbox: Mailbox,
    login: Callable[[], BaseMailBox],
    routes: Sequence[Route],
    *,
    dry_run: bool = False,
) -> Fetched:
    """Fetch what is new in `mailbox`.

    Args:
        connection: in autocommit mode.
        mailbox: which.
        login: opens the account.
        routes: those that take its mail.
        dry_run: only look; nothing is changed here or there.

    Raises:
        UnavailableError: the server does not answer, or refuses.
        psycopg.Error: the database is away; what was stored is stored.
    """
    async with only_one(connection, f"mail/{mailbox.name}") as ours:
        if not ours:
            return Fetched(held_elsewhere=True)
        client = await _in_thread(login)
        try:
            return await _fetch(connection, mailbox, client, routes, dry_run=dry_run)
        finally:
            await asyncio.to_thread(_leave, client)


def _leave(client: BaseMailBox) -> None:
    try:
        client.logout()
    except Exception:  # noqa: BLE001 - the server has closed the connection before us, or hangs; nothing is lost by it
        with contextlib.suppress(OSError):
            client.client.shutdown()


async def _fetch(
    connection: psycopg.AsyncConnection[Any],
    mailbox: Mailbox,
    client: BaseMailBox,
    routes: Sequence[Route],
    *,
    dry_run: bool,
) -> Fetched:
    folder = await _in_thread(lambda: Folder(client, mailbox.folder))
    marks = await _marks(connection, mailbox.name, folder.uidvalidity)
    limit = int(mailbox.largest_mib * 1024 * 1024)
    left = await _in_thread(lambda: folder.still_there(marks.left))
    waiting = await _in_thread(lambda: folder.after(min(marks.settled, marks.stored)))
    unsettled = [one.uid for one in waiting if one.uid <= marks.stored and one.uid not in marks.left]
    candidates = left + [one for one in waiting if one.uid > marks.stored]
    new = [one for one in candidates if one.size <= limit]
    done = Fetched(found=len(new), too_large=[one for one in candidates if one.size > limit])
    if dry_run:
        return done
    await _settle(connection, mailbox, folder, marks, unsettled)
    marks.left = [one.uid for one in left]
    for batch in _batches(new):
        raws = await _in_thread(partial(_whole, folder, [one.uid for one in batch]))
        at = datetime.now(UTC)
        mails = await asyncio.to_thread(_taken, f"email:{mailbox.name}", raws, at)
        highest = max(marks.stored, batch[-1].uid)
        passed = [one.uid for one in done.too_large if marks.stored < one.uid <= highest]
        marks.left = sorted({*marks.left, *passed} - {one.uid for one in batch})
        marks.stored = highest
        async with connection.transaction():
            done.stored += await store_mails(connection, routes, mails, at)
            await _write(connection, mailbox.name, marks)
        await _settle(connection, mailbox, folder, marks, sorted(raws))
    marks.left = [one.uid for one in done.too_large]
    marks.stored = marks.settled = max([marks.stored, *marks.left])
    await _write(connection, mailbox.name, marks)
    return done


def _whole(folder: Folder, uids: Sequence[int]) -> dict[int, bytes]:
    """The mails of `uids`, but for those that have gone from the folder meanwhile."""
    raws = folder.fetch(uids)
    missing = [uid for uid in uids if uid not in raws]
    if missing and (there := folder.still_there(missing)):
        # To go on would leave them behind for good.
        raise UnavailableError(f"the server does not give the mail with UID {there[0].uid}.", component="IMAP")
    return raws


def _taken(source: str, raws: Mapping[int, bytes], at: datetime) -> list[Mail]:
    return [take_mail(source, raws[uid], sender=None, recipients=(), received_at=at) for uid in sorted(raws)]


async def _settle(
    connection: psycopg.AsyncConnection[Any], mailbox: Mailbox, folder: Folder, marks: Marks, uids: Sequence[int]
) -> None:
    """Do with what is stored as the mailbox says."""
    if uids and mailbox.then == "seen":
        await _in_thread(lambda: folder.mark_seen(uids))
    elif uids and mailbox.then == "move" and mailbox.move_to:
        target = mailbox.move_to
        await _in_thread(lambda: folder.move(uids, target))
    if marks.settled < marks.stored:
        marks.settled = marks.stored
        await _write(connection, mailbox.name, marks)


async def marks_of(connection: psycopg.AsyncConnection[Any]) -> dict[str, Marks]:
    """How far each mailbox has been fetched, by name."""
    cursor = await connection.execute(
        'SELECT name, uidvalidity, stored_uid, settled_uid, "left", fetched_at FROM mail_mailbox'
    )
    return {name: Marks(*row) for name, *row in await cursor.fetchall()}


async def _marks(connection: psycopg.AsyncConnection[Any], name: str, uidvalidity: int) -> Marks:
    row = await (await connection.execute(_MARKS, (name,))).fetchone()
    if row is None or row[0] != uidvalidity:
        return Marks(uidvalidity, 0, 0)
    return Marks(*row)


async def _write(connection: psycopg.AsyncConnection[Any], name: str, marks: Marks) -> None:
    await connection.execute(_WRITE, (name, marks.uidvalidity, marks.stored, marks.settled, marks.left))


def _batches(waiting: Sequence[Waiting]) -> Iterator[list[Waiting]]:
    batch: list[Waiting] = []
    size = 0
    for one in waiting:
        if batch and (len(batch) == _MOST_AT_ONCE or size + one.size > _BYTES_AT_ONCE):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += one.size
    if batch:
        yield batch


async def _in_thread(ask: Callable[[], T]) -> T:
    """What `ask` says, asked in a thread; whatever the library raises becomes one error."""
    import imaplib  # noqa: PLC0415

    from imap_tools.errors import ImapToolsError, MailboxLoginError  # noqa: PLC0415

    try:
        return await asyncio.to_thread(ask)
    except MailboxLoginError as error:
        raise UnavailableError("user or password are refused.", component="IMAP") from error
    except (ImapToolsError, imaplib.IMAP4.error, OSError, ValueError) as error:
        raise UnavailableError(f"does not answer as it should: {type(error).__name__}.", component="IMAP") from error
