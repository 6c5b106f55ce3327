"""A request is kept an engine, by the model that was asked for or by the first of its fallbacks that can."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from models.model_host import ModelKind, Priority
from tasks.model_host.engine import Ask, Engine, Prepared
from tasks.model_host.errors import RequestError
from tasks.model_host.residency import Residency
from tasks.model_host.selection import answered_by, chain, fallbacks


@dataclass(frozen=True)
class Served:
    """Who answers, and who could not."""

    model: str
    engine: Engine
    prepared: Prepared | None
    """None: it embeds."""
    failures: tuple[tuple[str, str], ...] = ()
    """Models that were asked before, and why each could not."""


@asynccontextmanager
async def served(
    host: Residency, model: str, ask: Ask | None, priority: Priority | None = None, *, timeout_s: float | None = None
) -> AsyncIterator[Served]:
    """An engine for `ask` (None: to embed), which is kept while the block lasts.

    Args:
        host: keeps the models.
        model: who is asked first; then its fallbacks, in their order.
        ask: what will be generated.
        priority: by default each model's own.
        timeout_s: how long each may take until it is ready to answer.

    Raises:
        RequestError: the request cannot be answered as it is.
        NoRoomError, LoadError: there is no fallback, and it cannot answer.
        NobodyAnsweredError: nor can any fallback.
    """
    kind = ModelKind.embed if ask is None else ModelKind.generate
    async with AsyncExitStack() as stack:

        async def attempt(name: str) -> tuple[Engine, Prepared | None]:
            entry = host.entries.get(name)
            if entry and entry.kind is not kind:
                raise RequestError(f"it is there to {entry.kind}, not to {kind}.", parameter="model", component=name)
            if ask is None:
                return await stack.enter_async_context(host.embedding(name, priority)), None
            return await stack.enter_async_context(host.serve(name, ask, priority))

        models = chain(model, fallbacks(host.entries.values()))
        answered = await answered_by(models, attempt, timeout_s=timeout_s)
        engine, prepared = answered.answer
        yield Served(answered.model, engine, prepared, answered.failures)
