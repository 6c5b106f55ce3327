"""The reserves of the catalogue: made at the start, tried again until they are, and loaded where they are high."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from blocks.errors import LamaError
from models.model_host import CatalogueEntry, Priority, Reserve
from tasks.model_host.accounts import DEFAULT_CONTEXT
from tasks.model_host.errors import LoadError

_log = logging.getLogger(__name__)

_FIRST_S = 5.0
_LONGEST_S = 300.0

Preload = Callable[[str, Callable[[LamaError | None], None]], None]
"""Begins to load a model; what it is given is called at the end, with what the load failed with."""


@dataclass
class _Trial:
    """Something that is tried until it is done, more and more seldom."""

    at: float
    pause_s: float = field(default_factory=lambda: _FIRST_S)

    def failed(self, now: float) -> None:
        self.at, self.pause_s = now + self.pause_s, min(2 * self.pause_s, _LONGEST_S)


class Promises:
    """What the catalogue promises to its models.

    Args:
        entries: the catalogue.
        make: makes a reserve, and then calls `made`. Raises `LamaError` when it cannot be made.
        preload: begins to load a model.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        entries: Iterable[CatalogueEntry],
        make: Callable[[Reserve], Awaitable[None]],
        preload: Preload,
        clock: Callable[[], float],
    ) -> None:
        self.unmade: dict[str, LamaError] = {}
        """Why the reserve of a model is not made yet."""
        self._make = make
        self._preload = preload
        self._clock = clock
        self._open = {entry.name: (_promised(entry), _Trial(0.0)) for entry in entries if entry.reserve_bytes}
        self._absent: dict[str, _Trial] = {}
        """Models that are to be loaded because they are promised so."""
        self._under_way: set[str] = set()
        self._keeping = asyncio.Lock()

    async def keep(self) -> None:
        """Make what is not made, and load what is not loaded, as far as it is time to try."""
        if not self._keeping.locked():
            async with self._keeping:
                await self._keep()

    async def _keep(self) -> None:
        for name, (reserve, trial) in list(self._open.items()):
            if name not in self._open or trial.at > self._clock():
                continue
            try:
                await self._make(reserve)
            except LamaError as error:  # the others' are made all the same
                self._failed(name, trial, error)
            except Exception as error:  # noqa: BLE001 - whatever it is, the others are promised theirs
                _log.exception("The reserve of %s could not be made", name)
                self._failed(name, trial, LoadError(f"{type(error).__name__}: {error}", component=name))
        for name, trial in self._absent.items():
            if name not in self._under_way and trial.at <= self._clock():
                self._load(name, trial)

    def made(self, reserve: Reserve) -> None:
        """A reserve was made, whoever wanted it."""
        self._settled(reserve.model)
        if reserve.priority is Priority.high:
            trial = self._absent[reserve.model] = _Trial(self._clock())
            if reserve.model not in self._under_way:
                self._load(reserve.model, trial)

    def taken_back(self, model: str) -> None:
        """Nothing is promised to `model` any more."""
        self._settled(model)
        self._absent.pop(model, None)

    def unload(self, models: Iterable[str]) -> None:
        """Somebody does not want these loaded now, promised or not."""
        for model in models:
            self._absent.pop(model, None)

    def _settled(self, model: str) -> None:
        self._open.pop(model, None)
        if self.unmade.pop(model, None):
            _log.warning("The reserve of %s is settled now", model)

    def _failed(self, name: str, trial: _Trial, error: LamaError) -> None:
        trial.failed(self._clock())
        if name in self._open:
            if str(error) != str(self.unmade.get(name)):
                _log.error("%s", error)
            self.unmade[name] = error

    def _load(self, name: str, trial: _Trial) -> None:
        def over(error: LamaError | None) -> None:
            self._under_way.discard(name)
            if error is None:
                self._absent.pop(name, None)
                return
            trial.failed(self._clock())
            _log.warning("%s is promised its memory, and cannot be loaded; it is tried again: %s", name, error)

        self._under_way.add(name)
        self._preload(name, over)


def _promised(entry: CatalogueEntry) -> Reserve:
    assert entry.reserve_bytes is not None  # noqa: S101 - the caller has looked
    return Reserve(
        model=entry.name,
        bytes=entry.reserve_bytes,
        priority=entry.priority,
        sharing=entry.sharing,
        context_window=entry.context_window or DEFAULT_CONTEXT,
    )
