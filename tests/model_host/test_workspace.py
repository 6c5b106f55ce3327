"""What a step holds at a time is no more than was predicted, and not much less: counted by torch's own dispatch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from models.model_host import ModelKind, Quantisation
from tasks.model_host.attention import Geometry, Span, Step
from tasks.model_host.batch import Limits
from tasks.model_host.compatible import adopt
from tasks.model_host.footprint import workspace_bytes
from tasks.model_host.prediction import BYTES, Storage, workspace
from tasks.model_host.prediction import Step as Largest
from tasks.model_host.shapes import of_config
from tests.model_host import tiny
from tests.model_host.live_bytes import LiveBytes

_CPU = torch.device("cpu")
_SHAPES: dict[str, dict[str, Any]] = {
    "wide inside": {"hidden_size": 256, "intermediate_size": 1024, "num_attention_heads": 8, "num_key_value_heads": 4,
                    "head_dim": 32, "vocab_size": 2000},
    "many heads": {"hidden_size": 256, "intermediate_size": 256, "num_attention_heads": 8, "num_key_value_heads": 8,
                   "head_dim": 32, "vocab_size": 400},
    "many words": {"hidden_size": 144, "intermediate_size": 384, "num_attention_heads": 9, "num_key_value_heads": 3,
                   "head_dim": 16, "vocab_size": 12000, "num_hidden_layers": 1},
}  # fmt: skip


def peak(module: Any, geometry: Geometry, answered: int, read: int, context: int) -> int:
    """Most bytes that are alive in a step of `answered` single tokens and `read` of a prompt, with the choice."""
    spans = [Span(geometry.allocate(context), context - 1, 1) for _ in range(answered)]
    spans += [Span(geometry.allocate(context), context - read, read)] if read else []
    tokens = torch.ones((1, answered + read), dtype=torch.long)
    wanted = torch.arange(max(answered, 1))
    with torch.inference_mode(), LiveBytes() as live:
        output = module(
            input_ids=tokens, position_ids=tokens, use_cache=False, logits_to_keep=wanted, ragged=Step(spans)
        )
        torch.softmax(output.logits[0].float(), dim=-1).sort(dim=-1, descending=True)
    return live.peak


@pytest.mark.parametrize("shape", _SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_a_step_never_holds_more_than_was_predicted_nor_much_less(shape: str, dtype: torch.dtype) -> None:
    module = tiny.model("llama", dtype=dtype, **_SHAPES[shape])
    geometry = adopt(module, _CPU)
    for answered, read, context in ((64, 512, 1024), (64, 0, 1024), (0, 512, 1024), (8, 64, 1024)):
        found = peak(module, geometry, answered, read, context)
        limits = Limits(reads_alone=max(1, read), reads_beside=max(1, read), most_running=max(1, answered))
        told = workspace_bytes(module, geometry, limits, context)
        assert found <= told, (answered, read, context)
        assert told <= 2.2 * found, (answered, read, context)


def test_the_same_is_predicted_from_a_configuration_alone() -> None:
    module = tiny.model("llama", dtype=torch.bfloat16, **_SHAPES["many words"])
    geometry = adopt(module, _CPU)
    told = workspace_bytes(module, geometry, Limits(512, 512, 64), 1024)
    architecture = of_config(module.config.to_dict(), ModelKind.generate)
    assert workspace(architecture, Storage("bfloat16", Quantisation.bf16), Largest(512, 64, 1024)) == told
    assert geometry.bytes_per_token == sum(one.keys + one.values for one in architecture.layers) * BYTES["bfloat16"]
