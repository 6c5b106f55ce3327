"""Deterministic answers are given again, and identical requests at a time are computed once."""

from __future__ import annotations

import asyncio

import httpx
import openai

from tests.model_host.running import RunningHost

ASK = {
    "model": "smollm2", "temperature": 0, "max_tokens": 24,
    "messages": [{"role": "user", "content": "Name three rivers."}],
}  # fmt: skip


def test_the_same_question_has_the_same_answer_at_once(http: httpx.Client) -> None:
    first = http.post("/v1/chat/completions", json=ASK).json()
    again = http.post("/v1/chat/completions", json=ASK)
    assert first["lama"]["cache"] == "miss"
    assert again.json()["lama"]["cache"] == again.headers["x-lama-cache"] == "hit"
    assert again.json()["choices"] == first["choices"]
    assert again.json()["usage"] == first["usage"]


def test_a_stream_is_given_again_as_a_stream(client: openai.OpenAI) -> None:
    texts = []
    for _ in range(2):
        stream = client.chat.completions.create(**ASK | {"seed": 3}, stream=True)  # type: ignore[call-overload]
        texts.append("".join(part.choices[0].delta.content or "" for part in stream if part.choices))
    assert texts[0] == texts[1] != ""


def test_nothing_is_given_again_to_who_does_not_want_it_or_asks_for_chance(http: httpx.Client) -> None:
    http.post("/v1/chat/completions", json=ASK)
    fresh = http.post("/v1/chat/completions", json=ASK, headers={"X-Lama-Cache": "off"})
    assert fresh.json()["lama"]["cache"] == "off"
    assert http.post("/v1/chat/completions", json=ASK | {"temperature": 1}).json()["lama"]["cache"] == "off"


async def test_identical_requests_at_a_time_are_computed_once(model_host: RunningHost) -> None:
    before = model_host.figure("lama_generation_tokens_total", model_name="smollm2")
    ask = ASK | {"max_tokens": 40, "messages": [{"role": "user", "content": "Why is the sky blue?"}]}
    async with httpx.AsyncClient(
        base_url=model_host.url, headers={"Authorization": f"Bearer {model_host.key}"}, trust_env=False, timeout=120
    ) as client:
        answers = await asyncio.gather(*(client.post("/v1/chat/completions", json=ask) for _ in range(6)))
    bodies = [answer.json() for answer in answers]
    assert len({body["choices"][0]["message"]["content"] for body in bodies}) == 1
    assert sorted(body["lama"]["cache"] for body in bodies) == ["hit"] * 5 + ["miss"]
    made = model_host.figure("lama_generation_tokens_total", model_name="smollm2") - before
    assert made == bodies[0]["usage"]["completion_tokens"]


def test_an_answer_of_a_fallback_is_not_kept_for_the_one_that_was_asked(http: httpx.Client) -> None:
    ask = ASK | {"model": "torn-with-fallback"}
    for _ in range(2):
        told = http.post("/v1/chat/completions", json=ask).json()["lama"]
        assert told["model"] == "smollm2"
        assert told["fallback"] == ["torn-with-fallback", "torn"]
        assert told["cache"] == "miss"
