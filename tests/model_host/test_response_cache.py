"""The same deterministic question is computed once; nobody gets a failure, or an answer, that is not his."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.model_host.engine import Ask, Sampling
from tasks.model_host.response_cache import ResponseCache, is_deterministic, request_key


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Compute:
    """Says how often it was asked; the first `fail` times it fails."""

    def __init__(self, answer: str = "x" * 100, fail: int = 0) -> None:
        self.text, self.fail, self.calls = answer, fail, 0

    async def __call__(self) -> str:
        self.calls += 1
        failing = self.calls <= self.fail
        await asyncio.sleep(0.01)
        if failing:
            raise RuntimeError("the leader failed")
        return self.text


def _cache(limit: int = 10_000, clock: Clock | None = None) -> ResponseCache[str]:
    return ResponseCache(limit, 60.0, len, clock=clock or Clock())


async def test_an_answer_is_given_again_until_its_time_is_over() -> None:
    clock, compute = Clock(), Compute()
    cache = _cache(clock=clock)
    assert await cache.answer("k", compute) == (compute.text, False)
    clock.now = 59.0
    assert await cache.answer("k", compute) == (compute.text, True)
    clock.now = 61.0
    assert await cache.answer("k", compute) == (compute.text, False)
    assert compute.calls == 2
    assert (cache.figures.hits, cache.figures.misses) == (1, 2)


async def test_the_least_recently_used_leave_when_the_bytes_are_over() -> None:
    cache, compute = _cache(1000), Compute("x" * 200)
    for key in ("a", "b", "a", "c"):
        await cache.answer(key, compute)
        assert cache.figures.bytes <= 1000
    assert (await cache.answer("a", compute))[1]
    assert not (await cache.answer("b", compute))[1]


async def test_identical_requests_at_a_time_are_computed_once_even_if_the_answer_is_too_large_to_keep() -> None:
    cache, compute = _cache(300), Compute("x" * 5000)
    answers = await asyncio.gather(*(cache.answer("k", compute) for _ in range(20)))
    assert {text for text, _ in answers} == {compute.text}
    assert compute.calls == 1
    assert cache.figures.joined == 19
    assert cache.figures.entries == 0


@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_leader_that_fails_or_is_cancelled_fails_alone(cancelled: bool) -> None:
    cache, compute = _cache(), Compute(fail=0 if cancelled else 1)
    asked = [asyncio.create_task(cache.answer("k", compute)) for _ in range(10)]
    await asyncio.sleep(0)
    if cancelled:
        asked[0].cancel()
    ends = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(ends[0], asyncio.CancelledError if cancelled else RuntimeError)
    assert {end[0] for end in ends[1:]} == {compute.text}  # type: ignore[index]
    assert compute.calls == 2


async def test_a_failure_that_is_of_the_request_is_told_to_all_who_wait_and_to_nobody_later() -> None:
    cache, compute = ResponseCache[str](10_000, 60.0, len, told_to_all=(RuntimeError,)), Compute(fail=1)
    ends = await asyncio.gather(*(cache.answer("k", compute) for _ in range(10)), return_exceptions=True)
    assert [type(end) for end in ends] == [RuntimeError] * 10
    assert compute.calls == 1
    assert await cache.answer("k", compute) == (compute.text, False)


async def test_those_who_are_apart_are_computed_apart_and_find_what_the_others_left() -> None:
    cache, compute = _cache(), Compute()
    answers = await asyncio.gather(*(cache.answer("k", compute, apart=apart) for apart in (1, 2, 1)))
    assert [known for _, known in answers] == [False, False, True]
    assert compute.calls == 2
    assert (await cache.answer("k", compute, apart=3))[1]


async def test_a_follower_that_is_cancelled_disturbs_nobody() -> None:
    cache, compute = _cache(), Compute()
    asked = [asyncio.create_task(cache.answer("k", compute)) for _ in range(3)]
    await asyncio.sleep(0)
    asked[1].cancel()
    ends = await asyncio.gather(*asked, return_exceptions=True)
    assert ends[0] == (compute.text, False)
    assert ends[2] == (compute.text, True)


async def test_a_request_may_do_without_and_a_cache_may_be_off() -> None:
    compute = Compute()
    for cache, key in ((_cache(), None), (_cache(0), "k")):
        assert not (await cache.answer(key, compute))[1]
        assert not (await cache.answer(key, compute))[1]
    assert compute.calls == 4


def test_only_what_has_the_same_answer_again_is_deterministic() -> None:
    assert is_deterministic(Sampling(temperature=0))
    assert is_deterministic(Sampling(temperature=1.0, seed=0))
    assert not is_deterministic(Sampling(temperature=0.1))


_asks = st.builds(
    Ask,
    max_tokens=st.none() | st.integers(1, 3),
    prompt=st.none() | st.sampled_from(["a", "b", (1, 2), (12,)]),
    messages=st.none() | st.sampled_from([({"role": "user", "content": "a"},), ({"content": "a", "role": "user"},)]),
    sampling=st.builds(Sampling, temperature=st.sampled_from([0.5, 1.0]), seed=st.integers(0, 2)),
    stop=st.sampled_from([(), ("a",), ("a", "b"), ("ab",)]),
)


@given(_asks, _asks, st.sampled_from(["w", "v"]), st.sampled_from(["w", "v"]))
def test_two_requests_have_one_key_exactly_when_they_are_the_same(one: Ask, other: Ask, w: str, v: str) -> None:
    assert (request_key(w, one) == request_key(v, other)) == ((w, one) == (v, other))


def test_where_the_most_likely_token_is_taken_the_seed_does_not_matter() -> None:
    one, other = (Ask(prompt="a", sampling=Sampling(temperature=0, seed=seed)) for seed in (1, 2))
    assert request_key("w", one) == request_key("w", other)
    assert request_key("w", one) != request_key("w", one, {"format": "json"})
