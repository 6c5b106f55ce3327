"""Several devices at one address: where requests go, what passes through, and what happens when a host is gone."""

from __future__ import annotations

import asyncio
import json
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.model_host.running import a_model_of_its_own, smollm2
from tests.model_host.several import MIB, Several, running, within

_FRANCE = "What is the capital of France? Answer in one short sentence."
_STORY = "Once upon a time there was a fox who lived in a forest, and"


@pytest.fixture(scope="module")
def _several() -> Iterator[Several]:
    folder = Path(tempfile.mkdtemp(prefix="lama-models-"))
    entries = ""
    for name in ("one", "two", "three"):
        file = a_model_of_its_own(folder, name)
        entries += (
            f'[[model_host.models]]\nname = "{name}"\nsource = "path:{file}"\ncontext_window = 1024\nconcurrency = 4\n'
            'use_cases = ["chat"]\n'
        )
    entries += (
        f'[[model_host.models]]\nname = "vectors"\nsource = "path:{smollm2()}"\nkind = "embed"\n'
        "context_window = 256\nconcurrency = 1\n"
    )
    toml = f"[model_host]\nmemory_bytes = {600 * MIB}\nqueue_s = 60\nkeep_s = 0\nthreads = 1\n"
    with running(toml + entries) as several:
        yield several


@pytest.fixture
def several(_several: Several) -> Several:
    """Both devices there, with nothing loaded."""
    _several.bring_back()
    return _several


def ask(several: Several, model: str, **more: Any) -> httpx.Response:
    with several.http() as http:
        return http.post(
            "/v1/completions",
            json={"model": model, "prompt": "One, two,", "max_tokens": 4, **more},
            headers={"X-Lama-Cache": "off"},
        )


def device_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.headers["x-lama-device"])


def test_requests_go_where_their_model_is_warm(several: Several) -> None:
    several.load("one", 0)
    several.load("two", 1)
    for _ in range(4):
        assert device_of(ask(several, "one")) == "0"
        assert device_of(ask(several, "two")) == "1"
    assert several.states("one") == ["ready", "absent"]
    assert several.states("two") == ["absent", "ready"]


def test_a_model_that_is_warm_on_both_is_asked_where_there_is_less_to_do(several: Several) -> None:
    for device in (0, 1):
        several.load("one", device)
    with ThreadPoolExecutor(8) as pool:
        asked = list(pool.map(lambda _: device_of(ask(several, "one", max_tokens=32)), range(16)))
    assert min(Counter(asked)[device] for device in ("0", "1")) >= 4


def test_many_who_ask_for_a_cold_model_load_it_once(several: Several) -> None:
    with ThreadPoolExecutor(10) as pool:
        asked = set(pool.map(lambda _: device_of(ask(several, "three")), range(10)))
    assert len(asked) == 1
    assert sorted(several.states("three")) == ["absent", "ready"]


@pytest.mark.parametrize("full", [0, 1])
def test_a_cold_model_is_loaded_where_it_fits(several: Several, full: int) -> None:
    with several.http() as http:
        taken = {"bytes": 550 * MIB, "ttl_s": 60}
        http.post("/host/jobs/run-1", params={"device": full}, json=taken).raise_for_status()
        assert device_of(ask(several, "three")) == str(1 - full)
        assert http.delete("/host/jobs/run-1").status_code == 200


def test_openais_client_sees_one_host(several: Several) -> None:
    with several.front.client() as client:
        assert [one.id for one in client.models.list()] == ["one", "two", "three", "vectors"]
        said = client.chat.completions.create(
            model="one", messages=[{"role": "user", "content": _FRANCE}], max_tokens=20, temperature=0,
        )  # fmt: skip
        assert "Paris" in str(said.choices[0].message.content)
        pieces = list(
            client.chat.completions.create(
                model="one", messages=[{"role": "user", "content": "Count to ten."}], max_tokens=16, stream=True,
                stream_options={"include_usage": True},
            )
        )  # fmt: skip
        assert pieces[-1].usage is not None
        assert pieces[-1].usage.completion_tokens > 4
        assert len(client.embeddings.create(model="vectors", input=["a house", "a fox"]).data) == 2
        chosen = client.completions.create(model="auto", prompt="One,", max_tokens=2, extra_headers={
            "X-Lama-Use-Case": "chat"})  # fmt: skip
        assert chosen.model == "one", "it was warm"
        with pytest.raises(openai.NotFoundError, match="no model"):
            client.completions.create(model="nobody", prompt="x")
        with pytest.raises(openai.BadRequestError, match="max_tokens"):
            client.completions.create(model="one", prompt="x", max_tokens=-1)
        assert client.models.retrieve("two").id == "two"


def test_a_stream_passes_as_it_is_made(several: Several) -> None:
    several.load("one", 0)
    began, times = time.monotonic(), list[float]()
    with several.front.client() as client:
        for _ in client.completions.create(model="one", prompt=_STORY, max_tokens=120, seed=1, stream=True):
            times.append(time.monotonic() - began)
    assert len(times) > 30
    assert times[-1] - times[0] > times[-1] / 4, "held back, all pieces would come at once"


def test_who_hangs_up_is_not_generated_for_further(several: Several) -> None:
    several.load("one", 0)
    with several.front.client() as client:
        stream = client.completions.create(model="one", prompt=_STORY, max_tokens=900, seed=2, stream=True)
        for _ in range(3):
            next(stream)
        stream.close()
        within(5, several.empty, "the lease is returned")
        before = several.front.figure("lama_generation_tokens_total", model_name="one", device="0")
        time.sleep(0.4)
        assert several.front.figure("lama_generation_tokens_total", model_name="one", device="0") == before
        with pytest.raises(openai.APITimeoutError):
            client.with_options(timeout=0.4).completions.create(
                model="one", prompt=_STORY, max_tokens=900, seed=3
            )  # no stream
        within(5, several.empty, "the lease is returned")


def test_a_host_that_is_killed_in_the_middle_of_a_stream_is_told(several: Several) -> None:
    several.load("one", 0)
    with several.front.client() as client:
        stream = client.completions.create(model="one", prompt=_STORY, max_tokens=900, seed=4, stream=True)
        next(stream)
        several.hosts[0].stop(signal.SIGKILL)
        with pytest.raises(openai.APIError, match="Device 0 ended while it answered"):
            list(stream)
    assert several.front.figure("lama_front_broken_off_total", device="0") == 1


def test_a_host_that_is_killed_is_left_out_and_told_and_comes_back(several: Several) -> None:
    several.load("one", 0)
    several.hosts[0].stop(signal.SIGKILL)
    assert device_of(ask(several, "one")) == "1", "at once"
    with several.http() as http:
        status = http.get("/host/status").json()
        assert [one["device"] for one in status["incomplete"]] == ["0"]
        assert [one["number"] for one in status["devices"]] == [1]
        assert http.get("/v1/models").json()["lama"]["incomplete"][0]["device"] == "0"
        assert http.get("/ready").json()["incomplete"][0]["device"] == "0"
        assert http.post("/host/models/one/load", params={"device": 0}).json()["error"]["code"] == "device_away"
        assert http.post("/host/clean").json()["incomplete"][0]["device"] == "0"
    assert several.front.figure("lama_device_up", device="0") == 0
    assert several.front.figure("lama_device_up", device="1") == 1
    several.hosts[0].start()
    within(10, lambda: not several.status()["incomplete"], "seen again")
    several.hosts[1].stop(signal.SIGKILL)
    assert device_of(ask(several, "one")) == "0"
    several.hosts[0].stop(signal.SIGKILL)
    refused = ask(several, "one")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["error"]["code"] == "no_device"
    with several.http() as http:
        assert http.get("/ready").status_code == 503
        assert http.get("/health").status_code == 200
        assert len(http.get("/host/status").json()["incomplete"]) == 2


def test_an_answer_that_has_not_begun_is_another_devices(several: Several) -> None:
    several.load("one", 0)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, several, "one", prompt=_STORY, max_tokens=300, seed=5)
        within(10, lambda: several.front.figure("lama_num_requests_running", device="0", model_name="one") == 1, "work")
        several.hosts[0].stop(signal.SIGKILL)
        assert device_of(asked.result(120)) == "1"


async def test_fifty_at_a_time_are_all_answered(several: Several) -> None:
    several.load("one", 0)
    several.load("two", 1)
    async with openai.AsyncOpenAI(
        base_url=f"{several.front.url}/v1", api_key=several.front.key, max_retries=0, timeout=120,
        http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
    ) as client:  # fmt: skip

        async def one(number: int) -> int:
            model, off = ("one", "two")[number % 2], {"X-Lama-Cache": "off"}
            asked = {"model": model, "prompt": _STORY, "max_tokens": 8, "seed": number, "extra_headers": off}
            if number % 4 < 2:
                told = await client.completions.create(**asked)  # type: ignore[call-overload]
                return len(told.choices[0].text)
            stream = await client.completions.create(**asked, stream=True)  # type: ignore[call-overload]
            return sum([len(piece.choices[0].text) async for piece in stream if piece.choices])

        began = time.monotonic()
        lengths = await asyncio.gather(*(one(number) for number in range(50)))
        print(f"50 requests over two devices: {time.monotonic() - began:.1f} s")
    assert min(lengths) > 0
    assert several.states("one") + several.states("two") == ["ready", "absent", "absent", "ready"]
    within(5, several.empty, "all leases returned")


def test_devices_are_told_what_to_do_one_by_one_or_all_at_once(several: Several) -> None:
    with several.http() as http:
        loaded = http.post("/host/models/one/load", params={"device": "all"}).json()
        assert loaded["state"] == "ready"
        assert several.states("one") == ["ready", "ready"]
        assert http.post("/host/models/one/unload", params={"device": 1}).json()["state"] == "absent"
        assert several.states("one") == ["ready", "absent"]
        promised = {"bytes": 300 * MIB, "priority": 2, "context_window": 512}
        assert http.put("/host/reserves/one", json=promised).json()["reserved_bytes"] == 600 * MIB
        assert http.delete("/host/reserves/one", params={"device": 0}).json()["reserved_bytes"] == 300 * MIB
        small = http.put("/host/reserves/two", json=promised | {"bytes": MIB}, params={"device": 1})
        assert small.status_code == 503
        assert small.json()["lama"]["device"] == "1"
        assert small.json()["lama"]["refusal"]["arithmetic"]
        partly = http.put("/host/reserves/two", json=promised | {"bytes": 400 * MIB})
        assert partly.status_code == 503, "one has promised 300 of its 600 MiB"
        assert partly.json()["lama"]["done"] == ["0"]
        assert http.post("/host/plan", json={"model": "two"}).json()["fits"]
        assert http.post("/host/select", json={"use_case": "chat"}).json()["model"] == "one"
        assert http.post("/host/clean").json()["freed_bytes"] >= 0
        assert http.get("/host/status", params={"device": 1}).json()["number"] == 1
        for path, parameters, code in (
            ("/host/models/one/load", {"device": 7}, 404),
            ("/host/models/one/load", {"device": "x"}, 404),
            ("/host/models/nobody/load", {}, 404),
            ("/host/jobs/run-1", {}, 400),
        ):
            refused = http.post(path, params=parameters, json={})
            assert (refused.status_code, "message" in refused.json()["error"]) == (code, True), path


def test_changes_of_any_device_are_told(several: Several) -> None:
    with several.http() as http, http.stream("GET", "/host/events") as events:
        lines = (line for line in events.iter_lines() if line.startswith("data: "))
        assert len(json.loads(next(lines)[6:])["devices"]) == 2
        several.load("two", 1)
        for line in lines:
            devices = json.loads(line[6:])["devices"]
            states = [one["state"] for device in devices for one in device["models"] if one["name"] == "two"]
            if states == ["absent", "ready"]:
                break


def test_it_is_guarded_as_the_hosts_are(several: Several) -> None:
    plain = httpx.Client(base_url=several.front.url, trust_env=False)
    key = {"Authorization": f"Bearer {several.front.key}"}
    with plain as http:
        assert http.get("/v1/models").status_code == 401
        assert http.get("/health").status_code == 200
        assert http.get("/v1/models", headers=key | {"Host": "evil.example"}).status_code == 421
        assert http.get("/v1/models", headers=key | {"Origin": "http://evil.example"}).status_code == 403
        for body in (b"{", b"[]", b'{"model": "one"}', b'{"model": 3, "prompt": "x"}', b"\xff", b""):
            refused = http.post("/v1/completions", content=body, headers=key)
            assert refused.status_code == 400, body
            assert refused.json()["error"]["type"] == "invalid_request_error"
        large = http.post("/v1/completions", content=b" " * (5 * MIB), headers=key)
        assert large.status_code == 413
        assert http.post("/host/models/one/load", content=b" " * (5 * MIB), headers=key).status_code == 413
        assert http.post("/v1/audio/speech", headers=key).json()["error"]["code"] == "not_found"


def test_figures_are_those_of_every_device(several: Several) -> None:
    several.load("one", 0)
    ask(several, "one")
    front = several.front
    assert front.figure("lama_memory_bytes", kind="capacity") == 1200 * MIB
    assert front.figure("lama_memory_bytes", kind="capacity", device="1") == 600 * MIB
    assert front.figure("lama_model_state", model_name="one", state="ready") == 1
    assert front.figure("lama_time_to_first_token_seconds_count", device="0", model_name="one") >= 1
    assert front.figure("lama_front_requests_total", device="0") >= 1
    with several.http() as http:
        text = http.get("/metrics").text
    assert text.count("# TYPE lama_memory_bytes gauge") == 1
