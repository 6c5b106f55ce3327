"""A GGUF file of a few hundred kilobytes that llama.cpp really loads."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

_HIDDEN, _INNER, _HEADS, _KV_HEADS, _LAYERS, _CONTEXT = 64, 96, 4, 2, 2, 256


def write_model(path: Path) -> Path:
    """Write a model of the family `llama` with random weights and a vocabulary of bytes."""
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("small")
    writer.add_context_length(_CONTEXT)
    writer.add_embedding_length(_HIDDEN)
    writer.add_block_count(_LAYERS)
    writer.add_feed_forward_length(_INNER)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_KV_HEADS)
    writer.add_rope_dimension_count(_HIDDEN // _HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "▁a", "b"]
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    kinds += [gguf.TokenType.BYTE] * 256 + [gguf.TokenType.NORMAL] * 4
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(at) for at in range(len(tokens))])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    dice = np.random.default_rng(1)

    def matrix(name: str, *shape: int) -> None:
        writer.add_tensor(name, dice.normal(0, 0.1, shape).astype(np.float32))

    def ones(name: str) -> None:
        writer.add_tensor(name, np.ones(_HIDDEN, dtype=np.float32))

    matrix("token_embd.weight", len(tokens), _HIDDEN)
    ones("output_norm.weight")
    matrix("output.weight", len(tokens), _HIDDEN)
    narrow = _HIDDEN // _HEADS * _KV_HEADS
    for layer in range(_LAYERS):
        for name, rows, columns in (
            ("attn_q", _HIDDEN, _HIDDEN), ("attn_k", narrow, _HIDDEN), ("attn_v", narrow, _HIDDEN),
            ("attn_output", _HIDDEN, _HIDDEN), ("ffn_gate", _INNER, _HIDDEN), ("ffn_up", _INNER, _HIDDEN),
            ("ffn_down", _HIDDEN, _INNER),
        ):  # fmt: skip
            matrix(f"blk.{layer}.{name}.weight", rows, columns)
        ones(f"blk.{layer}.attn_norm.weight")
        ones(f"blk.{layer}.ffn_norm.weight")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
