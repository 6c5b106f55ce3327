"""What a model takes is measured by the books of the system and of the allocator, for each model by itself."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.model_host import CatalogueEntry, Footprint, Measured
from tasks.model_host.errors import LoadError
from tasks.model_host.measuring import Range, blocks, mapped, resident, taken_by
from tasks.model_host.occupancy import held
from tasks.model_host.opening import Machine, in_host_memory, predict_entry
from tasks.model_host.prediction import lease_bytes, share_of_card
from tests.model_host import tiny
from tests.model_host.running import smollm2

MIB = 1024**2


def test_only_what_has_memory_behind_it_is_counted() -> None:
    with mmap.mmap(-1, 8 * MIB) as memory:
        address = _address(memory)
        whole = [Range("cpu", address, 8 * MIB)]
        assert resident(whole) == 0
        memory[: 2 * MIB] = b"x" * (2 * MIB)
        assert resident(whole) == 2 * MIB
        assert resident([Range("cpu", address + 100, 1000)]) == 1000
        memory[:] = b"x" * (8 * MIB)
        assert resident(whole) == 8 * MIB
    assert resident(whole, Path("/nowhere")) is None


def _address(memory: mmap.mmap) -> int:
    import ctypes

    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def test_a_model_is_measured_alone_whoever_else_takes_memory() -> None:
    module = tiny.model("llama", hidden_size=512, intermediate_size=1024, num_hidden_layers=4)
    expected = sum(one.numel() * one.itemsize for one in module.parameters())
    assert expected > 10 * MIB
    beside = torch.ones(64 * MIB, dtype=torch.uint8)
    found = taken_by(module)
    assert found == pytest.approx(expected, rel=0.01)
    assert beside.sum() == 64 * MIB


def test_pages_of_a_file_are_told_apart(tmp_path: Path) -> None:
    path, other = tmp_path / "a file.gguf", tmp_path / "b.gguf"
    for file in (path, other):
        file.write_bytes(b"x" * (4 * MIB))
    with path.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        assert mapped([other]) == 0
        assert sum(memory[::4096]) == 4 * 256 * ord("x")
        assert mapped([path]) == 4 * MIB
    assert mapped([path]) == 0
    assert mapped([path], tmp_path / "nowhere") is None


def segment(address: int, *parts: tuple[int, str]) -> dict[str, Any]:
    """As `torch.cuda.memory_snapshot` tells of one."""
    return {
        "address": address,
        "total_size": sum(size for size, _ in parts),
        "allocated_size": sum(size for size, state in parts if state == "active_allocated"),
        "blocks": [{"size": size, "state": state} for size, state in parts],
    }


def test_blocks_are_rounded_and_the_rest_of_a_segment_falls_to_those_who_have_some_of_it() -> None:
    snapshot = [
        segment(0x20_0000, (512, "active_allocated"), (1536, "active_allocated"), (2 * MIB - 2048, "inactive")),
        segment(0x100_0000, (12 * MIB, "active_allocated")),
    ]
    assert blocks([0x20_0000, 0x100_0000], snapshot) == (12 * MIB + 512, (2 * MIB - 2048) // 4)
    assert blocks([0x20_0000 + 512], snapshot) == (1536, (2 * MIB - 2048) * 3 // 4)
    assert blocks([0x20_0000 + 2048, 1, 0x900_0000_0000], snapshot) == (0, 0), "freed, or never its own"
    assert blocks([0x20_0000, 0x20_0000 + 100], snapshot)[0] == 512, "two views of one"
    assert blocks([], []) == (0, 0)


@given(st.integers(1, 1 << 18), st.integers(0, 1 << 18))
def test_leases_on_a_card_pay_for_the_segments_that_they_open(per_token: int, tokens: int) -> None:
    plain = Footprint(weights=1, kv_per_token=per_token)
    charged = lease_bytes(plain.model_copy(update={"rounds": True}), tokens)
    size = per_token * tokens
    assert lease_bytes(plain, tokens) == size <= charged
    segment_of = 2 * MIB if size <= MIB else 20 * MIB
    if size >= 10 * MIB:
        assert charged % (2 * MIB) == 0
        assert charged - size < 2 * MIB + 512
    elif size:
        assert (segment_of // charged) * size <= segment_of, "as many as are charged a segment fit into it"
        assert charged <= 2 * size or charged <= 1024
    assert lease_bytes(plain.model_copy(update={"rounds": True, "kv_fixed": 1}), tokens) == 0


@given(st.integers(1 << 28, 1 << 38), st.floats(0.01, 1.0))
def test_the_cap_is_above_what_the_ledger_grants_and_within_the_card(total: int, share: float) -> None:
    capacity = int(total * share)
    cap = share_of_card(capacity, total)
    assert capacity / total <= cap <= 1
    if share < 0.95:
        assert cap * total >= capacity + min(capacity * 0.02, (total - capacity) / 2) - 1
        assert cap < 1


def test_the_ledger_counts_what_was_measured_where_that_is_more() -> None:
    counted = Footprint(weights=100, kv_per_token=1, kv_fixed=50, workspace=20)
    assert held(counted, Measured(weights=90, beside=60)) == counted
    more = held(counted, Measured(weights=110, beside=90))
    assert (more.weights, more.kv_fixed, more.workspace) == (110, 50, 40)
    assert held(counted, Measured(weights=90)) == counted


def test_a_gguf_file_beside_a_gpu_is_counted_where_it_lies() -> None:
    entry = CatalogueEntry(name="m", source=f"path:{smollm2()}")
    told = predict_entry(entry, Machine("cuda", 1))
    assert told.elsewhere
    assert (told.resident, told.loading) == (0, 0)
    assert told.total == predict_entry(entry, Machine("cpu", 1)).resident > 400_000_000
    in_host_memory(told, told.total, "m")
    with pytest.raises(LoadError, match="on the CPU, where it takes"):
        in_host_memory(told, told.total - 1, "m")
