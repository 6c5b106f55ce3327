"""How requests come in: whole, of a bounded size and depth, and only as long as somebody waits for the answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

import orjson
from starlette.types import Receive

from services.model_host.problems import RefusedError

LARGEST_BODY = 4 * 1024**2
"""Bytes of a request."""
_DEEPEST = 64
_BODY_S = 30.0
"""Longest that the whole of a body may take."""


class GoneError(Exception):
    """The client has hung up."""


async def read_json(receive: Receive, length: str | None) -> dict[str, Any]:
    """The JSON object that is the request's body.

    Raises:
        RefusedError: it is none, or too large, or nested too deeply, or takes too long.
        GoneError: the client has hung up.
    """
    if length is not None and (not length.isascii() or not length.isdigit() or int(length[:20]) > LARGEST_BODY):
        raise RefusedError(413, f"The request has more than {LARGEST_BODY:,} bytes.")
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise GoneError
                body += message.get("body", b"")
                if len(body) > LARGEST_BODY:
                    raise RefusedError(413, f"The request has more than {LARGEST_BODY:,} bytes.")
                if not message.get("more_body", False):
                    break
    except TimeoutError:
        raise RefusedError(408, "The request takes too long to arrive.", code="request_timeout") from None
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise RefusedError(400, "The request is not JSON.", code="invalid_json") from None
    if not isinstance(document, dict):
        raise RefusedError(400, "The request is not a JSON object.", code="invalid_json")
    _bound(document)
    return document


async def while_connected(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Do `work`, and give it up when the client hangs up.

    Raises:
        GoneError: it did.
    """
    doing = asyncio.create_task(work)
    watching = asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait({doing, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise GoneError
        doing.result()
    finally:
        for task in (doing, watching):
            task.cancel()
        # Who has been cancelled still gives back what it had; that is waited for.
        await asyncio.gather(doing, watching, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        while (await receive())["type"] != "http.disconnect":
            pass


def _bound(document: dict[str, Any]) -> None:
    level: list[Any] = [document]
    for _ in range(_DEEPEST):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return
    raise RefusedError(400, f"The request is nested more than {_DEEPEST} levels deep.", code="invalid_json")
