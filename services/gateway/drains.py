"""Starts the drain of a route when something waits for it, and nobody is at it already.

Receivers only store and notify; whichever process they are in, one gateway hears it. What nobody heard, what is due for
another try and what a dead drain left is found by looking every few seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg

from blocks.logs import logger
from blocks.prefect_starter import NotYetError, OutageError, PrefectStarter, RefusedError
from models.handoff import CHANNEL
from models.handoff_route import Route
from services.connection import CONNECT_S, UNAVAILABLE, Connection
from tasks.handoffs.drain import lock_key
from tasks.handoffs.outbox import due

_log = logger("gateway")

DEPLOYMENT = "handoffs/handoffs"
_DEBOUNCE_S = 0.1
"""Seconds in which what comes together starts one run."""
_LOOK_S = 5.0
_PATIENCE_S = 10.0
"""Seconds that a run has to take its route's lock before another is started."""
_LONGEST_PAUSE_S = 60.0
"""Seconds between two runs, at most, while the target of a route is away."""

_HELD = """
SELECT ((classid::bigint << 32) | objid::bigint) FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 1 AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

_STAND = """
SELECT (SELECT max(delivered_at) FROM handoff_effect WHERE route = %(route)s),
       EXISTS (SELECT FROM handoff_effect WHERE route = %(route)s AND state = 'pending' AND attempts > 0)
"""


@dataclass(frozen=True)
class Stand:
    """How far a route has come."""

    newest: datetime | None
    """When something was delivered last."""
    stuck: bool
    """Whether something was tried in vain, and waits for another try."""


@dataclass
class Start:
    """The run that was started last for a route. Times are seconds of the monotonic clock."""

    at: float
    stand: Stand
    """How far the route had come then."""
    run_id: str | None
    """None: it could not be started."""
    in_vain: int = 0
    """Runs in a row that had delivered nothing when this one was started, while something waited for another try."""
    seen_at: float | None = None
    """When it was last seen at work; None: not yet."""

    def was_at_work(self, stand: Stand) -> bool:
        """Whether it has begun, as far as can be told now that the route has come to `stand`."""
        return self.seen_at is not None or stand.newest != self.stand.newest

    def was_in_vain(self, stand: Stand) -> bool:
        """Whether it has delivered nothing, and that for a reason that may last."""
        return stand.stuck and self.seen_at is not None and stand.newest == self.stand.newest

    def patient_until(self, stand: Stand) -> float:
        """When another run may be started, if this one is not at work."""
        if not self.was_at_work(stand):
            return self.at + _PATIENCE_S
        if self.seen_at is None or not self.was_in_vain(stand):
            return self.at
        return self.seen_at + min(_LONGEST_PAUSE_S, 2.0 ** min(self.in_vain, 10))


class DrainStarter:
    """One a gateway.

    Args:
        routes: the routes of the moment.
        url: the database; never logged.
        starter: starts runs.
    """

    def __init__(self, routes: Callable[[], Sequence[Route]], url: str, starter: PrefectStarter) -> None:
        self._routes = routes
        self._url = url
        self._connection = Connection(url)
        self._starter = starter
        self._woken = asyncio.Event()
        self._started: dict[str, Start] = {}

    async def listen(self) -> None:
        """Hear of what receivers store, until cancelled or the connection breaks; not while there is no route."""
        if not self._routes():
            return
        try:
            connection = await psycopg.AsyncConnection.connect(
                self._url, autocommit=True, connect_timeout=CONNECT_S, application_name="lama gateway"
            )
        except UNAVAILABLE:
            return  # it is tried again; until then, looking finds everything
        async with connection:
            with contextlib.suppress(*UNAVAILABLE):
                await connection.execute(f"LISTEN {CHANNEL}")
                self._woken.set()
                async for _ in connection.notifies():
                    self._woken.set()

    async def run(self) -> None:
        """Start drains until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._woken.wait()
            await asyncio.sleep(_DEBOUNCE_S)
            self._woken.clear()
            try:
                waiting = await self._waiting()
            except UNAVAILABLE as error:
                _log.debug("the handoffs cannot be looked at: %s", type(error).__name__)
                continue
            for route, stand in waiting:
                await self._start(route, stand)

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    async def _waiting(self) -> list[tuple[Route, Stand]]:
        """Routes that have something to do, and nobody who does it."""
        routes = self._routes()
        if not routes:
            return []
        async with self._connection.use() as connection:
            cursor = await connection.execute(_HELD)
            held = {int(key) for (key,) in await cursor.fetchall()}
            now = time.monotonic()
            found = []
            for route in routes:
                last = self._started.get(route.name)
                if lock_key(route.name) in held:
                    if last is not None:
                        last.seen_at = now
                    continue
                if await due(connection, route) != 0.0:
                    continue
                cursor = await connection.execute(_STAND, {"route": route.name})
                stand = Stand(*(await cursor.fetchone() or (None, False)))
                if last is None or now >= last.patient_until(stand):
                    found.append((route, stand))
            return found

    async def _start(self, route: Route, stand: Stand) -> None:
        last = self._started.get(route.name)
        run_id = None
        try:
            if last is not None and not last.was_at_work(stand) and await self._is_waiting(last):
                # No worker, or no room: more runs would only wait beside it, and all be started one day.
                last.at = time.monotonic()
                return
            run_id = await self._starter.start(
                DEPLOYMENT, {"routes": [route.name]}, uuid.uuid4().hex, ("handoffs", route.name)
            )
        except (OutageError, NotYetError, RefusedError, ValueError) as error:
            _log.warning("the drain of route %s could not be started: %s", route.name, error)
        in_vain = last.in_vain + 1 if last is not None and last.was_in_vain(stand) else 0
        self._started[route.name] = Start(time.monotonic(), stand, run_id, in_vain)

    async def _is_waiting(self, last: Start) -> bool:
        return last.run_id is not None and await self._starter.is_waiting(last.run_id)
