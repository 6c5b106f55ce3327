"""One device behind the one address: its host's address, how it is, and what it was asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import httpx
from pydantic import ValidationError

from blocks.errors import LamaError
from blocks.logs import logger
from blocks.model_host_api import Events
from models.model_host import HostStatus, Priority, Unseen
from services.model_host.host import Plan
from tasks.model_host.placing import Place, Room

_SILENT_S = 40.0
"""A host says every 15 s that it is still there."""
_AGAIN_S = 0.25
_PLAN_S = 5.0
_MOST = 1_000
_log = logger("model host")


class Device:
    """The host of one device.

    Args:
        number: which of the node's devices it is.
        name: the UUID of its GPU, or `cpu`.
        url: of its host.
        key: of its host.
        changed: called whenever it is seen to be different.
    """

    def __init__(self, number: int, name: str, url: str, key: str, changed: Callable[[], None]) -> None:
        self.number = number
        self.name = name
        self.status: HostStatus | None = None
        self.asked: Counter[str] = Counter()
        self._why = "has not answered yet"
        self._changed = changed
        self.client = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {key}", "User-Agent": "lama", "Accept-Encoding": "identity"},
            # How long an answer takes is for its host and whoever waits for it to say.
            timeout=httpx.Timeout(None, connect=5.0),
            limits=httpx.Limits(max_connections=_MOST, max_keepalive_connections=32, keepalive_expiry=10.0),
            trust_env=False,
        )

    @property
    def place(self) -> Place:
        """As it is seen now; it must have been."""
        assert self.status is not None  # noqa: S101 - who asks has looked
        return Place(self.number, self.status, self.asked)

    @property
    def unseen(self) -> Unseen:
        """Why it is left out."""
        return Unseen(device=str(self.number), reason=f"Its host {self._why}.")

    async def watch(self) -> None:
        """Hear of every change, for ever; a host that is gone is waited for."""
        while True:
            try:
                await self._listen()
                why = "has ended"
            except httpx.HTTPError as error:
                why = f"does not answer ({type(error).__name__})"
            except (LamaError, ValidationError, json.JSONDecodeError) as error:
                why = "is not understood"
                _log.warning("device %s: %s", self.number, error)
            if self.status is not None:
                _log.warning("device %s: its host %s; requests go to the others", self.number, why)
            self._why, self.status = why, None
            self._changed()
            await asyncio.sleep(_AGAIN_S)

    async def _listen(self) -> None:
        events = Events()
        async with self.client.stream("GET", "/host/events", timeout=httpx.Timeout(_SILENT_S, connect=5.0)) as stream:
            if not stream.is_success:
                raise LamaError(f"it answered {stream.status_code}.", component=f"device {self.number}")
            async for part in stream.aiter_raw():
                for event in events.of(part):
                    self.heard(event)

    def heard(self, event: Mapping[str, Any]) -> None:
        """Take in how its host says that it is."""
        self.status = HostStatus.model_validate(event).model_copy(update={"number": self.number})
        self._changed()

    async def room(self, model: str, priority: Priority | None) -> Room | None:
        """What its host says of loading `model`; None: nothing."""
        headers = {} if priority is None else {"X-Lama-Priority": priority.name}
        with contextlib.suppress(httpx.HTTPError, ValidationError):
            answer = await self.client.post("/host/plan", json={"model": model}, headers=headers, timeout=_PLAN_S)
            if answer.is_success:
                plan = Plan.model_validate_json(answer.content)
                never = plan.refusal is not None and plan.refusal.for_ever
                return Room(plan.fits, instead=bool(plan.evicted), for_ever=never)
        return None

    def release(self, model: str) -> None:
        """A request for `model` has ended."""
        self.asked[model] -= 1
        if self.asked[model] <= 0:
            del self.asked[model]
