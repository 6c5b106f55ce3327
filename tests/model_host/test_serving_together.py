"""Who asks at the same time, for several things, or reads slowly: the API over engines that answer at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from blocks.settings import Settings
from models.model_host import CatalogueEntry, Footprint, ModelHostSettings, ModelState
from services.model_host import app
from services.model_host.app import create_app
from services.model_host.door import GoneError
from services.model_host.reply import Outbox, Reply
from services.model_host.wiring import ResidentHost
from tasks.model_host.engine import Embedded
from tasks.model_host.errors import EngineError
from tasks.model_host.opening import Machine
from tests.model_host.array_engine import ArrayEngine, whole
from tests.model_host.bench import KIB, Bench, entry, until

ASK = {"prompt": "one two", "max_tokens": 4, "temperature": 0}


class BenchHost(ResidentHost):
    """The host over the engines of a bench."""

    def __init__(self, *entries: CatalogueEntry, **settings: Any) -> None:
        self.bench = Bench(*entries, **settings)
        super().__init__(ModelHostSettings(models=entries), Machine("cpu", 1), self.bench.device.capacity)
        self._residency = self.bench.host

    async def start(self) -> None:
        await self.bench.host.start()


class Place:
    """A client of a host of the bench."""

    def __init__(self, home: Path, *entries: CatalogueEntry, **settings: Any) -> None:
        given = Settings(home=home, model_host_key="k" * 20)  # type: ignore[arg-type]
        self.host = BenchHost(*entries, **settings)
        self.bench = self.host.bench
        self.app = create_app(given, self.host, [])
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url="http://localhost",
            headers={"Authorization": f"Bearer {'k' * 20}"},
        )  # fmt: skip

    async def ask(self, model: str, headers: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
        answer = await self.client.post("/v1/completions", json=ASK | {"model": model} | more, headers=headers)
        return {"status": answer.status_code, **answer.json()}


def text(answer: dict[str, Any]) -> str:
    return str(answer["choices"][0]["text"])


async def test_who_waits_for_an_answer_that_nobody_has_memory_for_is_told_so_with_the_first(tmp_path: Path) -> None:
    place = Place(tmp_path, *map(entry, "ab"), queue_s=0.3)
    place.bench.loader.footprints["path:b"] = Footprint(weights=900 * KIB, kv_per_token=KIB)
    place.bench.loader.delay_s = 0.05
    working = asyncio.create_task(place.bench.answer("a", words=60, prompt="x"))
    await place.bench.becomes("a", ModelState.ready)
    started = asyncio.get_running_loop().time()
    answers = await asyncio.gather(*(place.ask("b") for _ in range(5)))
    assert [one["error"]["code"] for one in answers] == ["no_room"] * 5
    assert asyncio.get_running_loop().time() - started < 1.0, "one after the other"
    working.cancel()


async def test_who_may_wait_longer_does_not_get_the_refusal_of_somebody_else(tmp_path: Path) -> None:
    place = Place(tmp_path, *map(entry, "ab"))
    place.bench.loader.load_s = 0.2
    headers: list[dict[str, str]] = [{}, {"X-Lama-Priority": "low"}, {"X-Lama-Priority": "low"}]
    answers = await asyncio.gather(*(place.ask("a", one) for one in headers))
    assert sorted(one["lama"]["cache"] for one in answers) == ["hit", "miss", "miss"]


async def test_who_gets_an_answer_that_was_computed_for_another_is_told_who_could_not_give_it(tmp_path: Path) -> None:
    place = Place(tmp_path, entry("a", fallback=("b",)), entry("b"))
    place.bench.loader.fails = lambda source: source == "path:a"
    answers = await asyncio.gather(*(place.ask("a") for _ in range(3)))
    assert [text(one) for one in answers] == [whole("path:b", "one two", 4)] * 3
    told = [one["lama"] for one in answers]
    assert sorted(one["cache"] for one in told) == ["hit", "hit", "miss"]
    assert {(*one["fallback"], *one["reasons"]) for one in told} == {("a", "a: its file ends in the middle")}


async def test_names_of_one_copy_share_its_answers_each_under_its_own_name(tmp_path: Path) -> None:
    place = Place(tmp_path, entry("batch", source="path:a", priority="low"), entry("vip", source="path:a"))
    place.bench.loader.footprints["path:batch"] = place.bench.loader.footprints["path:a"]
    told = [(await place.ask(name))["lama"] for name in ("batch", "vip", "vip")]
    assert [(one["model"], one["cache"]) for one in told] == [("batch", "miss"), ("vip", "hit"), ("vip", "hit")]


async def test_who_is_of_low_priority_does_not_shut_out_who_is_guaranteed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_AT_ONCE", 6)
    monkeypatch.setattr(app, "_FOR_HIGH", 2)
    place = Place(tmp_path, entry("batch", source="path:a"), entry("vip", source="path:d", priority="high"))
    place.bench.loader.delay_s = 0.05
    many = asyncio.create_task(place.ask("batch", prompt=["one", "two", "three", "four"], max_tokens=40))
    await place.bench.becomes("batch", ModelState.ready)
    assert (await place.ask("batch"))["error"]["code"] == "queue_full"
    low = await place.ask("vip", {"X-Lama-Priority": "low"})
    assert low["error"]["code"] == "queue_full"
    assert (await place.ask("vip"))["status"] == 200
    assert (await place.ask("batch", {"X-Lama-Priority": "high"}, prompt=["x", "y"]))["status"] == 200
    assert (await place.ask("vip", prompt=["x", "y", "z"]))["status"] == 429
    assert (await many)["status"] == 200


async def test_what_was_unloaded_has_no_old_answers(tmp_path: Path) -> None:
    place = Place(tmp_path, entry("a"))
    assert [(await place.ask("a"))["lama"]["cache"] for _ in range(2)] == ["miss", "hit"]
    await place.host.unload("a")
    assert (await place.ask("a"))["lama"]["cache"] == "miss"


async def test_names_of_one_copy_have_neither_the_failures_nor_the_fallbacks_of_each_other(tmp_path: Path) -> None:
    batch = entry("batch", source="path:a", fallback=("b",), priority="high")
    place = Place(tmp_path, batch, entry("vip", source="path:a", priority="high"), entry("b"))
    place.bench.loader.fails = lambda source: source == "path:a"
    first, second = await asyncio.gather(place.ask("batch"), place.ask("vip"))
    assert (first["status"], first["lama"]["model"], first["lama"]["fallback"]) == (200, "b", ["batch"])
    assert (second["status"], second["error"]["code"]) == (503, "load_failed")


async def test_who_reads_slowly_keeps_neither_the_memory_nor_those_who_asked_the_same(tmp_path: Path) -> None:
    place = Place(tmp_path, entry("a"))
    reads = asyncio.Event()
    sent: list[MutableMapping[str, Any]] = []
    asked = iter([{"type": "http.request", "body": json.dumps(ASK | {"model": "a", "stream": True}).encode()}])

    async def receive() -> MutableMapping[str, Any]:
        return next(asked, None) or await asyncio.Future()

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)
        if message["type"] == "http.response.body":
            await reads.wait()

    scope = {
        "type": "http", "method": "POST", "path": "/v1/completions", "query_string": b"", "root_path": "",
        "headers": [(b"host", b"localhost"), (b"authorization", b"Bearer " + b"k" * 20)],
    }  # fmt: skip
    slow = asyncio.create_task(place.app(scope, receive, send))
    await until(lambda: len(sent) == 2)
    answer = await asyncio.wait_for(place.ask("a"), 2)
    assert text(answer) == whole("path:a", "one two", 4)
    await until(lambda: place.bench.host.status().leased_bytes == 0)
    assert not slow.done()
    reads.set()
    await slow
    events = b"".join(message["body"] for message in sent[1:]).split(b"\n\n")
    said = [json.loads(event.removeprefix(b"data: ")) for event in events[:-2]]
    assert "".join(one["choices"][0]["text"] for one in said) == text(answer)
    assert events[-2:] == [b"data: [DONE]", b""]


async def test_a_stream_that_breaks_tells_the_error_behind_what_was_said(tmp_path: Path) -> None:
    place = Place(tmp_path, entry("a"))
    generate = ArrayEngine.generate

    class Breaking(ArrayEngine):
        async def generate(self, prepared: Any) -> Any:
            async for piece in generate(self, prepared):
                yield piece
                if self.device.used > 400 * KIB and piece.text == whole("path:a", "one two", 3)[-6:]:
                    raise EngineError("a cable was pulled")

    await place.ask("a", prompt="x")
    place.bench.loader.engines[0].__class__ = Breaking
    async with place.client.stream("POST", "/v1/completions", json=ASK | {"model": "a", "stream": True}) as told:
        events = (await told.aread()).decode().split("\n\n")
    *said, error, rest = events
    assert rest == ""
    assert "a cable was pulled" in error
    assert len(said) == 4, "a head and three words"


async def test_several_prompts_are_answered_in_their_order_and_counted_together(tmp_path: Path) -> None:
    place = Place(tmp_path, entry("a"))
    prompts = ["one two", "three", "one two"]
    told = await place.ask("a", prompt=prompts)
    assert [(one["index"], one["text"]) for one in told["choices"]] == [
        (number, whole("path:a", prompt, 4)) for number, prompt in enumerate(prompts)
    ]
    assert told["usage"] == {"prompt_tokens": 5, "completion_tokens": 12, "total_tokens": 17}
    assert len(place.bench.loader.loads) == 1
    body = ASK | {"model": "a", "prompt": prompts, "stream": True, "stream_options": {"include_usage": True}}
    async with place.client.stream("POST", "/v1/completions", json=body, headers={"X-Lama-Cache": "off"}) as stream:
        events = (await stream.aread()).decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    parts = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
    texts = ["", "", ""]
    for part in parts:
        for choice in part["choices"]:
            texts[choice["index"]] += choice["text"]
    assert texts == [one["text"] for one in told["choices"]]
    assert parts[-1]["usage"] == told["usage"]
    assert len({part["id"] for part in parts}) == len({part["created"] for part in parts}) == 1


async def test_one_prompt_that_cannot_be_answered_refuses_all_and_leaves_nothing_behind(tmp_path: Path) -> None:
    place = Place(tmp_path, entry("a"))
    refused = await place.ask("a", prompt=["one", "word " * 70])
    assert (refused["status"], refused["error"]["code"]) == (400, "context_length_exceeded")
    assert (await place.ask("a", prompt=["x"] * 65))["error"]["code"] == "invalid_value"
    assert (await place.ask("a", prompt=[]))["status"] == 400
    assert place.bench.host.status().leased_bytes == 0


async def test_the_host_chooses_a_model_that_has_room_for_the_prompt(tmp_path: Path) -> None:
    place = Place(tmp_path, entry("b", quality=1.0, context_window=32), entry("a"))
    assert (await place.ask("auto"))["lama"]["model"] == "b"
    assert (await place.ask("auto", prompt="a longer one " * 12))["lama"]["model"] == "a"
    assert place.bench.loader.loads == ["path:b", "path:a"]
    told = await place.ask("auto", prompt="o " * 35)  # 16 tokens were estimated
    assert told["lama"]["model"] == "a"
    none = await place.ask("auto", prompt="o " * 70)
    assert none["error"]["code"] == "context_length_exceeded"
    assert text(await place.ask("auto", prompt="unbelievable" * 60)), "900 were estimated, and it is one"


async def test_another_model_makes_the_vectors_that_an_engine_failed_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, entry("a", kind="embed", fallback=("b",)), entry("b", kind="embed"))
    embed = ArrayEngine.embed

    async def failing(self: ArrayEngine, texts: Any) -> Embedded:
        if self.name == "path:a":
            raise EngineError("it is out of memory")
        return await embed(self, texts)

    monkeypatch.setattr(ArrayEngine, "embed", failing)
    told = (await place.client.post("/v1/embeddings", json={"model": "a", "input": ["x", "y"]})).json()
    assert len(told["data"]) == 2
    assert told["model"] == "b"
    assert told["lama"]["fallback"] == ["a"]
    assert told["lama"]["reasons"] == ["a: it is out of memory"]


@pytest.mark.parametrize("gone", [False, True])
async def test_an_outbox_never_makes_who_fills_it_wait(gone: bool) -> None:
    reads, sent = asyncio.Event(), []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)
        await reads.wait()
        if gone:
            raise GoneError

    async def filled() -> None:
        async with Outbox(Reply(send)) as outbox:
            for number in range(5):
                outbox.put(b"%d" % number, {})
                await asyncio.sleep(0)
            reads.set()

    if gone:
        with pytest.raises(GoneError):
            await filled()
        return
    await filled()
    bodies = [message["body"] for message in sent if message["type"] == "http.response.body"]
    assert b"".join(bodies) == b"01234"
    assert [message["more_body"] for message in sent[1:]][-1] is False
