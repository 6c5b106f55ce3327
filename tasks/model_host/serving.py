"""A request is kept an engine, by the model that was asked for or by the first of its fallbacks that can."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass

from models.model_host import EngineKind, Footprint, ModelKind, Priority
from tasks.model_host.engine import Ask, Embedded, Engine, Piece, Prepared
from tasks.model_host.errors import EngineError, RequestError
from tasks.model_host.residency import Residency
from tasks.model_host.selection import answered_by, chain, fallbacks


@dataclass(frozen=True)
class Served:
    """Who answers, and who could not."""

    model: str
    engine: Engine
    """With an ask, its answer has begun: `generate` gives the pieces from the first one on, once."""
    prepared: Prepared | None
    """None: it embeds."""
    failures: tuple[tuple[str, str], ...] = ()
    """Models that were asked before, and why each could not."""


@asynccontextmanager
async def served(
    host: Residency, model: str, ask: Ask | None, priority: Priority | None = None, *, timeout_s: float | None = None
) -> AsyncIterator[Served]:
    """An engine for `ask` (None: to embed), which is kept while the block lasts.

    An answer is begun in here: until its first piece is there, a fallback can still take over.

    Args:
        host: keeps the models.
        model: who is asked first; then its fallbacks, in their order.
        ask: what will be generated.
        priority: by default each model's own.
        timeout_s: how long each may take to begin, where there is another one to ask.

    Raises:
        RequestError: the request cannot be answered as it is.
        NoRoomError, LoadError, EngineError: there is no fallback, and it cannot answer.
        NobodyAnsweredError: nor can any fallback.
    """
    async with AsyncExitStack() as kept:

        async def attempt(name: str) -> tuple[Engine, Prepared | None, AsyncExitStack]:
            async with AsyncExitStack() as tried:
                engine, prepared = await _begun(host, tried, name, ask, priority)
                return engine, prepared, tried.pop_all()

        models = chain(model, fallbacks(host.entries.values()))
        answered = await answered_by(models, attempt, timeout_s=timeout_s if len(models) > 1 else None)
        engine, prepared, held = answered.answer
        await kept.enter_async_context(held)
        yield Served(answered.model, engine, prepared, answered.failures)


async def _begun(
    host: Residency, stack: AsyncExitStack, name: str, ask: Ask | None, priority: Priority | None
) -> tuple[Engine, Prepared | None]:
    kind = ModelKind.embed if ask is None else ModelKind.generate
    entry = host.entries.get(name)
    if entry and entry.kind is not kind:
        raise RequestError(
            f"it is there to {entry.kind}, not to {kind}.",
            parameter="model",
            code="model_not_supported",
            component=name,
        )
    if ask is None:
        return await stack.enter_async_context(host.embedding(name, priority)), None
    engine, prepared = await stack.enter_async_context(host.serve(name, ask, priority))
    if ask.schema is not None and engine.kind is not EngineKind.llamacpp:
        raise RequestError(
            f"{name} cannot follow a `response_format`; models of GGUF files can.",
            parameter="response_format",
            code="unsupported_parameter",
        )
    pieces = await stack.enter_async_context(aclosing(engine.generate(prepared)))
    first = await anext(pieces, None)
    if first is None:
        raise EngineError("it ended before it said anything.", component=name)
    return _Begun(engine, first, pieces), prepared


class _Begun:
    """An engine whose answer has begun."""

    def __init__(self, engine: Engine, first: Piece, rest: AsyncGenerator[Piece, None]) -> None:
        self._engine = engine
        self._first = first
        self._rest = rest
        self.kind = engine.kind
        self.context_window = engine.context_window

    @property
    def footprint(self) -> Footprint:
        return self._engine.footprint

    def prepare(self, ask: Ask) -> Prepared:
        return self._engine.prepare(ask)

    async def generate(self, _prepared: Prepared) -> AsyncGenerator[Piece, None]:
        yield self._first
        async for piece in self._rest:
            yield piece

    async def embed(self, texts: Sequence[str | tuple[int, ...]]) -> Embedded:
        return await self._engine.embed(texts)

    async def park(self) -> None:
        await self._engine.park()

    async def wake(self) -> None:
        await self._engine.wake()

    async def close(self) -> None:
        await self._engine.close()
