"""A small genuine engine: its weights and its KV are arrays that really are allocated, its text is deterministic."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence

import numpy as np

from models.model_host import CatalogueEntry, EngineKind, Footprint
from tasks.model_host.engine import Ask, Embedded, Piece, Prepared
from tasks.model_host.errors import LoadError, RequestError


class Device:
    """Memory of which every byte is counted when it is taken."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.peak = 0
        self._arrays: dict[int, np.ndarray] = {}
        self._lock = threading.RLock()

    @property
    def used(self) -> int:
        with self._lock:
            return sum(array.nbytes for array in self._arrays.values())

    def take(self, size: int) -> int:
        array = np.full(size, 7, dtype=np.uint8)
        with self._lock:
            self._arrays[id(array)] = array
            self.peak = max(self.peak, self.used)
        return id(array)

    def free(self, key: int | None) -> None:
        with self._lock:
            if key is not None:
                del self._arrays[key]


class ArrayEngine:
    """Answers with words that follow from its name and the prompt."""

    kind = EngineKind.transformers

    def __init__(self, name: str, device: Device, footprint: Footprint, window: int, delay_s: float) -> None:
        self.name, self.device, self.context_window, self.delay_s = name, device, window, delay_s
        self.serving = 0
        self.interrupted = 0
        self._footprint = footprint
        self._weights: int | None = None

    @property
    def footprint(self) -> Footprint:
        return self._footprint

    @property
    def measured(self) -> None:
        """Nothing that a system would see."""

    def fill(self, key: int) -> None:
        self._weights = key

    def prepare(self, ask: Ask) -> Prepared:
        text = str(ask.prompt if ask.prompt is not None else ask.messages)
        tokens = len(text.split())
        most = self.context_window - tokens if ask.max_tokens is None else ask.max_tokens
        if tokens + most > self.context_window:
            raise RequestError("it is too long", code="context_length_exceeded")
        return Prepared(ask, tokens, most, payload=text)

    async def generate(self, prepared: Prepared) -> AsyncGenerator[Piece, None]:
        assert self._weights is not None, "asked while it was away"
        self.serving += 1
        kv = self.device.take(self._footprint.kv_per_token * prepared.most_tokens)
        try:
            for count in range(prepared.max_tokens):
                await asyncio.sleep(self.delay_s)
                yield Piece(word(self.name, prepared.payload, count), 1)
            yield Piece("", 0, finish="length")
        finally:
            self.device.free(kv)
            self.serving -= 1

    async def embed(self, texts: Sequence[str]) -> Embedded:
        return Embedded([[1.0] for _ in texts], len(texts))

    async def park(self) -> None:
        self._leave()

    async def wake(self) -> None:
        await asyncio.sleep(self.delay_s)
        self._weights = self.device.take(self._footprint.resident)

    async def close(self) -> None:
        self._leave()

    def _leave(self) -> None:
        self.interrupted += self.serving
        self.device.free(self._weights)
        self._weights = None


class Loader:
    """Loads in a thread, half by half; `fails` says whether the second half does not come."""

    def __init__(self, device: Device, footprints: dict[str, Footprint], *, delay_s: float = 0.001) -> None:
        self.device = device
        self.footprints = footprints
        self.measured: dict[str, Footprint] = {}
        self.fails: Callable[[str], bool] = lambda _: False
        self.load_s = 0.005
        self.delay_s = delay_s
        self.loads: list[str] = []
        self.engines: list[ArrayEngine] = []

    def predict(self, entry: CatalogueEntry) -> Footprint:
        return self.footprints[entry.source]

    async def __call__(self, entry: CatalogueEntry) -> ArrayEngine:
        self.loads.append(entry.source)
        return await asyncio.to_thread(self._load, entry)

    def _load(self, entry: CatalogueEntry) -> ArrayEngine:
        footprint = self.measured.get(entry.source, self.footprints[entry.source])
        half = self.device.take(footprint.resident // 2)
        time.sleep(self.load_s)
        fails = self.fails(entry.source)
        self.device.free(half)
        if fails:
            raise LoadError("its file ends in the middle")
        engine = ArrayEngine(entry.source, self.device, footprint, entry.context_window or 4096, self.delay_s)
        engine.fill(self.device.take(footprint.resident))
        self.engines.append(engine)
        return engine


def word(name: str, text: str, count: int) -> str:
    """The word that `name` says at this place."""
    return hashlib.blake2b(f"{name}|{text}|{count}".encode(), digest_size=3).hexdigest()


def whole(name: str, text: str, count: int) -> str:
    """All that `name` answers."""
    return "".join(word(name, text, each) for each in range(count))
