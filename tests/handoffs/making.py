"""Routes, messages and targets for the tests of handoffs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg

from blocks.database import dsn
from blocks.settings import Settings
from models.handoff import Delivered, Effect, Message, Outcome
from models.handoff_route import HandoffsSettings, Route
from tasks.handoffs.drain import RouteDrain
from tasks.handoffs.inbox import rows, store
from tasks.handoffs.routes import transformation_of

FAST = {"first_s": 0.02, "longest_s": 0.05, "timeout_s": 2.0}


def make_route(**more: Any) -> Route:
    """A route that takes everything as it is."""
    fields: dict[str, Any] = {
        "name": "orders",
        "source": "webhook:shop",
        "target": {"kind": "http", "url": "http://127.0.0.1:1/"},
        "retry": FAST,
    }
    return Route.model_validate(fields | more)


def make_message(number: int, conversation: str = "c", **attributes: Any) -> Message:
    """A message whose id is its number."""
    return Message(
        source="webhook:shop",
        message_id=f"m{number}",
        conversation=conversation,
        content_type="application/json",
        raw=b"{}",
        attributes={"number": number, **attributes},
    )


class Recorder:
    """A target that remembers what it was given, and answers as the test says."""

    at_once = 256

    def __init__(
        self, answer: Callable[[Effect], Outcome] | None = None, *, batch: int = 1, takes_s: float = 0
    ) -> None:
        self.batch = batch
        self.calls: list[list[Effect]] = []
        self.called = asyncio.Event()
        self.most_at_once = 0
        self._answer = answer or (lambda effect: Delivered(f"ref-{effect.message_id}"))
        self._takes_s = takes_s
        self._now = 0

    async def deliver(self, effects: Sequence[Effect]) -> Sequence[Outcome]:
        self.calls.append(list(effects))
        self.called.set()
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        await asyncio.sleep(self._takes_s)
        self._now -= 1
        return [self._answer(effect) for effect in effects]

    async def close(self) -> None:
        return None

    @property
    def ids(self) -> list[str]:
        return [effect.message_id for call in self.calls for effect in call]


class Bench:
    """One database with handoffs in it."""

    def __init__(self, config: Settings, database: str) -> None:
        self.url = dsn(config, database)

    async def connect(self) -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(self.url, autocommit=True)

    async def store(self, route: Route, *messages: Message) -> int:
        async with await self.connect() as connection:
            return await store(connection, rows([route], messages), datetime.now(UTC))

    async def drain(
        self, route: Route, target: Any, *, linger_s: float = 0.3, patience_s: float | None = None, **settings: Any
    ) -> RouteDrain:
        """Drain until nothing is due within `linger_s`; with `patience_s` within that, or until all has its end."""
        drain = RouteDrain(
            route, transformation_of(route), target, HandoffsSettings(**settings), self.connect, jitter=lambda: 1.0
        )
        draining = asyncio.create_task(drain.run(asyncio.Event(), linger_s=patience_s or linger_s))
        if patience_s is None:
            await draining
            return drain
        for _ in range(2):  # the second look is after it has counted what the first one saw
            while not draining.done() and await self._waits(route):  # noqa: ASYNC110 - the database is another's
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.02)
        draining.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await draining
        return drain

    async def _waits(self, route: Route) -> bool:
        """Whether a message is not understood yet, or an effect neither delivered nor dead."""
        [(waits,)] = await self.rows(
            "SELECT EXISTS (SELECT FROM handoff_message WHERE route = %s AND state = 'waiting')"
            " OR EXISTS (SELECT FROM handoff_effect WHERE route = %s AND state = 'pending')",
            route.name, route.name,
        )  # fmt: skip
        return bool(waits)

    async def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        async with await self.connect() as connection:
            cursor = await connection.execute(statement.encode(), values)
            return await cursor.fetchall() if cursor.description else []

    async def effects(self) -> dict[str, tuple[str, int, str | None]]:
        """State, tries and last error of each effect."""
        found = await self.rows("SELECT message_id, state, attempts, last_error FROM handoff_effect")
        return {message_id: (state, attempts, error) for message_id, state, attempts, error in found}
