"""What a loaded model really takes, by the system's or the allocator's own book, and not by the shapes of its tensors.

Each figure is of one model, whoever else works at the time: on a CPU the pages that stand behind its tensors, or behind
its file where they are mapped from it; on CUDA the blocks that the allocator has given to them. A page that two tensors
share is counted by their shares in it.
"""

from __future__ import annotations

import os
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch

_PAGEMAP = Path("/proc/self/pagemap")
_ENTRY = 8
"""Bytes of an entry of pagemap; its bits 62 and 63 say that the page is swapped or present (Linux, pagemap.rst)."""
_HELD = 0b11 << 6
_AT_A_TIME = 1 << 20


class Range(NamedTuple):
    """Memory behind one or more tensors."""

    device: str
    address: int
    bytes: int


class Blocks(NamedTuple):
    """What an allocator has handed out, and what of its segments stands beside it for nobody else."""

    handed_out: int
    beside: int


def ranges_of(module: torch.nn.Module) -> tuple[Range, ...]:
    """The memory of parameters, buffers and quantisation state of `module`, each once."""
    storages = {}
    for tensor in tensors_of(module):
        if tensor.device.type != "meta":
            storage = tensor.untyped_storage()
            storages[str(tensor.device), storage.data_ptr()] = storage.nbytes()
    return tuple(Range(device, address, size) for (device, address), size in storages.items())


def tensors_of(module: torch.nn.Module) -> Iterator[torch.Tensor]:
    """Parameters and buffers with bitsandbytes' state, which it moves to other places at the first use."""
    yield from module.buffers()
    for parameter in module.parameters():
        yield parameter.data
        yield from _within(vars(parameter))  # int8: CB and SCB; 4 bits: quant_state
    for part in module.modules():
        state = vars(part).get("state")  # int8, once it has run; the rest of it belongs to a step
        yield from _within({name: getattr(state, name, None) for name in ("CB", "SCB")})


def _within(values: Mapping[str, Any]) -> Iterator[torch.Tensor]:
    import torch  # noqa: PLC0415 - whoever has a module has it already

    for value in values.values():
        if isinstance(value, torch.Tensor):
            yield value
        elif type(value).__name__ == "QuantState":
            yield from _within(vars(value))


def taken_by(module: torch.nn.Module) -> int | None:
    """Bytes behind the tensors of `module` on whatever device they are; None: nobody tells.

    What is mapped from a file is read first: it takes no memory before, and would wait for the disk in a request.
    """
    read(module)
    ranges = ranges_of(module)
    host = [one for one in ranges if one.device == "cpu"]
    cards = [one for one in ranges if one.device.startswith("cuda")]
    total = 0
    if host:
        pages = resident(host)
        if pages is None:
            return None
        total += pages
    if cards:
        import torch  # noqa: PLC0415

        snapshot: Any = torch.cuda.memory_snapshot
        total += blocks([one.address for one in cards], snapshot()).handed_out
    return total


def taken_of_fullest(module: torch.nn.Module) -> int:
    """Bytes behind the tensors of `module` on that of several cards which has most of it, by CUDA's allocator."""
    import torch  # noqa: PLC0415 - whoever has a module has it already

    snapshot: Any = torch.cuda.memory_snapshot
    told = snapshot()
    cards: dict[str, list[int]] = {}
    for one in ranges_of(module):
        cards.setdefault(one.device, []).append(one.address)
    return max(blocks(addresses, told).handed_out for addresses in cards.values())


def read(module: torch.nn.Module) -> None:
    """Have each page behind the tensors of `module` that are in host memory in memory indeed."""
    import torch  # noqa: PLC0415

    for tensor in tensors_of(module):
        if tensor.device.type == "cpu":
            storage: Any = tensor.untyped_storage()
            if storage.nbytes():
                torch.empty(0, dtype=torch.uint8).set_(storage)[:: os.sysconf("SC_PAGE_SIZE")].max()


def resident(ranges: Iterable[Range], pagemap: Path = _PAGEMAP) -> int | None:
    """Bytes of `ranges` that have memory behind them, or their place in the swap. None: this system does not say."""
    if sys.platform != "linux":
        return None
    page = os.sysconf("SC_PAGE_SIZE")
    total = 0.0
    try:
        with pagemap.open("rb", buffering=0) as told:
            for one in ranges:
                if one.bytes <= 0:
                    continue
                first, last = one.address // page, (one.address + one.bytes - 1) // page
                held = sum(_held(told, at, min(last + 1, at + _AT_A_TIME)) for at in range(first, last + 1, _AT_A_TIME))
                total += one.bytes * held / (last + 1 - first)
    except OSError:
        return None
    return round(total)


def _held(told: Any, first: int, end: int) -> int:
    """Pages from `first` to before `end` that are there."""
    told.seek(first * _ENTRY)
    entries = told.read((end - first) * _ENTRY)
    return sum(map(_IS_HELD.__getitem__, entries[_ENTRY - 1 :: _ENTRY]))


_IS_HELD = bytes(1 if high & _HELD else 0 for high in range(256))


def blocks(addresses: Iterable[int], snapshot: Sequence[Mapping[str, Any]]) -> Blocks:
    """What CUDA's allocator holds for tensors at `addresses`.

    Args:
        addresses: where they begin, or anywhere in them.
        snapshot: as of `torch.cuda.memory_snapshot()`: segments with their blocks, in the order of their addresses.

    Returns:
        The whole blocks, which are rounded; and of the rest of their segments, which no other segment can use, the
        share that falls to them beside the others that have blocks there.
    """
    segments = sorted(snapshot, key=lambda one: int(one["address"]))
    starts = [int(one["address"]) for one in segments]
    mine: dict[int, dict[int, int]] = {}
    for address in addresses:
        at = bisect_right(starts, address) - 1
        if at < 0 or address >= starts[at] + int(segments[at]["total_size"]):
            continue
        begin = starts[at]
        for block in segments[at]["blocks"]:
            if begin <= address < begin + int(block["size"]):
                if str(block["state"]).startswith("active"):
                    mine.setdefault(at, {})[begin] = int(block["size"])
                break
            begin += int(block["size"])
    handed_out = sum(sum(found.values()) for found in mine.values())
    beside = 0.0
    for at, found in mine.items():
        segment = segments[at]
        used = max(1, int(segment["allocated_size"]))
        beside += (int(segment["total_size"]) - used) * sum(found.values()) / used
    return Blocks(handed_out, round(beside))


def anonymous() -> int | None:
    """Bytes of this process that are no pages of a file (RssAnon of Linux); None elsewhere."""
    try:
        with Path("/proc/self/status").open(encoding="ascii", errors="replace") as told:
            return next((int(line.split()[1]) * 1024 for line in told if line.startswith("RssAnon:")), None)
    except OSError:
        return None


def mapped(files: Iterable[Path], smaps: Path = Path("/proc/self/smaps")) -> int | None:
    """Bytes of this process that are pages of `files`, which it has mapped; None: this system does not say."""
    wanted = {str(path.resolve()) for path in files}
    total, counts = 0, False
    try:
        with smaps.open(encoding="utf-8", errors="surrogateescape") as told:
            for line in told:
                word, _, rest = line.partition(":")
                if word == "Rss":
                    total += int(rest.split()[0]) * 1024 if counts else 0
                elif "-" in line.split(" ", 1)[0]:
                    parts = line.rstrip("\n").split(maxsplit=5)
                    counts = len(parts) == 6 and parts[5].removesuffix(" (deleted)") in wanted
    except OSError:
        return None
    return total
