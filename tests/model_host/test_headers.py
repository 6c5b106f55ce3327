"""A weight file is believed only as far as the file itself bears it out: what is wrong with one is said."""

from __future__ import annotations

import json
import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.model_host import EngineKind, ModelKind
from tasks.model_host.errors import LoadError
from tasks.model_host.headers import (
    Tensor,
    read_gguf,
    read_safetensors,
    read_weights,
    weight_files,
)
from tasks.model_host.shapes import architecture_of, of_gguf
from tests.model_host.files import LLAMA, LLAMA_TENSORS, gguf, gguf_text, safetensors, write
from tests.model_host.smollm2 import minilm, packaged

GOOD = {"a.weight": ("F32", [2, 3], 24), "b": ("BF16", [], 2), "c": ("I64", [0, 7], 0)}


def test_the_tensors_of_a_file_are_told(tmp_path: Path) -> None:
    assert read_safetensors(write(tmp_path / "m.safetensors", safetensors(GOOD))) == {
        "a.weight": Tensor((2, 3), "F32", 24),
        "b": Tensor((), "BF16", 2),
        "c": Tensor((0, 7), "I64", 0),
    }
    found = read_gguf(write(tmp_path / "m.gguf", gguf(LLAMA_TENSORS, **LLAMA)))
    assert found.tensors["blk.0.attn_k.weight"] == Tensor((32, 64), "Q4_0", 1152)
    assert found.fields["llama.context_length"] == 512


def test_real_files_are_read_whole() -> None:
    tensors = read_weights(minilm().folder)
    assert sum(tensor.bytes for tensor in tensors.values()) > 90_000_000
    file = packaged().gguf
    assert file is not None
    assert len(read_gguf(file).tensors) == 272


def _entry(begin: object, end: object, dtype: object = "F32", shape: object = (2, 3)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "fewer than the length"),
        (b"\7\0\0", "fewer than the length"),
        (struct.pack("<Q", 2**63) + b"{}", "claims"),
        (struct.pack("<Q", 100) + b"{}", "claims"),
        (struct.pack("<Q", 3) + b"{x}", "JSON"),
        (struct.pack("<Q", 2) + b"[]", "no object"),
        (struct.pack("<Q", 4) + b"\xff\xfe{}", "JSON"),
        (struct.pack("<Q", 200_000) + b"[" * 200_000, "JSON"),
        (struct.pack("<Q", 17) + b'{"a": {}, "a": 1}', "twice"),
        (safetensors(GOOD)[:-1], "outside"),
        (safetensors(GOOD) + b"\0", "no tensor"),
        (safetensors(GOOD, **{"a.weight": _entry(0, 2**70)}), "outside"),
        (safetensors(GOOD, **{"a.weight": _entry(-24, 0)}), "outside"),
        (safetensors(GOOD, **{"a.weight": _entry(24, 0)}), "outside"),
        (safetensors(GOOD, **{"a.weight": _entry("0", 24)}), "outside"),
        (safetensors(GOOD, **{"a.weight": _entry(0, True)}), "outside"),
        (safetensors(GOOD, **{"a.weight": _entry(2, 26)}), "overlap"),
        (safetensors(GOOD, **{"a.weight": _entry(0, 24, shape=[2, 4])}), "contradicts"),
        (safetensors(GOOD, **{"a.weight": _entry(0, 24, shape=[2**40, 2**40])}), "contradicts"),
        (safetensors(GOOD, **{"a.weight": _entry(0, 24, shape=[-2, -3])}), "proper shape"),
        (safetensors(GOOD, **{"a.weight": _entry(0, 24, shape=[1] * 100)}), "proper shape"),
        (safetensors(GOOD, **{"a.weight": _entry(0, 24, dtype="PICKLE")}), "unknown type"),
        (safetensors(GOOD, **{"a.weight": {"dtype": "F32"}}), "lacks dtype"),
        (safetensors(GOOD, **{"a.weight": 7}), "lacks dtype"),
    ],
)
def test_a_damaged_safetensors_file_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    with pytest.raises(LoadError, match=why):
        read_safetensors(write(tmp_path / "m.safetensors", content))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "goes on"),
        (b"GGML" + b"\0" * 100, "begin with GGUF"),
        (struct.pack("<4sIQQ", b"GGUF", 1, 0, 0), "version 1"),
        (struct.pack(">4sIQQ", b"GGUF", 3, 0, 0), "byte order"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 2**60, 0), "claims"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 0, 2**60), "claims"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + struct.pack("<Q", 2**62) + b"x" * 99, "a string claims"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + gguf_text("a") + struct.pack("<IIQ", 9, 10, 2**61), "goes on"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + gguf_text("a") + struct.pack("<IIQ", 9, 8, 2**61), "strings"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + gguf_text("a") + struct.pack("<IIQ", 9, 9, 1), "of the type 9"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + gguf_text("a") + struct.pack("<I", 77), "unknown type 77"),
        (gguf(LLAMA_TENSORS, **LLAMA)[:-40], "outside"),
        (gguf(LLAMA_TENSORS | {"x": (2, [2**40, 2**40], 32)}, **LLAMA), "outside"),
        (gguf(LLAMA_TENSORS | {"x": (2, [31], 32)}, **LLAMA), "blocks of 32"),
        (gguf(LLAMA_TENSORS | {"x": (999, [32], 32)}, **LLAMA), "unknown type 999"),
        (gguf(LLAMA_TENSORS | {"x": (0, [1] * 9, 32)}, **LLAMA), "9 dimensions"),
        (gguf(LLAMA_TENSORS, general__alignment=0), "power of two"),
        (gguf(LLAMA_TENSORS, general__alignment="x"), "power of two"),
    ],
)
def test_a_damaged_gguf_file_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    with pytest.raises(LoadError, match=why):
        read_gguf(write(tmp_path / "m.gguf", content))


def test_tensors_that_overlap_are_refused(tmp_path: Path) -> None:
    content = gguf(LLAMA_TENSORS, **LLAMA)
    at = content.index(b"blk.0.attn_q.weight") + len("blk.0.attn_q.weight") + 4 + 16 + 4
    with pytest.raises(LoadError, match="overlap"):
        read_gguf(write(tmp_path / "m.gguf", content[:at] + struct.pack("<Q", 32) + content[at + 8 :]))


_EDITS = st.lists(
    st.tuples(st.integers(0, 700), st.one_of(st.binary(min_size=1, max_size=8), st.integers(0, 2**64 - 1))), max_size=4
)
"""Places, and bytes or a number to write there."""


def _edited(content: bytes, edits: list[tuple[int, bytes | int]], end: int | None) -> bytes:
    changed = bytearray(content)
    for place, what in edits:
        written = struct.pack("<Q", what) if isinstance(what, int) else what
        changed[place : place + len(written)] = written
    return bytes(changed[:end])


@given(edits=_EDITS, end=st.one_of(st.none(), st.integers(0, 400)))
@example(edits=[(0, 2**64 - 1)], end=None)
@example(edits=[], end=0)
def test_no_damage_does_more_than_be_refused(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, bytes | int]], end: int | None
) -> None:
    """What is believed after all lies within the file; nothing large is ever allocated."""
    folder = tmp_path_factory.getbasetemp()
    for name, content, read in (
        ("attack.safetensors", safetensors(GOOD), read_safetensors),
        ("attack.gguf", gguf(LLAMA_TENSORS, **LLAMA), lambda path: read_gguf(path).tensors),
    ):
        path = write(folder / name, _edited(content, edits, end))
        tracemalloc.start()
        try:
            tensors = read(path)
        except LoadError:
            tensors = {}
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert sum(tensor.bytes for tensor in tensors.values()) <= path.stat().st_size
        assert peak < 20_000_000


@given(header=st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["dtype", "shape", "data_offsets", "a", "__metadata__"]), inner, max_size=4),
    max_leaves=12,
))  # fmt: skip
def test_any_json_in_a_header_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, header: object) -> None:
    text = json.dumps(header).encode()
    path = write(tmp_path_factory.getbasetemp() / "json.safetensors", struct.pack("<Q", len(text)) + text + b"\0" * 8)
    try:
        found = read_safetensors(path)
    except LoadError:
        return
    assert sum(tensor.bytes for tensor in found.values()) == 8


def test_shards_are_those_of_the_index_and_beside_it(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    write(tmp_path / "m-1.safetensors", safetensors({"a": ("F32", [1], 4)}))
    write(tmp_path / "m-2.safetensors", safetensors({"b": ("F32", [1], 4)}))
    index.write_text(json.dumps({"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}))
    assert set(read_weights(tmp_path)) == {"a", "b"}
    write(tmp_path / "m-2.safetensors", safetensors({"a": ("F32", [1], 4)}))
    with pytest.raises(LoadError, match="another file"):
        read_weights(tmp_path)
    for name in ("../m-1.safetensors", "/etc/passwd", "a.bin", "", "x/y.safetensors", 7):
        index.write_text(json.dumps({"weight_map": {"a": name}}))
        with pytest.raises(LoadError, match="beside it"):
            weight_files(tmp_path)
    index.write_text(json.dumps({"weight_map": {"a": "m-3.safetensors"}}))
    with pytest.raises(LoadError, match=r"lacks m-3\.safetensors"):
        weight_files(tmp_path)


def test_pickles_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "pytorch_model.bin", b"x")
    with pytest.raises(LoadError, match="pickles"):
        weight_files(tmp_path)


def test_a_split_gguf_file_is_read_with_all_its_parts(tmp_path: Path) -> None:
    first = write(tmp_path / "m-00001-of-00002.gguf", gguf({"a": (0, [8], 32)}, **LLAMA))
    with pytest.raises(LoadError, match=r"lacks its part m-00002-of-00002\.gguf"):
        read_gguf(first)
    write(tmp_path / "m-00002-of-00002.gguf", gguf({"b": (0, [8], 32)}))
    assert set(read_gguf(first).tensors) == {"a", "b"}


def test_the_keys_of_a_gguf_file_are_counted_from_its_tensors(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", gguf(LLAMA_TENSORS, **LLAMA))
    found = of_gguf(read_gguf(path), ModelKind.generate)
    assert [(layer.keys, layer.values) for layer in found.layers] == [(32, 32)]
    assert (found.vocab, found.context, found.tied) == (256, 512, True)
    for tensors, fields, why in (
        ({"blk.0.ssm_a": (0, [8], 32)}, {}, "another state"),
        ({"blk.0.attn_kv_b.weight": (0, [8], 32)}, {}, "another state"),
        ({}, {"llama__block_count": 2}, "1 layers where 2"),
        ({}, {"llama__attention__head_count_kv": 4}, "not known"),
        ({}, {"llama__embedding_length": "x"}, "proper llama.embedding_length"),
        ({}, {"general__architecture": ""}, "its architecture"),
    ):
        strange = write(tmp_path / "s.gguf", gguf(LLAMA_TENSORS | tensors, **(LLAMA | fields)))
        with pytest.raises(LoadError, match=why):
            of_gguf(read_gguf(strange), ModelKind.generate)


def test_a_file_that_is_cut_off_is_refused_by_either_engine(tmp_path: Path) -> None:
    file = packaged()
    assert file.gguf is not None
    cut = write(tmp_path / "cut.gguf", file.gguf.read_bytes()[:5_000_000])
    for engine in EngineKind:
        with pytest.raises(LoadError, match="cut off"):
            architecture_of(file.model_copy(update={"folder": tmp_path, "gguf": cut}), ModelKind.generate, engine)
