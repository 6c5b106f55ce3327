"""What is logged holds no secrets, and stays readable."""

from __future__ import annotations

import asyncio
import json
import logging
import string
import time
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prefect import flow

from blocks.logs import JsonLines, masked
from blocks.settings import Settings
from tasks.step import step
from tests.flow_runs import logs_of, task_messages_of

VISIBLE = "".join(sorted({*string.printable} - {*string.whitespace}))

# With marks at both ends, which cannot be in the text by chance.
tokens = st.text(VISIBLE, min_size=1, max_size=20).map(lambda text: f"Zq7{text}7qZ")
passwords = tokens.map(lambda text: "".join(letter for letter in text if letter not in "/?#"))


@given(st.sampled_from(["postgresql", "https", "redis", "git+https"]), st.sampled_from(["u:", "", ":"]), passwords)
@example("postgresql", "", "Zq7:7qZ")
def test_what_stands_before_the_host_does_not_survive(scheme: str, user: str, password: str) -> None:
    shown = masked(f"cannot reach {scheme}://{user}{password}@host/path: refused")
    assert "Zq7" not in shown
    assert "7qZ" not in shown
    assert shown == f"cannot reach {scheme}://********@host/path: refused"


@given(passwords, passwords)
def test_no_part_of_a_password_with_the_sign_of_the_host_survives(first: str, second: str) -> None:
    assert masked(f"postgresql://u:{first}@{second}@h/db") == "postgresql://********@h/db"


@given(
    st.sampled_from(
        ["X-API-Key: ", "x-api-key:", "Authorization: ", "Authorization: Bearer ", "authorization: token ",
         "Proxy-Authorization: Basic ", "X-Gitlab-Token: ", "X-Auth-Token: Bearer ", "Cookie: a=b; session=",
         "password=", "LAMA_API_KEY="]
    ),
    tokens,
)  # fmt: skip
def test_no_header_or_assignment_shows_its_secret(name: str, token: str) -> None:
    shown = masked(f"before {name}{token}\nafter")
    assert "Zq7" not in shown
    assert "7qZ" not in shown
    assert shown.startswith("before ")
    assert shown.endswith("********\nafter")


@given(st.sampled_from(["X-API-Key", "authorization", "token"]), tokens)
def test_no_header_shows_its_secret_in_structures_either(name: str, token: str) -> None:
    for headers in ({name: token, "accept": "text/html"}, [(name.encode(), token.encode()), ("accept", "text/html")]):
        shown = masked(f"sent {headers}")
        assert "Zq7" not in shown
        assert "7qZ" not in shown


@given(st.sampled_from(["api_key", "token", "key", "password", "access_token", "X-Amz-Signature"]), tokens)
def test_no_query_shows_its_secret(name: str, token: str) -> None:
    shown = masked(f'GET "https://h/p?page=1&{name}={quote(token)}&size=2" failed')
    assert shown == f'GET "https://h/p?page=1&{name}=********&size=2" failed'
    assert masked(f"https://h/p?{name}={quote(token)}") == f"https://h/p?{name}=********"


@pytest.mark.parametrize(
    "text",
    [
        "GET https://host:8080/a@b?page=2 answered 200",
        "3 tokens: a, b, c",
        "the key: health_check.secrets",
        "postgresql://host/db has 4 tables",
        "keys=3, monkeys: 4",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert masked(text) == text


@pytest.mark.parametrize("text", ["a" * 200_000, "://" * 70_000, "token" * 40_000, "?" * 200_000, "a-" * 100_000])
def test_long_lines_take_no_time(text: str) -> None:
    began = time.monotonic()
    masked(text)
    assert time.monotonic() - began < 5


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
async def test_an_error_of_a_step_is_logged_and_kept_without_its_secret(prefect_server: Settings) -> None:
    @step("fail", retries=0)
    async def fail() -> None:
        raise ValueError("GET https://me:hunter2@host/?token=hunter2 failed")

    @step("fail, too", retries=0)
    def fail_too() -> None:
        raise ValueError("password=hunter2")

    @flow
    async def fails() -> str:
        from prefect.runtime import flow_run

        for failing in (fail(return_state=True), asyncio.to_thread(fail_too, return_state=True)):
            await failing
        return str(flow_run.id)

    run_id = await fails()
    deadline = time.monotonic() + 60
    while len(messages := await task_messages_of(run_id)) < 2 or not all(messages):  # the server records them later
        assert time.monotonic() < deadline, "what the states say was never recorded"
        await asyncio.sleep(0.2)
    logged, kept = "\n".join(await logs_of(run_id)), "\n".join(messages)
    for told in (logged, kept):
        assert "hunter2" not in told
        assert "GET https://********@host/?token=******** failed" in told


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
async def test_a_line_of_a_plain_logger_names_the_run_that_it_was_written_in(prefect_server: Settings) -> None:
    lines: list[dict[str, object]] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(self.format(record)))

    handler = Collect()
    handler.setFormatter(JsonLines())
    plain = logging.getLogger("somebody.elses")
    plain.setLevel("INFO")
    plain.addHandler(handler)

    @step("work")
    async def work() -> None:
        plain.info("in a step")
        await asyncio.to_thread(plain.info, "in a thread")

    @flow(name="works")
    async def works() -> str:
        from prefect.runtime import flow_run

        plain.info("in a flow")
        await work()
        return str(flow_run.id)

    try:
        run_id = await works()
        plain.info("outside")
    finally:
        plain.removeHandler(handler)
    told = [(line["message"], line["run_id"], line["flow"], line["task"]) for line in lines]
    assert told == [
        ("in a flow", run_id, "works", None),
        ("in a step", run_id, "works", "work"),
        ("in a thread", run_id, "works", "work"),
        ("outside", None, None, None),
    ]
