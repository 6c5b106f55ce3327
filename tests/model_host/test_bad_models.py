"""What cannot be loaded or promised is refused by the running host before it takes memory, in OpenAI's shape."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tasks.model_host.loading import packs_nf4
from tests.conftest import free_port
from tests.model_host import folders
from tests.model_host.files import LLAMA, LLAMA_TENSORS, gguf
from tests.model_host.running import RunningHost, smollm2

MIB = 1024**2
_MEMORY = 400 * MIB
_SLACK = 32 * MIB
"""Of the process, beside models."""


def _models(home: Path) -> dict[str, dict[str, Any]]:
    """The catalogue: each entry but the first two cannot be used, for a reason of its own."""
    good = folders.folder(home / "good", hidden=128, layers=2, seed=1)
    weights = (good / "model.safetensors").read_bytes()

    def spoilt(name: str, content: bytes) -> Path:
        place = home / name
        shutil.copytree(good, place)
        (place / "model.safetensors").write_bytes(content)
        return place

    odd = folders.folder(home / "odd", hidden=80, layers=2, seed=1)  # NF4 on a CPU with AVX512-BF16 takes 64 columns
    cut = home / "cut.gguf"
    cut.write_bytes(smollm2().read_bytes()[: 10 * MIB])
    empty = home / "headless.gguf"
    empty.write_bytes(gguf(LLAMA_TENSORS, **LLAMA))
    return {
        "good": {"source": f"path:{good}", "context_window": 256},
        "same": {"source": f"path:{good}", "context_window": 128},
        "nowhere": {"source": f"path:{home / 'nowhere'}"},
        "cut-folder": {"source": f"path:{spoilt('cut', weights[:-1000])}"},
        "long-header": {"source": f"path:{spoilt('long', bytes([255] * 8) + weights[8:])}"},
        "cut-file": {"source": f"path:{cut}"},
        "no-vocabulary": {"source": f"path:{empty}", "context_window": 256},
        "no-numbers": {"source": f"path:{folders.torn(home / 'torn', hidden=128, layers=2)}", "context_window": 256},
        "too-long": {"source": f"path:{good}", "context_window": 4096, "quantisation": "bf16"},
        "odd-nf4": {"source": f"path:{odd}", "quantisation": "nf4", "context_window": 256},
        "too-large": {"source": f"path:{smollm2()}", "context_window": 8192, "concurrency": 64},
    }


@pytest.fixture(scope="module")
def host() -> Iterator[RunningHost]:
    home = Path(tempfile.mkdtemp(prefix="lama-bad-"))
    lines = ["[model_host]", f"memory_bytes = {_MEMORY}", "threads = 1", "queue_s = 5"]
    for name, one in _models(home).items():
        lines += ["[[model_host.models]]", f'name = "{name}"']
        lines += [f"{key} = {value!r}" for key, value in one.items()]
    running = RunningHost(home, free_port(), "\n".join(lines))
    running.start()
    with running.http() as http:
        ask(http, "good")  # libraries are there from now on
        http.post("/host/models/good/unload").raise_for_status()
    yield running
    running.stop()
    shutil.rmtree(home)


@pytest.fixture
def http(host: RunningHost) -> Iterator[httpx.Client]:
    """A client that looks afterwards whether memory was taken, or the process was another one."""
    process = psutil.Process(host.pid)
    with host.http() as one:
        before = process.memory_info().rss
        yield one
        status = one.get("/host/status").json()
        assert status["used_bytes"] == status["leased_bytes"] == status["reserved_bytes"] == 0
        one.post("/host/clean").raise_for_status()
        assert process.memory_info().rss < before + _SLACK
        assert one.get("/health").json() == {"status": "ok"}


def ask(http: httpx.Client, model: str, **more: Any) -> httpx.Response:
    return http.post("/v1/completions", json={"model": model, "prompt": "a house", "max_tokens": 2} | more)


def refused(response: httpx.Response, status: int, code: str | None, *words: str) -> None:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    for word in words:
        assert word in error["message"], error["message"]


@pytest.mark.parametrize(
    ("model", "status", "code", "word"),
    [
        ("unheard-of", 404, "model_not_found", "unheard-of"),
        ("nowhere", 503, "load_failed", "nowhere"),
        ("cut-folder", 503, "load_failed", "damaged"),
        ("long-header", 503, "load_failed", "its header claims"),
        ("cut-file", 503, "load_failed", "cut off"),
        ("no-vocabulary", 503, "load_failed", "headless.gguf"),
        ("no-numbers", 503, "load_failed", "no numbers"),
        ("too-long", 503, "load_failed", "1,024"),
        ("too-large", 503, "never_fits", "can never fit"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_refused_and_takes_nothing(
    http: httpx.Client, model: str, status: int, code: str, word: str
) -> None:
    refused(ask(http, model), status, code, word)
    if code != "model_not_found":
        refused(http.post(f"/host/models/{model}/load"), status, code, word)


@pytest.mark.skipif(not packs_nf4(), reason="bitsandbytes takes any shape as NF4 on this CPU")
def test_a_quantisation_that_this_device_cannot_do_is_refused(http: httpx.Client) -> None:
    refused(ask(http, "odd-nf4"), 503, "load_failed", "NF4 on this CPU takes multiples")


def test_a_reserve_larger_than_the_memory_is_refused_with_the_sum(http: httpx.Client) -> None:
    response = http.put("/host/reserves/good", json={"bytes": _MEMORY + 1, "context_window": 256})
    refused(response, 503, "never_fits", f"{_MEMORY:,} bytes of the device")
    assert response.json()["lama"]["refusal"]["for_ever"]
    assert response.headers["x-should-retry"] == "false"


def test_a_reserve_for_a_context_longer_than_promised_is_refused(http: httpx.Client) -> None:
    response = http.put("/host/reserves/good", json={"bytes": 64 * MIB, "context_window": 2**20})
    refused(response, 503, "never_fits", "good")


@pytest.mark.parametrize(("model", "window"), [("good", 256), ("same", 128)])
def test_a_request_longer_than_the_promised_context_is_refused(http: httpx.Client, model: str, window: int) -> None:
    try:
        refused(ask(http, model, max_tokens=window), 400, "context_length_exceeded", str(window))
        refused(ask(http, model, prompt="house " * window), 400, "context_length_exceeded", str(window))
    finally:
        http.post(f"/host/models/{model}/unload").raise_for_status()


def test_two_names_of_one_file_take_its_weights_once(host: RunningHost) -> None:
    with host.http() as http:
        assert ask(http, "good").status_code == 200
        alone = http.get("/host/status").json()["used_bytes"]
        process = psutil.Process(host.pid)
        before = process.memory_info().rss
        assert ask(http, "same", prompt="another house").status_code == 200
        status = http.get("/host/status").json()
        both = {one["name"]: one for one in status["models"]}
        assert status["used_bytes"] == alone > 0
        assert both["good"]["shares_with"][:1] == ["same"]
        assert both["good"]["state"] == both["same"]["state"] == "ready"
        assert both["good"]["context_window"] > both["same"]["context_window"]
        assert process.memory_info().rss < before + 8 * MIB
        assert http.post("/host/models/same/unload").json()["state"] == "absent"
        assert http.get("/host/status").json()["used_bytes"] == 0, "unloaded for both"
