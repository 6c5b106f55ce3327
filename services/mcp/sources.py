"""One MCP server for each source, which comes and goes with the routes; sessions outlast a change of its tools."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.requests import Request

from services.mcp.calls import Calls
from services.mcp.offering import Offering
from services.mcp.tools import Offer, Toolbox
from tasks.handoffs.route_set import RouteSet

_MOST_SESSIONS = 1_000
_IDLE_S = 1_800.0
_ENVELOPE = 20_000
"""Bytes of a request beside the arguments of a call."""

Context = ServerRequestContext[Any, Request]


class Sources:
    """The servers of the moment.

    Args:
        offering: makes tools of routes.
        calls: makes the calls.
        room: how many may be waited for at a time, over all sources.
    """

    def __init__(self, offering: Offering, calls: Calls, room: asyncio.Semaphore) -> None:
        self._offering = offering
        self._calls = calls
        self._room = room
        self._open: dict[str, _Source] = {}
        self._begun = False

    @property
    def names(self) -> list[str]:
        """What there is below `/mcp/`."""
        return list(self._open)

    def manager(self, name: str) -> StreamableHTTPSessionManager | None:
        """The server called `name`."""
        source = self._open.get(name)
        return None if source is None else source.manager

    async def take(self, known: RouteSet) -> None:
        """Offer what the routes of `known` say, and nothing else.

        Raises:
            ConfigurationError: a route of `lama.toml` cannot be used.
        """
        found = await self._offering.of(known)
        for source, offers in found.items():
            name = source.removeprefix("mcp:")
            toolbox = Toolbox(source, offers, self._calls, self._room)
            old = self._open.get(name)
            if old is not None and old.largest >= _largest(offers):
                old.toolbox = toolbox  # the next request sees it
                continue
            made = self._open[name] = _Source(source, toolbox, _largest(offers))
            if self._begun:
                await made.begin()
            if old is not None:
                await old.end()
        for name in [name for name in self._open if f"mcp:{name}" not in found]:
            await self._open.pop(name).end()

    async def begin(self) -> None:
        """Let sessions begin."""
        self._begun = True
        for source in self._open.values():
            await source.begin()

    async def close(self) -> None:
        """End every session, and close every connection."""
        for source in self._open.values():
            await source.end()
        await self._offering.close()


class _Source:
    """One server, in a task of its own: its sessions have to end in the task that they began in."""

    def __init__(self, source: str, toolbox: Toolbox, largest: int) -> None:
        self.toolbox = toolbox
        self.largest = largest
        self.manager = self._manager(source)
        self._begun = asyncio.Event()
        self._ended = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        self._task = asyncio.create_task(self._run())
        await self._begun.wait()

    async def end(self) -> None:
        self._ended.set()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self.manager.run())
            finally:
                self._begun.set()
            await self._ended.wait()

    def _manager(self, source: str) -> StreamableHTTPSessionManager:
        async def list_tools(_: Context, __: types.PaginatedRequestParams | None) -> types.ListToolsResult:
            return types.ListToolsResult(tools=self.toolbox.listed())

        async def call_tool(context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
            session = context.request.headers.get("mcp-session-id") if context.request is not None else None
            return await self.toolbox.call(params, session, context.request_id)

        def schema(name: str) -> Mapping[str, Any] | None:
            return self.toolbox.schema(name)

        server: Server[Any] = Server(
            f"lama {source}",
            version="1",
            on_list_tools=list_tools,
            on_call_tool=call_tool,
            get_tool_input_schema=schema,
        )
        return StreamableHTTPSessionManager(
            server,
            json_response=True,
            session_idle_timeout=_IDLE_S,
            # Arguments are counted in characters, of which one has up to six bytes (\uXXXX).
            max_request_body_size=self.largest * 6 + _ENVELOPE,
            max_sessions=_MOST_SESSIONS,
        )


def _largest(offers: Sequence[Offer]) -> int:
    return max(offer.target.largest_request for offer in offers)
