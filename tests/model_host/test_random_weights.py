"""Models that are made on the device are what a load would have made of them: what is shown with them holds."""

from __future__ import annotations

import pytest
import torch

from benchmarks._model_host_cuda import shown
from models.model_host import ModelKind, Quantisation
from tasks.model_host.engine import Ask, Sampling
from tasks.model_host.loading import measured, packs_nf4
from tasks.model_host.prediction import Step, predict
from tasks.model_host.transformers_engine import TransformersEngine
from tests.model_host import tiny
from tests.model_host.random_weights import SHAPES, architecture, made

_SMALLER = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 3, "vocab_size": 1024}
_HEADS = {"num_attention_heads": 8, "num_key_value_heads": 2}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("how", [Quantisation.bf16, Quantisation.nf4, Quantisation.nf4_dq], ids=lambda how: how.value)
async def test_they_take_what_is_predicted_and_answer(name: str, how: Quantisation) -> None:
    torch.set_num_threads(1)
    shape = SHAPES[name] | _SMALLER | _HEADS
    module = made(shape, how, "cpu")
    step = Step.of(ModelKind.generate, 128)
    told = predict(architecture(shape), how, device="cpu", step=step, packs_nf4=packs_nf4())
    before = measured(module)
    engine = await TransformersEngine.start(module, tiny.byte_level(), name=name, context_window=128)
    try:
        assert told.weights == pytest.approx(max(before, measured(module)), rel=0.01)
        asked = engine.prepare(Ask(prompt=(5, 6, 7), max_tokens=6, sampling=Sampling(temperature=0)))
        assert sum([piece.tokens async for piece in engine.generate(asked)]) > 0
    finally:
        await engine.close()


@pytest.mark.parametrize(("name", "billions"), [("8B", 8.03), ("32B", 32.76), ("70B", 70.55)])
def test_their_shapes_are_those_of_the_real_ones(name: str, billions: float) -> None:
    assert architecture(SHAPES[name]).parameters / 1e9 == pytest.approx(billions, rel=0.002)


async def test_the_benchmark_on_a_gpu_runs_on_a_cpu_too() -> None:
    """What it does there is done here with small shapes, since nobody has a GPU at hand every day."""
    torch.set_num_threads(1)
    row = await shown(SHAPES["8B"] | _SMALLER | _HEADS, Quantisation.nf4, "cpu", tokens=6)
    assert row["weights_predicted"] == pytest.approx(row["tensors"], rel=0.03)
    assert row["kv_per_token_predicted"] == row["kv_per_token_engine"]
    assert 0 < row["read_per_token"] < row["tensors"]
    assert row["generate_tokens_per_s"] > 0
    assert row["engine_tokens_per_s"] > 0
