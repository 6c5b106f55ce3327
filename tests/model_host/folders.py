"""Models of random weights in Hugging Face's layout, some tens of megabytes large: they make room in earnest."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import torch

from models.model_host import CatalogueEntry, Footprint
from tasks.model_host.opening import Machine, predict_entry
from tests.model_host import tiny


def folder(place: Path, *, hidden: int, layers: int, seed: int) -> Path:
    """A model that answers at random, in fp32."""
    shape = {
        "hidden_size": hidden, "intermediate_size": 3 * hidden, "num_hidden_layers": layers, "head_dim": hidden // 8,
        "num_attention_heads": 8, "num_key_value_heads": 2, "initializer_range": 0.05,
    }  # fmt: skip
    tiny.model("llama", dtype=torch.float32, seed=seed, **shape).save_pretrained(place)
    tiny.byte_level().save_pretrained(place)
    return place


def torn(place: Path, *, hidden: int, layers: int) -> Path:
    """One whose header is right and whose weights are not: only who has loaded it can know."""
    file = folder(place, hidden=hidden, layers=layers, seed=1) / "model.safetensors"
    with file.open("r+b") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        header = json.loads(opened.read(length))
        begin, end = header["model.layers.1.mlp.up_proj.weight"]["data_offsets"]
        opened.seek(8 + length + begin)
        opened.write(b"\xff" * (end - begin))
    return place


def takes(entry: CatalogueEntry) -> Footprint:
    """What is predicted of it on the CPU."""
    return predict_entry(entry, Machine("cpu", 1))
