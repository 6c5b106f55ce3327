"""`/v1/chat/completions` and `/v1/completions`: from a request to its answer, whole or as a stream."""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from models.model_host import Priority, Requirements
from services.model_host.answers import Marks, Shape, event
from services.model_host.asked import AUTO, ChatRequest, CompletionRequest, priority_of
from services.model_host.door import GoneError, read_json, while_connected
from services.model_host.host import Answer, Host
from services.model_host.measures import Measures
from services.model_host.problems import RefusedError, problem_of
from tasks.model_host.engine import FinishReason, Piece, TokenLogprob
from tasks.model_host.errors import EngineError
from tasks.model_host.serving import Served

_SLOW_S = 60.0
"""Longest that a client may leave what it is sent unread."""
_HUNG_UP = 499


class Turnstile:
    """How many requests are inside at a time; the next one is told to come again."""

    def __init__(self, most: int) -> None:
        self._left = most

    def __enter__(self) -> None:
        if self._left <= 0:
            raise RefusedError(429, "Too many requests wait already.", code="queue_full", retry_after_s=1.0)
        self._left -= 1

    def __exit__(self, *_: object) -> None:
        self._left += 1


class Endpoint:
    """What the addresses that use a model have in common."""

    def __init__(self, host: Host, measures: Measures, turnstile: Turnstile) -> None:
        self._host = host
        self._measures = measures
        self._turnstile = turnstile

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a client that hangs up ends the work."""
        headers = Headers(scope=scope)
        reply = Reply(send)
        try:
            document = await read_json(receive, headers.get("content-length"))
            with self._turnstile:
                await while_connected(receive, self._answer(document, headers, reply))
        except GoneError:
            self._measures.failed(_HUNG_UP)
        except Exception as error:  # noqa: BLE001 - whatever it is, it has to be an answer
            problem = problem_of(error)
            self._measures.failed(problem.status_code)
            if reply.begun:  # it is too late for a status
                with contextlib.suppress(GoneError):
                    await reply.more(event({"error": problem.error}), last=True)
            else:
                await problem(scope, receive, send)

    async def _answer(self, document: dict[str, Any], headers: Headers, reply: Reply) -> None:
        raise NotImplementedError

    def _name(self, given: str, headers: Headers, requirements: Requirements) -> tuple[str, tuple[str, ...]]:
        """The model that is asked, and why where the host has chosen it."""
        if given != AUTO:
            return given, ()
        asked = requirements.model_copy(update={"use_case": headers.get("x-lama-use-case", "")[:100]})
        choice = self._host.select(asked)
        return choice.model, choice.reasons


class Reply:
    """An answer on its way."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False

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
        raw = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in told.items()]
        self.begun = True
        await self._send({"type": "http.response.start", "status": 200, "headers": raw})


class Generation(Endpoint):
    """Chats, or completions."""

    def __init__(self, host: Host, measures: Measures, turnstile: Turnstile, *, chat: bool) -> None:
        super().__init__(host, measures, turnstile)
        self._chat = chat

    async def _answer(self, document: dict[str, Any], headers: Headers, reply: Reply) -> None:
        started = time.perf_counter()
        request = (ChatRequest if self._chat else CompletionRequest).model_validate(document)
        priority = priority_of(headers.get("x-lama-priority"))
        ask = request.ask()
        model, reasons = self._name(request.model, headers, Requirements(priority=priority or Priority.normal))
        kept = headers.get("x-lama-cache", "").strip().lower() != "off"
        key = self._host.key(model, ask) if kept else None
        shape = Shape(
            chat=self._chat,
            marks=Marks(model, cache="off" if key is None else "miss", reasons=reasons),
            prompt_tokens=0,
            with_logprobs=ask.sampling.logprobs is not None,
            with_usage=request.with_usage,
        )

        async def compute() -> Answer:
            async with self._host.serve(model, ask, priority) as serving:
                assert serving.prepared is not None  # noqa: S101 - an ask was given
                marks = replace(
                    shape.marks, model=serving.model, fallback=serving.fallback, reasons=(*reasons, *serving.reasons)
                )
                answering = replace_shape(shape, marks, serving.prepared.prompt_tokens)
                return await self._generate(serving, answering, reply, started, streamed=bool(request.stream))

        answer, known = await self._host.answers.answer(key, compute)
        if key is not None:
            self._measures.recalled(hit=known)
            if answer.model != model:  # the next one should hear the model that he asks for
                self._host.answers.forget(key)
        if known:
            again = replace_shape(shape, replace(shape.marks, cache="hit"), answer.prompt_tokens)
            await self._again(answer, again, reply, streamed=bool(request.stream))

    async def _again(self, known: Answer, shape: Shape, reply: Reply, *, streamed: bool) -> None:
        shape = replace_shape(shape, replace(shape.marks, model=known.model), known.prompt_tokens)
        if not streamed:
            body = shape.whole(known.text, known.tokens, known.logprobs, known.finish)
            await reply.whole(body, shape.marks.headers)
            return
        await reply.stream(shape.marks.headers)
        piece = Piece(known.text, known.tokens, known.logprobs, known.finish)
        await reply.more(shape.first() + shape.piece(piece) + shape.last(known.tokens), last=True)

    async def _generate(self, serving: Served, shape: Shape, reply: Reply, started: float, *, streamed: bool) -> Answer:
        assert serving.prepared is not None  # noqa: S101 - see above
        assert serving.pieces is not None  # noqa: S101 - as of every ask
        measures = self._measures.of(serving.model)
        texts: list[str] = []
        logprobs: list[TokenLogprob] = []
        tokens, finish, before = 0, None, started
        first_at, first_tokens = started, 0
        async with aclosing(serving.pieces) as pieces:
            async for piece in pieces:
                now = time.perf_counter()
                if before is started:
                    measures.first(serving.prepared.prompt_tokens, now - started)
                    measures.generated(piece.tokens)
                    first_at, first_tokens = now, piece.tokens
                    if streamed:
                        await reply.stream(shape.marks.headers)
                        await reply.more(shape.first() + shape.piece(piece))
                else:
                    measures.between(piece.tokens, now - before)
                    if streamed:
                        await reply.more(shape.piece(piece))
                before = now
                tokens += piece.tokens
                texts.append(piece.text)
                logprobs.extend(piece.logprobs)
                finish = piece.finish or finish
        answer = Answer(
            serving.model, "".join(texts), serving.prepared.prompt_tokens, tokens, tuple(logprobs), _ended(finish)
        )
        if streamed:
            await reply.more(shape.last(tokens), last=True)
        else:
            await reply.whole(shape.whole(answer.text, tokens, logprobs, answer.finish), shape.marks.headers)
        measures.done(answer.finish, time.perf_counter() - started)
        if tokens > 1 and before > first_at:
            self._host.learn(serving.model, (tokens - first_tokens) / (before - first_at))
        return answer


def replace_shape(shape: Shape, marks: Marks, prompt_tokens: int) -> Shape:
    """`shape` once it is known who answers."""
    return Shape(shape.chat, marks, prompt_tokens, shape.with_logprobs, shape.with_usage)


def _ended(finish: FinishReason | None) -> FinishReason:
    if finish is None:
        raise EngineError("The answer has no end.", component="model host")
    return finish
