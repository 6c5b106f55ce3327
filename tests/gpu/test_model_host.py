"""On a real card: what was predicted is what is taken, quantised models answer, leave and come back, side by side."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
import torch

from models.model_host import (
    CatalogueEntry,
    Footprint,
    ModelHostSettings,
    ModelKind,
    ModelState,
    Priority,
    Quantisation,
)
from tasks.model_host.engine import Ask, Engine, Sampling
from tasks.model_host.loading import measured
from tasks.model_host.prediction import Step, predict
from tasks.model_host.residency import Residency
from tasks.model_host.transformers_engine import TransformersEngine
from tests.model_host import tiny
from tests.model_host.random_weights import SHAPES, architecture, made

WINDOW = 1024
_LAYERS = {"8B": 4, "32B": 6, "70B": 4}
"""Of the real widths, a few layers: what they take together fits a small card."""


def scaled(name: str) -> dict[str, Any]:
    return SHAPES[name] | {"num_hidden_layers": _LAYERS[name]}


def predicted(name: str, how: Quantisation = Quantisation.nf4) -> Footprint:
    return predict(architecture(scaled(name)), how, device="cuda", step=Step.of(ModelKind.generate, WINDOW))


async def started(name: str, how: Quantisation = Quantisation.nf4) -> TransformersEngine:
    module = await asyncio.to_thread(made, scaled(name), how, "cuda")
    return await TransformersEngine.start(module, tiny.byte_level(), name=name, context_window=WINDOW)


async def said(engine: Engine, tokens: int = 12) -> list[str]:
    ask = Ask(prompt=tuple(range(5, 25)), max_tokens=tokens, sampling=Sampling(temperature=0, logprobs=0))
    return [one.token async for piece in engine.generate(engine.prepare(ask)) for one in piece.logprobs]


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("how", [Quantisation.bf16, Quantisation.nf4, Quantisation.nf4_dq], ids=lambda how: how.value)
def test_weights_take_what_was_predicted_on_the_card(name: str, how: Quantisation, card: int) -> None:
    told = predicted(name, how)
    if told.resident > card:
        pytest.skip(f"it takes {told.resident:,} bytes, and {card:,} are free")
    before = torch.cuda.memory_allocated()
    module = made(scaled(name), how, "cuda")
    taken = torch.cuda.memory_allocated() - before
    assert told.weights == pytest.approx(taken, rel=0.01)
    assert measured(module) == pytest.approx(taken, rel=0.01)
    del module
    gc.collect()


async def test_a_whole_context_and_a_step_stay_within_what_was_predicted() -> None:
    told = predicted("8B")
    engine = await started("8B")
    try:
        assert engine.footprint.kv_per_token == told.kv_per_token
        weights = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        ask = Ask(prompt=tuple(range(5, 5 + WINDOW - 8)), max_tokens=8, sampling=Sampling(temperature=0))
        assert [piece async for piece in engine.generate(engine.prepare(ask))]
        peak = torch.cuda.max_memory_allocated() - weights
        assert peak <= WINDOW * told.kv_per_token * 1.03 + told.workspace
    finally:
        await engine.close()


async def test_nf4_answers_alone_as_it_does_among_others() -> None:
    engine = await started("8B")
    try:
        alone = await said(engine)
        together = await asyncio.gather(*(said(engine) for _ in range(8)))
        assert len(alone) == 12
        assert sum(one[:4] == alone[:4] for one in together) >= 6, "kernels of other sizes round in other ways"
    finally:
        await engine.close()


async def test_parked_weights_leave_the_card_and_come_back_as_they_were() -> None:
    engine = await started("8B")
    try:
        before, there = await said(engine), torch.cuda.memory_allocated()
        await engine.park()
        assert torch.cuda.memory_allocated() < there / 10
        await engine.wake()
        assert torch.cuda.memory_allocated() == pytest.approx(there, rel=0.02)
        assert await said(engine) == before
    finally:
        await engine.close()


async def test_three_reserves_stand_side_by_side_within_the_memory(card: int) -> None:
    told = {name: predicted(name) for name in SHAPES}
    promised = {name: one.resident + 4 * WINDOW * one.kv_per_token for name, one in told.items()}
    capacity = sum(promised.values()) + 64 * 1024**2
    if capacity > card:
        pytest.skip(f"they take {capacity:,} bytes, and {card:,} are free")
    entries = tuple(
        CatalogueEntry(
            name=name, source=f"path:/{name}", context_window=WINDOW, reserve_bytes=promised[name],
            priority=Priority.high, quantisation=Quantisation.nf4,
        )
        for name in SHAPES
    )  # fmt: skip

    async def load(entry: CatalogueEntry) -> TransformersEngine:
        return await started(entry.name)

    host = Residency(ModelHostSettings(models=entries), capacity, lambda entry: told[entry.name], load, device="cuda")
    await host.start()
    try:
        async with asyncio.timeout(300):
            async for status in host.watch():
                if all(model.state is ModelState.ready for model in status.models):
                    break

        async def one(name: str) -> int:
            ask = Ask(prompt=tuple(range(5, 105)), max_tokens=50)
            async with host.serve(name, ask) as (engine, prepared):
                return sum([piece.tokens async for piece in engine.generate(prepared)])

        answers = await asyncio.gather(*(one(name) for name in SHAPES for _ in range(4)))
        assert all(answers)
        assert host.counts["evictions"] == 0
        assert torch.cuda.max_memory_reserved() <= capacity + 512 * 1024**2, "contexts of CUDA's libraries"
    finally:
        await host.drain()
