"""`/v1/chat/completions` and `/v1/completions`: from a request to its answer, whole or as a stream."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from models.model_host import Choice, Priority, Requirements
from services.guard import LESSER
from services.model_host.answers import Marks, Shape, event, together
from services.model_host.asked import AUTO, ChatRequest, CompletionRequest, claimed, needs_of, use_case_of
from services.model_host.door import GoneError, read_json, while_connected
from services.model_host.host import Answer, Host
from services.model_host.measures import Measures
from services.model_host.problems import RefusedError, problem_of
from services.model_host.reply import Outbox, Reply
from tasks.model_host.engine import Ask, FinishReason, Piece, TokenLogprob
from tasks.model_host.errors import EngineError, NoModelError, RequestError
from tasks.model_host.serving import Served

T = TypeVar("T")

_HUNG_UP = 499


class Turnstile:
    """How many requests are inside at a time; the next one is told to come again.

    Args:
        most: places of all.
        kept: those of them that only requests of high priority may take: nobody else can shut these out.
    """

    def __init__(self, most: int, kept: int = 0) -> None:
        self._left = most
        self._kept = kept

    @contextmanager
    def inside(self, places: int = 1, *, high: bool = False) -> Iterator[None]:
        """Take `places` while the block lasts.

        Args:
            places: how many; none may be taken, too.
            high: whether the request has high priority.

        Raises:
            RefusedError: there are not so many left.
        """
        if places and self._left - places < (0 if high else self._kept):
            raise RefusedError(429, "Too many requests wait already.", code="queue_full", retry_after_s=1.0)
        self._left -= places
        try:
            yield
        finally:
            self._left += places


class Endpoint:
    """What the addresses that use a model have in common.

    Args:
        host: keeps the models.
        measures: count what is done.
        turnstile: of all addresses together.
        claim: the highest priority that the clients' key may claim.
    """

    def __init__(self, host: Host, measures: Measures, turnstile: Turnstile, claim: Priority) -> None:
        self._host = host
        self._measures = measures
        self._turnstile = turnstile
        self._claim = claim

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a client that hangs up ends the work."""
        headers = Headers(scope=scope)
        reply = Reply(send)
        try:
            document = await read_json(receive, headers.get("content-length"))
            priority = claimed(headers.getlist("x-lama-priority"), self._claim, lesser=scope.get(LESSER, False))
            with self._turnstile.inside(high=self._high(document, priority)):
                await while_connected(receive, self._answer(document, headers, priority, reply))
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

    async def _answer(
        self, document: dict[str, Any], headers: Headers, priority: Priority | None, reply: Reply
    ) -> None:
        raise NotImplementedError

    def _high(self, document: dict[str, Any], claimed: Priority | None) -> bool:
        """Whether a request has high priority, claimed or that of its model."""
        given = self._host.priority(str(document.get("model"))) if claimed is None else claimed
        return given is Priority.high

    def _choose(self, needs: Requirements) -> Choice:
        """The best model for `needs`, whose number of tokens is an estimate."""
        try:
            return self._host.select(needs)
        except NoModelError:
            if not needs.context_tokens:
                raise
            return self._host.select(needs.model_copy(update={"context_tokens": 0}))  # it may have been too high


@dataclass(frozen=True)
class _Asked:
    """A request as it was read.

    Args:
        asks: one for each choice of its answer.
        started: when it came.
    """

    asks: tuple[Ask, ...]
    priority: Priority | None
    cached: bool
    streamed: bool
    with_usage: bool
    started: float


class Generation(Endpoint):
    """Chats, or completions."""

    def __init__(self, host: Host, measures: Measures, turnstile: Turnstile, claim: Priority, *, chat: bool) -> None:
        super().__init__(host, measures, turnstile, claim)
        self._chat = chat

    async def _answer(
        self, document: dict[str, Any], headers: Headers, priority: Priority | None, reply: Reply
    ) -> None:
        started = time.perf_counter()
        request = (ChatRequest if self._chat else CompletionRequest).model_validate(document)
        cached = headers.get("x-lama-cache", "").strip().lower() != "off"
        asked = _Asked(request.asks(), priority, cached, bool(request.stream), request.with_usage, started)
        with self._turnstile.inside(len(asked.asks) - 1, high=self._high(document, priority)):
            if request.model == AUTO:
                await self._by_choice(asked, use_case_of(headers.get("x-lama-use-case")), reply)
            else:
                await self._by(request.model, (), asked, reply)

    async def _by_choice(self, asked: _Asked, use_case: str, reply: Reply) -> None:
        """Answer by the model that fits best, or by one with more room if the prompt turns out to need it."""
        needs = needs_of(asked.asks, use_case, asked.priority)
        choice = self._choose(needs)
        while True:
            try:
                await self._by(choice.model, choice.reasons, asked, reply)
            except RequestError as error:
                # How long a prompt is, the model's tokeniser alone knows.
                if reply.begun or error.code != "context_length_exceeded":
                    raise
                needs = needs.model_copy(update={"context_tokens": self._window(choice.model) + 1})
                try:
                    choice = self._host.select(needs)
                except NoModelError:
                    raise error from None
            else:
                return

    def _window(self, model: str) -> int:
        return next(one.context_window for one in self._host.status().models if one.name == model)

    async def _by(self, model: str, reasons: tuple[str, ...], asked: _Asked, reply: Reply) -> None:
        base = Shape(
            chat=self._chat,
            marks=Marks(model, reasons=reasons),
            with_logprobs=asked.asks[0].sampling.logprobs is not None,
            with_usage=asked.with_usage,
        )
        async with Outbox(reply) as outbox:
            shapes = [replace(base, index=index) for index in range(len(asked.asks))]
            ends = await _all(
                [self._one(model, ask, asked, shape, outbox) for ask, shape in zip(asked.asks, shapes, strict=True)]
            )
            marks = together([one for one, _ in ends])
            prompt_tokens, tokens = (sum(getattr(one, of) for _, one in ends) for of in ("prompt_tokens", "tokens"))
            shape = replace(base, marks=marks)
            if asked.streamed:
                outbox.put(shape.last(prompt_tokens, tokens), marks.headers)
        if not asked.streamed:
            choices = [
                one.choice(answer.text, answer.logprobs, answer.finish)
                for one, (_, answer) in zip(shapes, ends, strict=True)
            ]
            await reply.whole(shape.whole(choices, prompt_tokens, tokens), marks.headers)

    async def _one(self, model: str, ask: Ask, asked: _Asked, shape: Shape, outbox: Outbox) -> tuple[Marks, Answer]:
        """One choice; as a stream it is in `outbox` then."""
        key = self._host.key(model, ask) if asked.cached else None
        to = outbox if asked.streamed else None

        async def compute() -> Answer:
            async with self._host.serve(model, ask, asked.priority) as serving:
                marks = Marks(
                    serving.model, serving.fallback, "off" if key is None else "miss",
                    (*shape.marks.reasons, *serving.reasons),
                )  # fmt: skip
                return await self._generate(serving, replace(shape, marks=marks), to, asked.started)

        # Names of one copy share what it has answered, but neither their patience nor their fallbacks.
        answer, known = await self._host.answers.answer(key, compute, apart=(model, asked.priority))
        if key is not None:
            self._measures.recalled(hit=known)
            if answer.fallback:  # the next one should hear the model that he asks for
                self._host.answers.forget(key)
        marks = Marks(
            answer.model if answer.fallback else model, answer.fallback,
            "off" if key is None else "hit" if known else "miss",
            (*shape.marks.reasons, *answer.reasons),
        )  # fmt: skip
        if known and to:
            again = replace(shape, marks=marks)
            piece = Piece(answer.text, answer.tokens, answer.logprobs, answer.finish)
            to.put(again.first() + again.piece(piece), marks.headers)
        return marks, answer

    async def _generate(self, serving: Served, shape: Shape, to: Outbox | None, started: float) -> Answer:
        measures = self._measures.of(serving.model)
        texts: list[str] = []
        logprobs: list[TokenLogprob] = []
        tokens, finish, before = 0, None, started
        first_at, first_tokens = started, 0
        headers = shape.marks.headers
        async with aclosing(serving.pieces) as pieces:
            async for piece in pieces:
                now = time.perf_counter()
                if before is started:
                    measures.first(serving.prepared.prompt_tokens, now - started)
                    measures.generated(piece.tokens)
                    first_at, first_tokens = now, piece.tokens
                    if to:
                        to.put(shape.first() + shape.piece(piece), headers)
                else:
                    measures.between(piece.tokens, now - before)
                    if to:
                        to.put(shape.piece(piece), headers)
                before = now
                tokens += piece.tokens
                texts.append(piece.text)
                logprobs.extend(piece.logprobs)
                finish = piece.finish or finish
        ended = _ended(finish)
        measures.done(ended, time.perf_counter() - started)
        if tokens > 1 and before > first_at:
            self._host.learn(serving.model, (tokens - first_tokens) / (before - first_at))
        return Answer(
            serving.model, "".join(texts), serving.prepared.prompt_tokens, tokens, tuple(logprobs), ended,
            serving.fallback, serving.reasons,
        )  # fmt: skip


async def _all(works: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """What all of `works` return. When one fails the others are given up, and what they held has come back."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _ended(finish: FinishReason | None) -> FinishReason:
    if finish is None:
        raise EngineError("The answer has no end.", component="model host")
    return finish
