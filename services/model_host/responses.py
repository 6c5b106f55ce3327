"""Answers outside of generation, which a host and the one address of several give alike."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from models.model_host import HostStatus, ModelStatus
from models.report import Value
from services.model_host.door import read_json

_PING_S = 15.0


async def body_of(request: Request) -> dict[str, Any]:
    """The document that was sent.

    Raises:
        RefusedError: it is none, or too large.
    """
    return await read_json(request.receive, request.headers.get("content-length"))


def told(value: Value) -> Response:
    """A value as JSON."""
    return Response(value.model_dump_json(), media_type="application/json")


def plain(document: dict[str, Any]) -> Response:
    """A document as JSON."""
    return Response(orjson.dumps(document), media_type="application/json")


def events(changes: AsyncIterator[HostStatus]) -> Response:
    """Each status as an event, until there are no more; a comment where nothing happens for long."""
    return StreamingResponse(_stream(changes), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


def model_document(status: ModelStatus, started: int, **more: Any) -> dict[str, Any]:
    """A model as `/v1/models` shows it.

    Args:
        status: how it is.
        started: when the host was, seconds since 1970.
        more: beside what the host says of it.
    """
    own = status.model_dump(
        mode="json", include={"state", "kind", "engine", "quantisation", "context_window", "priority"}
    )
    return {"id": status.name, "object": "model", "created": started, "owned_by": "lama", "lama": own | more}


async def _stream(changes: AsyncIterator[HostStatus]) -> AsyncIterator[bytes]:
    pending = asyncio.ensure_future(anext(changes, None))
    try:
        while True:
            done, _ = await asyncio.wait({pending}, timeout=_PING_S)
            if not done:
                yield b": still here\n\n"
                continue
            status = pending.result()
            if status is None:
                return
            yield b"event: status\ndata: " + status.model_dump_json().encode() + b"\n\n"
            pending = asyncio.ensure_future(anext(changes, None))
    finally:
        pending.cancel()
        with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
            await pending
