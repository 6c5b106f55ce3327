"""Calls become durable here, are made at once, and whoever asks, however often, is told what became of them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from blocks.logs import logger
from models.handoff import EffectState, Message
from services.connection import UNAVAILABLE, Connection
from tasks.handoffs.direct import Direct, Standing, standing
from tasks.handoffs.inbox import natural_id
from tasks.handoffs.outbox import record

_log = logger("mcp")

_SHORTEST_LOOK_S = 0.02
_LONGEST_LOOK_S = 0.25
"""Seconds between two looks at what somebody else may be delivering."""


class NotKnownError(Exception):
    """The database is away: what becomes of the call is not known."""


@dataclass
class _Pursuit:
    """One call that is looked after, for all who wait for it."""

    task: asyncio.Task[Standing | None]
    until: float
    """When the last of them stops to wait, in seconds of the monotonic clock."""


class Calls:
    """Makes calls, each once however many ask for it.

    Args:
        url: the database; never logged.
    """

    def __init__(self, url: str) -> None:
        self._writes = Connection(url, name="lama mcp")
        self._reads = Connection(url, name="lama mcp")
        self._under_way: dict[tuple[str, str], _Pursuit] = {}

    async def outcome(self, direct: Direct, message: Message, wait_s: float) -> Standing | None:
        """What became of `message`, which is stored first if it is not known; None: not known after `wait_s` seconds.

        Raises:
            NotKnownError: the database is away; it may be stored or not.
        """
        place = direct.route.name, natural_id(message.message_id)
        until = time.monotonic() + wait_s
        pursuit = self._under_way.get(place)
        if pursuit is None:
            # A task of its own: a caller who hangs up ends its waiting, not what is being done.
            task = asyncio.create_task(self._pursue(direct, message, place))
            pursuit = self._under_way[place] = _Pursuit(task, until)
            task.add_done_callback(lambda ended: self._ended(place, ended))
        pursuit.until = max(pursuit.until, until)
        done, _ = await asyncio.wait({pursuit.task}, timeout=wait_s)
        if not done:
            return None
        try:
            return pursuit.task.result()
        except (*UNAVAILABLE, asyncio.CancelledError) as error:
            raise NotKnownError from error

    async def close(self, patience_s: float) -> None:
        """Finish what is under way, within `patience_s`; what is left over is taken up by a drain."""
        now = time.monotonic()
        for pursuit in self._under_way.values():
            pursuit.until = now
        tasks = [pursuit.task for pursuit in self._under_way.values()]
        if tasks:
            _, left = await asyncio.wait(tasks, timeout=patience_s)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        await self._writes.close()
        await self._reads.close()

    def _ended(self, place: tuple[str, str], task: asyncio.Task[Standing | None]) -> None:
        del self._under_way[place]
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("a call of route %s was not followed to its end: %s", place[0], type(error).__name__)

    async def _pursue(self, direct: Direct, message: Message, place: tuple[str, str]) -> Standing | None:
        route, (_, message_id) = direct.route, place
        effect, pause_s = None, _SHORTEST_LOOK_S
        async with self._reads.use() as connection:
            known = await standing(connection, route, message_id)
        if known is None:
            async with self._writes.use() as connection:
                effect = await direct.take_in(connection, message)
        while True:
            if effect is not None:
                verdict = await direct.deliver(effect)
                async with self._writes.use() as connection:
                    await record(connection, route.name, [verdict])
                if verdict.state is EffectState.dead:
                    _log.warning("route %s has a new dead letter", route.name)
            if effect is not None or known is None:
                async with self._reads.use() as connection:
                    known = await standing(connection, route, message_id)
            if known is None or known.settled:
                return known
            left_s = self._under_way[place].until - time.monotonic()
            if left_s <= 0:
                return None
            await asyncio.sleep(min(known.due_s if 0.0 < known.due_s < pause_s else pause_s, left_s))
            pause_s = min(pause_s * 1.6, _LONGEST_LOOK_S)
            async with self._writes.use() as connection:
                effect = await direct.claim(connection, message_id)
            known = None
