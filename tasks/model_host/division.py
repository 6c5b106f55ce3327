"""A model over several cards: which of its layers lie on which, and what each card then takes. Pure.

Layers stay in their order, so that a token crosses from a card to the next once; embeddings are on the first, the head
is on the last, or beside the embeddings where it is the same matrix. Of all such divisions it is the one that leaves
the fullest card the most room.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import NamedTuple

from models.model_host import EngineKind, Footprint, ModelKind, Quantisation
from models.report import Value
from tasks.model_host.counting import Counted
from tasks.model_host.errors import LoadError
from tasks.model_host.prediction import (
    BYTES,
    Step,
    Storage,
    by_segment,
    held_tensors,
    in_segments,
    lease_bytes,
    rounded,
    workspace,
    workspace_on_cuda,
)
from tasks.model_host.shapes import Architecture, Weight, layer_of


class Part(Value):
    """What one card has of a model."""

    card: int
    """Which of the cards, from 0."""
    modules: tuple[str, ...]
    """Names of the modules that lie there, with all that is in them."""
    layers: tuple[int, int] | None
    """The first and the last layer; None: none."""
    footprint: Footprint
    """Of this card alone."""
    takes_bytes: int
    """With its share of the context that is promised."""
    room_bytes: int

    @property
    def lacks_bytes(self) -> int:
        """What the card lacks for it."""
        return max(0, self.takes_bytes - self.room_bytes)


class Division(Value):
    """A model over several cards."""

    parts: tuple[Part, ...]
    """One of each card, in their order; a card may have nothing."""

    @property
    def fits(self) -> bool:
        """Whether each card has room for its part."""
        return not any(part.lacks_bytes for part in self.parts)

    @property
    def device_map(self) -> dict[str, int]:
        """The card of each module, as accelerate takes it."""
        return {module: part.card for part in self.parts for module in part.modules}

    @property
    def charged(self) -> Footprint:
        """What every card is charged: of each kind of memory as much as the card that has most of it.

        A ledger that counts one number for all cards holds on each of them then, whatever is loaded and leased: no card
        has more of anything than is charged.
        """
        return Footprint(
            weights=max(part.footprint.weights for part in self.parts),
            kv_per_token=max(part.footprint.kv_per_token for part in self.parts),
            workspace=max(part.footprint.workspace for part in self.parts),
            rounds=True,
        )


class _Sums(NamedTuple):
    """Bytes of tensors, additive: `handed` as the allocator rounds them, the others by the segments they come from."""

    handed: int
    small: int
    medium: int
    large: int
    kv: int
    """Keys and values of a token."""
    head: int
    """Whether the logits are made there: 1 or 0."""

    def less(self, other: _Sums) -> _Sums:
        return _Sums(*(mine - theirs for mine, theirs in zip(self, other, strict=True)))

    def plus(self, other: _Sums) -> _Sums:
        return _Sums(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


@dataclass(frozen=True)
class _Unit:
    """What is not divided: a layer, or what is before or after all of them."""

    modules: tuple[str, ...]
    layer: int | None
    sums: _Sums


@dataclass(frozen=True)
class _Chain:
    """A model as it is to be divided, and what a step takes on a card of it."""

    units: tuple[_Unit, ...]
    until: tuple[_Sums, ...]
    """Sums of the first 0, 1, 2, ... units."""
    steps: tuple[int, int]
    """Bytes of a step without and with the logits."""
    context: int

    def footprint(self, begin: int, end: int) -> Footprint:
        """Of a card with the units from `begin` to before `end`."""
        if begin == end:
            return Footprint(weights=0, kv_per_token=0, rounds=True)
        found = self.until[end].less(self.until[begin])
        taken = in_segments(found.small, found.medium, found.large)
        return Footprint(
            weights=found.handed,
            kv_per_token=found.kv,
            workspace=taken - found.handed + workspace_on_cuda(self.steps[min(1, found.head)]),
            rounds=True,
        )

    def takes(self, begin: int, end: int) -> int:
        """Bytes of a card with these units and its share of the context."""
        footprint = self.footprint(begin, end)
        return footprint.resident + lease_bytes(footprint, self.context)


def divide(
    model: Counted, rooms: Sequence[int | None], *, context: int | None = None, quantisation: Quantisation | None = None
) -> Division:
    """Divide `model` over cards with `rooms` bytes, in their order.

    It is a division also where the cards do not hold it: then the one where the fullest lacks least (see
    `Division.fits`).

    Args:
        model: what is to be divided; torch holds it.
        rooms: bytes that models may use of each card; None: nothing of it is put there.
        context: tokens that are promised, where others than the model's own.
        quantisation: how weights are held, where otherwise than the model says.

    Raises:
        LoadError: it cannot be divided.
    """
    chain = _chain(model, context or model.context_window, quantisation or model.quantisation)
    used = [room for room in rooms if room is not None]
    if not used:
        raise LoadError("there is no card to divide it over.", component=model.name)
    whole = chain.takes(0, len(chain.units))
    low, high = -whole, max(*used, 0) + 1  # all of it on one card lacks `whole` at most
    ends = _ends(chain, rooms, low)
    assert ends is not None  # noqa: S101 - so it is feasible
    while high - low > 1:
        spare = (low + high) // 2
        found = _ends(chain, rooms, spare)
        if found is None:
            high = spare
        else:
            low, ends = spare, found
    begins = (0, *ends[:-1])
    return Division(
        parts=tuple(
            _part(chain, card, begin, end, room)
            for card, (begin, end, room) in enumerate(zip(begins, ends, rooms, strict=True))
        )
    )


def _ends(chain: _Chain, rooms: Sequence[int | None], spare: int) -> tuple[int, ...] | None:
    """Where each card's units end if each keeps `spare` bytes free; None: they do not hold it then.

    Each card is filled as far as it goes: what it takes grows with every unit, so that nothing is lost by it.
    """
    ends = []
    begin = 0
    for room in rooms:
        end = begin
        while room is not None and end < len(chain.units) and chain.takes(begin, end + 1) <= room - spare:
            end += 1
        ends.append(end)
        begin = end
    return tuple(ends) if begin == len(chain.units) else None


def _part(chain: _Chain, card: int, begin: int, end: int, room: int | None) -> Part:
    units = chain.units[begin:end]
    layers = [unit.layer for unit in units if unit.layer is not None]
    return Part(
        card=card,
        modules=tuple(module for unit in units for module in unit.modules),
        layers=(layers[0], layers[-1]) if layers else None,
        footprint=chain.footprint(begin, end),
        takes_bytes=chain.takes(begin, end),
        room_bytes=room or 0,
    )


def _chain(model: Counted, context: int, quantisation: Quantisation) -> _Chain:
    architecture = model.architecture
    if model.engine is not EngineKind.transformers:
        raise LoadError(
            "llama.cpp computes it on the CPU; it is not divided over GPUs.",
            component=model.name,
            remedy='Write engine = "transformers", or leave devices out.',
        )
    if not architecture.layers or model.kind is not ModelKind.generate:
        raise LoadError(
            "only models that generate are divided over several GPUs.",
            component=model.name,
            remedy="Leave devices out.",
        )
    storage = Storage.of(architecture, quantisation)
    units = tuple(_units(architecture, storage))
    step = Step.of(model.kind, context)
    return _Chain(
        units=units,
        until=tuple(accumulate((unit.sums for unit in units), _Sums.plus, initial=_Sums(0, 0, 0, 0, 0, 0))),
        steps=(workspace(replace(architecture, vocab=0), storage, step), workspace(architecture, storage, step)),
        context=context,
    )


def _units(architecture: Architecture, storage: Storage) -> Iterator[_Unit]:
    """What is before the layers, each layer, and what is after them, in their order."""
    front: list[Weight] = []
    layers: dict[int, list[Weight]] = {}
    prefixes: dict[int, str] = {}
    back: list[Weight] = []
    for weight in architecture.weights:
        if place := layer_of(weight.name):
            prefix, number = place
            layers.setdefault(number, []).append(weight)
            prefixes[number] = prefix
        else:
            (back if layers else front).append(weight)
    buffers: dict[int | None, list[int]] = {}
    names = architecture.buffer_names or ("",) * len(architecture.buffers)
    outside = []
    for name, size in zip(names, architecture.buffers, strict=True):
        place = layer_of(name)
        buffers.setdefault(place[1] if place else None, []).append(size)
        if not place and name:
            outside.append(_module_of(name))
    width = BYTES[storage.dtype]
    yield _unit(architecture, storage, front, buffers.get(None, []), also=outside, head=architecture.tied)
    for number, layer in zip(sorted(layers), architecture.layers, strict=True):
        kept = (layer.keys + layer.values) * width
        made = _unit(architecture, storage, layers[number], buffers.get(number, []), kv=kept)
        yield replace(made, modules=(prefixes[number],), layer=number)
    yield _unit(architecture, storage, back, [], head=not architecture.tied)


def _unit(
    architecture: Architecture,
    storage: Storage,
    weights: Sequence[Weight],
    buffers: Sequence[int],
    *,
    also: Sequence[str] = (),
    kv: int = 0,
    head: bool = False,
) -> _Unit:
    sizes = list(held_tensors(replace(architecture, weights=tuple(weights), buffers=tuple(buffers)), storage))
    handed = sum(rounded(size, "cuda") for size in sizes)
    kinds = by_segment(sizes)
    modules = dict.fromkeys([*(_module_of(weight.name) for weight in weights), *also])
    return _Unit(tuple(modules), None, _Sums(handed, *kinds, kv, int(head)))


def _module_of(name: str) -> str:
    """The module that has a tensor, or the tensor itself where that is the whole model."""
    return name.rpartition(".")[0] or name
