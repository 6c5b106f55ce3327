"""Whether an architecture does in our batch what it does by itself: found out at the load, by running both."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from transformers import AttentionInterface

from tasks.model_host.attention import IMPLEMENTATION, Geometry, Span, Step, ragged_attention
from tasks.model_host.errors import LoadError

_TRIAL = "lama_ragged_trial"
_LAYERS = frozenset({"full_attention", "sliding_attention"})
_LENGTH_DEPENDENT = frozenset({"dynamic", "longrope"})
"""Rotary embeddings that change for all of a batch once any of it is long."""
_TOKENS = 12
_CHUNKS = (7, 3, 1, 1)
_MATE = 5
_REMEDY = "Use llama.cpp with a GGUF file of it, or another model."


def adopt(module: Any, device: torch.device) -> Geometry:
    """Make `module`'s attention ours, and tell the shape of its keys and values.

    Raises:
        LoadError: its answers would not be its own.
    """
    name = type(module).__name__
    if "logits_to_keep" not in inspect.signature(module.forward).parameters:
        raise LoadError("it is not a causal language model that this engine knows.", component=name, remedy=_REMEDY)
    if len(kinds := {weight.device.type for weight in module.parameters()}) > 1:
        raise LoadError(
            f"its weights lie on devices of several kinds ({', '.join(sorted(kinds))}).",
            component=name,
            remedy="Load it on one GPU, or on several, whole.",
        )
    module.eval()
    with torch.inference_mode():
        expected, geometry = _by_itself(module, device, name)
        module.set_attn_implementation(_TRIAL)
        got, windows = _in_batch(module, geometry, name)
    if not bool(expected.isfinite().all()):
        raise LoadError(
            "its first answer has values that are no numbers: its weights are damaged.",
            component=name,
            remedy="Fetch it again.",
        )
    _check_windows(module, windows, geometry, name)
    error = float((got - expected).norm() / (expected - expected.mean()).norm().clamp_min(1e-9))
    exact = geometry.dtype == torch.float32 and not getattr(module, "is_quantized", False)
    if not error <= (1e-2 if exact else 0.15):
        raise LoadError(f"its answers differ in a batch (by {error:.0%}).", component=name, remedy=_REMEDY)
    module.set_attn_implementation(IMPLEMENTATION)
    return geometry


def largest_context(module: Any) -> int:
    """Tokens of context that the model and our batch can do."""
    config = module.config.get_text_config()
    most = int(getattr(config, "max_position_embeddings", None) or 2**20)
    rope = getattr(config, "rope_parameters", None) or {}
    by_layer = [given for given in rope.values() if isinstance(given, dict)] or [rope]
    if any(given.get("rope_type") in _LENGTH_DEPENDENT for given in by_layer):
        trained = [given.get("original_max_position_embeddings") for given in by_layer]
        trained.append(getattr(config, "original_max_position_embeddings", None))
        most = min([most, *(int(given) for given in trained if given)])
    return most


def _tokens(module: Any, count: int, start: int) -> list[int]:
    vocabulary = int(module.config.get_text_config().vocab_size)
    return [(start + 7919 * at) % vocabulary for at in range(count)]


def _by_itself(module: Any, device: torch.device, name: str) -> tuple[torch.Tensor, Geometry]:
    asked = torch.tensor([_tokens(module, _TOKENS, 13)], device=device)
    output = module(input_ids=asked, use_cache=True)
    layers = getattr(output.past_key_values, "layers", None) or []
    kept = [(getattr(layer, "keys", None), getattr(layer, "values", None)) for layer in layers]
    shapes = {
        (keys.shape[1], keys.shape[3], values.shape[3], keys.dtype) if keys is not None and values is not None else None
        for keys, values in kept
    }
    if len(shapes) != 1 or (shape := next(iter(shapes))) is None or shape[1] != shape[2]:
        raise LoadError("its layers do not all keep keys and values of one shape.", component=name, remedy=_REMEDY)
    heads, width, _, dtype = shape
    cards = _cards([keys.device for keys, _ in kept if keys is not None], name)
    return output.logits[0, -1].float(), Geometry(len(kept), heads, width, dtype, device, cards)


def _cards(devices: Sequence[torch.device], name: str) -> tuple[tuple[torch.device, int], ...]:
    """The cards of the layers' keys and values with how many layers each has; empty: there is one."""
    found = tuple((device, len(list(layers))) for device, layers in groupby(devices))
    if len({device for device, _ in found}) < len(found):
        raise LoadError("its layers are not in their order on the cards.", component=name)
    return found if len(found) > 1 else ()


class _Trial(Step):
    windows: dict[int, int | None]


def _trial_attention(
    module: Any, *given: Any, sliding_window: int | None = None, ragged: _Trial | None = None, **others: Any
) -> tuple[torch.Tensor, None]:
    if ragged is not None:
        ragged.windows[int(module.layer_idx)] = sliding_window
    return ragged_attention(module, *given, sliding_window=sliding_window, ragged=ragged, **others)


def _in_batch(module: Any, geometry: Geometry, name: str) -> tuple[torch.Tensor, dict[int, int | None]]:
    """The same tokens in chunks, and a stranger beside them."""
    asked, stranger = _tokens(module, _TOKENS, 13), _tokens(module, _MATE, 101)
    kv, strange = geometry.allocate(_TOKENS), geometry.allocate(_MATE)
    past = 0
    windows: dict[int, int | None] = {}
    logits = torch.empty(0)
    for count in _CHUNKS:
        mate = stranger if past == 0 else []
        spans = [Span(kv, past, count), *([Span(strange, 0, _MATE)] if mate else [])]
        step = _Trial(spans)
        step.windows = windows
        positions = [*range(past, past + count), *range(len(mate))]
        output = module(
            input_ids=torch.tensor([[*asked[past : past + count], *mate]], device=geometry.device),
            position_ids=torch.tensor([positions], device=geometry.device),
            use_cache=False,
            logits_to_keep=geometry.places([count - 1]),
            ragged=step,
        )
        logits = output.logits
        past += count
    if set(windows) != set(range(geometry.layers)) or logits.shape[:2] != (1, 1):
        raise LoadError("its attention does not go through transformers' interface.", component=name, remedy=_REMEDY)
    return logits[0, 0].float(), windows


def _check_windows(module: Any, windows: dict[int, int | None], geometry: Geometry, name: str) -> None:
    """A trial is shorter than any window: that the attention is told of it has to be looked at."""
    config = module.config.get_text_config()
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * geometry.layers
    if strange := sorted(set(kinds) - _LAYERS):
        raise LoadError(f"it has layers of the kind {', '.join(strange)}.", component=name, remedy=_REMEDY)
    for layer, kind in enumerate(kinds[: geometry.layers]):
        if kind == "sliding_attention" and windows[layer] != config.sliding_window:
            raise LoadError(f"layer {layer} does not tell its attention of its window.", component=name, remedy=_REMEDY)


AttentionInterface.register(_TRIAL, _trial_attention)
