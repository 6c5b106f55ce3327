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
LLAMACPP_BATCH = 256
"""Tokens of prompts that llama.cpp is let compute in one step (`n_ubatch`); nothing is cancelled within one."""
_LLAMACPP_FIXED = 3 * _MIB
"""What a server of llama.cpp has beside all that depends on its model: threads, template, listener."""
_LLAMACPP_OF_A_WORD = 540
"""Bytes of a token of its vocabulary: its text in two tables, the merges that make it, how it is shown."""
_LLAMACPP_OF_A_CHOICE = 20
"""Bytes of a token of the vocabulary for each slot: its logit, and it as a candidate, sorted or not."""
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
    tensors = list(held_tensors(architecture, storage))
    weights = sum(rounded(size, device) for size in tensors)
    step_bytes = workspace(architecture, storage, step)
    return Footprint(
        weights=weights,
        kv_per_token=kv_per_token(architecture, BYTES[storage.dtype]),
        workspace=segments(tensors) - weights + workspace_on_cuda(step_bytes) if device == "cuda" else step_bytes,
        rounds=device == "cuda",
    )


def unpacking(architecture: Architecture, quantisation: Quantisation) -> int:
    """Bytes of host memory that loading a GGUF file into torch takes beside the weights that it leaves there.

    transformers unpacks the whole file on the CPU, in the type that is computed in, and each matrix once more in fp32;
    all of it stays until the last weight has been made from it.
    """
    width = BYTES[Storage.of(architecture, quantisation).dtype]
    sizes = [math.prod(weight.shape) for weight in architecture.weights]
    return sum(sizes) * width + max(sizes, default=0) * (4 + 4)


def predict_llamacpp(architecture: Architecture, *, context: int, sequences: int, embeds: bool = False) -> Footprint:
    """What a GGUF file takes in llama.cpp (bytes), which allocates the keys and values of whole contexts at its load.

    Keys and values are 16 bits wide, its default. Beside them it holds its vocabulary, for each slot the candidates for
    the next token, and a buffer in which a step of `LLAMACPP_BATCH` tokens is computed: activations in fp32, of which
    the feed-forward part or attention has the most at a time, and a mask in 16 bits. A text that is embedded is one
    step, and has logits for each token where the model could generate. What it reserves and never touches (tables of
    its scheduler) is not counted.

    Args:
        architecture: the model.
        context: most tokens of a sequence.
        sequences: how many there can be at a time.
        embeds: whether it makes vectors.
    """
    slot = _up(context, _LLAMACPP_PAD)
    each = kv_per_token(architecture, 2)
    rows = slot if embeds else min(LLAMACPP_BATCH, slot)
    hidden, kv = architecture.hidden, architecture.kv_heads * architecture.head_dim
    forward = 4 * architecture.intermediate + 3 * hidden
    attention = 4 * hidden + 2 * architecture.heads * architecture.head_dim + 2 * kv
    step = rows * (max(forward, attention) * 4 + slot * 2)
    logits = sequences * architecture.vocab * _LLAMACPP_OF_A_CHOICE
    if embeds:
        logits = rows * architecture.vocab * 4 * 2 if architecture.layers else 0
        step = max(step, logits // 2 + rows * (5 * hidden * 4 + slot * 2))
        logits //= 2
    return Footprint(
        weights=sum(weight.stored or 0 for weight in architecture.weights),
        kv_per_token=each,
        kv_fixed=each * slot * sequences,
        workspace=step + logits + architecture.vocab * _LLAMACPP_OF_A_WORD + _LLAMACPP_FIXED,
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
    values and answers with copies that the rotary embedding makes, and a mask a group of heads with what it is made
    of; the feed-forward part holds three rows of its inner width, and bitsandbytes the matrix in full; logits are
    chosen from in fp32, sorted. It is a bound: what is really alive is never more, and at least half of it
    (`tests/model_host/test_workspace.py`).
    """
    width = BYTES[storage.dtype]
    hidden, inner = architecture.hidden, architecture.intermediate
    if not architecture.layers:
        return step.tokens * (6 * hidden + 2 * inner) * width + _temporary(architecture, storage, step)
    tokens = step.tokens + step.sequences
    block = tokens * hidden * (3 * width + 2 * 4)
    attention = tokens * architecture.head_dim * width * (3 * architecture.heads + 6 * architecture.kv_heads)
    mask = step.tokens * step.context * (width * (architecture.heads // architecture.kv_heads + 1) + 2)
    logits = step.sequences * architecture.vocab * (width + 4 * 4 + 8)
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


def lease_bytes(footprint: Footprint, tokens: int) -> int:
    """Bytes that the keys and values of a request take: none, where the engine allocated them at its load.

    On CUDA it is one tensor. Of up to 1 MiB, it lies in a segment of 2 MiB with others; below 10 MiB, in one of 20 MiB,
    of which it is charged as much as would be left to others if all were as large as it; beyond, in one of its own.
    """
    if footprint.kv_fixed:
        return 0
    size = footprint.kv_per_token * tokens
    if not footprint.rounds or not size:
        return size
    size = _up(size, 512)
    if size >= 10 * _MIB:
        return _up(size, 2 * _MIB)
    segment = 2 * _MIB if size <= _MIB else 20 * _MIB
    return segment // (segment // size)


def workspace_on_cuda(workspace: int) -> int:
    """Bytes of the device for a step whose temporaries are `workspace`.

    Temporaries of all sizes come and go: of each kind of segment one may be begun and not filled. And cuBLAS keeps a
    workspace for the thread of each model, which torch allocates for it: 32 MiB on compute capability 9, less before
    (`aten/src/ATen/cuda/CublasHandlePool.cpp`).
    """
    return _up(workspace, 2 * _MIB) + 2 * _MIB + 20 * _MIB + 32 * _MIB


def share_of_card(capacity: int, total: int) -> float:
    """The share of a card that torch's allocator may take before it refuses, with `capacity` for models.

    The ledger counts what is charged; the allocator has segments beside it that are not full. They get half of what
    is left of the card, at most a twentieth of the capacity: the cap never stops what the ledger has granted, and is
    still below what the card has.
    """
    margin = max(0, min((total - capacity) // 2, max(capacity // 20, 256 * _MIB)))
    return min(1.0, (capacity + margin) / total)


def segments(sizes: Iterable[int]) -> int:
    """Bytes that CUDA's allocator takes from the device for tensors of `sizes`, which is more than it hands out."""
    return in_segments(*by_segment(sizes))


def by_segment(sizes: Iterable[int]) -> tuple[int, int, int]:
    """Bytes of `sizes` by the kind of segment that they come from: of 2 MiB, of 20 MiB, and each in one of its own."""
    small = medium = large = 0
    for size in sizes:
        size = _up(size, 512)  # noqa: PLW2901 - the allocator does not know any other
        if size <= _MIB:
            small += size
        elif size < 10 * _MIB:
            medium += size
        else:
            large += _up(size, 2 * _MIB)
    return small, medium, large


def in_segments(small: int, medium: int, large: int) -> int:
    """Bytes that the segments take whose tensors are these, as `by_segment` sums them up."""
    return _up(small, 2 * _MIB) + _up(medium, 20 * _MIB) + large


def held_tensors(architecture: Architecture, storage: Storage) -> Iterable[int]:
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
