"""Models of real shapes with random weights, made on the device one layer after the other: nothing is downloaded, and
never is more than one matrix there in full."""

from __future__ import annotations

from typing import Any

import torch
from bitsandbytes.nn import Linear4bit, Params4bit
from transformers import AutoConfig, AutoModelForCausalLM

from models.model_host import ModelKind, Quantisation
from tasks.model_host.prediction import Storage
from tasks.model_host.shapes import Architecture, of_config

_ROPE = {"rope_theta": 500000.0, "rms_norm_eps": 1e-5, "tie_word_embeddings": False, "torch_dtype": "bfloat16"}
_LLAMA: dict[str, Any] = _ROPE | {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
SHAPES: dict[str, dict[str, Any]] = {
    "8B": _LLAMA | {
        "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072,
    },
    "32B": _ROPE | {
        "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "hidden_size": 5120, "intermediate_size": 27648,
        "num_hidden_layers": 64, "num_attention_heads": 40, "num_key_value_heads": 8, "vocab_size": 152064,
        "max_position_embeddings": 32768,
    },
    "70B": _LLAMA | {
        "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64,
        "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072,
    },
}  # fmt: skip
"""Llama 3.1 8B, Qwen2.5 32B and Llama 3.1 70B, as their `config.json` says."""


def architecture(shape: dict[str, Any]) -> Architecture:
    """What the model host makes of the configuration `shape`."""
    return of_config(shape, ModelKind.generate)


def made(shape: dict[str, Any], quantisation: Quantisation, device: str, *, seed: int = 1) -> Any:
    """The model on `device`, in evaluation.

    Args:
        shape: its configuration.
        quantisation: `bf16`, `fp32`, `nf4` or `nf4-dq`.
        device: torch's word for it.
        seed: of the weights.
    """
    told = dict(shape)
    config = AutoConfig.for_model(told.pop("model_type"), **told)
    dtype = getattr(torch, Storage.of(architecture(shape), quantisation).dtype)
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype)
    dice = torch.Generator(device).manual_seed(seed)
    quantised = quantisation in {Quantisation.nf4, Quantisation.nf4_dq}
    head = model.get_output_embeddings()
    for part in list(model.modules()):
        for name, child in list(part.named_children()):
            if quantised and isinstance(child, torch.nn.Linear) and child is not head:
                setattr(part, name, _four_bits(child, dtype, dice, nested=quantisation is Quantisation.nf4_dq))
    for part in model.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            if parameter.device.type == "meta":
                setattr(part, name, torch.nn.Parameter(_random(parameter.shape, dtype, dice), requires_grad=False))
    rotary = model.model.rotary_emb  # its buffers are computed, not drawn
    with torch.device(device):
        model.model.rotary_emb = type(rotary)(config)
    model.tie_weights()
    model.is_quantized = quantised
    strays = [name for name, one in (*model.named_parameters(), *model.named_buffers()) if one.device.type == "meta"]
    if strays:
        raise AssertionError(f"without weights: {strays[:3]}")
    return model.eval()


def _random(shape: torch.Size, dtype: torch.dtype, dice: torch.Generator) -> torch.Tensor:
    if len(shape) == 1:
        return torch.ones(shape, dtype=dtype, device=dice.device)  # norms; a bias of one harms nobody
    return torch.empty(shape, dtype=dtype, device=dice.device).normal_(std=0.02, generator=dice)


def _four_bits(linear: torch.nn.Linear, dtype: torch.dtype, dice: torch.Generator, *, nested: bool) -> Linear4bit:
    with torch.device("meta"):
        replaced = Linear4bit(
            linear.in_features, linear.out_features, bias=linear.bias is not None, compute_dtype=dtype,
            compress_statistics=nested, quant_type="nf4",
        )  # fmt: skip
    weight = Params4bit(
        _random(linear.weight.shape, dtype, dice), compress_statistics=nested, quant_type="nf4", module=replaced
    )
    replaced.weight = weight.to(dice.device)  # quantises it there
    return replaced
