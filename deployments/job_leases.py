"""Memory of the model host that is leased to flow runs: asked for before a run starts, returned when it has ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    import httpx

_RENEW_S = 10.0
_SOON_S = 0.5
_LATER_S = 10.0


@dataclass(frozen=True)
class Need:
    """What a run needs of the device."""

    models: tuple[str, ...] = ()
    """Models that have to stay loaded while it goes on."""
    memory_bytes: int = 0
    """Memory that its own process takes there."""
    exclusive: bool = False
    """Whether it must be alone: no other run, no request."""

    def __bool__(self) -> bool:
        return bool(self.models or self.memory_bytes or self.exclusive)


@dataclass(frozen=True)
class Answer:
    """What the host said."""

    granted: bool
    warm: bool = False
    """Whether the models are loaded already."""
    reason: str = ""
    retry_s: float = _SOON_S
    for_ever: bool = False
    """Whether waiting cannot help on this device."""


class JobLeases:
    """The leases that this worker holds.

    Args:
        client: makes a client of the model host.
        log: where it is said that a lease was lost.
    """

    def __init__(
        self, client: Callable[[], httpx.AsyncClient], log: logging.Logger | logging.LoggerAdapter[Any]
    ) -> None:
        self._make = client
        self._log = log
        self._client: httpx.AsyncClient | None = None
        self._held: dict[UUID, Need] = {}
        self._renewing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> JobLeases:
        self._client = self._make()
        self._renewing = asyncio.create_task(self._renew())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._renewing
        for run_id in list(self._held):
            await self.give_back(run_id)
        if self._client is not None:
            await self._client.aclose()

    async def ask(self, run_id: UUID, need: Need, *, only_if_warm: bool = False) -> Answer:
        """Ask for the lease of a run. Asking again is harmless: a run has one lease."""
        answer = await self._post(run_id, need, only_if_warm=only_if_warm)
        if answer.granted:
            self._held[run_id] = need
        return answer

    async def give_back(self, run_id: UUID) -> None:
        """Return the lease of a run, if it has one. What does not reach the host ends there by itself."""
        import httpx  # noqa: PLC0415

        if self._held.pop(run_id, None) is None or self._client is None:
            return
        try:
            await self._client.delete(f"host/jobs/{run_id}")
        except httpx.HTTPError as error:
            self._log.warning("The lease of run %s ends when the model host misses us: %r", run_id, error)

    @property
    def held(self) -> frozenset[UUID]:
        """The runs that have a lease."""
        return frozenset(self._held)

    async def _post(self, run_id: UUID, need: Need, *, only_if_warm: bool) -> Answer:
        import httpx  # noqa: PLC0415

        assert self._client is not None  # noqa: S101 - inside of the block
        body = {
            "models": list(need.models),
            "bytes": need.memory_bytes,
            "exclusive": need.exclusive,
            "only_if_warm": only_if_warm,
        }
        try:
            response = await self._client.post(f"host/jobs/{run_id}", json=body)
        except httpx.HTTPError as error:
            return Answer(granted=False, reason=f"the model host does not answer ({type(error).__name__})")
        if response.is_success:
            told = response.json()
            return Answer(granted=True, warm=bool(told.get("warm")))
        return Answer(
            granted=False,
            reason=_reason(response),
            retry_s=_retry_after(response),
            for_ever=response.status_code < 500 and response.status_code != 429,
        )

    async def _renew(self) -> None:
        # A host that was killed knows of no lease: it hears of the runs that go on within seconds.
        while True:
            await asyncio.sleep(_RENEW_S)
            for run_id, need in list(self._held.items()):
                answer = await self._post(run_id, need, only_if_warm=False)
                if not answer.granted and run_id in self._held:
                    self._log.warning("The lease of run %s was not renewed: %s", run_id, answer.reason)


def _reason(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"the model host answered {response.status_code}"


def _retry_after(response: httpx.Response) -> float:
    try:
        return min(max(float(response.headers.get("retry-after", _SOON_S)), _SOON_S), _LATER_S)
    except ValueError:
        return _SOON_S
