"""Weight files that tests write, right and wrong ones."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

SizedTensor = tuple[str, list[int], int]
"""Type, shape, bytes."""


def safetensors(tensors: dict[str, SizedTensor], **changes: Any) -> bytes:
    """A right safetensors file; `changes` replace entries of its header."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, (dtype, shape, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header | changes).encode()
    return struct.pack("<Q", len(text)) + text + b"\1" * at


def gguf_text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def gguf_fields(**fields: Any) -> bytes:
    """Fields of integers, floats, strings and lists of integers; `__` stands for a dot."""
    out = b""
    for name, value in fields.items():
        out += gguf_text(name.replace("__", "."))
        if isinstance(value, str):
            out += struct.pack("<I", 8) + gguf_text(value)
        elif isinstance(value, list):
            out += struct.pack("<IIQ", 9, 4, len(value)) + struct.pack(f"<{len(value)}I", *value)
        else:
            out += struct.pack("<II", 4, value)
    return out


def gguf(tensors: dict[str, tuple[int, list[int], int]], **fields: Any) -> bytes:
    """A right GGUF file; `tensors` are (ggml's type, shape with the innermost first, bytes)."""
    out = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(fields)) + gguf_fields(**fields)
    at = 0
    for name, (kind, shape, size) in tensors.items():
        out += gguf_text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        out += struct.pack("<IQ", kind, at)
        at += -(-size // 32) * 32
    return out + b"\0" * (-len(out) % 32) + b"\1" * at


LLAMA: dict[str, Any] = {
    "general__architecture": "llama", "llama__block_count": 1, "llama__embedding_length": 64,
    "llama__context_length": 512, "llama__attention__head_count": 4, "llama__attention__head_count_kv": 2,
    "llama__feed_forward_length": 128,
}  # fmt: skip
LLAMA_TENSORS = {
    "token_embd.weight": (0, [64, 256], 64 * 256 * 4),
    "blk.0.attn_q.weight": (2, [64, 64], 64 * 64 // 32 * 18),
    "blk.0.attn_k.weight": (2, [64, 32], 64 * 32 // 32 * 18),
    "blk.0.attn_v.weight": (2, [64, 32], 64 * 32 // 32 * 18),
}


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
