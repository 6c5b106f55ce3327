"""Everything at once: requests of every priority, cancellations, jobs, and loads that fail half-way."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections import Counter

import pytest

from models.model_host import Priority
from tasks.model_host.errors import LoadError, NoRoomError
from tests.model_host.array_engine import whole
from tests.model_host.bench import KIB, Bench, entry

_REQUESTS = 500


class Storm:
    """Four models that do not fit together; `a` is guaranteed. `ends` counts what became of each request."""

    def __init__(self, seed: int, device: str) -> None:
        self.draw = random.Random(seed)
        self.ends: Counter[str] = Counter()
        self.jobs = 0
        self.bench = Bench(
            entry("a", priority="high", reserve_bytes=470 * KIB),
            entry("b", priority="normal"),
            entry("c", priority="low"),
            entry("d", priority="low"),
            keep_s=0.02,
            starvation_s=0.2,
            queue_s=20.0,
            failure_ttl_s=0.02,
            parked_bytes=450 * KIB,
            device=device,
        )
        self.bench.loader.fails = self.fails

    def fails(self, source: str) -> bool:
        """The first load of each but the guaranteed one, for how many there are depends on the machine; then some."""
        first = self.bench.loader.loads.count(source) == 1
        return source != "path:a" and (first or self.draw.random() < 0.2)

    async def request(self, number: int) -> None:
        name, words = self.draw.choice("abcd"), self.draw.randint(1, 12)
        priority = self.draw.choice([None, *Priority])
        asking = asyncio.create_task(self.bench.answer(name, words, f"number {number}", priority=priority))
        if self.draw.random() < 0.2:
            await asyncio.sleep(self.draw.random() * 0.1)
            asking.cancel()
        try:
            answer = await asking
        except asyncio.CancelledError:
            self.ends["cancelled"] += 1
        except (NoRoomError, LoadError) as error:
            self.ends[f"{type(error).__name__} {name}"] += 1
        else:
            right = answer == whole(f"path:{name}", f"number {number}", words)
            self.ends[f"answered {name}" if right else "wrong"] += 1

    async def run_jobs(self) -> None:
        for count in itertools.count():
            run_id, models = f"run {count // 5}", self.draw.sample("bcd", count % 5 % 2)
            with contextlib.suppress(NoRoomError, LoadError):
                await self.bench.host.job_lease(
                    run_id, size=self.draw.randint(1, 200) * KIB, models=models, exclusive=count % 20 == 5
                )
                self.jobs += 1
            await asyncio.sleep(0.01)
            if count % 5 == 4:
                self.bench.host.end_job(run_id)

    async def blow(self) -> None:
        await self.bench.host.start()
        running = asyncio.create_task(self.run_jobs())
        tasks = []
        for number in range(_REQUESTS):
            tasks.append(asyncio.create_task(self.request(number)))
            if number % 8 == 0:
                await asyncio.sleep(self.draw.random() * 0.02)
        await asyncio.sleep(0.3)
        running.cancel()
        await asyncio.wait({running})
        for count in range(1000):
            self.bench.host.end_job(f"run {count}")
        await asyncio.gather(*tasks)


@pytest.mark.parametrize(("seed", "device"), [(1, "cpu"), (2, "cuda"), (3, "cpu"), (4, "cuda")])
async def test_a_storm_loses_no_request_interrupts_nobody_and_never_takes_a_byte_too_much(
    seed: int, device: str
) -> None:
    storm = Storm(seed, device)
    bench, ends = storm.bench, storm.ends
    await storm.blow()
    assert sum(ends.values()) == _REQUESTS
    assert all(ends[f"answered {name}"] for name in "abcd"), ends
    assert not ends["wrong"]
    assert not ends["LoadError a"] + ends["NoRoomError a"], "it is guaranteed"
    assert ends["LoadError b"] + ends["LoadError c"] + ends["LoadError d"], "loads failed half-way"
    assert ends["cancelled"]
    assert storm.jobs
    assert bench.host.counts["evictions"] > 0
    assert bench.host.counts["wakes"] or device == "cpu"
    assert bench.device.peak <= bench.device.capacity
    assert all(engine.interrupted == 0 for engine in bench.loader.engines)
    assert bench.host.status().leased_bytes == 0
    assert bench.used() == bench.device.used
    await bench.host.drain()
    assert bench.used() == bench.device.used == 0
