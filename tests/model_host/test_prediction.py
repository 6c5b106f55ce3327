"""What is predicted follows the arithmetic of formats and allocators."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from models.model_host import ModelKind, Quantisation
from tasks.model_host.prediction import Step, kv_of, kv_per_token, predict, predict_llamacpp, rounded, segments
from tasks.model_host.shapes import Architecture, Layer, Weight

MIB = 1024**2


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    kv_heads = draw(st.sampled_from([1, 2, 8]))
    heads = kv_heads * draw(st.sampled_from([1, 4, 7]))
    head_dim = draw(st.sampled_from([64, 128]))
    hidden, inner, vocab = heads * head_dim, draw(st.integers(64, 4096)), draw(st.integers(100, 50_000))
    count = draw(st.integers(1, 4))
    windows = draw(st.lists(st.none() | st.integers(1, 5000), min_size=count, max_size=count))
    weights = [Weight("embed.weight", (vocab, hidden), linear=False)]
    for number in range(count):
        weights += [
            Weight(f"layers.{number}.q_proj.weight", (hidden, hidden), linear=True),
            Weight(f"layers.{number}.up_proj.weight", (inner, hidden), linear=True),
            Weight(f"layers.{number}.norm.weight", (hidden,), linear=False),
        ]
    width = kv_heads * head_dim
    return Architecture(
        family="llama", hidden=hidden, intermediate=inner, vocab=vocab, heads=heads, kv_heads=kv_heads,
        head_dim=head_dim, context=8192, tied=False, stored_dtype="bfloat16",
        layers=tuple(Layer(width, width, window) for window in windows), weights=tuple(weights), buffers=(256,),
    )  # fmt: skip


def weights(architecture: Architecture, quantisation: Quantisation) -> int:
    return predict(architecture, quantisation, device="cpu", step=Step.of(ModelKind.generate, 4096)).weights


@given(architectures())
def test_a_coarser_form_is_smaller_and_each_has_its_bits(architecture: Architecture) -> None:
    sizes = [weights(architecture, one) for one in (Quantisation.fp32, Quantisation.bf16, Quantisation.int8)]
    nf4, double = weights(architecture, Quantisation.nf4), weights(architecture, Quantisation.nf4_dq)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[2] > nf4
    assert weights(architecture, Quantisation.stored) == sizes[1]
    linear = sum(math.prod(weight.shape) for weight in architecture.weights if weight.linear)
    rest = sum(math.prod(weight.shape) for weight in architecture.weights if not weight.linear)
    slack = 2000 * len(architecture.weights)  # tables, odd blocks, rounding
    assert 0 <= sizes[0] - 4 * (linear + rest) <= slack
    assert 0 <= sizes[1] - 2 * (linear + rest) <= slack
    assert abs(nf4 - linear * 0.5625 - rest * 2) <= slack
    assert abs(double - linear * (0.5 + 1 / 64 + 4 / 64 / 256) - rest * 2) <= slack


@given(architectures(), st.integers(1, 10_000))
def test_keys_and_values_grow_with_tokens_until_the_window_is_full(architecture: Architecture, tokens: int) -> None:
    now, then = kv_of(architecture, tokens, 2), kv_of(architecture, tokens + 1, 2)
    growing = [layer for layer in architecture.layers if layer.window is None or layer.window > tokens]
    assert then - now == sum(layer.keys + layer.values for layer in growing) * 2
    assert now <= kv_per_token(architecture, 2) * tokens
    if all(layer.window is None for layer in architecture.layers):
        assert now == kv_per_token(architecture, 2) * tokens


@given(architectures(), st.integers(16, 8000), st.sampled_from(list(Quantisation)))
def test_a_longer_context_never_takes_less(architecture: Architecture, context: int, how: Quantisation) -> None:
    def resident(tokens: int) -> int:
        return predict(architecture, how, device="cuda", step=Step.of(ModelKind.generate, tokens)).resident

    assert resident(context) <= resident(context + 1)


@given(st.lists(st.integers(1, 40 * MIB), max_size=30))
def test_the_allocator_hands_out_no_less_than_asked_and_takes_no_less_than_it_hands_out(sizes: list[int]) -> None:
    handed = sum(rounded(size, "cuda") for size in sizes)
    assert sum(sizes) <= handed <= segments(sizes)
    assert segments(sizes) <= handed + 22 * MIB + 2 * MIB * len(sizes)


def test_rounding_is_that_of_torch() -> None:
    assert rounded(1, "cuda") == 512
    assert rounded(513, "cuda") == 1024
    assert rounded(10 * MIB + 1, "cuda") == 10 * MIB + 512  # the rest of its segment of 12 MiB is cut off
    assert rounded(11 * MIB + 1, "cuda") == 12 * MIB  # less than a MiB of rest is not
    assert rounded(1, "cpu") == 64
    assert segments([1]) == 2 * MIB
    assert segments([2 * MIB]) == 20 * MIB
    assert segments([11 * MIB]) == 12 * MIB


@given(architectures(), st.integers(1, 4096), st.integers(1, 16))
def test_llamacpp_allocates_whole_contexts_at_its_load(architecture: Architecture, context: int, slots: int) -> None:
    found = predict_llamacpp(architecture, context=context, sequences=slots)
    slot = -(-context // 256) * 256
    assert found.kv_fixed == slot * slots * kv_per_token(architecture, 2) == found.kv_per_token * slot * slots
