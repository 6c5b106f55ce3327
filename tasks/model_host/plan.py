"""Whether models fit into the memory that is promised to them, and side by side on a device. Arithmetic only."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial

from models.model_host import EngineKind, Footprint, Quantisation
from models.report import Value
from tasks.model_host.counting import Counted
from tasks.model_host.prediction import DeviceKind, lease_bytes

USABLE = 0.9
"""Share of a device's memory that models may use: the rest is the driver's, the context's and the allocator's."""

_GB = 10**9
_UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": _GB, "tb": 10**12}
_UNITS |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_SIZE = re.compile(r"^\s*(\d{1,15}(?:\.\d{1,6})?)\s*([KMGT]i?B)?\s*$", re.IGNORECASE)
_TRIED = (Quantisation.bf16, Quantisation.int8, Quantisation.nf4, Quantisation.nf4_dq)
"""From the most exact to the smallest."""


class Device(Value):
    """Memory that models are to fit into."""

    name: str
    memory_bytes: int
    usable_bytes: int
    kind: DeviceKind = "cuda"
    packs_nf4: bool = False
    """See `prediction.Storage`."""
    source: str = ""
    """Where the size is from."""


def _card(name: str, gigabytes: int, sheet: str) -> Device:
    memory = gigabytes * _GB
    return Device(name=name, memory_bytes=memory, usable_bytes=int(memory * USABLE), source=f"NVIDIA {sheet}")


DEVICES: dict[str, Device] = {
    device.name: device
    for device in (
        _card("a10", 24, "A10 datasheet"),
        _card("a100-40gb", 40, "A100 datasheet"),
        _card("a100-80gb", 80, "A100 datasheet"),
        _card("b200", 180, "DGX B200 datasheet (1,440 GB of 8)"),
        _card("h100", 80, "H100 datasheet"),
        _card("h200", 141, "H200 datasheet"),
        _card("l4", 24, "L4 datasheet"),
        _card("l40s", 48, "L40S datasheet"),
        _card("rtx-3090", 24, "GeForce RTX 3090 specifications"),
        _card("rtx-4090", 24, "GeForce RTX 4090 specifications"),
        _card("rtx-5090", 32, "GeForce RTX 5090 specifications"),
        _card("rtx-a6000", 48, "RTX A6000 datasheet"),
        _card("t4", 16, "T4 datasheet"),
        _card("v100-32gb", 32, "V100 datasheet"),
    )
}
"""Known cards. A GB of a datasheet is counted as 10^9 bytes, the least that it can mean."""


class Alternative(Value):
    """A model in another form."""

    quantisation: Quantisation
    takes_bytes: int
    """With the whole context that is promised."""
    longest_context: int
    """Most tokens of context with which it fits; 0: its weights alone do not."""


class Item(Value):
    """One model of a plan."""

    name: str
    engine: EngineKind
    quantisation: Quantisation
    parameters: int
    context_window: int
    footprint: Footprint
    kv_bytes: int
    """Keys and values of the contexts that are promised."""
    takes_bytes: int
    reserve_bytes: int | None
    fits: bool
    """Into its reserve, or without one onto the device alone."""
    longest_context: int
    """Most tokens of context, up to the promised one, with which it fits."""
    alternatives: tuple[Alternative, ...] = ()
    """Where it does not fit: other forms, and what would fit of them."""


class Plan(Value):
    """Models side by side on a device."""

    device: Device
    items: tuple[Item, ...]
    takes_bytes: int
    """Of all together, each with its promised context."""
    reserved_bytes: int
    """Of all reserves together."""
    fits: bool
    """Each into its reserve, and all onto the device at a time."""

    @property
    def lacks_bytes(self) -> int:
        """What the device lacks for all of them, or for their reserves."""
        return max(0, max(self.takes_bytes, self.reserved_bytes) - self.device.usable_bytes)


def make_plan(models: Sequence[Counted], device: Device) -> Plan:
    """What `models` take on `device`, and what of it fits."""
    items = tuple(_item(model, device) for model in models)
    takes = sum(item.takes_bytes for item in items)
    reserved = sum(item.reserve_bytes or 0 for item in items)
    return Plan(
        device=device,
        items=items,
        takes_bytes=takes,
        reserved_bytes=reserved,
        fits=all(item.fits for item in items) and max(takes, reserved) <= device.usable_bytes,
    )


def takes(footprint: Footprint, context: int) -> int:
    """Bytes of a model that serves one sequence of `context` tokens; llama.cpp has allocated its own."""
    return max(footprint.resident + lease_bytes(footprint, context), footprint.loading)


def size_of(text: str) -> int:
    """Bytes of a size such as `40GiB`, `40 GB` or `42949672960`.

    Raises:
        ValueError: it is no size.
    """
    if not (found := _SIZE.match(text)):
        raise ValueError(f"{text[:50]!r} is no size; write it like 40GiB, 40GB or a number of bytes")
    return int(Decimal(found[1]) * _UNITS[(found[2] or "").lower()])


def shown(size: int) -> str:
    """A size in three digits or so, in powers of ten."""
    for unit, least in (("GB", _GB), ("MB", 10**6), ("kB", 10**3)):
        if size >= least:
            return f"{size / least:,.2f} {unit}"
    return f"{size} B"


def _item(model: Counted, device: Device) -> Item:
    def taken(context: int, quantisation: Quantisation | None = None) -> int:
        footprint = model.footprint(device.kind, packs_nf4=device.packs_nf4, context=context, quantisation=quantisation)
        return takes(footprint, context)

    footprint = model.footprint(device.kind, packs_nf4=device.packs_nf4)
    whole = takes(footprint, model.context_window)
    room = device.usable_bytes if model.reserve_bytes is None else model.reserve_bytes
    others: tuple[Alternative, ...] = ()
    if whole > room and model.engine is EngineKind.transformers:
        others = tuple(
            Alternative(
                quantisation=other,
                takes_bytes=taken(model.context_window, other),
                longest_context=longest(partial(taken, quantisation=other), room, model.context_window),
            )
            for other in _TRIED
            if other is not model.quantisation
        )
    return Item(
        name=model.name,
        engine=model.engine,
        quantisation=model.quantisation,
        parameters=model.architecture.parameters,
        context_window=model.context_window,
        footprint=footprint,
        kv_bytes=footprint.kv_fixed or footprint.kv_per_token * model.context_window,
        takes_bytes=whole,
        reserve_bytes=model.reserve_bytes,
        fits=whole <= room,
        longest_context=longest(taken, room, model.context_window),
        alternatives=others,
    )


def longest(taken: Callable[[int], int], room: int, most: int) -> int:
    """The longest context up to `most` of which what is `taken`, which grows with it, is within `room`; 0: none."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if taken(middle) <= room:
            low = middle
        else:
            high = middle - 1
    return low
