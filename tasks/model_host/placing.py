"""Which of several devices a request goes to. Pure.

To where its model is loaded; else to where it is being loaded, so that nobody loads it twice; else to where it would
fit, best without that others have to leave; else to whoever has least to do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from models.model_host import HostStatus, ModelState


class Standing(IntEnum):
    """How a model stands on a device; the first is best."""

    warm = 0
    coming = 1
    """It is being loaded, or has been asked for."""
    fits = 2
    fits_instead = 3
    """Others, who are idle, would have to leave."""
    unknown = 4
    full = 5
    """It would have to wait for the memory."""
    failed = 6
    """It failed to load a moment ago."""
    never = 7
    absent = 8
    """The device's host does not know it."""


_BY_STATE = {
    ModelState.ready: Standing.warm,
    ModelState.loading: Standing.coming,
    ModelState.failed: Standing.failed,
}


@dataclass(frozen=True)
class Room:
    """What a host says of loading a model."""

    fits: bool
    instead: bool = False
    """Whether others would have to leave."""
    for_ever: bool = False
    """Whether it can never fit."""


@dataclass(frozen=True)
class Place:
    """One device as it is seen now."""

    number: int
    status: HostStatus
    asked: Mapping[str, int] = field(default_factory=dict)
    """Requests that were sent there and have no end yet, by model: the status may not have them."""

    def load(self) -> int:
        """How many requests it has."""
        told = sum(one.running + one.waiting for one in self.status.models)
        return max(told, sum(self.asked.values()))


def standing(place: Place, model: str, room: Room | None = None) -> Standing:
    """How `model` stands on a device.

    Args:
        place: the device.
        model: a name of the catalogue.
        room: what its host says of loading it; None: nobody has asked.
    """
    known = next((one for one in place.status.models if one.name == model), None)
    if known is None:
        return Standing.absent
    if known.state in _BY_STATE:
        return _BY_STATE[known.state]
    if place.asked.get(model) or known.running or known.waiting:
        return Standing.coming
    if room is None:
        return Standing.unknown
    if room.fits:
        return Standing.fits_instead if room.instead else Standing.fits
    return Standing.never if room.for_ever else Standing.full


def best(places: Collection[Place], model: str, rooms: Mapping[int, Room] | None = None) -> tuple[Place, Standing]:
    """The device to send a request for `model` to, and how it stands there.

    Of those where it stands alike, the one with least to do; then always the same one, so that a model is not loaded
    everywhere.

    Raises:
        ValueError: there is no device.
    """
    rooms = rooms or {}
    ranked = [(standing(place, model, rooms.get(place.number)), place) for place in places]
    found, place = min(ranked, key=lambda one: (one[0], one[1].load(), _draw(one[1].number, model)))
    return place, found


def _draw(number: int, model: str) -> bytes:
    """Rendezvous hashing: a device that comes or goes moves only its own models."""
    return hashlib.sha256(f"{number}\n{model}".encode()).digest()
