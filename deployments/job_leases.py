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
_AGAIN_S = 1.0
"""Room may come long before the host expects it, and memory that is granted and not taken helps nobody."""
_LATER_S = 10.0
_ANSWER_S = 5.0
"""Longest wait for the host. Nothing of what it is asked here takes it long, and runs that need no lease go on."""


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
    code: str = ""
    """What kind of reason it is; its words may have another number every time."""
    retry_s: float = _SOON_S
    for_ever: bool = False
    """Whether waiting cannot help on this device."""
    away: bool = False
    """Whether the host did not answer at all."""


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
        self._asked: set[UUID] = set()
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
        await asyncio.gather(*(self.give_back(run_id) for run_id in list(self._asked)))
        if self._client is not None:
            await self._client.aclose()

    async def ask(self, run_id: UUID, need: Need, *, only_if_warm: bool = False) -> Answer:
        """Ask for the lease of a run. Asking again is harmless: a run has one lease, or one place in the queue."""
        self._asked.add(run_id)
        answer = await self._post(run_id, need, only_if_warm=only_if_warm)
        if answer.granted:
            self._held[run_id] = need
        return answer

    async def give_back(self, run_id: UUID) -> None:
        """Return the lease of a run, or its place in the queue. What does not reach the host ends there by itself."""
        if run_id not in self._asked:
            return
        self._held.pop(run_id, None)
        await self._delete(run_id)
        self._asked.discard(run_id)  # only now: who is cancelled in between leaves it to our own end

    async def give_back_of_another(self, run_id: UUID) -> None:
        """Return the lease of a run that a worker had which is no more; the host would miss it only later."""
        await self._delete(run_id)

    async def _delete(self, run_id: UUID) -> None:
        import httpx  # noqa: PLC0415

        assert self._client is not None  # noqa: S101 - inside of the block
        try:
            await self._client.delete(f"host/jobs/{run_id}", timeout=_ANSWER_S)
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
            response = await self._client.post(f"host/jobs/{run_id}", json=body, timeout=_ANSWER_S)
        except httpx.HTTPError as error:
            reason = f"the model host does not answer ({type(error).__name__})"
            retry_s = _LATER_S if isinstance(error, httpx.TimeoutException) else _AGAIN_S
            return Answer(granted=False, reason=reason, code="away", retry_s=retry_s, away=True)
        if response.is_success:
            told = response.json()
            return Answer(granted=True, warm=bool(told.get("warm")))
        return _refused(response)

    async def _renew(self) -> None:
        # A host that was killed knows of no lease: it hears of the runs that go on within seconds.
        while True:
            await asyncio.sleep(_RENEW_S)
            await asyncio.gather(*(self._renew_one(run_id, need) for run_id, need in list(self._held.items())))

    async def _renew_one(self, run_id: UUID, need: Need) -> None:
        answer = await self._post(run_id, need, only_if_warm=False)
        if run_id not in self._held:  # it ended meanwhile, and the host may have heard that first
            await self._delete(run_id)
        elif not answer.granted:
            self._log.warning("The lease of run %s was not renewed: %s", run_id, answer.reason)


def _refused(response: httpx.Response) -> Answer:
    status, told = response.status_code, _document(response)
    error = told.get("error") or {}
    refusal = (told.get("lama") or {}).get("refusal") or {}
    code = str(error.get("code") or status)
    for_ever = code == "never_fits" or (status < 500 and status != 429)
    waits = code == "no_room"
    return Answer(
        granted=False,
        reason=str((refusal.get("reason") if waits else None) or error.get("message") or f"it answered {status}"),
        code=code,
        retry_s=_AGAIN_S if waits else _LATER_S if for_ever else _retry_after(response),
        for_ever=for_ever,
    )


def _document(response: httpx.Response) -> dict[str, Any]:
    try:
        document = response.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _retry_after(response: httpx.Response) -> float:
    try:
        return min(max(float(response.headers.get("retry-after", _AGAIN_S)), _SOON_S), _LATER_S)
    except ValueError:
        return _AGAIN_S
