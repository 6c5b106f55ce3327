"""A request is kept an engine, by the model that was asked for or by the first of its fallbacks that can."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace

from models.model_host import EngineKind, ModelKind, Priority
from tasks.model_host.engine import Ask, Embedded, Engine, Piece, Prepared
from tasks.model_host.errors import EngineError, RequestError
from tasks.model_host.residency import Residency
from tasks.model_host.selection import answered_by, chain, fallbacks


@dataclass(frozen=True, kw_only=True)
class _ByOneOf:
    model: str
    failures: tuple[tuple[str, str], ...] = ()
    """Models that were asked before, in that order, and why each could not."""

    @property
    def fallback(self) -> tuple[str, ...]:
        """Those that could not answer."""
        return tuple(name for name, _ in self.failures)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why they could not, in words."""
        return tuple(f"{name}: {why}" for name, why in self.failures)


@dataclass(frozen=True, kw_only=True)
class Served(_ByOneOf):
    """Who answers, and who could not."""

    engine: Engine
    prepared: Prepared
    pieces: AsyncGenerator[Piece, None]
    """Its answer, which has begun."""


@dataclass(frozen=True, kw_only=True)
class Vectors(_ByOneOf):
    """Who made vectors, and who could not."""

    embedded: Embedded


async def embedded(
    host: Residency,
    model: str,
    texts: Sequence[str | tuple[int, ...]],
    priority: Priority | None = None,
    *,
    timeout_s: float | None = None,
) -> Vectors:
    """Vectors of `texts`, by `model` or by the first of its fallbacks that can make them. See `served`."""

    async def attempt(name: str) -> Embedded:
        _meant_for(host, name, ModelKind.embed)
        async with host.embedding(name, priority) as engine:
            if engine.kind is not EngineKind.llamacpp and any(not isinstance(text, str) for text in texts):
                raise RequestError(
                    f"{name} takes texts, not ids of tokens: of another vocabulary they are other words.",
                    parameter="input",
                    code="unsupported_parameter",
                )
            return await engine.embed(texts)

    models = chain(model, fallbacks(host.entries.values()))
    answered = await answered_by(models, attempt, timeout_s=timeout_s if len(models) > 1 else None)
    return Vectors(model=answered.model, failures=answered.failures, embedded=answered.answer)


@asynccontextmanager
async def served(
    host: Residency, model: str, ask: Ask, priority: Priority | None = None, *, timeout_s: float | None = None
) -> AsyncIterator[Served]:
    """An engine for `ask`, which is kept while the block lasts.

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

        async def attempt(name: str) -> tuple[Served, AsyncExitStack]:
            async with AsyncExitStack() as tried:
                return await _begun(host, tried, name, ask, priority), tried.pop_all()

        models = chain(model, fallbacks(host.entries.values()))
        answered = await answered_by(models, attempt, timeout_s=timeout_s if len(models) > 1 else None)
        one, held = answered.answer
        await kept.enter_async_context(held)
        yield replace(one, failures=answered.failures)


def _meant_for(host: Residency, name: str, kind: ModelKind) -> None:
    entry = host.entries.get(name)
    if entry and entry.kind is not kind:
        raise RequestError(
            f"it is there to {entry.kind}, not to {kind}.",
            parameter="model",
            code="model_not_supported",
            component=name,
        )


async def _begun(host: Residency, stack: AsyncExitStack, name: str, ask: Ask, priority: Priority | None) -> Served:
    _meant_for(host, name, ModelKind.generate)
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
    return Served(model=name, engine=engine, prepared=prepared, pieces=_from(first, pieces))


async def _from(first: Piece, rest: AsyncGenerator[Piece, None]) -> AsyncGenerator[Piece, None]:
    yield first
    async for piece in rest:
        yield piece
