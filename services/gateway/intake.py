"""Deliveries become durable here: whoever waits is answered when its row is committed, not before.

Deliveries that come while a commit is under way are written together by the next one. Nobody sleeps to gather more: an
idle gateway commits a single delivery at once, a busy one shares the cost of the disk among many.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from blocks.logs import logger
from models.webhook import DeliveryStatus
from services.connection import UNAVAILABLE, Connection
from services.gateway.measures import Measures
from tasks.handoffs.hearing import Heard, hear
from tasks.handoffs.inbox import Row, store

_log = logger("gateway")

_MOST_ROWS = 256
_MOST_BYTES = 8_000_000
_MOST_WAITING = 4096

_INSERT = """
INSERT INTO delivery (source, delivery_id, fingerprint, event, content_type, body, received_at, status,
                      flow_run_ids, attempts, next_attempt_at)
SELECT source, delivery_id, nullif(fingerprint, ''::bytea), event, content_type, body, received_at, status,
       '{}'::jsonb, 0, received_at
FROM unnest(%b::text[], %b::text[], %b::bytea[], %b::text[], %b::text[], %b::bytea[], %b::timestamptz[], %b::text[])
     AS row (source, delivery_id, fingerprint, event, content_type, body, received_at, status)
ON CONFLICT DO NOTHING
RETURNING source, delivery_id
"""


@dataclass(frozen=True)
class Arrival:
    """A verified delivery that is not durable yet."""

    source: str
    delivery_id: str
    fingerprint: bytes | None
    event: str
    content_type: str
    body: bytes
    received_at: datetime
    status: DeliveryStatus
    messages: tuple[Row, ...] = ()
    """What of it goes into the inbox of the handoffs, in the same transaction."""
    heard: tuple[Heard, ...] = ()
    """What it tells of messages that we sent."""


class NotStoredError(Exception):
    """The delivery is not known to be stored; its sender must send it again."""


class Intake:
    """Writes arrivals by groups over one connection."""

    def __init__(self, connection: Connection, measures: Measures) -> None:
        self._connection = connection
        self._measures = measures
        self._waiting: deque[tuple[Arrival, asyncio.Future[bool]]] = deque()
        self._arrived = asyncio.Event()

    async def store(self, arrival: Arrival) -> bool:
        """Wait until `arrival` is durable.

        Returns:
            True when it is new, False when it, or another with its signature, was there before.

        Raises:
            NotStoredError: the database is away, or too many are waiting.
        """
        if len(self._waiting) >= _MOST_WAITING:
            raise NotStoredError("too many deliveries are waiting")
        outcome: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((arrival, outcome))
        self._arrived.set()
        return await outcome

    async def run(self) -> None:
        """Write until cancelled; whoever still waits then is told to come again."""
        try:
            while True:
                await self._arrived.wait()
                group = self._next_group()
                if group:
                    await self._write(group)
        finally:
            while self._waiting:
                _, outcome = self._waiting.popleft()
                _settle(outcome, NotStoredError("the gateway is stopping"))

    def _next_group(self) -> list[tuple[Arrival, asyncio.Future[bool]]]:
        group: list[tuple[Arrival, asyncio.Future[bool]]] = []
        size = 0
        while self._waiting and len(group) < _MOST_ROWS and size < _MOST_BYTES:
            group.append(self._waiting.popleft())
            size += len(group[-1][0].body)
        if not self._waiting:
            self._arrived.clear()
        return group

    async def _write(self, group: list[tuple[Arrival, asyncio.Future[bool]]]) -> None:
        try:
            try:
                stored = await self._insert([arrival for arrival, _ in group])
            except psycopg.OperationalError:
                # A connection that broke since its last use, or another gateway that took the same signatures in
                # another order. Doing it twice is safe: what the first try did commit is a duplicate for the second.
                stored = await self._insert([arrival for arrival, _ in group])
        except UNAVAILABLE as error:
            _log.error("%d deliveries not stored: %s", len(group), type(error).__name__)
            for _, outcome in group:
                _settle(outcome, NotStoredError("the database does not take it"))
            return
        except BaseException:
            for _, outcome in group:
                _settle(outcome, NotStoredError("the gateway is stopping"))
            raise
        for arrival, outcome in group:
            key = (arrival.source, arrival.delivery_id)
            _settle(outcome, key in stored)
            stored.discard(key)  # of two that came together one is the first

    async def _insert(self, arrivals: list[Arrival]) -> set[tuple[str, str]]:
        messages = [arrival for arrival in arrivals if arrival.messages]
        async with self._connection.use() as connection:
            # First, and whether it is new or not: whoever is not answered sends it again, and it may be heard twice.
            await hear(connection, [one for arrival in arrivals for one in arrival.heard])
            if not messages:
                stored = await _insert(connection, arrivals)
            else:
                async with connection.transaction():
                    stored = await _insert(connection, arrivals)
                    fresh = [one for one in messages if (one.source, one.delivery_id) in stored]
                    if fresh:
                        await store(connection, [row for one in fresh for row in one.messages], fresh[0].received_at)
        self._measures.commit()
        return stored


async def _insert(connection: psycopg.AsyncConnection[Any], arrived: Sequence[Arrival]) -> set[tuple[str, str]]:
    # Rows in the order of their key: two gateways that hold some in common then wait for each other, never both.
    arrivals = sorted(arrived, key=lambda arrival: (arrival.source, arrival.delivery_id))
    cursor = await connection.execute(
        _INSERT,
        (
            [arrival.source for arrival in arrivals],
            [arrival.delivery_id for arrival in arrivals],
            [arrival.fingerprint or b"" for arrival in arrivals],
            [arrival.event for arrival in arrivals],
            [arrival.content_type for arrival in arrivals],
            [arrival.body for arrival in arrivals],
            [arrival.received_at for arrival in arrivals],
            [arrival.status.value for arrival in arrivals],
        ),
    )
    return {(str(source), str(delivery_id)) for source, delivery_id in await cursor.fetchall()}


def _settle(outcome: asyncio.Future[bool], result: bool | Exception) -> None:  # noqa: FBT001 - the outcome itself
    with contextlib.suppress(asyncio.InvalidStateError):  # whoever waited has hung up
        if isinstance(result, Exception):
            outcome.set_exception(result)
        else:
            outcome.set_result(result)
