"""The application: one MCP server for each source, at `/mcp/` and its name, over Streamable HTTP.

https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#streamable-http, and the newer protocol,
without sessions, that the SDK speaks at the same address.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route as Path
from starlette.types import ASGIApp, Receive, Scope, Send

from blocks.database import dsn
from blocks.errors import ConfigurationError
from blocks.home import Home
from blocks.settings import Settings
from models.configuration import Configuration
from models.handoff_route import ApiTarget as ToApi
from models.handoff_route import Route
from services.guard import Guard, Names
from services.mcp.calls import Calls
from services.mcp.tools import Offer, Toolbox
from tasks.handoffs.api_target import ApiTarget
from tasks.handoffs.direct import Direct
from tasks.handoffs.routes import target_of, transformation_of

_AT_ONCE = 64
_MOST_SESSIONS = 1_000
_IDLE_S = 1_800.0
_ENVELOPE = 20_000
"""Bytes of a request beside the arguments of a call."""
_STOP_S = 8.0

Context = ServerRequestContext[Any, Request]


def mcp_routes(configuration: Configuration) -> tuple[Route, ...]:
    """The routes whose messages come by MCP."""
    return tuple(route for route in configuration.handoffs.routes if route.source.startswith("mcp:"))


async def create_app(config: Settings, configuration: Configuration) -> ASGIApp:
    """The application, to be served by an ASGI server. The database may come up later than it.

    Raises:
        ConfigurationError: there is nothing to offer, or a route cannot be used.
    """
    routes = mcp_routes(configuration)
    if not routes:
        raise ConfigurationError(
            "there are no tools to offer.", component="mcp", remedy="Add a handoff route with a source mcp:NAME."
        )
    offers = [offer for route in routes for offer in await _offers(route, config)]
    calls = Calls(dsn(config))
    room = asyncio.Semaphore(_AT_ONCE)
    managers = {
        source.removeprefix("mcp:"): _manager(
            Toolbox(source, [one for one in offers if one.direct.route.source == source], calls, room),
            max(route.target.largest_request for route in routes if isinstance(route.target, ToApi)),
            source,
        )
        for source in dict.fromkeys(route.source for route in routes)
    }

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            for direct in {id(offer.direct): offer.direct for offer in offers}.values():
                stack.push_async_callback(direct.close)
            stack.push_async_callback(calls.close, _STOP_S)
            for manager in managers.values():
                await stack.enter_async_context(manager.run())
            yield

    return Guard(
        Starlette(routes=[Path("/health", _health), Path("/mcp/{name}", _Endpoint(managers))], lifespan=lifespan),
        Names(config, configuration.webhooks.hosts),
        Home(config),
        "mcp.key",
        config.mcp_key,
    )


async def _health(_: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")


class _Endpoint:
    """Leads to the server of the source that the path names."""

    def __init__(self, managers: dict[str, StreamableHTTPSessionManager]) -> None:
        self._managers = managers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        manager = self._managers.get(scope["path_params"]["name"])
        if manager is None:
            known = ", ".join(f"/mcp/{name}" for name in self._managers)
            await JSONResponse({"error": f"There is nothing here; there is {known}."}, 404)(scope, receive, send)
            return
        await manager.handle_request(scope, receive, send)


async def _offers(route: Route, config: Settings) -> Sequence[Offer]:
    transformation = transformation_of(route)
    target = await target_of(route, config)
    assert isinstance(target, ApiTarget)  # noqa: S101 - what a source mcp: leads to, see `Route`
    direct = Direct(route, transformation, target)
    return [Offer(operation, cast("ToApi", route.target), direct) for operation in target.api.operations.values()]


def _manager(toolbox: Toolbox, largest: int, source: str) -> StreamableHTTPSessionManager:
    async def list_tools(_: Context, __: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=toolbox.listed())

    async def call_tool(context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        session = context.request.headers.get("mcp-session-id") if context.request is not None else None
        return await toolbox.call(params, session, context.request_id)

    server: Server[Any] = Server(
        f"lama {source}",
        version="1",
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        get_tool_input_schema=toolbox.schema,
    )
    return StreamableHTTPSessionManager(
        server,
        json_response=True,
        session_idle_timeout=_IDLE_S,
        # Arguments are counted in characters, of which one has up to six bytes (\uXXXX).
        max_request_body_size=largest * 6 + _ENVELOPE,
        max_sessions=_MOST_SESSIONS,
    )
