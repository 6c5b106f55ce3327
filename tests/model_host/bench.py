"""A residency over a device that counts every byte."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from models.model_host import CatalogueEntry, Footprint, ModelHostSettings, ModelState
from tasks.model_host.engine import Ask
from tasks.model_host.residency import Residency
from tests.model_host.array_engine import Device, Loader

KIB = 1024


def entry(name: str, **more: Any) -> CatalogueEntry:
    return CatalogueEntry(**({"name": name, "source": f"path:{name}", "context_window": 64} | more))


async def until(check: Callable[[], Awaitable[bool] | bool], *, within_s: float = 5.0) -> None:
    """Wait until `check` says yes."""
    for _ in range(int(within_s / 0.02)):
        told = check()
        if told if isinstance(told, bool) else await told:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"not within {within_s:g} s")


class Bench:
    """A device of 1,000 KiB with the models a, b, c and d, of which not all fit."""

    SIZES: ClassVar = {"a": 400, "b": 350, "c": 300, "d": 250}

    def __init__(self, *entries: CatalogueEntry, capacity: int = 1000, **settings: Any) -> None:
        self.device = Device(capacity * KIB)
        footprints = {
            f"path:{name}": Footprint(weights=size * KIB, kv_per_token=KIB) for name, size in self.SIZES.items()
        }
        self.loader = Loader(self.device, footprints)
        self.now_offset = 0.0
        chosen = {"keep_s": 0.0, "starvation_s": 0.5, "queue_s": 5.0} | settings
        extra = {key: chosen.pop(key) for key in ("device", "failure_ttl_s") if key in chosen}
        load = chosen.pop("load", self.loader)
        self.host = Residency(
            ModelHostSettings(models=entries or tuple(map(entry, self.SIZES)), **chosen),
            capacity * KIB,
            self.loader.predict,
            load,
            clean=lambda: None,
            clock=lambda: asyncio.get_running_loop().time() + self.now_offset,
            **extra,
        )

    async def answer(self, name: str, words: int = 4, prompt: str = "one two", **more: Any) -> str:
        async with self.host.serve(name, Ask(prompt=prompt, max_tokens=words), **more) as (engine, prepared):
            stream, text = engine.generate(prepared), ""
            async with contextlib.aclosing(stream):
                async for piece in stream:
                    assert self.device.used <= self.used() <= self.device.capacity, "more is taken than is counted"
                    text += piece.text
            return text

    def used(self) -> int:
        return self.host.status().used_bytes

    async def becomes(self, name: str, state: ModelState) -> None:
        async with asyncio.timeout(5):
            async for _ in self.host.watch():
                if self.state(name) is state:
                    return

    def state(self, name: str) -> ModelState:
        return next(one.state for one in self.host.status().models if one.name == name)
