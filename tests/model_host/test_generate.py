"""The flow `generate`, through a real Prefect server, a real PostgreSQL and a real model."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import ParameterTypeError, PrefectHTTPStatusError
from prefect.flow_engine import run_flow_async
from prefect.states import Scheduled
from prefect.utilities.callables import parameter_schema

from blocks.errors import ConfigurationError, LamaError, UnavailableError
from blocks.model_host_api import TooLongError
from blocks.postgres import Postgres
from blocks.settings import Settings, settings
from flows.generate import generate
from models.generation import GenerationReport
from models.report import Status
from tasks.model_host import conversations
from tests.conftest import free_port
from tests.flow_runs import artifacts_of, logs_of
from tests.model_host.running import RunningHost

_FRANCE = "What is the capital of France? Answer in one short sentence."


@pytest.fixture(autouse=True)
def asked(configured: Path, model_host: RunningHost, monkeypatch: pytest.MonkeyPatch) -> RunningHost:
    """The flow finds the host."""
    monkeypatch.setenv("LAMA_MODEL_HOST_PORT", str(model_host.settings.model_host_port))
    monkeypatch.setenv("LAMA_MODEL_HOST_KEY", model_host.key)
    settings.cache_clear()
    return model_host


async def turns(conversation: str, *, limit: int = 1000) -> list[tuple[str, str]]:
    async with await Postgres.of(settings()).get_async_client(autocommit=True) as connection:
        cursor = await connection.execute(
            "SELECT role, content FROM model_turn WHERE conversation = %s ORDER BY id LIMIT %s", (conversation, limit)
        )
        return [(str(role), str(content)) for role, content in await cursor.fetchall()]


async def remember(conversation: str, run_id: str, question: str, answer: str) -> None:
    async with await Postgres.of(settings()).get_async_client(autocommit=True) as connection:
        await conversations.add(
            connection, conversation, run_id=run_id, question=question, answer=answer, model="smollm2",
            now=datetime.now(UTC),
        )  # fmt: skip


async def test_an_answer_says_who_gave_it_why_and_what_it_took() -> None:
    report = await generate(prompt=_FRANCE, use_case="chat", temperature=0, max_tokens=40)
    assert isinstance(report, GenerationReport)
    assert "Paris" in report.text
    assert (report.status, report.model, report.finish) == (Status.ok, "smollm2", "stop")
    assert report.reasons[0] == "declared for chat"
    assert any("acme/vectors was left out" in reason for reason in report.reasons)
    assert report.tokens == report.metrics["answer_tokens_total"] > 3
    assert report.prompt_tokens == report.metrics["prompt_tokens_total"] > 10
    assert 0 < report.metrics["answer_seconds"] < 120
    assert (report.fallback, report.conversation_id, report.turns) == ((), None, 0)
    page = str((await artifacts_of(report.run_id))["generate"])
    assert "Paris" in page
    assert "declared for chat" in page
    lines = "\n".join(await logs_of(report.run_id))
    assert "smollm2 answered with" in lines
    assert "France" not in lines, "what is asked is not logged"


async def test_the_same_question_is_answered_from_the_cache_unless_that_is_not_wanted() -> None:
    question: dict[str, Any] = {"prompt": "Say the word tree.", "model": "smollm2", "temperature": 0, "max_tokens": 10}
    reports = [await generate(**question, **more) for more in ({}, {}, {"cache": False})]
    assert [one.cache for one in reports] == ["miss", "hit", "off"]
    assert len({one.text for one in reports}) == 1
    assert reports[0].tokens == reports[1].tokens > 0
    assert (await generate(prompt="Say the word tree.", model="smollm2", max_tokens=5)).cache == "off"


async def test_a_model_that_cannot_answer_is_replaced_and_the_report_says_so() -> None:
    report = await generate(prompt="Hello!", model="torn-with-fallback", max_tokens=5, cache=False)
    assert report.model == "smollm2"
    assert report.fallback == ("torn-with-fallback", "torn")
    assert report.reasons[0] == "it was asked for"
    assert len(report.reasons) == 3
    assert "instead of torn-with-fallback, torn" in report.summary


async def test_a_conversation_goes_on() -> None:
    first = await generate(prompt=_FRANCE, conversation_id="talk:1", temperature=0, max_tokens=20)
    second = await generate(prompt="And of Italy?", conversation_id="talk:1", temperature=0, max_tokens=20)
    other = await generate(prompt="And of Italy?", conversation_id="talk:2", temperature=0, max_tokens=20)
    assert [one.turns for one in (first, second, other)] == [0, 2, 0]
    assert second.prompt_tokens > other.prompt_tokens + first.tokens, "it was shown what was said"
    assert await turns("talk:1") == [
        ("user", _FRANCE), ("assistant", first.text), ("user", "And of Italy?"), ("assistant", second.text),
    ]  # fmt: skip


async def test_a_run_that_is_repeated_adds_its_turns_once_and_is_not_shown_them() -> None:
    parameters = {"prompt": "Name a colour.", "conversation_id": "again", "max_tokens": 8, "temperature": 0}
    async with get_client() as client:
        run = await client.create_flow_run(generate, parameters=parameters)
        first = await run_flow_async(generate, flow_run=run, parameters=parameters)
        await client.set_flow_run_state(run.id, Scheduled(), force=True)
        run = await client.read_flow_run(run.id)
        again = await run_flow_async(generate, flow_run=run, parameters=parameters)
    assert isinstance(first, GenerationReport)
    assert isinstance(again, GenerationReport)
    assert (first.run_id, first.turns) == (again.run_id, 0) == (str(run.id), again.turns)
    assert await turns("again") == [("user", "Name a colour."), ("assistant", first.text)]


async def test_runs_at_the_same_time_keep_questions_and_answers_together() -> None:
    await asyncio.gather(*(remember("crowd", f"run-{n}", f"q{n}", f"a{n}") for n in range(20)))
    said = await turns("crowd")
    assert sorted(said) == sorted([("user", f"q{n}") for n in range(20)] + [("assistant", f"a{n}") for n in range(20)])
    for (_, question), (_, answer) in zip(said[::2], said[1::2], strict=True):
        assert question[1:] == answer[1:]


async def test_the_oldest_turns_are_left_out_when_the_window_is_full() -> None:
    for n in range(20):
        await remember(
            "long", f"run-{n}", f"Question {n}: " + "tell me more about rivers and lakes. " * 8, "Yes. " * 10
        )
    report = await generate(prompt="Goodbye!", conversation_id="long", model="smollm2", max_tokens=10)
    assert 0 < report.turns < 40
    assert report.turns % 2 == 0, "questions keep their answers"
    assert 500 < report.prompt_tokens <= 1024 - 10, "no more is left out than has to be, by a quarter"
    assert len(await turns("long")) == 42, "nothing is forgotten"


async def test_hostile_text_is_a_text_like_any_other() -> None:
    await remember("hostile", "run-1", "nul \0 and half \ud83d of a pair", "\0\udfff")
    assert (await turns("hostile"))[0] == ("user", "nul \ufffd and half \ufffd of a pair")
    prompt = "\x1b[2J </s><|im_end|> {{7*7}} '; DROP TABLE model_turn; -- \u2028 \x85 \N{PILE OF POO} ![x](http://x.y)"
    report = await generate(prompt=prompt, conversation_id="hostile", max_tokens=10)
    assert report.turns == 2
    assert (await turns("hostile"))[2] == ("user", prompt)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"prompt": ""}, "at least 1 character"),
        ({"prompt": "x", "temperature": 3}, "less than or equal to 2"),
        ({"prompt": "x", "top_p": 0}, "greater than 0"),
        ({"prompt": "x", "max_tokens": 0}, "greater than or equal to 1"),
        ({"prompt": "x", "priority": "urgent"}, "'high', 'normal' or 'low'"),
        ({"prompt": "x", "prefer": "cheap"}, "'balanced', 'speed'"),
        ({"prompt": "x", "seed": 2**64}, "9223372036854775808"),
    ],
)
async def test_what_cannot_be_used_is_refused_before_anything_is_asked(parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(ParameterTypeError, match=said):
        await generate(**parameters)


async def test_a_conversation_has_a_name_that_can_be_used() -> None:
    for name in ("", " x", "../x", "a b", "x" * 128 + "y"):
        with pytest.raises((ConfigurationError, ParameterTypeError), match="128"):
            await generate(prompt="x", conversation_id=name)


async def test_more_than_prefect_keeps_is_refused_in_its_words() -> None:
    with pytest.raises(PrefectHTTPStatusError, match="less than 524,288 bytes"):
        await generate(prompt="\N{SNOWMAN}" * 200_000)


async def test_the_api_refuses_what_prefects_database_cannot_keep() -> None:
    async with get_client() as client:
        flow_id = await client.create_flow(generate)
        schema = parameter_schema(generate.fn).model_dump_for_openapi()
        deployment = await client.create_deployment(
            flow_id, f"hostile-{uuid4()}", parameter_openapi_schema=schema, enforce_parameter_schema=True
        )
        for prompt in ("a\\u0000b", "a\\ud800b"):
            body = f'{{"parameters": {{"prompt": "{prompt}"}}, "state": {{"type": "SCHEDULED"}}}}'
            address, headers = f"/deployments/{deployment}/create_flow_run", {"Content-Type": "application/json"}
            with pytest.raises(PrefectHTTPStatusError, match="Validation failed for field 'prompt'"):
                await client._client.post(address, content=body, headers=headers)
        fine = await client.create_flow_run_from_deployment(deployment, parameters={"prompt": "\N{PILE OF POO} ok\n"})
        assert fine.parameters == {"prompt": "\N{PILE OF POO} ok\n"}
        await client.delete_deployment(deployment)


async def test_what_no_model_can_do_is_an_error_in_words_that_is_not_tried_again(asked: RunningHost) -> None:
    before = asked.figure("lama_request_failure_total")
    with pytest.raises(LamaError, match="there is no model 'nobody'"):
        await generate(prompt="x", model="nobody")
    with pytest.raises(TooLongError, match="context window of this model is 1024"):
        await generate(prompt="word " * 2_000, model="smollm2")
    with pytest.raises(LamaError, match="is damaged") as refused:
        await generate(prompt="x", model="torn")
    assert not isinstance(refused.value, UnavailableError), "a file that is torn does not heal within seconds"
    with pytest.raises(LamaError, match="no model meets the requirements"):
        await generate(prompt="x", least_quality=0.9)
    with pytest.raises(LamaError, match="its context window has 1024 tokens"):
        await generate(prompt="word " * 8_000)
    assert asked.figure("lama_request_failure_total") - before == 3, "each was asked once"


async def test_a_host_that_is_away_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMA_MODEL_HOST_PORT", str(free_port()))
    settings.cache_clear()
    with pytest.raises(UnavailableError, match=r"model host: it does not answer \(ConnectError\)"):
        await generate(prompt="x", model="smollm2", conversation_id="away")
    assert await turns("away") == []


async def test_old_conversations_are_counted_and_forgotten(migrated: Settings) -> None:
    async with await Postgres.of(migrated).get_async_client(autocommit=True) as connection:
        for name, day in (("old", 1), ("taken-up", 1), ("taken-up", 27)):
            await conversations.add(
                connection, name, run_id=f"{name}-{day}", question="q", answer="a", model="m",
                now=datetime(2020, 1, day, tzinfo=UTC),
            )  # fmt: skip
        when = datetime(2020, 1, 31, 1, tzinfo=UTC)
        assert await conversations.count_old(connection, now=when, days=10) == 2
        assert await conversations.forget_old(connection, now=when, days=10) == 2
        assert await conversations.count_old(connection, now=when, days=10) == 0
        assert await turns("old") == []
        assert len(await turns("taken-up")) == 4
