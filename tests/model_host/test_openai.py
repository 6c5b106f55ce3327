"""OpenAI's own client is answered as by OpenAI."""

from __future__ import annotations

import base64
import json
import math
from array import array

import httpx
import openai
import pytest

from blocks.home import Home
from tests.model_host.running import RunningHost

HI = [{"role": "user", "content": "Say hello."}]


def test_a_chat_is_answered_with_its_usage(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="smollm2", messages=HI, max_tokens=12, temperature=0)
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in {"stop", "length"}
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 10, "the template's tokens are counted, too"
    assert 0 < answer.usage.completion_tokens <= 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_says_what_the_whole_answer_says_and_ends_in_its_usage(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(
        model="smollm2", messages=HI, max_tokens=20, temperature=0, extra_headers={"X-Lama-Cache": "off"}
    )
    chunks = list(
        client.chat.completions.create(
            model="smollm2", messages=HI, max_tokens=20, temperature=0, stream=True,
            stream_options={"include_usage": True}, extra_headers={"X-Lama-Cache": "off"},
        )
    )  # fmt: skip
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == [
        whole.choices[0].finish_reason
    ]
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len({chunk.id for chunk in chunks}) == 1
    assert len(chunks) > 5, "it came piece by piece"


def test_events_are_framed_as_the_standard_says(http: httpx.Client) -> None:
    asked = {"model": "smollm2", "prompt": "One, two,", "max_tokens": 5, "stream": True}
    with http.stream("POST", "/v1/completions", json=asked) as response:
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["x-lama-model"] == "smollm2"
        text = response.read().decode()
    *events, done, rest = text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    documents = [json.loads(event.removeprefix("data: ")) for event in events if event.startswith("data: ")]
    assert len(documents) == len(events)
    assert documents[0]["lama"] == {"model": "smollm2", "fallback": [], "cache": "off", "reasons": []}
    assert documents[-1]["choices"][0]["finish_reason"] == "length"


def test_a_completion_takes_text_or_tokens_and_tells_log_probabilities(client: openai.OpenAI) -> None:
    told = client.completions.create(model="smollm2", prompt="One, two,", max_tokens=4, temperature=0, logprobs=2)
    logprobs = told.choices[0].logprobs
    assert logprobs is not None
    assert "".join(logprobs.tokens or []) == told.choices[0].text
    assert all(value <= 0 for value in logprobs.token_logprobs or [1])
    assert all(len(top) == 2 for top in logprobs.top_logprobs or [{}])
    assert logprobs.text_offset == [sum(map(len, (logprobs.tokens or [])[:i])) for i in range(4)]
    by_tokens = client.completions.create(model="smollm2", prompt=[9690, 28, 827], max_tokens=4)
    assert by_tokens.usage is not None
    assert by_tokens.usage.prompt_tokens == 3


def test_a_chat_tells_log_probabilities(client: openai.OpenAI) -> None:
    told = client.chat.completions.create(
        model="smollm2", messages=HI, max_tokens=4, temperature=0, logprobs=True, top_logprobs=3
    )
    content = told.choices[0].logprobs
    assert content is not None
    assert content.content is not None
    assert "".join(row.token for row in content.content) == told.choices[0].message.content
    assert all(len(row.top_logprobs) == 3 and row.top_logprobs[0].logprob >= row.logprob for row in content.content)
    assert bytes(content.content[0].bytes or []).decode() == content.content[0].token


def test_an_answer_ends_before_a_stop_and_a_seed_repeats_it(client: openai.OpenAI) -> None:
    stopped = client.completions.create(
        model="smollm2", prompt="1, 2, 3, 4, 5, 6,", max_tokens=40, temperature=0, stop=[" 9", "zzz"]
    )
    assert stopped.choices[0].finish_reason == "stop"
    assert " 9" not in stopped.choices[0].text
    said = {
        client.completions.create(
            model="smollm2", prompt="Once", max_tokens=12, seed=seed, extra_headers={"X-Lama-Cache": "off"}
        ).choices[0].text
        for seed in (5, 5, 6)
    }  # fmt: skip
    assert len(said) == 2


def test_an_answer_follows_its_schema(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "green"]}, "count": {"type": "integer", "maximum": 9}},
        "required": ["colour", "count"], "additionalProperties": False,
    }  # fmt: skip
    told = client.chat.completions.create(
        model="smollm2", messages=HI, max_tokens=200, temperature=0,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}},
    )  # fmt: skip
    answer = json.loads(told.choices[0].message.content or "")
    assert answer["colour"] in {"red", "green"}
    assert answer["count"] <= 9


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "^((a{100}){100}){100}$"},
        {"type": "string", "minLength": 10**9},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        {"$ref": "http://127.0.0.1/schema"},
        {"type": 5},
        {"enum": ["x" * 30_000]},
    ],
)
def test_a_schema_that_cannot_be_followed_is_refused_instead_of_ignored(
    client: openai.OpenAI, schema: dict[str, object]
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="smollm2", messages=HI, max_tokens=5,
            response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
        )  # fmt: skip
    assert caught.value.param == "response_format"


def test_vectors_are_the_same_as_numbers_and_as_base64(client: openai.OpenAI, http: httpx.Client) -> None:
    by_client = client.embeddings.create(model="acme/vectors", input=["The cat sat.", "A contract."])
    assert by_client.usage.prompt_tokens == by_client.usage.total_tokens > 4
    raw = http.post(
        "/v1/embeddings", json={"model": "acme/vectors", "input": "The cat sat.", "encoding_format": "float"}
    )
    plain = raw.json()["data"][0]["embedding"]
    packed = http.post(
        "/v1/embeddings", json={"model": "acme/vectors", "input": "The cat sat.", "encoding_format": "base64"}
    ).json()["data"][0]["embedding"]
    numbers = array("f", base64.b64decode(packed))
    assert plain == pytest.approx(list(numbers), abs=1e-6)
    assert by_client.data[0].embedding == pytest.approx(plain, abs=1e-3)
    assert math.sqrt(sum(one * one for one in plain)) == pytest.approx(1, abs=1e-4)
    assert [row.index for row in by_client.data] == [0, 1]
    ids = client.embeddings.create(model="acme/vectors", input=[[504, 2644], [1]])
    assert ids.usage.prompt_tokens == 3


def test_models_are_listed_and_found_by_names_with_a_slash(client: openai.OpenAI) -> None:
    assert [one.id for one in client.models.list()] == ["smollm2", "acme/vectors", "torn", "torn-with-fallback"]
    assert client.models.retrieve("acme/vectors").owned_by == "lama"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("acme/nothing")


@pytest.mark.parametrize(
    ("more", "parameter", "code"),
    [
        ({"n": 2}, "n", "unsupported_parameter"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools", "unsupported_parameter"),
        ({"frequency_penalty": 0.5}, "frequency_penalty", "unsupported_parameter"),
        ({"temperature": 3}, "temperature", "invalid_value"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"max_tokens": 5_000}, "messages", "context_length_exceeded"),
        ({"stop": ["a", "b", "c", "d", "e"]}, None, "invalid_value"),
        ({"top_logprobs": 2}, None, "invalid_value"),
        ({"extra_body": {"top_k": 5}}, "top_k", "unknown_parameter"),
        ({"messages": [{"role": "user", "content": "word " * 2_000}]}, "messages", "context_length_exceeded"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"model": "acme/vectors"}, "model", "model_not_supported"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(
    client: openai.OpenAI, more: dict[str, object], parameter: str | None, code: str | None
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{"model": "smollm2", "messages": HI, "max_tokens": 3} | more)  # type: ignore[call-overload]
    assert caught.value.code == code
    if parameter is not None:
        assert caught.value.param == parameter
    assert caught.value.type == "invalid_request_error"


def test_who_asks_for_tools_is_told_what_to_do_instead(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="response_format"):
        client.chat.completions.create(
            model="smollm2", messages=HI, tools=[{"type": "function", "function": {"name": "f"}}]
        )


def test_several_prompts_are_answered_as_each_alone(client: openai.OpenAI) -> None:
    prompts = ["One, two,", "A, B,", "Monday,"]
    asked = {"model": "smollm2", "max_tokens": 4, "temperature": 0, "logprobs": 1}
    alone = [client.completions.create(prompt=prompt, **asked) for prompt in prompts]  # type: ignore[call-overload]
    together = client.completions.create(prompt=prompts, **asked, extra_headers={"X-Lama-Cache": "off"})  # type: ignore[call-overload]
    assert [one.text for one in together.choices] == [one.choices[0].text for one in alone]
    assert [one.index for one in together.choices] == [0, 1, 2]
    assert [one.logprobs.text_offset[0] for one in together.choices] == [0, 0, 0]
    assert together.usage.total_tokens == sum(one.usage.total_tokens for one in alone)


def test_the_clients_key_asks_models_and_claims_and_manages_nothing(model_host: RunningHost) -> None:
    key = Home(model_host.settings).secret("model_host_client.key")
    assert key != model_host.key
    ask = {"model": "smollm2", "prompt": "One", "max_tokens": 1}
    with httpx.Client(
        base_url=model_host.url, headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=60
    ) as http:
        for path in ("/host/status", "/host/events"):
            assert http.get(path).status_code == 403
        assert http.post("/host/models/smollm2/unload").json()["error"]["type"] == "permission_error"
        assert http.get("/v1/models").status_code == 200
        refused = http.post("/v1/completions", json=ask, headers={"X-Lama-Priority": "high"})
        assert refused.status_code == 403
        assert refused.json()["error"]["code"] == "priority_not_allowed"
        assert "normal at most" in refused.json()["error"]["message"]
        embed = {"model": "acme/vectors", "input": "x"}
        assert http.post("/v1/embeddings", json=embed, headers={"X-Lama-Priority": "high"}).status_code == 403
        for allowed in ({}, {"X-Lama-Priority": "normal"}, {"X-Lama-Priority": "low"}):
            assert http.post("/v1/completions", json=ask, headers=allowed).status_code == 200
    with httpx.Client(base_url=model_host.url, trust_env=False) as http:
        for offered in ("", "Bearer", f"Basic {key}"):
            assert http.get("/v1/models", headers={"Authorization": offered}).status_code == 401


def test_what_only_describes_the_caller_is_ignored(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="smollm2", messages=HI, max_tokens=2, user="ada", metadata={"a": "b"}, store=False, n=1,
        frequency_penalty=0, tools=[], logit_bias={}, service_tier="auto", max_completion_tokens=3,
    )  # fmt: skip
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 3


def test_unknown_models_and_those_that_cannot_be_loaded_are_told_apart(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="nothing", messages=HI)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.InternalServerError) as broken:
        client.chat.completions.create(model="torn", messages=HI)
    assert broken.value.status_code == 503
    assert broken.value.code == "load_failed"


def test_a_fallback_answers_and_says_so(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="torn-with-fallback", messages=HI, max_tokens=2)
    answer = raw.parse()
    assert answer.model == "smollm2"
    assert raw.headers["x-lama-model"] == "smollm2"
    assert raw.headers["x-lama-fallback"] == "torn-with-fallback, torn"
    told = answer.to_dict()["lama"]
    assert told["fallback"] == ["torn-with-fallback", "torn"]  # type: ignore[index]
    assert len(told["reasons"]) == 2  # type: ignore[index]


def test_the_host_chooses_where_it_is_let(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="auto", messages=HI, max_tokens=2, extra_headers={"X-Lama-Use-Case": "chat", "X-Lama-Priority": "high"}
    )
    assert answer.model == "smollm2"
    assert answer.to_dict()["lama"]["reasons"]  # type: ignore[index]
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="auto", messages=HI, extra_headers={"X-Lama-Priority": "urgent"})
    assert caught.value.param == "X-Lama-Priority"


def test_an_answer_that_would_be_the_same_is_given_again(client: openai.OpenAI, model_host: RunningHost) -> None:
    asked = {"model": "smollm2", "messages": [{"role": "user", "content": "A rare word?"}], "seed": 3, "max_tokens": 8}
    first = client.chat.completions.with_raw_response.create(**asked)  # type: ignore[call-overload]
    before = model_host.figure("lama_generation_tokens_total", model_name="smollm2")
    again = client.chat.completions.with_raw_response.create(**asked)  # type: ignore[call-overload]
    streamed = list(client.chat.completions.create(**asked, stream=True))  # type: ignore[call-overload]
    after = model_host.figure("lama_generation_tokens_total", model_name="smollm2")
    off = client.chat.completions.with_raw_response.create(**asked, extra_headers={"X-Lama-Cache": "off"})  # type: ignore[call-overload]
    assert [one.headers["x-lama-cache"] for one in (first, again, off)] == ["miss", "hit", "off"]
    assert again.parse().choices == first.parse().choices
    text = "".join(chunk.choices[0].delta.content or "" for chunk in streamed)
    assert text == first.parse().choices[0].message.content
    assert before == after, "nothing was generated for the second and third"
