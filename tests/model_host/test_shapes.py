"""A configuration alone says what a model is made of; what it says of attention is counted right or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.model_host import EngineKind, ModelKind
from tasks.model_host.errors import LoadError
from tasks.model_host.prediction import kv_of, kv_per_token
from tasks.model_host.shapes import Architecture, Layer, architecture_of, of_config
from tests.model_host.smollm2 import minilm, packaged, unpacked

CONFIGS = Path(__file__).parent / "configs"
TINY: dict[str, Any] = {
    "model_type": "llama", "num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 256, "max_position_embeddings": 512,
}  # fmt: skip


def of(**changes: Any) -> Architecture:
    return of_config(TINY | changes, ModelKind.generate)


@pytest.mark.parametrize(
    ("name", "parameters", "kv"),
    [
        ("llama3.1-70b", 70_553_706_496, 327_680),
        ("qwen2.5-32b", 32_763_876_352, 262_144),
        ("mistral-large-123b", 122_610_069_504, 360_448),
    ],
)
def test_published_models_have_their_published_size(name: str, parameters: int, kv: int) -> None:
    config = json.loads((CONFIGS / name / "config.json").read_text())
    found = of_config(config, ModelKind.generate)
    assert found.parameters == parameters
    assert kv_per_token(found, 2) == kv
    assert found.stored_dtype == "bfloat16"


def test_the_same_model_is_the_same_whatever_file_it_comes_in() -> None:
    folder = architecture_of(unpacked(), ModelKind.generate, EngineKind.transformers)
    assert folder == architecture_of(packaged(), ModelKind.generate, EngineKind.transformers)
    file = architecture_of(packaged(), ModelKind.generate, EngineKind.llamacpp)
    assert (folder.parameters, folder.layers, folder.tied) == (file.parameters, file.layers, file.tied)
    assert folder.layers == (Layer(192, 192),) * 30
    assert (folder.context, folder.vocab, folder.tied) == (8192, 49152, True)


def test_what_embeds_keeps_no_keys() -> None:
    found = architecture_of(minilm(), ModelKind.embed, EngineKind.transformers)
    assert found.layers == ()
    assert found.parameters == 22_713_216


def test_heads_that_are_grouped_and_fused_are_counted() -> None:
    assert of().layers == (Layer(32, 32),) * 2
    assert of(num_key_value_heads=4).layers == (Layer(64, 64),) * 2
    assert of(head_dim=8).layers == (Layer(16, 16),) * 2
    assert of(model_type="phi3", pad_token_id=0).layers == (Layer(32, 32),) * 2
    sizes = {"n_layer": 2, "n_embd": 64, "n_head": 4, "vocab_size": 256, "n_positions": 64}
    gpt2 = of_config({"model_type": "gpt2"} | sizes, ModelKind.generate)
    assert gpt2.layers == (Layer(64, 64),) * 2
    assert sum(weight.linear for weight in gpt2.weights) == 8


def test_sliding_windows_are_counted_by_layer() -> None:
    kinds = ["sliding_attention", "full_attention"]
    found = of(model_type="gemma3_text", head_dim=16, sliding_window=100, layer_types=kinds)
    assert [layer.window for layer in found.layers] == [100, None]
    assert kv_of(found, 1000, 2) == (100 + 1000) * 64 * 2
    assert [layer.window for layer in of(model_type="mistral", sliding_window=64).layers] == [64, 64]
    assert [layer.window for layer in of(model_type="qwen2", sliding_window=64).layers] == [None, None]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"model_type": "mamba"}, "linear_attention"),
        ({"model_type": "qwen3_next"}, "linear_attention|another state"),
        ({"model_type": "jamba"}, "another state|layers of"),
        ({"model_type": "falcon_h1"}, "another state|layers of|describes no model"),
        ({"model_type": "deepseek_v3", "kv_lora_rank": 512}, "MLA"),
        ({"model_type": "deepseek_v3", "kv_lora_rank": None}, "another state|describes no model"),
        ({"model_type": "rwkv"}, "another state|not known|describes no model"),
        ({"add_cross_attention": True}, "cross attention"),
        ({"is_encoder_decoder": True}, "across"),
        ({"num_kv_shared_layers": 1}, "shares keys"),
        ({"vision_config": {"a": 1}}, "more than text"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantised before, by 'gptq'"),
        ({"model_type": "invented", "auto_map": {"AutoConfig": "evil.Config"}}, "no code for"),
        ({"model_type": None}, "no model_type"),
        ({"num_hidden_layers": 10**9}, "at most"),
        ({"num_hidden_layers": -1}, "at most"),
        ({"vocab_size": 10**15}, "at most"),
        ({"num_hidden_layers": "many"}, "describes no model"),
        ({"num_attention_heads": 0}, "describes no model"),
        ({"layer_types": ["chunked_attention", "full_attention"]}, "layers"),
        ({"layer_types": ["invented", "full_attention"]}, "describes no model"),
    ],
)
def test_what_is_not_known_is_refused_with_a_sentence(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(LoadError, match=why):
        of(**changes)


@settings(max_examples=60)
@given(
    config=st.dictionaries(
        st.sampled_from([*TINY, "head_dim", "sliding_window", "layer_types", "rope_scaling", "torch_dtype"]),
        st.none()
        | st.booleans()
        | st.integers(-5, 10**12)
        | st.floats()
        | st.text(max_size=5)
        | st.lists(st.integers()),
        min_size=1,
        max_size=2,
    )
)
def test_any_configuration_is_counted_or_refused(config: dict[str, Any]) -> None:
    try:
        found = of(**config)
    except LoadError:
        return
    assert found.parameters > 0
    assert kv_per_token(found, 2) > 0
