"""On two real cards: a divided model answers as the undivided one does, and each card has what was charged at most."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from blocks.gpus import gpus
from models.model_host import CatalogueEntry, Quantisation
from tasks.model_host.engine import Ask, Engine, Sampling
from tasks.model_host.opening import Machine, open_engine, predict_entry
from tests.model_host import tiny

_ROOM = 2 * 10**9
_SHAPE: dict[str, Any] = {
    "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 6, "head_dim": 64, "num_attention_heads": 8,
    "num_key_value_heads": 2, "initializer_range": 0.05,
}  # fmt: skip


async def said(engine: Engine) -> list[str]:
    ask = Ask(prompt=tuple(range(5, 45)), max_tokens=12, sampling=Sampling(temperature=0, logprobs=0))
    return [one.token async for piece in engine.generate(engine.prepare(ask)) for one in piece.logprobs]


@pytest.mark.parametrize("how", [Quantisation.fp32, Quantisation.nf4], ids=lambda how: how.value)
async def test_a_model_over_two_cards_says_what_it_says_on_one(tmp_path: Path, how: Quantisation, card: int) -> None:
    if torch.cuda.device_count() < 2 or len(gpus()) < 2:
        pytest.skip("there are no two GPUs")
    assert card > 2 * _ROOM
    tiny.model("llama", **_SHAPE).save_pretrained(tmp_path / "m")
    tiny.byte_level().save_pretrained(tmp_path / "m")
    entry = CatalogueEntry(name="m", source=f"path:{tmp_path / 'm'}", quantisation=how, context_window=512)
    both = Machine("cuda", 1, gpus()[:2], _ROOM)
    before = [torch.cuda.memory_allocated(number) for number in both.numbers]
    divided = await open_engine(entry, both)
    taken = [torch.cuda.memory_allocated(number) - before[number] for number in both.numbers]
    charged = predict_entry(entry, both)
    assert all(0 < each <= charged.resident for each in taken)
    assert divided.footprint.weights == pytest.approx(charged.weights, rel=0.01)
    answer = await said(divided)
    await divided.close()
    alone = await open_engine(entry, replace(both, cards=both.cards[:1]))
    assert await said(alone) == answer
    await alone.close()
