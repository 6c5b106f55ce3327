"""Effects as calls of an API's operations. What was answered is kept with the effect: whoever asks again is given that.

A payload is `operation`, an operation's id, and `arguments`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import httpx
from pydantic import JsonValue

from models.handoff import Again, Delivered, Effect, Outcome, Refused
from tasks.handoffs.expressions import Compiled, ExpressionError
from tasks.handoffs.functions import Context, FieldError
from tasks.handoffs.http_target import exchange, judged, parsed
from tasks.handoffs.openapi_request import ArgumentsError, Operation

LARGEST_KEPT = 90_000
"""Characters of JSON that an answer may have after it was mapped; the outbox keeps little more."""
_WITHIN = 0.95
"""Share of a try's time after which we give up, so that we say what that means, and not whoever called us."""


@dataclass(frozen=True)
class Api:
    """How an API is called."""

    operations: Mapping[str, Operation]
    """By their ids."""
    answers: Mapping[str, Compiled]
    """By the operation's id: what is made of the body of its answer."""
    context: Context
    timeout_s: float
    largest_answer: int
    keeps_refusals: bool
    """Whether an answer that will not change (404, 422 ...) is one like another: somebody waits for it."""


class ApiTarget:
    """The operations of one API.

    Args:
        client: speaks to it; closed with this.
    """

    batch = 1
    at_once = 64

    def __init__(self, client: httpx.AsyncClient, api: Api) -> None:
        self._client = client
        self.api = api

    async def deliver(self, effects: Sequence[Effect]) -> Sequence[Outcome]:
        """Make the call of each of `effects`."""
        return [await self._deliver(effect) for effect in effects]

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _deliver(self, effect: Effect) -> Outcome:
        operation = self.api.operations.get(str(effect.payload.get("operation")))
        arguments = effect.payload.get("arguments")
        if operation is None or not isinstance(arguments, dict):
            return Refused("names no operation that may be called, or has no arguments")
        try:
            request = self._request(operation, arguments, effect.idempotency_key)
        except ArgumentsError as error:
            return Refused(str(error))
        try:
            async with asyncio.timeout(self.api.timeout_s * _WITHIN):
                outcome = await exchange(
                    self._client,
                    request,
                    largest=self.api.largest_answer,
                    judge=lambda response, body: self._judged(operation, response, body),
                )
        except TimeoutError:
            outcome = Again(f"no answer within {self.api.timeout_s:g} s", unclear=True)
        if isinstance(outcome, Again) and outcome.unclear and not operation.idempotent:
            # It may be done each time, should the far side not know the key: never more often than the tries allow.
            return replace(outcome, unclear=False)
        return outcome

    def _request(self, operation: Operation, arguments: Mapping[str, JsonValue], key: str) -> httpx.Request:
        parts = operation.request(arguments)
        server = httpx.URL(operation.server)
        path = server.raw_path.rstrip(b"/") + parts.target.encode()
        return self._client.build_request(
            parts.method,
            server.copy_with(raw_path=path),
            content=parts.content,
            headers={"Accept": "application/json", **parts.headers, "Idempotency-Key": key},
        )

    def _judged(self, operation: Operation, response: httpx.Response, body: bytes | None) -> Outcome:
        outcome = judged(response, body)
        final = isinstance(outcome, Refused) and not response.is_redirect and self.api.keeps_refusals
        if not isinstance(outcome, Delivered) and not final:
            return outcome
        reference = outcome.reference if isinstance(outcome, Delivered) else ""
        status = response.status_code
        if body is None:
            return Delivered(reference, _unkept(status, f"more than {self.api.largest_answer} bytes"))
        answer = parsed(body)
        if final:
            return Delivered(reference, _kept(status, answer, f"answered {status}"))
        expression = self.api.answers.get(operation.operation_id)
        if expression is not None:
            try:
                answer = expression.search(answer, self.api.context)
            except (ExpressionError, FieldError) as error:
                return Delivered(reference, {"status": status, "error": f"was done, but of its answer: {error}"})
        return Delivered(reference, _kept(status, answer, None))


def _kept(status: int, answer: JsonValue, error: str | None) -> dict[str, JsonValue]:
    size = len(json.dumps(answer))  # as the outbox counts
    if size > LARGEST_KEPT:
        return _unkept(status, f"{size} characters, more than {LARGEST_KEPT}")
    kept: dict[str, JsonValue] = {"status": status, "answer": answer}
    return kept | {"error": error} if error else kept


def _unkept(status: int, size: str) -> dict[str, JsonValue]:
    return {"status": status, "error": f"answered {status}, with {size}: that is too large to be given back"}
