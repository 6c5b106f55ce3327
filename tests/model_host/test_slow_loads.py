"""Who waits for a load is not sent away, whatever hangs is told and bounded, and what is promised is kept at last."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from models.model_host import Footprint, ModelState, Reserve
from tasks.model_host import promises, residency
from tasks.model_host.errors import AtWorkError, LoadError, NoRoomError
from tests.model_host.array_engine import whole
from tests.model_host.bench import KIB, Bench, entry, until

SLOW_S = 0.4


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """What a load that hangs waits for; it is let go in the end."""
    event = threading.Event()
    yield event
    event.set()


def hangs(bench: Bench, released: threading.Event, *names: str) -> None:
    """Let loads of `names` hang until `released`."""
    slow = {f"path:{name}" for name in names}

    def fails(source: str) -> bool:
        if source in slow:
            released.wait(20)
        return False

    bench.loader.fails = fails


async def test_a_load_that_is_slower_than_the_queue_is_waited_for() -> None:
    bench = Bench(queue_s=0.1)
    bench.loader.load_s = SLOW_S
    asked = [bench.answer("a"), bench.answer("a", prompt="three"), bench.answer("a", words=60, prompt="x")]
    assert await asyncio.gather(*asked) == [
        whole("path:a", "one two", 4), whole("path:a", "three", 4), whole("path:a", "x", 60),
    ]  # fmt: skip
    assert bench.loader.loads == ["path:a"]


async def test_who_waits_for_the_load_of_another_model_is_not_sent_away() -> None:
    bench = Bench(queue_s=0.1)
    bench.loader.load_s = SLOW_S
    names = "ab"  # both fit; one is loaded at a time
    assert await asyncio.gather(*map(bench.answer, names)) == [whole(f"path:{one}", "one two", 4) for one in names]


async def test_who_waits_for_the_memory_of_one_that_is_being_loaded_is_not_sent_away() -> None:
    bench = Bench(queue_s=0.15)
    bench.loader.footprints["path:b"] = Footprint(weights=800 * KIB, kv_per_token=KIB)
    bench.loader.load_s = SLOW_S
    first = asyncio.create_task(bench.answer("a", words=1))
    await bench.becomes("a", ModelState.loading)
    assert await bench.answer("b", words=1) == whole("path:b", "one two", 1), "no two of them fit"
    await first


async def test_a_prompt_that_turns_out_longer_than_was_guessed_waits_anew() -> None:
    bench = Bench(queue_s=0.2)
    bench.loader.load_s = SLOW_S
    prompt = "o " * 40  # 40 tokens, of which 28 were guessed
    assert await bench.answer("a", words=4, prompt=prompt) == whole("path:a", prompt, 4)


async def test_who_waits_for_work_of_others_is_sent_away_in_time() -> None:
    bench = Bench(queue_s=0.2)
    bench.loader.footprints["path:b"] = Footprint(weights=900 * KIB, kv_per_token=KIB)
    bench.loader.delay_s = 0.02
    working = asyncio.create_task(bench.answer("a", words=60, prompt="x"))
    await bench.becomes("a", ModelState.ready)
    started = asyncio.get_running_loop().time()
    with pytest.raises(NoRoomError):
        await bench.answer("b")
    assert 0.15 < asyncio.get_running_loop().time() - started < 0.8
    await working


async def test_everything_that_is_promised_is_loaded_however_slow_the_loads_are() -> None:
    high = {"priority": "high", "reserve_bytes": 470 * KIB}
    bench = Bench(entry("a", **high), entry("b", **high), queue_s=0.1)
    bench.loader.load_s = SLOW_S
    await bench.host.start()
    await bench.becomes("b", ModelState.ready)
    assert bench.state("a") is ModelState.ready
    await bench.host.drain()


async def test_a_promised_model_whose_load_failed_is_loaded_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(residency, "_TEND_S", 0.02)
    monkeypatch.setattr(promises, "_FIRST_S", 0.05)
    bench = Bench(entry("a", priority="high", reserve_bytes=470 * KIB), failure_ttl_s=0.01)
    failing = iter([True, True, False])
    bench.loader.fails = lambda _: next(failing)
    await bench.host.start()
    await bench.becomes("a", ModelState.ready)
    assert "cannot be loaded; it is tried again" in caplog.text
    assert await bench.host.unload("a")
    await asyncio.sleep(0.1)
    assert bench.state("a") is ModelState.absent, "somebody did not want it loaded"
    await bench.host.drain()


async def test_a_reserve_that_cannot_be_made_is_told_and_made_once_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residency, "_TEND_S", 0.02)
    monkeypatch.setattr(promises, "_FIRST_S", 0.02)
    bench = Bench(entry("a", reserve_bytes=470 * KIB), entry("b", reserve_bytes=470 * KIB))
    known = bench.loader.footprints.pop("path:a")  # as of files that are not there yet
    await bench.host.start()
    assert list(bench.host.unkept) == ["a"]
    assert bench.host.status().reserved_bytes == 470 * KIB
    bench.loader.footprints["path:a"] = known
    await until(lambda: not bench.host.unkept)
    assert bench.host.status().reserved_bytes == 940 * KIB
    await bench.host.drain()


async def test_a_reserve_that_is_mended_or_given_up_by_hand_is_no_trouble_any_more() -> None:
    bench = Bench(entry("a", reserve_bytes=300 * KIB), entry("b", reserve_bytes=300 * KIB))
    await bench.host.start()
    assert {name: "cannot hold" in str(error) for name, error in bench.host.unkept.items()} == {"a": True, "b": True}
    await bench.host.reserve(Reserve(model="a", bytes=470 * KIB, context_window=64))
    assert not bench.host.unreserve("b")
    assert not bench.host.unkept
    await bench.host.drain()


async def test_what_is_done_every_now_and_then_outlives_a_mistake(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(residency, "_TEND_S", 0.02)
    bench = Bench()
    broken = iter([True, True])

    def clean() -> None:
        if next(broken, False):
            raise RuntimeError("the driver has gone")

    bench.host._clean, bench.host._fragmentation = clean, lambda: 1.0  # as a driver would
    await bench.host.start()
    await asyncio.sleep(0.2)
    with pytest.raises(NoRoomError):
        await bench.host.job_lease("run", models=["a"], ttl_s=0.1)
    await bench.becomes("a", ModelState.ready)
    await until(lambda: not bench.host.status().jobs and not bench.host.end_job("run"))
    assert caplog.text.count("RuntimeError: the driver has gone") == 2
    await bench.host.drain()


async def test_a_load_that_hangs_is_told_and_others_are_loaded_meanwhile(released: threading.Event) -> None:
    bench = Bench(load_timeout_s=0.1, failure_ttl_s=0.05)
    hangs(bench, released, "a")
    told = await asyncio.gather(bench.answer("a"), bench.answer("a"), return_exceptions=True)
    assert [type(one) for one in told] == [LoadError, LoadError]
    assert bench.used() == 400 * KIB, "its thread still holds them"
    assert await bench.answer("b") == whole("path:b", "one two", 4)
    await asyncio.sleep(0.1)
    with pytest.raises(LoadError, match="longer than"):
        await bench.answer("a")
    with pytest.raises(AtWorkError):
        await bench.host.unload("a", timeout_s=0.05)
    bench.loader.footprints["path:c"] = Footprint(weights=700 * KIB, kv_per_token=KIB)
    with pytest.raises(NoRoomError):  # nobody counts on memory that does not come back
        await bench.answer("c", queue_s=0.2)
    assert bench.state("b") is ModelState.ready
    released.set()
    await bench.becomes("a", ModelState.ready)
    assert await bench.answer("a") == whole("path:a", "one two", 4), "it was only slow"
    assert bench.loader.loads.count("path:a") == 1
    assert bench.host.counts["load failures"] == 1


async def test_a_load_that_hangs_and_then_fails_gives_its_memory_back() -> None:
    bench = Bench(load_timeout_s=0.05, failure_ttl_s=0.1)
    released = threading.Event()
    bench.loader.fails = lambda _: released.wait(20)
    with pytest.raises(LoadError, match="longer than"):
        await bench.answer("a")
    released.set()
    await bench.becomes("a", ModelState.failed)
    assert bench.used() == bench.device.used == 0
    bench.loader.fails = lambda _: False
    await asyncio.sleep(0.15)
    assert await bench.answer("a") == whole("path:a", "one two", 4)


async def test_a_host_with_a_load_that_hangs_still_stops(released: threading.Event) -> None:
    bench = Bench(load_timeout_s=0.1)
    hangs(bench, released, "a")
    await bench.answer("b")
    with pytest.raises(LoadError):
        await bench.answer("a")
    started = asyncio.get_running_loop().time()
    assert await bench.host.drain(timeout_s=0.3) == ("path:a||stored|generate",)
    assert asyncio.get_running_loop().time() - started < 1.5
    assert bench.used() == 400 * KIB, "all but that was given back"
    released.set()  # before the event loop ends, which waits for its threads


async def test_a_host_that_is_told_to_stop_during_a_load_does_not_wait_for_ever(released: threading.Event) -> None:
    bench = Bench()
    hangs(bench, released, "a")
    asking = asyncio.create_task(bench.answer("a"))
    await bench.becomes("a", ModelState.loading)
    assert await bench.host.drain(timeout_s=0.2) == ("path:a||stored|generate",)
    with pytest.raises(NoRoomError):
        await asking
    released.set()
