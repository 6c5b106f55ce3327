"""The bytes that a model will take, from its architecture alone: nothing here touches a device or a file.

Sizes of quantised weights are those of bitsandbytes 0.50: NF4 as in QLoRA (arXiv 2305.14314, section 3), LLM.int8() as
in arXiv 2208.07339. Rounding is that of torch 2.13's allocators (`c10/cuda/CUDACachingAllocator.cpp`: `kMinBlockSize`,
`kSmallSize`, `kMinLargeAlloc`, `kRoundLarge`; on a CPU `c10/core/alignment.h`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from models.model_host import Footprint, ModelKind, Quantisation
from tasks.model_host.shapes import Architecture, Weight

DeviceKind = Literal["cpu", "cuda"]

BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
"""Bytes of a number, by torch's word for its type."""

_BLOCK = 64
"""Weights that share an absmax."""
_NESTED = 256
"""Absmax that share one of theirs."""
_CODE = 16 * 4
"""The 16 values of NF4, which each matrix has a copy of."""
_NESTED_CODE = 256 * 4
_MIB = 1024**2
_LLAMACPP_BATCH = 512
"""Tokens that llama.cpp computes at a time (`n_ubatch`)."""
_LLAMACPP_PAD = 256
"""Tokens that the context of a sequence is rounded up to."""


@dataclass(frozen=True)
class Step:
    """The largest step that the transformers engine takes."""

    tokens: int
    """Tokens of prompts that are read in it."""
    sequences: int
    """Sequences beside them that get their next token: as many rows of logits."""
    context: int
    """Tokens of the longest sequence."""

    @classmethod
    def of(cls, kind: ModelKind, context: int) -> Step:
        """What the engine does by default: it reads 512 tokens while 64 are answered, or embeds 4,096 at a time."""
        if kind is ModelKind.embed:
            return cls(max(4096, context), 0, context)
        return cls(min(512, context), 64, context)


@dataclass(frozen=True)
class Storage:
    """How the tensors of a model are held."""

    dtype: str
    """torch's word for what is not quantised, and for what is computed in."""
    quantisation: Quantisation
    packs_nf4: bool = False
    """Whether bitsandbytes packs NF4 anew at the first use (`has_avx512bf16`, CPUs only); absmax are bf16 then."""

    @classmethod
    def of(cls, architecture: Architecture, quantisation: Quantisation, *, packs_nf4: bool = False) -> Storage:
        """The storage that `quantisation` means for this model; what is not quantised is bf16 then."""
        word = {Quantisation.stored: architecture.stored_dtype, Quantisation.fp32: "float32"}
        return cls(word.get(quantisation, "bfloat16"), quantisation, packs_nf4)


def predict(
    architecture: Architecture,
    quantisation: Quantisation,
    *,
    device: DeviceKind,
    step: Step,
    packs_nf4: bool = False,
) -> Footprint:
    """What a model takes that torch holds (bytes).

    Args:
        architecture: the model.
        quantisation: how its weights are held.
        device: whose allocator rounds.
        step: the largest step that it will take.
        packs_nf4: whether this CPU packs NF4 anew (see `Storage`).
    """
    storage = Storage.of(architecture, quantisation, packs_nf4=packs_nf4)
    tensors = list(_tensors(architecture, storage))
    weights = sum(rounded(size, device) for size in tensors)
    return Footprint(
        weights=weights,
        kv_per_token=kv_per_token(architecture, BYTES[storage.dtype]),
        workspace=workspace(architecture, storage, step) + (segments(tensors) - weights if device == "cuda" else 0),
    )


def predict_llamacpp(architecture: Architecture, *, context: int, sequences: int) -> Footprint:
    """What a GGUF file takes in llama.cpp (bytes), which allocates the keys and values of whole contexts at its load.

    Keys and values are 16 bits wide, its default. Beside them it holds a mask, the activations of a batch in fp32, and
    a row of logits a sequence.

    Args:
        architecture: the model.
        context: most tokens of a sequence.
        sequences: how many there can be at a time.
    """
    slot = _up(context, _LLAMACPP_PAD)
    each = kv_per_token(architecture, 2)
    rows = min(_LLAMACPP_BATCH, slot) if architecture.layers else slot
    activations = 6 * architecture.hidden + 3 * architecture.intermediate + architecture.heads * architecture.head_dim
    mask = slot * rows * (2 + 4)  # in fp32 when it is made, then in 16 bits
    logits = sequences * architecture.vocab * 4 * 2 if architecture.layers else 0
    return Footprint(
        weights=sum(weight.stored or 0 for weight in architecture.weights),
        kv_per_token=each,
        kv_fixed=each * slot * sequences,
        workspace=rows * activations * 4 + mask + logits,
    )


def kv_per_token(architecture: Architecture, width: int) -> int:
    """Bytes of a token's keys and values over all layers, of numbers of `width` bytes."""
    return sum(layer.keys + layer.values for layer in architecture.layers) * width


def kv_of(architecture: Architecture, tokens: int, width: int) -> int:
    """Bytes of the keys and values of one sequence: a layer with a sliding window keeps no more tokens than that."""
    return (
        sum(
            (layer.keys + layer.values) * (tokens if layer.window is None else min(tokens, layer.window))
            for layer in architecture.layers
        )
        * width
    )


def workspace(architecture: Architecture, storage: Storage, step: Step) -> int:
    """Bytes of a step's temporaries: the largest of what attention, the feed-forward part and the logits take.

    A block holds its input, the residual and what is handed on, and norms in fp32. Attention holds queries, keys,
    values and answers with copies that the rotary embedding makes, and a mask a group of heads; the feed-forward part
    holds three rows of its inner width, and bitsandbytes the matrix in full; logits are chosen from in fp32.
    """
    width = BYTES[storage.dtype]
    hidden, inner = architecture.hidden, architecture.intermediate
    if not architecture.layers:
        return step.tokens * (6 * hidden + 2 * inner) * width + _temporary(architecture, storage, step)
    tokens = step.tokens + step.sequences
    block = tokens * hidden * (3 * width + 2 * 4)
    attention = tokens * architecture.head_dim * width * (3 * architecture.heads + 6 * architecture.kv_heads)
    mask = architecture.heads // architecture.kv_heads * step.tokens * step.context * width
    logits = step.sequences * architecture.vocab * (width + 3 * 4)
    forward = tokens * 3 * inner * width + _temporary(architecture, storage, step)
    return block + max(attention + mask, forward, logits)


def rounded(size: int, device: DeviceKind) -> int:
    """Bytes that the allocator counts for a tensor of `size`."""
    if device == "cpu":
        return _up(size, 64)
    size = _up(size, 512)
    if size >= 10 * _MIB:  # a segment of its own; what is left of it is cut off when that is more than a MiB
        whole = _up(size, 2 * _MIB)
        return whole if whole - size <= _MIB else size
    return size


def segments(sizes: Iterable[int]) -> int:
    """Bytes that CUDA's allocator takes from the device for tensors of `sizes`, which is more than it hands out."""
    small = medium = large = 0
    for size in sizes:
        size = _up(size, 512)  # noqa: PLW2901 - the allocator does not know any other
        if size <= _MIB:
            small += size
        elif size < 10 * _MIB:
            medium += size
        else:
            large += _up(size, 2 * _MIB)
    return _up(small, 2 * _MIB) + _up(medium, 20 * _MIB) + large


def _tensors(architecture: Architecture, storage: Storage) -> Iterable[int]:
    """Bytes of each tensor in memory."""
    yield from architecture.buffers
    for weight in architecture.weights:
        count = math.prod(weight.shape)
        if weight.stored is not None and storage.quantisation is Quantisation.stored:
            yield weight.stored
        elif weight.linear and storage.quantisation in {Quantisation.nf4, Quantisation.nf4_dq}:
            yield from _nf4(count, storage)
        elif weight.linear and storage.quantisation is Quantisation.int8:
            yield count
            yield _rows(weight) * 4  # SCB, one fp32 a row
        else:
            yield count * (4 if weight.fp32 and storage.dtype in {"float16", "bfloat16"} else BYTES[storage.dtype])


def _nf4(count: int, storage: Storage) -> Iterable[int]:
    """Tensors of an NF4 matrix of `count` weights; on a CPU that packs it anew, of the larger of both forms."""
    blocks = -(-count // _BLOCK)
    yield -(-count // 2)
    yield _CODE
    plain = [blocks * 4]
    if storage.quantisation is Quantisation.nf4_dq:
        plain = [blocks, -(-blocks // _NESTED) * 4, 4, _NESTED_CODE]
    yield from max(plain, [blocks * 2, *plain[2:3]], key=sum) if storage.packs_nf4 else plain


def _temporary(architecture: Architecture, storage: Storage, step: Step) -> int:
    """Bytes of what bitsandbytes makes of a matrix for a step: the matrix itself in full, or for int8 its products."""
    linear = [weight for weight in architecture.weights if weight.linear]
    if not linear:
        return 0
    if storage.quantisation in {Quantisation.nf4, Quantisation.nf4_dq}:
        largest = max(math.prod(weight.shape) for weight in linear)
        return largest * BYTES[storage.dtype] + -(-largest // _BLOCK) * 4
    if storage.quantisation is Quantisation.int8:
        widest = max(sum(weight.shape[-2:]) for weight in linear)
        return step.tokens * widest * (4 + 1 + 2)  # products in int32, inputs in int8, and what is handed on in fp16
    return 0


def _rows(weight: Weight) -> int:
    return weight.shape[0] if weight.shape else 1


def _up(size: int, to: int) -> int:
    return -(-size // to) * to
