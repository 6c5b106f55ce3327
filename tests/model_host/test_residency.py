"""What requests, jobs and people may rely on, with an engine that really takes the memory it is lent."""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from collections import Counter

import pytest

from models.model_host import CatalogueEntry, Footprint, ModelState, Reserve
from tasks.model_host.engine import Ask, Prepared
from tasks.model_host.errors import AtWorkError, LoadError, NoRoomError, RequestError, UnknownModelError
from tasks.model_host.jobs import JOB_TTL_S
from tasks.model_host.serving import embedded, served
from tasks.model_host.turns import Outlook
from tests.model_host.array_engine import ArrayEngine, Device, whole
from tests.model_host.bench import KIB, Bench, entry


async def test_a_model_that_many_ask_for_at_once_is_loaded_once() -> None:
    bench = Bench()
    answers = await asyncio.gather(*(bench.answer("a", prompt=f"number {n}") for n in range(12)))
    assert answers == [whole("path:a", f"number {n}", 4) for n in range(12)]
    assert bench.loader.loads == ["path:a"]
    assert bench.host.status().leased_bytes == 0


async def test_what_a_failed_load_had_in_its_hands_is_not_kept_with_its_error() -> None:
    kept: list[weakref.ref[Device]] = []

    async def load(_: CatalogueEntry) -> ArrayEngine:
        weights = Device(1)  # anything that a reference can be held to
        kept.append(weakref.ref(weights))
        try:
            raise RuntimeError("its weights are no numbers")  # noqa: TRY301 - as a library does
        except RuntimeError as error:
            raise LoadError("it does not run") from error

    bench = Bench(load=load)
    with pytest.raises(LoadError, match="does not run"):
        await bench.answer("a")
    assert [one() for one in kept] == [None]
    assert bench.state("a") is ModelState.failed


async def test_names_with_the_same_weights_share_one_copy_and_keep_their_own_windows() -> None:
    bench = Bench(entry("wide"), entry("narrow", source="path:a", context_window=16), entry("w", source="path:a"))
    bench.loader.footprints["path:wide"] = bench.loader.footprints["path:a"]
    assert await bench.answer("w") == await bench.answer("narrow") == whole("path:a", "one two", 4)
    assert bench.loader.loads == ["path:a"]
    with pytest.raises(RequestError, match="the 16 of its context window") as caught:
        await bench.answer("narrow", words=15)
    assert caught.value.code == "context_length_exceeded"
    async with bench.host.serve("narrow", Ask(prompt="one two")) as (_, prepared):
        assert prepared.max_tokens == 14
    assert await bench.answer("w", words=15)
    assert bench.used() == 400 * KIB
    assert {one.name: one.shares_with for one in bench.host.status().models}["w"] == ("narrow",)


async def test_an_idle_model_leaves_for_another_and_one_at_work_does_not() -> None:
    bench = Bench()
    await bench.answer("a")
    await bench.answer("b")
    bench.loader.delay_s = 0.02
    at_work = asyncio.create_task(bench.answer("d", words=20))
    await bench.becomes("d", ModelState.ready)
    await asyncio.gather(bench.answer("a"), bench.answer("b"), bench.answer("c"), at_work)
    assert all(engine.interrupted == 0 for engine in bench.loader.engines)
    assert bench.host.counts["evictions"] >= 1
    assert bench.device.peak <= bench.device.capacity


async def test_a_load_does_not_hold_up_those_who_are_served() -> None:
    bench = Bench()
    await bench.answer("d")
    bench.loader.load_s = 0.4
    slow = asyncio.create_task(bench.answer("a"))
    await bench.becomes("a", ModelState.loading)
    started = asyncio.get_running_loop().time()
    await bench.answer("d")
    assert asyncio.get_running_loop().time() - started < 0.3
    assert not slow.done()
    await slow


async def test_reading_a_prompt_does_not_hold_up_those_who_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    await bench.answer("a")
    prepare = ArrayEngine.prepare

    def slowly(self: ArrayEngine, ask: Ask) -> Prepared:
        time.sleep(0.3)  # as a tokeniser that is asked over a socket
        return prepare(self, ask)

    monkeypatch.setattr(ArrayEngine, "prepare", slowly)
    asking = asyncio.create_task(bench.answer("a", prompt="x"))
    longest = 0.0
    while not asking.done():
        before = asyncio.get_running_loop().time()
        await asyncio.sleep(0.01)
        longest = max(longest, asyncio.get_running_loop().time() - before)
    assert await asking == whole("path:a", "x", 4)
    assert longest < 0.2


async def test_who_waits_too_long_is_told_when_to_come_again_and_who_never_fits_is_told_why() -> None:
    bench = Bench(queue_s=0.2)
    bench.loader.delay_s = 0.02
    first = asyncio.create_task(bench.answer("a", words=60, prompt="x"))
    await asyncio.sleep(0.05)
    bench.loader.footprints["path:b"] = Footprint(weights=900 * KIB, kv_per_token=KIB)
    with pytest.raises(NoRoomError) as later:
        await bench.answer("b")
    assert later.value.retry_after_s
    assert not later.value.refusal.for_ever
    bench.loader.footprints["path:c"] = Footprint(weights=1100 * KIB, kv_per_token=KIB)
    with pytest.raises(NoRoomError) as never:
        await bench.answer("c")
    assert never.value.retry_after_s is None
    assert never.value.refusal.arithmetic[0] == ("capacity", 1000 * KIB)
    await first
    with pytest.raises(UnknownModelError):
        await bench.answer("nobody")


async def test_what_a_cancelled_request_held_comes_back() -> None:
    bench = Bench()
    bench.loader.delay_s = 0.05
    working = asyncio.create_task(bench.answer("a", words=40))
    await asyncio.sleep(0.1)
    assert bench.host.status().leased_bytes == 42 * KIB
    bench.loader.footprints["path:b"] = Footprint(weights=900 * KIB, kv_per_token=KIB)
    waiting = asyncio.create_task(bench.answer("b"))
    await asyncio.sleep(0.05)
    assert {one.name: one.waiting for one in bench.host.status().models}["b"] == 1
    for task in (waiting, working):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert bench.host.status().leased_bytes == 0
    assert bench.used() == bench.device.used == 400 * KIB
    assert sum(one.waiting for one in bench.host.status().models) == 0


async def test_a_load_that_fails_half_way_gives_its_memory_back_and_is_not_tried_at_once_again() -> None:
    bench = Bench(failure_ttl_s=5.0)
    bench.loader.fails = lambda _: True
    failed = await asyncio.gather(*(bench.answer("a") for _ in range(5)), return_exceptions=True)
    assert [type(one) for one in failed] == [LoadError] * 5
    with pytest.raises(LoadError, match="ends in the middle"):
        await bench.answer("a")
    assert bench.loader.loads == ["path:a"]
    assert bench.used() == bench.device.used == 0
    assert bench.state("a") is ModelState.failed
    bench.loader.fails = lambda _: False
    bench.now_offset += 6.0
    assert await bench.answer("a") == whole("path:a", "one two", 4)


async def test_whatever_a_loader_raises_is_told_as_a_failed_load() -> None:
    bench = Bench()

    def broken(_: str) -> bool:
        raise MemoryError("no memory of the system")

    bench.loader.fails = broken
    with pytest.raises(LoadError, match="MemoryError"):
        await bench.answer("a")
    assert bench.used() == 0


async def test_a_load_that_takes_too_long_is_told_and_counted_until_it_is_over() -> None:
    bench = Bench(load_timeout_s=0.1)
    bench.loader.load_s = 0.4
    with pytest.raises(LoadError, match=r"longer than 0\.1 s"):
        await bench.answer("a")
    assert bench.used() == 400 * KIB, "a thread still holds it"
    await asyncio.sleep(0.5)
    assert await bench.answer("a") == whole("path:a", "one two", 4), "it was only slow"
    assert bench.loader.loads == ["path:a"]


async def test_weights_that_took_more_than_predicted_are_planned_anew_with_what_was_measured() -> None:
    bench = Bench()
    await bench.answer("a")
    await bench.answer("b")
    bench.loader.measured["path:d"] = Footprint(weights=300 * KIB, kv_per_token=KIB)
    assert await bench.answer("d") == whole("path:d", "one two", 4)
    told = {one.name: one for one in bench.host.status().models}["d"]
    assert told.predicted
    assert (told.predicted.resident, told.held_bytes) == (250 * KIB, 300 * KIB)
    assert bench.used() <= 1000 * KIB


async def test_weights_that_were_parked_come_back_by_a_copy() -> None:
    bench = Bench(device="cuda", parked_bytes=400 * KIB)
    await bench.answer("a")
    await bench.answer("b")
    await bench.answer("c")
    parked = [name for name in "ab" if bench.state(name) is ModelState.parked]
    assert len(parked) == 1
    assert bench.host.outlook(parked[0]) is Outlook.parked
    assert await bench.answer(parked[0]) == whole(f"path:{parked[0]}", "one two", 4)
    assert Counter(bench.loader.loads)[f"path:{parked[0]}"] == 1
    assert bench.host.counts["wakes"] == 1
    assert bench.host.status().parked_bytes <= 400 * KIB


async def test_fragments_are_given_back_while_nobody_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.model_host.residency._TEND_S", 0.01)
    share, cleaned = 0.0, 0
    bench = Bench()
    bench.host._fragmentation = lambda: share

    def clean() -> None:
        nonlocal share, cleaned
        share, cleaned = 0.0, cleaned + 1

    bench.host._clean = clean
    await bench.host.start()
    async with bench.host.serve("a", Ask(prompt="one two", max_tokens=4)):
        share = 0.6  # from here on: until it was loaded nobody was served
        await asyncio.sleep(0.1)
        assert (bench.host.status().fragmentation, cleaned) == (0.6, 0), "not while somebody is served"
    await asyncio.sleep(0.1)
    assert (bench.host.status().fragmentation, cleaned) == (0.0, 1), "once, and then there is nothing to clean"
    await bench.host.drain()


async def test_a_job_keeps_its_models_and_its_bytes_until_it_ends_or_is_not_heard_of() -> None:
    bench = Bench(queue_s=0.3)
    with pytest.raises(NoRoomError):
        await bench.host.job_lease("run", size=300 * KIB, models=["a"], only_if_warm=True)
    assert bench.loader.loads == []
    with pytest.raises(NoRoomError):
        await bench.host.job_lease("run", size=300 * KIB, models=["a"])
    for _ in range(100):
        await asyncio.sleep(0.01)
        with contextlib.suppress(NoRoomError):
            lease = await bench.host.job_lease("run", size=300 * KIB, models=["a"])
            break
    assert not lease.warm
    assert await bench.host.job_lease("run", size=300 * KIB, models=["a"]) == lease, "asking again is harmless"
    assert bench.used() == 700 * KIB
    with pytest.raises(NoRoomError):
        await bench.answer("b")
    with pytest.raises(AtWorkError):
        await bench.host.unload("a", timeout_s=0.05)
    bench.now_offset += JOB_TTL_S + 1
    assert await bench.answer("b") == whole("path:b", "one two", 4)
    assert bench.host.status().jobs == 0, "it was not heard of"
    assert bench.host.end_job("run")
    assert not bench.host.end_job("run")


async def test_beside_an_exclusive_job_only_what_is_guaranteed_is_answered() -> None:
    bench = Bench(entry("vip", source="path:d", priority="high", reserve_bytes=320 * KIB), entry("a"), queue_s=0.5)
    await bench.host.start()
    await bench.answer("a")
    await bench.host.job_lease("run", exclusive=True)
    assert await bench.answer("vip") == whole("path:d", "one two", 4)
    with pytest.raises(NoRoomError):
        await bench.answer("a")
    with pytest.raises(NoRoomError):
        await bench.host.job_lease("other", size=1)
    bench.host.end_job("run")
    assert await bench.answer("a")
    await bench.host.drain()


async def test_what_is_reserved_with_high_priority_is_loaded_at_once_and_never_evicted() -> None:
    bench = Bench(entry("vip", source="path:a", priority="high", reserve_bytes=470 * KIB), *map(entry, "bcd"))
    await bench.host.start()
    await bench.becomes("vip", ModelState.ready)
    for name in "bcdbcd":
        await bench.answer(name)
        assert bench.state("vip") is ModelState.ready
    with pytest.raises(NoRoomError, match="cannot be reserved") as refused:
        await bench.host.reserve(Reserve(model="b", bytes=360 * KIB, context_window=64))
    assert sum(size for _, size in refused.value.refusal.arithmetic) == 414 * KIB
    assert bench.host.unreserve("vip")
    assert not bench.host.unreserve("vip")
    await bench.host.drain()
    assert bench.used() == bench.device.used == 0


async def test_a_model_is_unloaded_when_its_work_is_over() -> None:
    bench = Bench()
    bench.loader.delay_s = 0.02
    work = asyncio.create_task(bench.answer("a", words=8))
    await asyncio.sleep(0.06)
    assert await bench.host.unload("a")
    assert work.done()
    assert await work == whole("path:a", "one two", 8)
    assert bench.used() == bench.device.used == 0
    assert not await bench.host.unload("a")
    await bench.host.load("a")
    assert bench.state("a") is ModelState.ready


async def test_a_plan_says_who_would_go_and_does_nothing() -> None:
    bench = Bench()
    assert (await bench.host.plan("a")).fits
    for name in "ab":
        await bench.answer(name)
    bench.loader.footprints["path:d"] = Footprint(weights=1100 * KIB, kv_per_token=1)
    before = bench.host.status()
    planned = await bench.host.plan("c")
    assert planned.fits
    assert planned.evicted in {("a",), ("b",)}
    never = await bench.host.plan("d")
    assert never.refusal
    assert never.refusal.for_ever
    after = bench.host.status()
    assert after.used_bytes == before.used_bytes
    assert [one.state for one in after.models] == [one.state for one in before.models]


async def test_a_fallback_answers_for_who_cannot_and_the_answer_says_so() -> None:
    bench = Bench(entry("a", fallback=("b",)), entry("b", fallback=("a",)), entry("v", kind="embed", source="path:c"))
    bench.loader.fails = lambda source: source == "path:a"
    async with served(bench.host, "a", Ask(prompt="x", max_tokens=2)) as answer:
        assert answer.model == "b"
        assert answer.prepared
        assert answer.failures == (("a", "its file ends in the middle"),)
        assert bench.host.status().leased_bytes == 3 * KIB
    assert bench.host.status().leased_bytes == 0
    assert len((await embedded(bench.host, "v", ["x", "y"])).embedded.vectors) == 2
    with pytest.raises(RequestError, match="to embed, not to generate"):
        async with served(bench.host, "v", Ask(prompt="x")):
            pass


async def test_watchers_see_every_latest_state() -> None:
    bench = Bench()
    seen = []

    async def watch() -> None:
        async for status in bench.host.watch():
            seen.append(status.models[0].state)  # noqa: PERF401 - it never ends

    watching = asyncio.create_task(watch())
    await bench.answer("a")
    await asyncio.sleep(0.01)
    watching.cancel()
    assert seen[0] is ModelState.absent
    assert ModelState.loading in seen
    assert seen[-1] is ModelState.ready


async def test_a_host_that_stops_ends_what_is_in_flight_and_takes_nothing_new() -> None:
    bench = Bench()
    bench.loader.delay_s = 0.01
    work = asyncio.create_task(bench.answer("a", words=10))
    await asyncio.sleep(0.05)
    stopping = asyncio.create_task(bench.host.drain())
    await asyncio.sleep(0)
    with pytest.raises(NoRoomError, match="stopping"):
        await bench.answer("a")
    await stopping
    assert await work == whole("path:a", "one two", 10)
    assert bench.used() == bench.device.used == 0


async def test_a_reserve_that_others_leave_for_is_made_though_they_are_asked_for_meanwhile() -> None:
    bench = Bench()
    await bench.answer("a")
    await bench.answer("d")
    reserve = Reserve(model="b", bytes=500 * KIB, context_window=64, sharing=False)
    async with asyncio.timeout(5):
        made = asyncio.create_task(bench.host.reserve(reserve))
        await asyncio.sleep(0)
        await asyncio.gather(made, *(bench.answer(name, prompt="again") for name in "ad"))
        assert bench.host.status().reserved_bytes == 500 * KIB
        await bench.host.reserve(reserve.model_copy(update={"bytes": 480 * KIB}))
    await bench.host.drain()
