"""What a loaded model takes, counted; and memory that goes back to the system."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from typing import Any

import torch

from tasks.model_host.attention import Geometry
from tasks.model_host.batch import Limits


def weight_bytes(module: Any) -> int:
    """Bytes of parameters and buffers with bitsandbytes' quantisation state; what is shared counts once."""
    return sum({tensor.data_ptr(): tensor.numel() * tensor.itemsize for tensor in _tensors(module)}.values())


def _tensors(module: Any) -> Iterator[torch.Tensor]:
    yield from module.buffers()
    for parameter in module.parameters():
        yield parameter
        yield from _within(vars(parameter))  # int8: CB and SCB; 4 bits: quant_state
    for part in module.modules():
        state = vars(part).get("state")  # int8, once it has run; the rest of it belongs to a step
        yield from _within({name: getattr(state, name, None) for name in ("CB", "SCB")})


def _within(values: dict[str, Any]) -> Iterator[torch.Tensor]:
    for value in values.values():
        if isinstance(value, torch.Tensor):
            yield value
        elif type(value).__name__ == "QuantState":
            yield from _within(vars(value))


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
    mask = (heads // geometry.heads) * reads * context_window * size
    logits = limits.most_running * int(config.vocab_size) * (size + 3 * 4)
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
