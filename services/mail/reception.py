"""What becomes of a mail that was sent to us: read, stored, and only then answered for."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial

from blocks.logs import logger
from models.handoff_route import HandoffsSettings
from models.mail import Receiver
from services.connection import UNAVAILABLE, Connection
from services.mail.server import AGAIN, Connections, conversation
from tasks.mail.storing import store_mails
from tasks.mail.taking import take_mail

_log = logger("mail")

_READ_AT_ONCE = 2
_STORED = "250 2.0.0 stored"
_NO_ROUTE = "451 4.3.5 no route takes mail from here, try again later"


class Reception:
    """Listens for every receiver.

    Args:
        receivers: where to listen.
        handoffs: the routes of the moment, who take what comes.
        url: the database; never logged.
    """

    def __init__(self, receivers: Sequence[Receiver], handoffs: Callable[[], HandoffsSettings], url: str) -> None:
        self._receivers = tuple(receivers)
        self._handoffs = handoffs
        self._connection = Connection(url, name="lama mail")
        self._reading = asyncio.Semaphore(_READ_AT_ONCE)
        self._under_way: set[asyncio.Task[str]] = set()
        self._servers: list[asyncio.Server] = []

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: an address cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        name = socket.gethostname()
        for receiver in self._receivers:
            if not self._handoffs().of_source(f"email:{receiver.name}"):
                _log.error("no route takes email:%s: its mail is refused for the time being", receiver.name)
            factory = partial(conversation, receiver, partial(self._take, receiver), Connections(), name)
            self._servers.append(await loop.create_server(factory, receiver.host, receiver.port))
            _log.info("%s %s listens on %s:%d", receiver.protocol, receiver.name, receiver.host, receiver.port)

    async def stop(self, patience_s: float) -> None:
        """Listen no more; what was sent whole is stored and answered for first, within `patience_s`."""
        for server in self._servers:
            server.close()
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=patience_s)
        await self._connection.close()

    async def _take(self, receiver: Receiver, sender: str, recipients: list[str], raw: bytes) -> str:
        # A task of its own: a sender who hangs up ends the conversation, not what is being stored.
        task = asyncio.create_task(self._store(f"email:{receiver.name}", sender, recipients, raw))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def _store(self, source: str, sender: str, recipients: list[str], raw: bytes) -> str:
        routes = self._handoffs().of_source(source)
        if not routes:
            return _NO_ROUTE
        received_at = datetime.now(UTC)
        async with self._reading:
            mail = await asyncio.to_thread(
                take_mail, source, raw, sender=sender, recipients=recipients, received_at=received_at
            )
        try:
            async with self._connection.use(timeout_s=60.0) as connection:
                await store_mails(connection, routes, [mail], received_at)
        except UNAVAILABLE as error:
            _log.error("a mail was not stored: %s", type(error).__name__)
            return AGAIN
        return _STORED
