"""All devices behind the one address: who is there, and where a request goes."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Sequence

import httpx
from pydantic import ValidationError

from models.model_host import Choice, HostStatus, ModelState, Priority, Requirements
from services.model_host.front.device import Device
from services.model_host.front.merging import merged
from services.model_host.problems import RefusedError
from tasks.model_host.placing import Standing, best

_SELECT_S = 10.0
_BREATH_S = 0.05


class Devices:
    """The devices of this node.

    Args:
        places: name (`cpu`, or a GPU's UUID) and address of each host, in the order of their numbers.
        key: of every host.
    """

    def __init__(self, places: Sequence[tuple[str, str]], key: str) -> None:
        self.all = [Device(number, name, url, key, self._wake) for number, (name, url) in enumerate(places)]
        self._change = asyncio.Event()
        self._placing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @property
    def up(self) -> list[Device]:
        """Those that answer."""
        return [device for device in self.all if device.status is not None]

    def status(self) -> HostStatus:
        """All of them as one."""
        return merged(
            [device.status for device in self.all if device.status is not None],
            [device.unseen for device in self.all if device.status is None],
        )

    async def changes(self) -> AsyncIterator[HostStatus]:
        """How things are, now and whenever that changes."""
        before = None
        while True:
            change, now = self._change, self.status()
            if now != before:
                yield now
                before = now
            await change.wait()
            await asyncio.sleep(_BREATH_S)  # what happens at once is told at once

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """While it lasts, the devices are looked at."""
        watching = [asyncio.create_task(device.watch()) for device in self.all]
        try:
            yield
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
            await asyncio.gather(*(device.client.aclose() for device in self.all))

    def called(self, word: str) -> Device:
        """The device of that number or UUID.

        Raises:
            RefusedError: there is none, or its host does not answer.
        """
        for device in self.all:
            if word == str(device.number) or word.lower() == device.name.lower() != "cpu":
                if device.status is None:
                    raise RefusedError(503, f"Device {device.number}: {device.unseen.reason}", code="device_away",
                                       retry_after_s=1.0)  # fmt: skip
                return device
        names = ", ".join(f"{one.number} ({one.name})" for one in self.all)
        raise RefusedError(404, f"There is no such device; there is {names}.", parameter="device",
                           code="device_not_found")  # fmt: skip

    async def place(self, model: str, priority: Priority | None, tried: Collection[int] = ()) -> Device | None:
        """Where a request for `model` goes next; it counts as asked there until `Device.release`.

        Args:
            model: any name: one that nobody knows is refused by whoever is asked.
            priority: of the request.
            tried: numbers of devices that it has been to.

        Returns:
            None: there is no other device.
        """
        found, standing = self._best(model, tried)
        if found is not None and Standing.coming < standing < Standing.absent:
            async with self._placing[model]:  # one is placed after the other, so that they find each other
                found, standing = self._best(model, tried)
                if found is not None and Standing.coming < standing < Standing.absent:
                    found = await self._where_it_fits(model, priority, tried)
                if found is not None:
                    found.asked[model] += 1
            return found
        if found is not None:
            found.asked[model] += 1
        return found

    async def select(self, requirements: Requirements) -> tuple[Device, Choice] | None:
        """The choice of whoever has the best one; None: nobody has any."""
        body = requirements.model_dump(mode="json", exclude_none=True)
        up = self.up
        answers = await asyncio.gather(*(self._choice(device, body) for device in up))
        found = [(choice, device) for device, choice in zip(up, answers, strict=True) if choice is not None]
        if not found:
            return None
        choice, device = max(found, key=lambda one: (one[0].score, -one[1].place.load() if one[1].status else 0))
        return device, choice

    def _best(self, model: str, tried: Collection[int]) -> tuple[Device | None, Standing]:
        left = [device.place for device in self.up if device.number not in tried]
        if not left:
            return None, Standing.absent
        place, standing = best(left, model)
        return self.all[place.number], standing

    async def _where_it_fits(self, model: str, priority: Priority | None, tried: Collection[int]) -> Device | None:
        left = [device for device in self.up if device.number not in tried]
        told = await asyncio.gather(*(device.room(model, priority) for device in left))
        rooms = {device.number: room for device, room in zip(left, told, strict=True) if room is not None}
        there = [device.place for device in left if device.status is not None]
        return self.all[best(there, model, rooms)[0].number] if there else None

    @staticmethod
    async def _choice(device: Device, body: dict[str, object]) -> Choice | None:
        with contextlib.suppress(httpx.HTTPError, ValidationError):
            answer = await device.client.post("/host/select", json=body, timeout=_SELECT_S)
            if answer.is_success:
                return Choice.model_validate_json(answer.content)
        return None

    def _wake(self) -> None:
        self._change.set()
        self._change = asyncio.Event()


def has(device: Device, model: str) -> bool:
    """Whether a model takes memory there."""
    return device.status is not None and any(
        one.name == model and one.state is not ModelState.absent for one in device.status.models
    )
