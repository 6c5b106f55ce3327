"""The application: one MCP server for each source, at `/mcp/` and its name, over Streamable HTTP.

https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#streamable-http, and the newer protocol,
without sessions, that the SDK speaks at the same address.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route as Path
from starlette.types import ASGIApp, Receive, Scope, Send

from blocks.database import dsn
from blocks.errors import ConfigurationError
from blocks.home import Home
from blocks.logs import logger
from blocks.settings import Settings
from models.configuration import Configuration
from services.guard import Guard, Names
from services.live_routes import LiveRoutes
from services.mcp.calls import Calls
from services.mcp.offering import Offering, mcp_routes
from services.mcp.sources import Sources
from tasks.handoffs.kept_routes import kept_blocks
from tasks.handoffs.route_set import merge

_log = logger("mcp")

_AT_ONCE = 64
_STOP_S = 8.0
_AGAIN_S = 5.0


async def create_app(config: Settings, configuration: Configuration) -> ASGIApp:
    """The application, to be served by an ASGI server. The database may come up later than it.

    Raises:
        ConfigurationError: there is nothing to offer, or a route of `lama.toml` cannot be used.
    """
    live = LiveRoutes(config, configuration, "mcp")
    expected = mcp_routes(merge(configuration, kept_blocks(config)).routes)
    await live.begin()
    if not expected and not mcp_routes(live.current.routes):
        live.close()
        raise ConfigurationError(
            "there are no tools to offer.", component="mcp", remedy="Add a handoff route with a source mcp:NAME."
        )
    calls = Calls(dsn(config))
    sources = Sources(Offering(config), calls, asyncio.Semaphore(_AT_ONCE))
    await sources.take(live.current)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(live.close)
            stack.push_async_callback(sources.close)
            stack.push_async_callback(calls.close, _STOP_S)
            looking = asyncio.create_task(_keep_up(live, sources))
            stack.push_async_callback(_end, looking)
            await sources.begin()
            yield

    return Guard(
        Starlette(routes=[Path("/health", _health), Path("/mcp/{name}", _Endpoint(sources))], lifespan=lifespan),
        Names(config, configuration.webhooks.hosts),
        Home(config),
        "mcp.key",
        config.mcp_key,
    )


async def _health(_: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")


async def _keep_up(live: LiveRoutes, sources: Sources) -> None:
    """Offer what there is, until cancelled."""
    while True:
        try:
            await live.run(sources.take)
        except Exception:  # noqa: BLE001 - it is logged whole; nothing else would notice a task's end
            _log.exception("the routes are looked at again in %g s", _AGAIN_S)
        await asyncio.sleep(_AGAIN_S)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class _Endpoint:
    """Leads to the server of the source that the path names."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        manager = self._sources.manager(scope["path_params"]["name"])
        if manager is None:
            known = ", ".join(f"/mcp/{name}" for name in self._sources.names) or "nothing anywhere"
            await JSONResponse({"error": f"There is nothing here; there is {known}."}, 404)(scope, receive, send)
            return
        await manager.handle_request(scope, receive, send)
