"""What is offered of the routes of the moment; what has not changed stays as it is, with its connections."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from blocks.errors import ConfigurationError
from blocks.logs import logger
from blocks.settings import Settings
from models.handoff_route import ApiTarget as ToApi
from models.handoff_route import Route
from services.mcp.tools import Offer
from tasks.handoffs.api_target import ApiTarget
from tasks.handoffs.direct import Direct
from tasks.handoffs.route_set import RouteSet
from tasks.handoffs.routes import target_of, transformation_of

_log = logger("mcp")


def mcp_routes(routes: Sequence[Route]) -> tuple[Route, ...]:
    """The routes whose messages come by MCP."""
    return tuple(route for route in routes if route.source.startswith("mcp:"))


class Offering:
    """The tools of each source."""

    def __init__(self, config: Settings) -> None:
        self._config = config
        self._made: dict[str, tuple[Route, tuple[Offer, ...]]] = {}
        self._said: dict[str, str] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    async def of(self, known: RouteSet) -> dict[str, list[Offer]]:
        """The tools of each source, by the routes of `known`. Of blocks, those that cannot be used are left out.

        Raises:
            ConfigurationError: a route of `lama.toml` cannot be used.
        """
        made: dict[str, tuple[Route, tuple[Offer, ...]]] = {}
        found: dict[str, list[Offer]] = {}
        before, said = self._made, self._said
        self._said = {}
        for route in mcp_routes(known.routes):
            is_block = route.name in known.blocks
            try:
                old = before.get(route.name)
                offers = old[1] if old is not None and old[0] == route else await self._offers(route)
                if is_block:
                    _refuse_taken(route, offers, found.get(route.source, ()))
            except Exception as error:
                if not is_block:
                    raise
                # A block that it needs may come yet: it is tried again at the next look, and said once.
                told = str(error) if isinstance(error, ConfigurationError) else type(error).__name__
                self._said[route.name] = told
                if said.get(route.name) != told:
                    _log.error("the tools of the block %s are not offered: %s", route.name, told)
                continue
            made[route.name] = route, offers
            found.setdefault(route.source, []).extend(offers)
        self._made = made
        for name, (route, offers) in before.items():
            if made.get(name, (None, ()))[1] is not offers:
                self._leave(route, offers)
        return found

    async def close(self) -> None:
        """Close every connection."""
        for task in self._leaving:
            task.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)
        for _, offers in self._made.values():
            await offers[0].direct.close()

    async def _offers(self, route: Route) -> tuple[Offer, ...]:
        transformation = transformation_of(route)
        target = await target_of(route, self._config)
        assert isinstance(target, ApiTarget)  # noqa: S101 - what a source mcp: leads to, see `Route`
        direct = Direct(route, transformation, target)
        return tuple(
            Offer(operation, cast("ToApi", route.target), direct) for operation in target.api.operations.values()
        )

    def _leave(self, route: Route, offers: Sequence[Offer]) -> None:
        """Close what is offered no more, when those who call it now have been answered."""

        async def leave() -> None:
            try:
                await asyncio.sleep(route.lease_s + cast("ToApi", route.target).answer_s)
            finally:
                await offers[0].direct.close()

        task = asyncio.create_task(leave())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)


def _refuse_taken(route: Route, offers: Sequence[Offer], others: Sequence[Offer]) -> None:
    """Refuse tools that another route offers at the same source.

    Raises:
        ConfigurationError: there is one.
    """
    taken = {other.operation.tool: other.direct.route.name for other in others}
    for offer in offers:
        if offer.operation.tool in taken:
            raise ConfigurationError(
                f"the route {taken[offer.operation.tool]!r} offers the tool {offer.operation.tool!r} at {route.source}."
            )
