"""Whether models fit side by side on several cards, each that can be divided over all of them. Arithmetic only."""

from __future__ import annotations

from collections.abc import Sequence

from models.model_host import EngineKind, Footprint, ModelKind, Quantisation
from models.report import Value
from tasks.model_host.counting import Counted
from tasks.model_host.division import Part, divide
from tasks.model_host.plan import Device, longest, takes


class DividedItem(Value):
    """One model of a plan for several cards. All bytes are those of one card."""

    name: str
    quantisation: Quantisation
    parameters: int
    context_window: int
    parts: tuple[Part, ...]
    """What each card has of it."""
    charged: Footprint
    """What the ledger counts for it on every card."""
    takes_bytes: int
    """What is charged, with the whole context that is promised."""
    reserve_bytes: int | None
    fits: bool
    """Into its reserve, or without one onto the cards alone."""
    longest_context: int
    """Most tokens of context, up to the promised one, with which it fits."""
    needs_no_division: bool
    """Whether one of the cards alone would hold it."""


class DividedPlan(Value):
    """Models side by side on several cards of a kind."""

    device: Device
    """One of the cards."""
    devices: int
    items: tuple[DividedItem, ...]
    takes_bytes: int
    """Of every card, for all models together, each with its promised context."""
    reserved_bytes: int
    """Of every card, for all reserves together."""
    fits: bool
    """Each into its reserve, and all onto the cards at a time."""

    @property
    def lacks_bytes(self) -> int:
        """What each card lacks for all of them, or for their reserves."""
        return max(0, max(self.takes_bytes, self.reserved_bytes) - self.device.usable_bytes)

    @property
    def taken(self) -> tuple[int, ...]:
        """Bytes that all parts really take of each card, which is at most what is charged."""
        return tuple(sum(item.parts[card].takes_bytes for item in self.items) for card in range(self.devices))


def make_divided_plan(models: Sequence[Counted], device: Device, devices: int) -> DividedPlan:
    """What `models` take on `devices` cards like `device`, and what of it fits. Reserves are those of each card.

    A model that is not divided (one that embeds, a GGUF file in llama.cpp) is on the first.
    """
    items = tuple(_item(model, device, devices) for model in models)
    taken = sum(item.takes_bytes for item in items)
    reserved = sum(item.reserve_bytes or 0 for item in items)
    return DividedPlan(
        device=device,
        devices=devices,
        items=items,
        takes_bytes=taken,
        reserved_bytes=reserved,
        fits=all(item.fits for item in items) and max(taken, reserved) <= device.usable_bytes,
    )


def _item(model: Counted, device: Device, devices: int) -> DividedItem:
    room = device.usable_bytes if model.reserve_bytes is None else model.reserve_bytes

    def placed(context: int) -> tuple[tuple[Part, ...], Footprint]:
        return _placed(model, [room] * devices, context)

    def taken(context: int) -> int:
        return takes(placed(context)[1], context)

    parts, charged = placed(model.context_window)
    whole = takes(charged, model.context_window)
    fits = whole <= room
    return DividedItem(
        name=model.name,
        quantisation=model.quantisation,
        parameters=model.architecture.parameters,
        context_window=model.context_window,
        parts=parts,
        charged=charged,
        takes_bytes=whole,
        reserve_bytes=model.reserve_bytes,
        fits=fits,
        longest_context=model.context_window if fits else longest(taken, room, model.context_window),
        needs_no_division=takes(model.footprint("cuda"), model.context_window) <= device.usable_bytes,
    )


def _placed(model: Counted, rooms: Sequence[int], context: int) -> tuple[tuple[Part, ...], Footprint]:
    """What each card has of a model, and what every card is charged; what is not divided is on the first."""
    if model.engine is EngineKind.transformers and model.kind is ModelKind.generate:
        division = divide(model, rooms, context=context)
        return division.parts, division.charged
    whole, nothing = model.footprint("cuda", context=context), Footprint(weights=0, kv_per_token=0)
    parts = tuple(
        Part(
            card=card,
            modules=(),
            layers=None,
            footprint=nothing if card else whole,
            takes_bytes=0 if card else takes(whole, context),
            room_bytes=room,
        )
        for card, room in enumerate(rooms)
    )
    return parts, whole
