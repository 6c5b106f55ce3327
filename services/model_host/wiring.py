"""Puts together who keeps the models. The only file of the service that knows how."""

# ruff: noqa: D102 - the methods are those of `Host`

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing

from blocks.gpus import chosen_gpus
from models.configuration import Configuration
from models.model_host import (
    Choice,
    Footprint,
    HostStatus,
    ModelHostSettings,
    ModelKind,
    ModelStatus,
    Priority,
    Requirements,
    Reserve,
)
from services.model_host.generation import supported
from services.model_host.host import Answer, Host, JobLease, JobRequest, Plan, Serving
from tasks.model_host import sources
from tasks.model_host.accounts import weights_key
from tasks.model_host.engine import Ask, Embedded, Engine, Piece, Prepared
from tasks.model_host.errors import EngineError, RequestError
from tasks.model_host.opening import Machine, memory_of, open_engine, predict_entry
from tasks.model_host.residency import Residency
from tasks.model_host.response_cache import ResponseCache, is_deterministic, request_key
from tasks.model_host.selection import answered_by, chain, fallbacks, select

_SPEED_WEIGHT = 0.2
"""Of a new measurement of a model's speed, against those before it."""
_BESIDE = 3 * 1024**3
"""Memory of a CPU process beside its models: libraries, stacks of threads, buffers of requests."""


def build_host(configuration: Configuration, device: str) -> Host:
    """The host of `device`: `cpu`, or the UUID of a GPU, which is all that this process sees.

    Raises:
        ConfigurationError: the GPU is not here.
    """
    settings = configuration.model_host
    threads = settings.threads or len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    gpus = chosen_gpus(device)
    machine = Machine("cuda" if gpus else "cpu", threads)
    capacity = memory_of(settings, gpus[0] if gpus else None)
    return ResidentHost(settings, machine, capacity, uuid=gpus[0].uuid if gpus else "")


class ResidentHost:
    """Models within the memory of one device, their fallbacks, and answers that are given again."""

    def __init__(self, settings: ModelHostSettings, machine: Machine, capacity: int, *, uuid: str = "") -> None:
        self._settings = settings
        self._entries = {entry.name: entry for entry in sources.catalogue(settings)}
        self._declared = fallbacks(self._entries.values())
        self._speeds: dict[str, float] = {}
        self._residency = Residency(
            settings,
            capacity,
            lambda entry: predict_entry(entry, machine),
            lambda entry: open_engine(entry, machine),
            entries=self._entries.values(),
            device=machine.device,
            device_uuid=uuid,
            fragmentation=machine.fragmentation,
        )
        self._capacity = capacity
        self._machine = machine
        self.answers: ResponseCache[Answer] = ResponseCache(settings.cache_bytes, settings.cache_ttl_s, _size)
        self.ready = False

    async def start(self) -> None:
        self._machine.cap(self._capacity, beside=_BESIDE)
        await self._residency.start()
        self.ready = True

    @contextlib.asynccontextmanager
    async def serve(self, model: str, ask: Ask | None, priority: Priority | None) -> AsyncIterator[Serving]:
        async with AsyncExitStack() as kept:

            async def attempt(name: str) -> tuple[Engine, Prepared | None, AsyncExitStack]:
                async with AsyncExitStack() as tried:
                    engine, prepared = await self._begun(tried, name, ask, priority)
                    return engine, prepared, tried.pop_all()

            names = chain(model, self._declared)
            # Whoever has nobody to stand in is waited for: as long as it takes.
            limit_s = self._settings.first_token_s if len(names) > 1 else None
            found = await answered_by(names, attempt, timeout_s=limit_s)
            engine, prepared, held = found.answer
            await kept.enter_async_context(held)
            yield Serving(
                found.model,
                engine,
                prepared,
                tuple(name for name, _ in found.failures),
                tuple(f"{name}: {why}" for name, why in found.failures),
            )

    async def _begun(
        self, stack: AsyncExitStack, name: str, ask: Ask | None, priority: Priority | None
    ) -> tuple[Engine, Prepared | None]:
        """A model that has begun to answer: after its first piece nobody else can take over."""
        entry = self._entries.get(name)
        if entry is not None and (ask is None) != (entry.kind is ModelKind.embed):
            does, asked = ("embeds", "generate") if ask is not None else ("generates", "embed")
            raise RequestError(f"{name} {does}; it cannot {asked}.", parameter="model", code="model_not_supported")
        if ask is None:
            return await stack.enter_async_context(self._residency.embedding(name, priority)), None
        engine, prepared = await stack.enter_async_context(self._residency.serve(name, ask, priority))
        supported(Serving(name, engine, prepared), ask)
        pieces = await stack.enter_async_context(aclosing(engine.generate(prepared)))
        first = await anext(pieces, None)
        if first is None:
            raise EngineError("it ended before it said anything.", component=name)
        return _Begun(engine, first, pieces), prepared

    def key(self, model: str, ask: Ask) -> str | None:
        entry = self._entries.get(model)
        if entry is None or not is_deterministic(ask.sampling):
            return None
        return request_key(weights_key(entry), ask, {"schema": ask.schema, "window": entry.context_window})

    def learn(self, model: str, tokens_per_s: float) -> None:
        before = self._speeds.get(model, tokens_per_s)
        self._speeds[model] = before + _SPEED_WEIGHT * (tokens_per_s - before)

    def status(self) -> HostStatus:
        return self._residency.status()

    def changes(self) -> AsyncIterator[HostStatus]:
        return self._residency.watch()

    async def load(self, model: str, priority: Priority | None) -> ModelStatus:
        async with self._residency.embedding(model, priority):
            pass
        return self._status_of(model)

    async def unload(self, model: str) -> ModelStatus:
        await self._residency.unload(model)
        return self._status_of(model)

    async def reserve(self, reserve: Reserve) -> HostStatus:
        await self._residency.reserve(reserve)
        return self.status()

    async def release(self, model: str) -> HostStatus:
        self._residency.unreserve(model)
        return self.status()

    async def plan(self, model: str, priority: Priority | None) -> Plan:
        plan = await self._residency.plan(model, priority)
        return Plan(model=model, fits=plan.fits, evicted=plan.evicted, refusal=plan.refusal)

    async def lease_job(self, run_id: str, request: JobRequest) -> JobLease:
        lease = await self._residency.job_lease(
            run_id,
            size=request.bytes,
            models=request.models,
            exclusive=request.exclusive,
            priority=request.priority,
            only_if_warm=request.only_if_warm,
        )
        return JobLease(
            run_id=run_id, bytes=request.bytes, models=request.models, warm=lease.warm, expires_s=lease.ttl_s
        )

    async def end_job(self, run_id: str) -> bool:
        return self._residency.end_job(run_id)

    async def clean(self) -> int:
        before = self._machine.held()
        await self._residency.clean()
        return max(0, before - self._machine.held())

    def select(self, requirements: Requirements) -> Choice:
        outlooks = {name: self._residency.outlook(name) for name in self._entries}
        return select(self._entries.values(), requirements, self.status(), outlooks, self._speeds)

    async def close(self) -> None:
        self.ready = False
        await self._residency.drain()

    def _status_of(self, model: str) -> ModelStatus:
        return next(one for one in self.status().models if one.name == model)


class _Begun:
    """An engine whose answer has begun: the first piece is there."""

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


def _size(answer: Answer) -> int:
    return 4 * len(answer.text) + 200 * len(answer.logprobs)
