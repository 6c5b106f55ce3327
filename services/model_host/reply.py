"""An answer on its way to its client, and the parts of a stream that wait for their turn."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from starlette.types import Send

from services.model_host.door import GoneError

_SLOW_S = 60.0
"""Longest that a client may leave what it is sent unread."""


class Reply:
    """An answer on its way."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False

    async def start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Send what comes before the first byte."""
        self.begun = True
        await self._send({"type": "http.response.start", "status": status, "headers": list(headers)})

    async def whole(self, body: bytes, headers: dict[str, str]) -> None:
        """Send all of it."""
        await self._start("application/json", headers, len(body))
        await self.more(body, last=True)

    async def stream(self, headers: dict[str, str]) -> None:
        """Begin a stream of events."""
        # Proxies would collect the pieces otherwise.
        await self._start("text/event-stream; charset=utf-8", headers | {"X-Accel-Buffering": "no"}, None)

    async def more(self, body: bytes, *, last: bool = False) -> None:
        """Send a part.

        Raises:
            GoneError: the client does not read.
        """
        try:
            async with asyncio.timeout(_SLOW_S):
                await self._send({"type": "http.response.body", "body": body, "more_body": not last})
        except TimeoutError:
            raise GoneError from None

    async def _start(self, kind: str, headers: dict[str, str], length: int | None) -> None:
        told = {"Content-Type": kind, "Cache-Control": "no-store", **headers}
        if length is not None:
            told["Content-Length"] = str(length)
        await self.start(
            200, ((name.lower().encode(), value.encode("latin-1", "replace")) for name, value in told.items())
        )


class Outbox:
    """Parts of a stream that are to be sent. Whoever reads slowly keeps neither memory of a model nor others waiting.

    At its end everything has been sent; after an error, what was there before it. No more than one answer lies here.
    """

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._parts: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._sending: asyncio.Task[None] | None = None
        self._whole = False

    @property
    def begun(self) -> bool:
        """Whether there is a stream already."""
        return self._sending is not None

    def put(self, part: bytes, headers: dict[str, str]) -> None:
        """Send `part` as soon as what was put before it is sent. The first one's `headers` are those of the stream.

        Raises:
            GoneError: the client does not read.
        """
        if self._sending is None:
            self._sending = asyncio.create_task(self._send(headers))
        elif self._sending.done():
            self._sending.result()
        self._parts.put_nowait(part)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sending is None:
            return
        try:
            if error is None or (isinstance(error, Exception) and not isinstance(error, GoneError)):
                self._whole = error is None
                self._parts.put_nowait(None)
                await self._sending
        finally:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)

    async def _send(self, headers: dict[str, str]) -> None:
        await self._reply.stream(headers)
        over = False
        while not over:
            parts = [await self._parts.get()]
            while not self._parts.empty():
                parts.append(self._parts.get_nowait())
            over = parts[-1] is None
            body = b"".join(part for part in parts if part is not None)
            if body or (over and self._whole):
                await self._reply.more(body, last=over and self._whole)
