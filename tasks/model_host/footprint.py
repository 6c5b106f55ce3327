"""What a loaded model takes, counted; and memory that goes back to the system."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Sequence
from typing import Any

import torch

from models.model_host import Footprint
from tasks.model_host.attention import Geometry
from tasks.model_host.batch import Limits
from tasks.model_host.measuring import ranges_of
from tasks.model_host.prediction import rounded, segments, workspace_on_cuda


def weight_bytes(module: Any) -> int:
    """Bytes of parameters and buffers with bitsandbytes' quantisation state; what is shared counts once."""
    return sum(one.bytes for one in ranges_of(module))


def footprint_of(module: Any, device: torch.device, *, kv_per_token: int, workspace: int) -> Footprint:
    """What a loaded module takes: on CUDA as the allocator hands it out, and what its segments have beside that."""
    sizes = [one.bytes for one in ranges_of(module)]
    if device.type != "cuda":
        return Footprint(weights=sum(sizes), kv_per_token=kv_per_token, workspace=workspace)
    return _on_card(sizes, kv_per_token, workspace)


def footprint_of_cards(module: Any, geometry: Geometry, *, workspace: int) -> Footprint:
    """What each of several cards is charged for a loaded module: see `division.Division.charged`."""
    per_layer = geometry.bytes_per_token // geometry.layers
    cards = [
        _on_card([one.bytes for one in ranges_of(module) if one.device == str(device)], per_layer * layers, workspace)
        for device, layers in geometry.cards
    ]
    return Footprint(
        weights=max(one.weights for one in cards),
        kv_per_token=max(one.kv_per_token for one in cards),
        workspace=max(one.workspace for one in cards),
        rounds=True,
    )


def _on_card(sizes: Sequence[int], kv_per_token: int, workspace: int) -> Footprint:
    weights = sum(rounded(size, "cuda") for size in sizes)
    return Footprint(
        weights=weights,
        kv_per_token=kv_per_token,
        workspace=segments(sizes) - weights + workspace_on_cuda(workspace),
        rounds=True,
    )


def workspace_bytes(module: Any, geometry: Geometry, limits: Limits, context_window: int) -> int:
    """Most of activations, masks and logits that a step holds at a time, by their shapes.

    A block holds at once: its input and residual, the normed input in fp32, queries, keys, values and the answer
    (each with one copy by the rotary embedding), and three rows of the feed-forward part.
    """
    config = module.config.get_text_config()
    size = geometry.dtype.itemsize
    hidden = int(config.hidden_size)
    heads = int(getattr(config, "num_attention_heads", geometry.heads))
    inner = int(getattr(config, "intermediate_size", None) or 4 * hidden)
    reads = max(limits.reads_alone, limits.reads_beside)
    tokens = reads + limits.most_running
    block = tokens * (3 * hidden * size + 2 * hidden * 4)
    attention = tokens * geometry.width * size * (3 * heads + 6 * geometry.heads)
    mask = reads * context_window * (size * (heads // geometry.heads + 1) + 2)  # and what it is made of
    logits = limits.most_running * int(config.vocab_size) * (size + 4 * 4 + 8)  # in fp32, sorted, and where from
    dequantised = _largest_weight(module) * size if getattr(module, "is_quantized", False) else 0
    return block + max(attention + mask, tokens * 3 * inner * size + dequantised, logits)


def _largest_weight(module: Any) -> int:
    sizes = [
        int(part.in_features) * int(part.out_features) for part in module.modules() if isinstance(part, torch.nn.Linear)
    ]
    return max(sizes, default=0)


def give_back(device: torch.device) -> None:
    """Return to the system what nothing refers to any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif sys.platform == "linux":
        try:
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        except (OSError, AttributeError):  # another C library
            return
