"""Starts the flow runs that stored deliveries ask for; apart from their acceptance, which never waits for it.

A delivery is locked by a row lock while it is worked on (`FOR UPDATE SKIP LOCKED`): any number of gateways share the
work, and one that is killed lets go at once. A run may then be asked for twice, but its idempotency key is the same.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from psycopg.types.json import Jsonb
from pydantic import JsonValue

from blocks.logs import logger
from blocks.prefect_starter import NotYetError, OutageError, RefusedError
from models.webhook import DeliveryStatus, Route, WebhooksSettings
from services.connection import UNAVAILABLE, Connection
from services.gateway.measures import Measures
from services.gateway.payload import GarbageError, parse
from services.gateway.routing import idempotency_key, matching, parameters

_log = logger("gateway")

_GROUP = 16
_AT_ONCE = 4
"""Requests to Prefect at a time; more do not make it faster, and leave less for everybody else."""
_LOOK_S = 5.0
"""Seconds after which to look even if nobody woke us: for what other gateways left, and for what is due again."""
_LONGEST_WAIT_S = 60.0
_LONGEST_ERROR = 500

_CLAIM = """
SELECT source, delivery_id, event, body, flow_run_ids, attempts, received_at, clock_timestamp() AS now
FROM delivery WHERE status = 'stored' AND next_attempt_at <= clock_timestamp()
ORDER BY next_attempt_at LIMIT %s FOR UPDATE SKIP LOCKED
"""

_RECORD = """
UPDATE delivery SET status = %s, flow_run_ids = %s, attempts = %s, last_error = %s,
       next_attempt_at = clock_timestamp() + make_interval(secs => %s)
WHERE source = %s AND delivery_id = %s
"""


class Starter(Protocol):
    """What starts flow runs."""

    async def start(self, deployment: str, parameters: Mapping[str, JsonValue], key: str, tags: Sequence[str]) -> str:
        """The id of the run that `key` identifies, started now or earlier.

        Raises:
            OutageError, NotYetError, RefusedError: see there.
        """


@dataclass
class _Work:
    source: str
    delivery_id: str
    event: str
    body: bytes
    flow_run_ids: dict[str, Any]
    attempts: int
    received_at: datetime
    now: datetime
    touched: bool = False
    status: DeliveryStatus = DeliveryStatus.stored
    errors: list[str] = field(default_factory=list)


class Dispatcher:
    """Works through stored deliveries, oldest first.

    Args:
        settings: what deliveries start, and when one is given up.
        connection: its own; it is held while Prefect is spoken to.
        starter: what starts the runs.
        measures: what is counted.
        wake: set when there is something new.
        sleep: waits for so many seconds.
        jitter: a number between 0 and 1, anew at each call.
    """

    def __init__(
        self,
        settings: WebhooksSettings,
        connection: Connection,
        starter: Starter,
        measures: Measures,
        wake: asyncio.Event,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._connection = connection
        self._starter = starter
        self._measures = measures
        self._wake = wake
        self._sleep = sleep
        self._jitter = jitter
        self._due_at = math.inf
        """When the first of those that we put off is due again, by the monotonic clock."""

    async def run(self) -> None:
        """Work until cancelled."""
        failures = 0
        while True:
            self._wake.clear()
            try:
                found = await self.work()
            except (OutageError, *UNAVAILABLE) as error:
                if failures == 0:
                    _log.warning("deliveries wait, nothing can be started: %s", _sentence(error))
                wait = min(_LONGEST_WAIT_S, 0.5 * 2**failures) * (0.5 + self._jitter() / 2)
                failures = min(failures + 1, 10)
                await self._sleep(wait)
                continue
            if failures:
                _log.info("deliveries are started again")
                failures = 0
            if found < _GROUP:
                try:
                    async with asyncio.timeout(min(_LOOK_S, self._due_s())):
                        await self._wake.wait()
                except TimeoutError:
                    pass

    async def work(self) -> int:
        """Try one group of deliveries that are due; returns how many there were.

        Raises:
            OutageError: Prefect is away; what could be done before is recorded.
            psycopg.Error, OSError, TimeoutError: the database is.
        """
        async with self._connection.use(timeout_s=120.0) as connection, connection.transaction():
            cursor = await connection.execute(_CLAIM, (_GROUP,))
            group = [_Work(*row) for row in await cursor.fetchall()]
            if not group:
                return 0
            turns = asyncio.Semaphore(_AT_ONCE)
            outages: list[OutageError] = []
            await asyncio.gather(*(self._try(work, turns, outages) for work in group))
            touched = [(work, self._wait_s(work)) for work in group if work.touched]
            await connection.cursor().executemany(_RECORD, [self._record(work, wait_s) for work, wait_s in touched])
        # By our clock and after the database's, so that they are due there when we look.
        put_off = [wait_s for work, wait_s in touched if work.status is DeliveryStatus.stored]
        self._due_at = min(self._due_at, time.monotonic() + min(put_off, default=math.inf))
        for work in group:
            if work.touched:
                self._measures.dispatch(work.source, "waiting" if work.status == "stored" else work.status.value)
        if outages:
            raise outages[0]
        return len(group)

    def _due_s(self) -> float:
        """Seconds until the first of those that we put off is due again."""
        left_s = self._due_at - time.monotonic()
        if left_s > 0:
            return left_s
        self._due_at = math.inf  # looked at just now; what others put off is found by looking now and then
        return math.inf

    async def _try(self, work: _Work, turns: asyncio.Semaphore, outages: list[OutageError]) -> None:
        async with turns:
            if outages:
                return
            work.touched = True
            try:
                payload = parse(work.body)
            except GarbageError as error:
                work.status = DeliveryStatus.failed
                work.errors.append(str(error))
                return
            routes = matching(self._settings.routes, work.source, work.event, payload)
            waiting = False
            for route in routes:
                if route.identity in work.flow_run_ids:
                    continue
                try:
                    run_id = await self._start(route, work, payload)
                except OutageError as error:
                    outages.append(error)
                    work.errors.append(_sentence(error))
                    return
                except NotYetError as error:
                    waiting = True
                    work.errors.append(f"{route.identity}: {error}")
                except (RefusedError, ValueError) as error:  # also an answer of Prefect that makes no sense
                    work.errors.append(f"{route.identity}: {error}")
                else:
                    work.flow_run_ids[route.identity] = run_id
            late = work.now - work.received_at > timedelta(hours=self._settings.give_up_hours)
            if waiting and not late:
                return
            if work.errors:
                work.status = DeliveryStatus.failed
                _log.error("delivery %s of %s failed: %s", work.delivery_id, work.source, "; ".join(work.errors))
            else:
                work.status = DeliveryStatus.started if routes else DeliveryStatus.ignored

    async def _start(self, route: Route, work: _Work, payload: JsonValue) -> str:
        return await self._starter.start(
            route.deployment,
            parameters(route, payload),
            idempotency_key(route, work.delivery_id),
            ("webhook", route.source),
        )

    def _wait_s(self, work: _Work) -> float:
        if work.status is not DeliveryStatus.stored:
            return 0.0
        return min(300.0, 2.0 ** min(work.attempts, 10)) * (0.5 + self._jitter() / 2)

    def _record(self, work: _Work, wait_s: float) -> tuple[object, ...]:
        error = "; ".join(work.errors).replace("\x00", "")[:_LONGEST_ERROR] or None
        return (
            work.status.value,
            Jsonb(work.flow_run_ids),
            work.attempts + 1,
            error,
            wait_s,
            work.source,
            work.delivery_id,
        )


def _sentence(error: BaseException) -> str:
    return str(error) if isinstance(error, OutageError) else f"the database: {type(error).__name__}"
