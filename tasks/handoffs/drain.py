"""Works a route off: understands what waits in its inbox, delivers what is in its outbox, until nothing is left.

One process at a time drains a route: it holds an advisory lock of PostgreSQL, which goes with its connection. Killed
at any point it loses nothing: what it took is taken again when its lease has run out, and the far side knows its key.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import psycopg

from models.handoff import CHANNEL
from models.handoff_route import HandoffsSettings, Route
from tasks.handoffs import outbox
from tasks.handoffs.deliver import Figures, Inside, Outside
from tasks.handoffs.target import InsideTarget, Target
from tasks.handoffs.transform import Transformation
from tasks.handoffs.understand import understand, waiting

if TYPE_CHECKING:
    from tasks.handoffs.extract import ModelLead

_ASKED_ABOUT = 32
"""Messages that a model is asked about at a time; what was asked about goes on before the next are looked at."""
_LOOK_S = 1.0
"""Seconds after which to look even if nobody woke us."""

Connect = Callable[[], Awaitable[psycopg.AsyncConnection[Any]]]
"""Opens a connection in autocommit mode."""


class Bell:
    """Rings when something new came for a route. Without its connection the drain looks by itself."""

    def __init__(self) -> None:
        self._events: dict[str, asyncio.Event] = {}

    def of(self, route: str) -> asyncio.Event:
        """The event that is set when something came for `route`."""
        return self._events.setdefault(route, asyncio.Event())

    async def listen(self, connect: Connect) -> None:
        """Set events until cancelled."""
        connection = await connect()
        try:
            await connection.execute(f"LISTEN {CHANNEL}")
            async for notice in connection.notifies():
                if notice.payload in self._events:
                    self._events[notice.payload].set()
        finally:
            with contextlib.suppress(psycopg.Error, OSError):
                await connection.close()


@contextlib.asynccontextmanager
async def only_one(connection: psycopg.AsyncConnection[Any], route: str) -> AsyncIterator[bool]:
    """Whether this connection may drain `route`: nobody else does until the end of the block, or of the connection."""
    key = lock_key(route)
    cursor = await connection.execute("SELECT pg_try_advisory_lock(%s)", (key,))
    row = await cursor.fetchone()
    held = bool(row and row[0])
    try:
        yield held
    finally:
        if held and not connection.closed:
            with contextlib.suppress(psycopg.Error):
                await connection.execute("SELECT pg_advisory_unlock(%s)", (key,))


def lock_key(route: str) -> int:
    """The number of PostgreSQL's advisory lock for draining `route`."""
    digest = hashlib.blake2b(route.encode(), digest_size=8, person=b"lama.handoff").digest()
    return int.from_bytes(digest, "big", signed=True)


class RouteDrain:
    """The drain of one route.

    Args:
        connect: opens a connection to the database.
        model: who is asked about leads, the one that is in `transformation`.
        jitter: a number between 0 and 1, anew at each call.
    """

    def __init__(
        self,
        route: Route,
        transformation: Transformation,
        target: Target | InsideTarget,
        settings: HandoffsSettings,
        connect: Connect,
        *,
        model: ModelLead | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._route = route
        self._transformation = transformation
        self._target = target
        self._settings = settings
        self._connect = connect
        self._model = model
        self._asking: tuple[asyncio.Task[None], list[int]] | None = None
        self._jitter = jitter
        self.figures = Figures()

    async def run(self, bell: asyncio.Event, *, linger_s: float | None = None) -> Figures:
        """Drain until nothing is left and nothing came for a while, or until it is time to make room.

        Args:
            bell: is set when something came for this route.
            linger_s: seconds to wait for more; None: as the settings say.

        Raises:
            psycopg.Error, OSError: the database is away; what was under way is taken up by the next drain.
        """
        linger = self._settings.linger_s if linger_s is None else linger_s
        ends_at = time.monotonic() + self._settings.longest_run_s
        connection = await self._connect()
        try:
            while True:
                async with only_one(connection, self._route.name) as ours:
                    self.figures.held_elsewhere = not ours
                    if not ours:
                        return self.figures
                    await self._work(connection, bell, linger, ends_at)
                # Whoever stored something while the lock was ours saw that it was taken, and started nobody.
                if time.monotonic() >= ends_at or await outbox.due(connection, self._route) != 0.0:
                    return self.figures
        finally:
            if self._asking is not None:
                self._asking[0].cancel()
                await asyncio.gather(self._asking[0], return_exceptions=True)
            if self._model is not None:
                self.figures.unasked = self._model.asked.unanswered
                self.figures.unasked_reason = self._model.asked.reason
            await connection.close()

    async def _work(
        self, connection: psycopg.AsyncConnection[Any], bell: asyncio.Event, linger_s: float, ends_at: float
    ) -> None:
        idle_since = time.monotonic()
        async with self._delivery(bell) as delivery:
            while True:
                bell.clear()
                ending = time.monotonic() >= ends_at
                moved = 0 if ending else await self._understand(connection, bell)
                moved += await delivery.step(connection, claim=not ending)
                if moved:
                    idle_since = time.monotonic()
                    continue
                if not delivery.under_way and (self._asking is None or ending):
                    due_s = await outbox.due(connection, self._route)
                    soon = due_s is not None and due_s + delivery.paused_s <= linger_s
                    if ending or (time.monotonic() - idle_since >= linger_s and not soon):
                        return
                    pause = _LOOK_S if due_s is None else min(_LOOK_S, max(0.02, due_s, delivery.paused_s))
                else:
                    pause = _LOOK_S
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await bell.wait()

    def _delivery(self, bell: asyncio.Event) -> Inside | Outside:
        if isinstance(self._target, InsideTarget):
            return Inside(self._route, self._target, self.figures, batch=self._settings.batch)
        return Outside(
            self._route, self._target, self.figures, bell, at_once=self._settings.at_once, jitter=self._jitter
        )

    async def _understand(self, connection: psycopg.AsyncConnection[Any], bell: asyncio.Event) -> int:
        these = None
        if self._model is not None:
            these = await self._asked_about(connection, self._model, bell)
            if not these:
                return 0
        batch = await understand(connection, self._route, self._transformation, batch=self._settings.batch, these=these)
        self.figures.accepted += batch.accepted
        self.figures.ignored += batch.ignored
        self.figures.dead += batch.dead
        return batch.taken

    async def _asked_about(
        self, connection: psycopg.AsyncConnection[Any], model: ModelLead, bell: asyncio.Event
    ) -> list[int]:
        """Numbers of messages that the model has been asked about; none while it thinks, or when none waits."""
        if self._asking is None:
            found = await waiting(connection, self._route, batch=min(self._settings.batch, _ASKED_ABOUT))
            if not found:
                return []
            asked_about = [document for _, document in found if self._transformation.passes(document)]
            task = asyncio.create_task(model.prepare(asked_about))
            task.add_done_callback(lambda _: bell.set())
            self._asking = task, [seq for seq, _ in found]
        task, numbers = self._asking
        if not task.done():
            return []
        self._asking = None
        task.result()
        return numbers
