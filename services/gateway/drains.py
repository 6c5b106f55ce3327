"""Starts the drain of a route when something waits for it, and nobody is at it already.

Receivers only store and notify; whichever process they are in, one gateway hears it. What nobody heard, what is due for
another try and what a dead drain left is found by looking every few seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid

import psycopg

from blocks.logs import logger
from blocks.prefect_starter import NotYetError, OutageError, PrefectStarter, RefusedError
from models.handoff import CHANNEL
from models.handoff_route import HandoffsSettings, Route
from services.gateway.connection import CONNECT_S, UNAVAILABLE, Connection
from tasks.handoffs.drain import lock_key
from tasks.handoffs.outbox import due

_log = logger("gateway")

DEPLOYMENT = "handoffs/handoffs"
_DEBOUNCE_S = 0.1
"""Seconds in which what comes together starts one run."""
_LOOK_S = 5.0
_PATIENCE_S = 10.0
"""Seconds that a run has to take its route's lock before another is started."""

_HELD = """
SELECT ((classid::bigint << 32) | objid::bigint) FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 1 AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class DrainStarter:
    """One a gateway."""

    def __init__(self, settings: HandoffsSettings, url: str, starter: PrefectStarter) -> None:
        self._routes = settings.routes
        self._url = url
        self._connection = Connection(url)
        self._starter = starter
        self._woken = asyncio.Event()
        self._started: dict[str, float] = {}

    async def listen(self) -> None:
        """Hear of what receivers store, until cancelled."""
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
            for route in waiting:
                await self._start(route)

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    async def _waiting(self) -> list[Route]:
        """Routes that have something to do, and nobody who does it."""
        async with self._connection.use() as connection:
            cursor = await connection.execute(_HELD)
            held = {int(key) for (key,) in await cursor.fetchall()}
            now = time.monotonic()
            found = []
            for route in self._routes:
                if lock_key(route.name) in held:
                    self._started.pop(route.name, None)
                    continue
                patient = now - self._started.get(route.name, -_PATIENCE_S) < _PATIENCE_S
                if not patient and await due(connection, route) == 0.0:
                    found.append(route)
            return found

    async def _start(self, route: Route) -> None:
        try:
            await self._starter.start(DEPLOYMENT, {"routes": [route.name]}, uuid.uuid4().hex, ("handoffs", route.name))
        except (OutageError, NotYetError, RefusedError, ValueError) as error:
            _log.warning("the drain of route %s could not be started: %s", route.name, error)
        self._started[route.name] = time.monotonic()
