"""The block of language models: what is asked, what is tried again, and what is never told."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from blocks.errors import UnavailableError
from blocks.model import LanguageModel, NoAnswerError
from tests.handoffs.model_server import KEY, RunningModel, refused, running, said
from tests.loopback import Reply


class Colour(BaseModel):
    name: str


@pytest.fixture
def model() -> Iterator[RunningModel]:
    with running() as one:
        yield one


async def ask(block: LanguageModel) -> Colour:
    return await block.answer("Which colour?", Colour, instruction="Be short.")


async def test_the_model_is_asked_for_the_schema_with_the_key(model: RunningModel) -> None:
    model.think = lambda _: {"name": "red"}
    assert await ask(model.block(api_key=KEY, output_token_budget=77)) == Colour(name="red")
    (body,) = model.asked
    assert [(one["role"], one["content"]) for one in body["messages"]] == [
        ("system", "Be short."), ("user", "Which colour?"),
    ]  # fmt: skip
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("tiny-for-tests", 77, 0)
    assert body["response_format"]["json_schema"]["schema"] == Colour.model_json_schema()
    assert model.server.headers[0]["authorization"] == f"Bearer {KEY}"


async def test_without_a_key_none_is_sent(model: RunningModel) -> None:
    model.think = lambda _: {"name": "red"}
    await ask(model.block())
    assert "authorization" not in model.server.headers[0]


@pytest.mark.parametrize("status", [400, 422])
async def test_a_server_without_formats_is_told_the_schema_and_asked_only_once_with_one(
    model: RunningModel, status: int
) -> None:
    model.think = lambda _: 'Sure!\n```json\n{"name": "red"}\n```'
    model.fault = lambda body: refused(status) if "response_format" in body else None
    block = model.block()
    assert await ask(block) == await ask(block) == Colour(name="red")
    assert ["response_format" in body for body in model.asked] == [True, False, False]
    assert '"properties"' in model.asked[1]["messages"][0]["content"]


async def test_one_question_that_is_refused_either_way_does_not_change_how_others_are_asked(
    model: RunningModel,
) -> None:
    model.think = lambda _: {"name": "red"}
    model.fault = lambda _: refused(400)
    block = model.block(attempts=3)
    with pytest.raises(NoAnswerError, match=r"refused the question \(400\)"):
        await ask(block)
    assert len(model.asked) == 2
    model.fault = lambda _: None
    assert (await ask(block)).name == "red"
    assert "response_format" in model.asked[-1]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_what_may_pass_is_tried_again(model: RunningModel, status: int) -> None:
    model.think = lambda _: {"name": "red"}
    model.fault = lambda _: refused(status) if len(model.asked) < 3 else None
    assert (await ask(model.block(attempts=3))).name == "red"
    assert len(model.asked) == 3


@pytest.mark.parametrize(
    ("reply", "words", "error"),
    [
        (refused(401), "does not accept the key (401)", UnavailableError),
        (refused(403), "does not accept the key (403)", UnavailableError),
        (refused(404), "does not know the model", UnavailableError),
        ((302, "text/html", b"", {"Location": "http://127.0.0.1:9/"}), "it failed (302)", UnavailableError),
        ((200, "text/html", b"<html>Log in</html>"), "does not speak OpenAI's", UnavailableError),
        ((200, "application/json", b"{}"), "does not speak OpenAI's", UnavailableError),
        ((200, "application/json", b'{"choices": []}'), "does not speak OpenAI's", UnavailableError),
        ((200, "application/json", b"[" * 100_000), "does not speak OpenAI's", UnavailableError),
        ((200, "application/json", b" " * 3_000_000), "does not speak OpenAI's", UnavailableError),
        (said("I am afraid I cannot do that."), "not what was asked for", NoAnswerError),
        (said('{"name": "half'), "not what was asked for", NoAnswerError),
        (said({"name": 3}), "not what was asked for", NoAnswerError),
        (said("{" * 50_000 + "}" * 50_000), "not what was asked for", NoAnswerError),
    ],
)
async def test_what_will_not_pass_is_told_at_once_and_without_anybodys_words(
    model: RunningModel, reply: Reply, words: str, error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    model.fault = lambda _: reply
    with pytest.raises(UnavailableError) as caught:
        await ask(model.block(api_key=KEY, attempts=3))
    assert type(caught.value) is error
    assert words in str(caught.value)
    assert len(model.asked) == 1
    assert KEY not in str(caught.value) + "".join(record.getMessage() for record in caplog.records)


async def test_a_server_that_hangs_or_is_not_there_is_left_in_time(model: RunningModel) -> None:
    model.takes_s = 3.0
    began = time.monotonic()
    with pytest.raises(UnavailableError, match="did not answer in time"):
        await ask(model.block(timeout_s=0.2, attempts=2))
    assert time.monotonic() - began < 2.0
    assert len(model.asked) == 2
    with pytest.raises(UnavailableError, match="cannot be reached"):
        await ask(model.block(base_url="http://127.0.0.1:9/v1"))


@pytest.mark.parametrize("address", ["http://models.example/v1", "http://127.0.0.1.evil.example/v1", "http://u:p@h/v1"])
def test_a_key_never_travels_in_the_clear(address: str) -> None:
    with pytest.raises(ValidationError) as caught:
        LanguageModel(base_url=address, model="m", api_key=SecretStr(KEY))
    assert KEY not in str(caught.value)
    with pytest.raises(ValidationError) as caught:
        LanguageModel.model_validate({"base_url": address, "model": "m", "api_key": KEY})
    assert KEY not in str(caught.value)


def test_where_there_is_no_key_the_own_network_will_do() -> None:
    assert LanguageModel(base_url="http://model-host:8000/v1/", model="m").base_url == "http://model-host:8000/v1"
    assert LanguageModel(base_url="https://models.example/v1", model="m", api_key=KEY).api_key is not None


def test_the_block_does_not_show_its_key(model: RunningModel) -> None:
    block: Any = model.block(api_key=KEY)
    assert KEY not in repr(block) + str(block) + block.model_dump_json()
