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
from tasks.handoffs.preparation import Preparation
from tasks.handoffs.target import InsideTarget, Target
from tasks.handoffs.transform import Transformation
from tasks.handoffs.understand import Understood, understand

if TYPE_CHECKING:
    from tasks.handoffs.extract import ModelLead

_LOOK_S = 1.0
"""Seconds after which to look even if nobody woke us."""
_SOONEST_S = 0.02
"""Seconds to rest, at least."""

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
            await connection.close()

    async def _work(
        self, connection: psycopg.AsyncConnection[Any], bell: asyncio.Event, linger_s: float, ends_at: float
    ) -> None:
        idle_since = time.monotonic()
        async with self._delivery(bell) as delivery, self._preparation(bell) as preparation:
            while True:
                bell.clear()
                ending = time.monotonic() >= ends_at
                moved = await self._understand(connection, preparation, begin=not ending)
                moved += await delivery.step(connection, claim=not ending)
                if moved:
                    idle_since = time.monotonic()
                    continue
                # What the model is being asked about is understood even at the end: otherwise a slow one is never done.
                thinking = preparation is not None and preparation.under_way
                if not delivery.under_way and not thinking:
                    due_s = await outbox.due(connection, self._route)
                    soon = due_s is not None and due_s + delivery.paused_s <= linger_s
                    left_s = linger_s - (time.monotonic() - idle_since)
                    if ending or (left_s <= 0 and not soon):
                        return
                    # Not past the end of its time, where that comes before anything is due.
                    next_s = left_s if due_s is None or not soon else max(due_s, delivery.paused_s)
                    pause = min(_LOOK_S, max(_SOONEST_S, next_s))
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

    @contextlib.asynccontextmanager
    async def _preparation(self, bell: asyncio.Event) -> AsyncIterator[Preparation | None]:
        if self._model is None:
            yield None
            return
        batch = self._settings.batch
        async with Preparation(self._route, self._transformation, self._model, bell, batch=batch) as preparation:
            yield preparation

    async def _understand(
        self, connection: psycopg.AsyncConnection[Any], preparation: Preparation | None, *, begin: bool
    ) -> int:
        route, transformation = self._route, self._transformation
        if preparation is None:
            if not begin:
                return 0
            return self._count(await understand(connection, route, transformation, batch=self._settings.batch))
        prepared = await preparation.ready(connection, begin=begin)
        if prepared is None:
            return 0
        batch = await understand(connection, route, transformation, these=prepared.seqs)
        self.figures.by_rules += len(prepared.unanswered & batch.accepted_seqs)
        if self._model is not None:
            asked = self._model.asked
            self.figures.questions, self.figures.from_model = asked.questions, asked.fields
            self.figures.model_dropped, self.figures.unanswered = asked.dropped, asked.unanswered
        return self._count(batch)

    def _count(self, batch: Understood) -> int:
        self.figures.accepted += batch.accepted
        self.figures.ignored += batch.ignored
        self.figures.dead += batch.dead
        return batch.taken
