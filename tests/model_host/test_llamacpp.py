"""The engine of GGUF files, by itself."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest

from models.model_host import CatalogueEntry, Footprint, ModelKind
from tasks.model_host.counting import count
from tasks.model_host.engine import Ask, Piece, Prepared, Sampling
from tasks.model_host.errors import EngineError, LoadError, RequestError
from tasks.model_host.llamacpp_engine import LlamaCppEngine, open_llamacpp
from tests.model_host.running import KV_PER_TOKEN, smollm2


async def opened(context_window: int = 512, concurrency: int = 2, *, embeds: bool = False) -> LlamaCppEngine:
    return await open_llamacpp(
        smollm2(), context_window=context_window, concurrency=concurrency, threads=1, kv_per_token=KV_PER_TOKEN,
        embeds=embeds,
    )  # fmt: skip


@pytest.fixture
async def engine() -> AsyncIterator[LlamaCppEngine]:
    one = await opened()
    yield one
    await one.close()


async def answered(engine: LlamaCppEngine, ask: Ask) -> tuple[Prepared, list[Piece]]:
    prepared = engine.prepare(ask)
    async with aclosing(engine.generate(prepared)) as pieces:
        return prepared, [piece async for piece in pieces]


async def test_tokens_are_counted_exactly_before_and_after(engine: LlamaCppEngine) -> None:
    for ask in (
        Ask(prompt="The 1st: 漢字 😀", max_tokens=9),
        Ask(prompt=(1, 2, 3), max_tokens=9),
        Ask(messages=({"role": "user", "content": "Hi"},), max_tokens=9),
    ):
        prepared, pieces = await answered(engine, ask)
        assert prepared.prompt_tokens == prepared.payload.count(b",", 0, prepared.payload.index(b"]")) + 1
        assert sum(piece.tokens for piece in pieces) <= prepared.max_tokens == 9
        assert [piece.finish for piece in pieces if piece.finish]
        assert pieces[-1].finish == "stop" or sum(piece.tokens for piece in pieces) == 9


async def test_without_a_limit_an_answer_may_fill_the_context_window(engine: LlamaCppEngine) -> None:
    prepared = engine.prepare(Ask(prompt="x"))
    assert prepared.most_tokens == engine.context_window == 512
    with pytest.raises(RequestError) as caught:
        engine.prepare(Ask(prompt="word " * 600))
    assert caught.value.code == "context_length_exceeded"


async def test_closing_ends_it_and_makes_room_for_the_next(engine: LlamaCppEngine) -> None:
    for _ in range(6):  # more than there are slots
        pieces = engine.generate(engine.prepare(Ask(prompt="Once upon a time", sampling=Sampling(seed=1))))
        await anext(pieces)
        await pieces.aclose()
    started = time.monotonic()
    await answered(engine, Ask(prompt="x", max_tokens=1))
    assert time.monotonic() - started < 5


async def test_pieces_that_nobody_takes_are_given_as_one(engine: LlamaCppEngine) -> None:
    prepared = engine.prepare(Ask(prompt="1, 2, 3,", max_tokens=40, sampling=Sampling(temperature=0)))
    async with aclosing(engine.generate(prepared)) as pieces:
        texts = [(await anext(pieces)).text]
        (run,) = engine._runs
        while len(run._waiting) < 15:  # noqa: ASYNC110 - what is waited for happens in llama.cpp
            await asyncio.sleep(0.05)
        texts.append((await anext(pieces)).text)
        assert not run._waiting
        texts += [piece.text async for piece in pieces]
    assert len(texts) <= 30, "of forty"
    _, alone = await answered(engine, Ask(prompt="1, 2, 3,", max_tokens=40, sampling=Sampling(temperature=0)))
    assert "".join(texts) == "".join(piece.text for piece in alone)


async def test_what_runs_when_it_is_closed_fails_as_such() -> None:
    engine = await opened()
    pieces = engine.generate(engine.prepare(Ask(prompt="Once", sampling=Sampling(seed=1))))
    await anext(pieces)
    closing = asyncio.create_task(engine.close())
    with pytest.raises(EngineError, match="unloaded"):
        async for _ in pieces:
            pass
    await closing
    await engine.close()
    with pytest.raises(EngineError):
        engine.prepare(Ask(prompt="x"))


async def test_closing_gives_all_memory_back() -> None:
    await (await opened()).close()  # what the library keeps for itself is there now
    before = resident()
    engine = await opened(2_048, 4)
    used = resident() - before
    assert used > engine.footprint.kv_fixed * 0.9, "it is really there"
    assert engine.measured
    assert engine.measured.beside == pytest.approx(used, rel=0.05), "and it is told"
    await engine.close()
    assert resident() - before < 0.1 * used


def predicted(context_window: int, concurrency: int, *, embeds: bool = False) -> Footprint:
    kind = ModelKind.embed if embeds else ModelKind.generate
    entry = CatalogueEntry(
        name="m", source=f"path:{smollm2()}", kind=kind, context_window=context_window, concurrency=concurrency
    )
    return count(entry).footprint("cpu")


def test_full_contexts_take_what_was_predicted() -> None:
    command = [sys.executable, "-m", "tests.model_host.llamacpp_alone", "512", "1"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    anonymous, pages = map(int, ended.stdout.split())
    told = predicted(512, 1)
    assert told.weights == pytest.approx(pages, rel=0.01)
    assert told.kv_fixed == 512 * KV_PER_TOKEN
    assert told.resident == pytest.approx(anonymous + pages, rel=0.03)
    assert told.resident >= anonymous + pages


@pytest.mark.parametrize(
    ("window", "slots", "embeds"),
    [(4_096, 4, False), (512, 1, False), (256, 2, True)],
    ids=["default", "small", "embeds"],
)
async def test_what_a_load_takes_is_measured_and_was_predicted(window: int, slots: int, embeds: bool) -> None:
    told = predicted(window, slots, embeds=embeds)
    noise = [bytearray(50_000_000)]  # of others, in this process
    engine = await opened(window, slots, embeds=embeds)
    try:
        found = engine.measured
        assert found is not None
        assert found.beside is not None
        assert found.weights == pytest.approx(told.weights, rel=0.01)
        assert found.beside <= told.kv_fixed + told.workspace, "what is promised is enough"
        if not embeds:  # a text that fills a step has logits for each of its tokens; the first one is short
            assert found.total == pytest.approx(told.resident, rel=0.08 if window < 1_000 else 0.03)
        assert noise
    finally:
        await engine.close()


async def test_two_that_are_loaded_at_once_are_measured_each_by_itself() -> None:
    one, other = await asyncio.gather(opened(768, 1), opened(1_024, 3))
    try:
        assert one.measured
        assert other.measured
        kv = [KV_PER_TOKEN * tokens for tokens in (768, 1_024 * 3)]
        beside = [(found.measured.beside or 0) - size for found, size in zip((one, other), kv, strict=True)]  # type: ignore[union-attr]
        assert beside[0] == pytest.approx(beside[1], rel=0.1)
    finally:
        await one.close()
        await other.close()


async def test_two_models_do_not_disturb_one_another(engine: LlamaCppEngine) -> None:
    other = await opened(embeds=True, concurrency=1)
    told = await other.embed(["The cat sat.", "The cat sat."])
    assert told.vectors[0] == pytest.approx(told.vectors[1], abs=1e-5)
    with pytest.raises(RequestError):
        await other.embed(["word " * 600])
    with pytest.raises(RequestError):
        await engine.embed(["x"])
    with pytest.raises(RequestError):
        other.prepare(Ask(prompt="x"))
    await other.close()
    _, pieces = await answered(engine, Ask(prompt="x", max_tokens=3))
    assert pieces[-1].finish


@pytest.mark.parametrize("damage", ["empty", "cut", "no header", "other"])
async def test_a_damaged_file_is_refused_and_the_process_lives(tmp_path: Path, damage: str) -> None:
    whole = smollm2().read_bytes()
    file = tmp_path / "model.gguf"
    file.write_bytes({"empty": b"", "cut": whole[:5_000_000], "no header": b"GGUF", "other": b"x" * 4_096}[damage])
    before = resident()
    with pytest.raises(LoadError):
        await open_llamacpp(file, context_window=512, concurrency=2, threads=2, kv_per_token=KV_PER_TOKEN)
    assert resident() - before < 50 * 1024**2


async def test_its_server_is_reached_by_nobody_else(engine: LlamaCppEngine) -> None:
    folder = engine._server._folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    process = psutil.Process(os.getpid())
    assert not [one for one in process.net_connections("inet") if one.status == psutil.CONN_LISTEN]
    engine._server._key = "wrong"
    with pytest.raises((EngineError, RequestError)):
        engine.prepare(Ask(prompt="x"))
    await engine.close()
    assert not folder.exists()


def resident() -> int:
    """Bytes of this process that are no pages of a file."""
    with open("/proc/self/status", encoding="ascii") as told:  # noqa: PTH123
        return next(int(line.split()[1]) * 1024 for line in told if line.startswith("RssAnon"))
