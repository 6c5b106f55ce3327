"""Puts together who keeps the models. The only file of the service that knows how."""

# ruff: noqa: D102 - the methods are those of `Host`

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from blocks.errors import LamaError
from blocks.gpus import chosen_gpus
from blocks.logs import logger
from models.configuration import Configuration
from models.model_host import (
    CatalogueEntry,
    Choice,
    EngineKind,
    HostStatus,
    ModelHostSettings,
    ModelPath,
    ModelStatus,
    Priority,
    Requirements,
    Reserve,
)
from services.model_host.host import Answer, Host, JobLease, JobRequest, Plan
from tasks.model_host import sources
from tasks.model_host.accounts import weights_key
from tasks.model_host.engine import Ask, Engine
from tasks.model_host.errors import LoadError, NobodyAnsweredError, NoRoomError, RequestError
from tasks.model_host.identity import one_source_each
from tasks.model_host.opening import Machine, memory_of, open_engine, predict_entry
from tasks.model_host.residency import Residency
from tasks.model_host.response_cache import ResponseCache, is_deterministic, request_key
from tasks.model_host.selection import select
from tasks.model_host.serving import Served, Vectors, embedded, served

_log = logger("model host")

DRAIN_S = 8.0
"""Longest that work may still take when the host ends, and then that weights may: supervisors wait a little longer."""
_TOLD_TO_ALL = (NoRoomError, LoadError, NobodyAnsweredError, RequestError)
"""What says something of the request or of its model, and nothing of who asked first."""
_SPEED_WEIGHT = 0.2
"""Of a new measurement of a model's speed, against those before it."""
_BESIDE = 3 * 1024**3
"""Memory of a CPU process beside its models: libraries, stacks of threads, buffers of requests."""


def build_host(configuration: Configuration, device: str) -> Host:
    """The host of `device`: `cpu`, or the UUID of a GPU or those of a group, which is all that this process sees.

    Raises:
        ConfigurationError: the GPU is not here.
    """
    settings = configuration.model_host
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    # Threads of a step wait for each other, turning round: one that has to share its core stops all of them.
    threads = settings.threads or max(1, cores - 1)
    gpus = chosen_gpus(device)
    # The ledger of a group counts what the fullest of its GPUs has: the smallest of them says how much that may be.
    capacity = memory_of(settings, min(gpus, key=lambda gpu: gpu.memory_bytes) if gpus else None)
    if len(gpus) > 1:  # a model that is spread over GPUs is not parked
        settings = settings.model_copy(update={"parked_bytes": 0})
    machine = Machine("cuda" if gpus else "cpu", threads, gpus, capacity)
    return ResidentHost(settings, machine, capacity, uuid=",".join(gpu.uuid for gpu in gpus))


class ResidentHost:
    """Models within the memory of one device, their fallbacks, and answers that are given again."""

    def __init__(self, settings: ModelHostSettings, machine: Machine, capacity: int, *, uuid: str = "") -> None:
        self._settings = settings
        self._entries = {entry.name: entry for entry in one_source_each(sources.catalogue(settings))}
        self._speeds: dict[str, float] = {}
        self._residency = Residency(
            settings,
            capacity,
            lambda entry: predict_entry(entry, machine),
            self._open,
            entries=self._entries.values(),
            device=machine.device,
            device_uuid=uuid,
            fragmentation=machine.fragmentation,
        )
        self._capacity = capacity
        self._machine = machine
        self.answers: ResponseCache[Answer] = ResponseCache(
            settings.cache_bytes, settings.cache_ttl_s, _size, told_to_all=_TOLD_TO_ALL
        )
        self.left: tuple[str, ...] = ()
        self._started = False
        self._files: dict[str, ModelPath] = {}

    @property
    def ready(self) -> bool:
        return self._started and not any(self._entries[model].required for model in self._residency.unkept)

    @property
    def unkept(self) -> Mapping[str, str]:
        return {model: str(error) for model, error in self._residency.unkept.items()}

    async def start(self) -> None:
        self._machine.cap(self._capacity, beside=_BESIDE)
        await self._residency.start()
        self._started = True

    def serve(self, model: str, ask: Ask, priority: Priority | None) -> AbstractAsyncContextManager[Served]:
        return served(self._residency, model, ask, priority, timeout_s=self._settings.first_token_s)

    async def embed(self, model: str, texts: Sequence[str | tuple[int, ...]], priority: Priority | None) -> Vectors:
        return await embedded(self._residency, model, texts, priority, timeout_s=self._settings.first_token_s)

    def priority(self, model: str) -> Priority | None:
        entry = self._entries.get(model)
        return None if entry is None else entry.priority

    def key(self, model: str, ask: Ask) -> str | None:
        entry = self._entries.get(model)
        if entry is None or not is_deterministic(ask.sampling):
            return None
        return request_key(weights_key(entry), ask, {"window": entry.context_window})

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
        self.answers.clear()  # its next load may find other files, such as those of a newer commit
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
            ttl_s=request.ttl_s,
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
        engines = {name: self._engine(name) for name in self._entries} if requirements.structured else {}
        known = {name: engine for name, engine in engines.items() if engine is not None}
        return select(self._entries.values(), requirements, self.status(), outlooks, self._speeds, known)

    async def _open(self, entry: CatalogueEntry) -> Engine:
        found = await asyncio.to_thread(sources.locate, entry)
        if self._files.setdefault(weights_key(entry), found) != found:  # it was pulled again, and has left meanwhile
            self._files[weights_key(entry)] = found
            self.answers.clear()
        return await open_engine(entry, self._machine)

    def _engine(self, model: str) -> EngineKind | None:
        """What runs a model, as far as it can be known without a network."""
        entry = self._entries[model]
        if entry.engine is not None or entry.place[0] == "hub":
            return entry.engine
        try:
            return sources.engine_of(entry, sources.locate(entry))
        except LamaError:
            return None

    async def close(self) -> None:
        self._started = False
        self.left = await self._residency.drain(DRAIN_S)
        if self.left:
            _log.error("It ends while this still hangs: %s", ", ".join(self.left))

    def _status_of(self, model: str) -> ModelStatus:
        return next(one for one in self.status().models if one.name == model)


def _size(answer: Answer) -> int:
    return 4 * len(answer.text) + 200 * len(answer.logprobs)
