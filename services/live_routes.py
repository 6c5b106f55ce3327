"""The routes as a service that stays up knows them: looked at again and again; while Prefect is away, as last seen."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from blocks.errors import LamaError
from blocks.logs import logger
from blocks.prefect_api import ROUTE_BLOCKS, PrefectApi
from blocks.settings import Settings
from models.configuration import Configuration
from models.handoff_route import HandoffsSettings
from tasks.handoffs.kept_routes import keep_blocks, kept_blocks
from tasks.handoffs.route_set import Blocks, RouteSet, merge, place_of

_TIMEOUT_S = 5.0
_AGAIN_S = 5.0
"""Seconds between two looks, at most, while Prefect does not answer."""

Heard = Callable[[RouteSet], Awaitable[None]]


class LiveRoutes:
    """The routes of now. `lama.toml` is read once, blocks are read every `refresh_s`.

    Args:
        config: where Prefect and the home are.
        configuration: what `lama.toml` says.
        name: of the service, for its log.
    """

    def __init__(self, config: Settings, configuration: Configuration, name: str) -> None:
        self._config = config
        self._configuration = configuration
        self._log = logger(name)
        self._api = PrefectApi(config, timeout_s=_TIMEOUT_S)
        self._good: Blocks = {}
        self._said: tuple[str | None, frozenset[str]] = (None, frozenset())
        self._receiving = configuration.handoffs
        self.current = RouteSet(configuration.handoffs)
        self.looked_at: float | None = None
        """When the blocks were last seen, in seconds since the epoch."""

    @property
    def settings(self) -> HandoffsSettings:
        """`[handoffs]` with the routes by which messages can be handed on."""
        return self.current.settings

    @property
    def receiving(self) -> HandoffsSettings:
        """The same, and of blocks that an edit has broken what they said before: their messages are stored and wait."""
        return self._receiving

    async def begin(self) -> None:
        """Look for the first time; while Prefect is away, take what was seen last, by whichever service."""
        self._good = await asyncio.to_thread(kept_blocks, self._config)
        await self.look()

    async def run(self, heard: Heard | None = None) -> None:
        """Look again and again until cancelled; `heard` is told each time."""
        while True:
            every_s = self._configuration.handoffs.refresh_s
            await asyncio.sleep(every_s if self.current.unseen is None else min(every_s, _AGAIN_S))
            await self.look()
            if heard is not None:
                await heard(self.current)

    async def look(self) -> None:
        """Look once. While Prefect is away everything stays as it was."""
        try:
            blocks: Blocks = await asyncio.to_thread(self._api.blocks, ROUTE_BLOCKS)
        except LamaError as error:
            if self.looked_at is None:
                self._take(self._good, str(error))
            else:
                self._tell(self.current, replace(self.current, unseen=str(error)))
                self.current = replace(self.current, unseen=str(error))
            return
        self.looked_at = time.time()
        good = {name: said for name, said in self._good.items() if name in blocks}
        merged = self._take(blocks, None)
        good |= {name: said for name, said in blocks.items() if name in merged.blocks}
        if good != self._good:
            self._good = good
            with contextlib.suppress(OSError):  # it would only be missed at a start while Prefect is away
                await asyncio.to_thread(keep_blocks, self._config, good)

    def _take(self, blocks: Blocks, unseen: str | None) -> RouteSet:
        """Go by `blocks` from now on."""
        merged = merge(self._configuration, blocks, lambda number: place_of(self._config, number))
        merged = replace(merged, unseen=unseen)
        held = merge(
            self._configuration,
            {fault.name: self._good[fault.name] for fault in merged.faults if fault.name in self._good},
        )
        kept = [route for route in held.routes if route.name in held.blocks]
        self._receiving = merged.settings.model_copy(update={"routes": (*merged.routes, *kept)})
        self._tell(self.current, merged)
        self.current = merged
        return merged

    def close(self) -> None:
        """Close the connections to Prefect."""
        self._api.close()

    def _tell(self, before: RouteSet, now: RouteSet) -> None:
        """Say what has changed since the last look, and nothing twice."""
        away, told = self._said
        if now.unseen is not None and away is None:
            self._log.warning("routes that are blocks stay as last seen (%d): %s", len(now.blocks), now.unseen)
        if now.unseen is None and away is not None:
            self._log.info("routes that are blocks can be looked at again")
        faults = {f"{fault.name}: {fault.reason}" for fault in now.faults}
        for fault in sorted(faults - told):
            self._log.error("a block is no route that can be used: %s", fault)
        self._said = now.unseen, frozenset(faults)
        old, new = ({one.name: one for one in known.routes if one.name in known.blocks} for known in (before, now))
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                what = "is gone" if name not in new else "is there" if name not in old else "has changed"
                self._log.info("the route %s of a block %s", name, what)
