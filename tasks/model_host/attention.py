"""Attention over a ragged batch: sequences lie one behind the other in one row, each with keys and values of its own.

Registered with transformers as an attention function, so that any architecture that goes through its
`AttentionInterface` runs without code of ours. transformers builds no mask for an implementation that it does not
know; the masks are made here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from tasks.model_host.errors import LoadError

IMPLEMENTATION = "lama_ragged"

_HARMLESS = frozenset({
    "position_ids", "use_cache", "cache_position", "output_attentions", "output_hidden_states", "return_dict",
    "is_causal", "position_embeddings", "output_router_logits", "num_items_in_batch", "logits_to_keep",
})  # fmt: skip
"""Arguments that say nothing that the step does not already say."""


Kept = tuple[torch.Tensor, ...]
"""Keys and values of a sequence: one tensor, or of a model over several cards one of each, in the layers' order."""


@dataclass(frozen=True)
class Geometry:
    """Shape of the keys and values that a model keeps."""

    layers: int
    heads: int
    """Of keys and values; there may be more of the queries."""
    width: int
    dtype: torch.dtype
    device: torch.device
    """Of the tokens; and of all layers, where these are not on several cards."""
    cards: tuple[tuple[torch.device, int], ...] = ()
    """Of a model over several cards: each with how many layers it has, in the layers' order."""

    @property
    def bytes_per_token(self) -> int:
        """Keys and values of one token over all layers."""
        return 2 * self.layers * self.heads * self.width * self.dtype.itemsize

    def allocate(self, tokens: int) -> Kept:
        """Room for the keys and values of `tokens`, a tensor of each card: layers, key or value, heads, tokens, width.

        If a card has no room, none of it stays.
        """
        return tuple(
            torch.empty((layers, 2, self.heads, tokens, self.width), dtype=self.dtype, device=device)
            for device, layers in self.cards or ((self.device, self.layers),)
        )

    def places(self, tokens: list[int]) -> torch.Tensor | list[int]:
        """`tokens` of a step as an index: the logits may be made on another card than the one of the tokens."""
        return tokens if self.cards else torch.tensor(tokens, device=self.device)


class Span:
    """New tokens of one sequence in a step.

    Views of all layers are made at once: a step over thirty layers spends its time in the kernels then, not in
    slicing.

    Args:
        kv: the sequence's keys and values, as `Geometry.allocate` makes them.
        past: tokens whose keys and values it already holds.
        count: tokens that come to them now.
    """

    def __init__(self, kv: Kept, past: int, count: int) -> None:
        self.past, self.count, self.end = past, count, past + count
        self.fresh = _of_layers(part[:, :, :, past : self.end] for part in kv)
        self.keys = _of_layers(part[:, 0:1, :, : self.end] for part in kv)
        self.values = _of_layers(part[:, 1:2, :, : self.end] for part in kv)
        self._masks: dict[tuple[int | None, int, torch.device], torch.Tensor] = {}

    def first(self, window: int | None) -> int:
        """The first key that any of the new tokens sees."""
        return 0 if window is None else max(0, self.past + 1 - window)

    def mask(self, window: int | None, groups: int, layer: int = 0) -> torch.Tensor:
        """0 where a token may look and -inf elsewhere: `groups` times the new tokens, keys from `first`.

        It is made once, of each card.
        """
        like = self.keys[layer]
        made = self._masks.get((window, groups, like.device))
        if made is None:
            asks = torch.arange(self.past, self.end, device=like.device)[:, None]
            answers = torch.arange(self.first(window), self.end, device=like.device)[None, :]
            hidden = answers > asks
            if window is not None:
                hidden |= answers <= asks - window
            made = torch.zeros(hidden.shape, dtype=like.dtype, device=like.device)
            made = made.masked_fill_(hidden, float("-inf")).repeat(groups, 1)
            self._masks[window, groups, like.device] = made
        return made


def _of_layers(parts: Iterable[torch.Tensor]) -> Kept:
    """Views of each layer, over all cards."""
    return tuple(layer for part in parts for layer in part.unbind(0))


class Step:
    """One pass through the model: first the sequences of which one token comes, then the chunks of prompts.

    Args:
        spans: those of a single token must come first.
    """

    def __init__(self, spans: list[Span]) -> None:
        self.singles = [span for span in spans if span.count == 1]
        self.chunks = [span for span in spans if span.count > 1]
        self.spans = spans
        self.counts = [span.count for span in spans]


def ragged_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    ragged: Step | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of a packed step, as transformers calls it (query, key, value: 1, heads, tokens, width).

    Raises:
        LoadError: the architecture asks for something that would be left out silently.
    """
    unknown = sorted(name for name, given in others.items() if given is not None and name not in _HARMLESS)
    if attention_mask is not None:
        unknown.append("attention_mask")
    if others.get("is_causal") is False or not getattr(module, "is_causal", True):
        unknown.append("is_causal=False")
    if unknown or ragged is None or dropout:
        raise LoadError(
            f"its attention needs {', '.join(unknown) or 'what does not reach it'}, which this engine does not do.",
            component=type(module).__name__,
        )
    layer = int(module.layer_idx)
    _, heads, tokens, width = query.shape
    groups = heads // key.shape[1]
    fresh = torch.stack((key[0], value[0])).split_with_sizes(ragged.counts, dim=2)
    for span, new in zip(ragged.spans, fresh, strict=True):
        span.fresh[layer].copy_(new)
    parts = []
    singles = len(ragged.singles)
    if singles:
        asks = query[:, :, :singles].reshape(1, -1, groups, singles, width).unbind(3)
        answers = [
            _single(span, ask, layer, sliding_window, scaling) for span, ask in zip(ragged.singles, asks, strict=True)
        ]
        parts.append(torch.stack(answers, dim=1).view(1, singles, heads, width))
    if tokens > singles:
        asks = query[:, :, singles:].split_with_sizes(ragged.counts[singles:], dim=2)
        for span, ask in zip(ragged.chunks, asks, strict=True):
            parts.append(_chunk(span, ask, layer, sliding_window, scaling).transpose(1, 2))
    return (parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)), None


def _single(span: Span, ask: torch.Tensor, layer: int, window: int | None, scaling: float | None) -> torch.Tensor:
    """One token: the queries that share a head of keys are the rows of one product (1, heads, groups, width)."""
    keys, values = span.keys[layer], span.values[layer]
    if window is not None and span.end > window:
        keys, values = keys[:, :, -window:], values[:, :, -window:]
    return scaled_dot_product_attention(ask, keys, values, scale=scaling)


def _chunk(span: Span, ask: torch.Tensor, layer: int, window: int | None, scaling: float | None) -> torch.Tensor:
    keys, values = span.keys[layer], span.values[layer]
    if window is not None and span.end <= window:
        window = None
    groups = ask.shape[1] // keys.shape[1]
    if span.past == 0 and window is None:
        return scaled_dot_product_attention(ask, keys, values, scale=scaling, is_causal=True, enable_gqa=groups > 1)
    # With a mask, grouped queries would fall back to the slow kernel on CUDA: the groups become rows instead.
    first = span.first(window)
    rows = ask.reshape(1, keys.shape[1], groups * span.count, ask.shape[-1])
    answer = scaled_dot_product_attention(
        rows, keys[:, :, first:], values[:, :, first:], attn_mask=span.mask(window, groups, layer), scale=scaling
    )
    return answer.reshape(ask.shape)


AttentionInterface.register(IMPLEMENTATION, ragged_attention)
