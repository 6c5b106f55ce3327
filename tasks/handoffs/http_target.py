"""Effects as JSON documents, posted with an `Idempotency-Key`.

https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/: the far side answers a repetition as it did
the first time. What an answer means is decided here for every target that speaks HTTP.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime

import httpx
import orjson
from pydantic import JsonValue

from models.handoff import Again, Delivered, Effect, Outcome, Refused
from tasks.handoffs.addresses import ForbiddenAddressError

LARGEST_ANSWER = 1_000_000
_LONGEST_WAIT_S = 3600.0
_TRY_AGAIN = frozenset({408, 409, 423, 425})
_OUTAGES = frozenset({401, 407, 429})
"""What is wrong is our credentials, or how much we send: no message is at fault."""
_UNCLEAR = frozenset({502, 503, 504})
"""Mostly the target as a whole is away; but one message may be what brings it down."""

Judge = Callable[[httpx.Response, bytes | None], Outcome]
"""Says what an answer means; the body is None where it was too large to be read."""


class HttpTarget:
    """One address that takes effects.

    Args:
        client: speaks to it; closed with this.
        url: where to.
    """

    batch = 1
    at_once = 256

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self._client = client
        self._url = url

    async def deliver(self, effects: Sequence[Effect]) -> Sequence[Outcome]:
        """Post each of `effects`."""
        return [await self._deliver(effect) for effect in effects]

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _deliver(self, effect: Effect) -> Outcome:
        request = self._client.build_request(
            "POST",
            self._url,
            content=orjson.dumps(effect.payload),
            headers={"Content-Type": "application/json", "Idempotency-Key": effect.idempotency_key},
        )
        return await exchange(self._client, request)


async def exchange(
    client: httpx.AsyncClient, request: httpx.Request, *, largest: int = LARGEST_ANSWER, judge: Judge | None = None
) -> Outcome:
    """Send `request`, and say what became of it: `judge`, or `judged`, does of an answer.

    At most `largest` bytes of an answer are read.
    """
    answered = await answer_to(client, request, largest=largest)
    return (judge or judged)(*answered) if isinstance(answered, tuple) else answered


async def answer_to(
    client: httpx.AsyncClient, request: httpx.Request, *, largest: int = LARGEST_ANSWER
) -> tuple[httpx.Response, bytes | None] | Again | Refused:
    """The answer to `request` with its body, None where that is larger than `largest` bytes; or why there is none.

    An `Again` that is `unclear` may have happened: the request was sent, and what became of it was not told.
    """
    try:
        response = await client.send(request, stream=True, follow_redirects=False)
        try:
            return response, await _read(response, largest)
        finally:
            await response.aclose()
    except ForbiddenAddressError as error:
        return Refused(str(error))
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        return Again(f"cannot be reached: {type(error).__name__}", outage=True)
    except httpx.HTTPError as error:
        return Again(f"no answer: {type(error).__name__}", unclear=True)  # it may have happened: the key finds out


def judged(response: httpx.Response, body: bytes | None) -> Outcome:
    """What an answer means; `body` None: it was too large to be read."""
    status = response.status_code
    if response.is_success:
        answer = parsed(body)
        return Delivered(_reference(response, answer), {"status": status, "body": answer})
    if status in _TRY_AGAIN | _OUTAGES or status >= 500:
        return Again(
            f"answered {status}",
            after_s=retry_after(response),
            outage=status in _OUTAGES,
            unclear=status in _UNCLEAR,
        )
    if response.is_redirect:
        return Refused(f"answered {status}, a redirect, which is not followed")
    return Refused(f"answered {status}")


def parsed(body: bytes | None) -> JsonValue:
    """A body as JSON; as a text where it is none."""
    if body is None:
        return "an answer that was too large to be kept"
    if not body:
        return None
    try:
        document: JsonValue = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace")[:10_000]
    return document


async def _read(response: httpx.Response, largest: int) -> bytes | None:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > largest:
            return None
    return bytes(body)


def _reference(response: httpx.Response, answer: JsonValue) -> str:
    if isinstance(answer, Mapping):
        for name in ("id", "reference", "uuid"):
            if isinstance(answer.get(name), str | int):
                return str(answer[name])
    return str(response.headers.get("location", ""))


def retry_after(response: httpx.Response) -> float | None:
    """Seconds that an answer asks to wait, at most an hour; None: it does not say."""
    text = response.headers.get("retry-after", "").strip()
    if text.isdecimal():
        return min(float(text[:9]), _LONGEST_WAIT_S)
    try:
        return min(max(0.0, parsedate_to_datetime(text).timestamp() - time.time()), _LONGEST_WAIT_S)
    except (ValueError, TypeError, OverflowError):
        return None
