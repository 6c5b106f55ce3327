"""One bounded answer of a source: in time, in size, and with one more try where a moment may mend it."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blocks.errors import LamaError, UnavailableError

if TYPE_CHECKING:
    import httpx

_AGAIN_AFTER_S = 0.5
_PASSING = {429, 500, 502, 503, 504}


class NotFoundError(LamaError):
    """The source answers, and says that it has no such thing."""


@dataclass(frozen=True)
class Answer:
    """A successful answer."""

    content_type: str
    """Without parameters, in lower case."""
    content: bytes


async def ask(
    client: httpx.AsyncClient, path: str, *, source: str, largest: int, body: dict[str, Any] | None = None
) -> Answer:
    """The answer to GET `path`, or to POST when there is a `body`; tried twice at most, and not again after silence.

    Raises:
        NotFoundError: 404 or 410.
        UnavailableError: every other way of not getting an answer of at most `largest` bytes. The message names
            `source` and never the address, which may hold a password.
    """
    try:
        return await _once(client, path, source=source, largest=largest, body=body)
    except _PassingError:
        await asyncio.sleep(_AGAIN_AFTER_S * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
    return await _once(client, path, source=source, largest=largest, body=body)


def decoded(answer: Answer, *, source: str) -> dict[str, Any]:
    """The JSON object of an answer.

    Raises:
        UnavailableError: it is something else: a page of a proxy, an object that ends too early.
    """
    try:
        data = json.loads(answer.content)
    except (ValueError, RecursionError) as error:
        kind = answer.content_type or "no content type"
        raise UnavailableError(f"answered something that is not JSON ({kind}).", component=source) from error
    if not isinstance(data, dict):
        raise UnavailableError("answered JSON of another shape.", component=source)
    return data


class _PassingError(UnavailableError):
    """A failure that may be gone in a moment."""


async def _once(
    client: httpx.AsyncClient, path: str, *, source: str, largest: int, body: dict[str, Any] | None
) -> Answer:
    import httpx  # noqa: PLC0415

    try:
        async with client.stream("GET" if body is None else "POST", path, json=body) as response:
            status = response.status_code
            if status in {404, 410}:
                raise NotFoundError(f"answered {status}.", component=source)
            if status in _PASSING:
                raise _PassingError(f"answered {status}.", component=source)
            if status != 200:
                raise UnavailableError(f"answered {status}.", component=source)
            content = bytearray()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > largest:
                    raise UnavailableError(f"answered more than {largest} bytes.", component=source)
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            return Answer(kind, bytes(content))
    except httpx.TimeoutException as error:
        raise UnavailableError("did not answer in time.", component=source) from error
    except httpx.TransportError as error:
        raise _PassingError(f"cannot be reached ({type(error).__name__}).", component=source) from error
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise UnavailableError(f"cannot be asked ({type(error).__name__}).", component=source) from error
