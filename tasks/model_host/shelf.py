"""The engines themselves: loaded, parked in host memory, brought back, closed. Who may be where the ledger says."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from models.model_host import CatalogueEntry
from tasks.model_host.accounts import Account
from tasks.model_host.engine import Engine
from tasks.model_host.errors import LoadError

_log = logging.getLogger(__name__)


class Load(Protocol):
    """Loads a model in a thread or a process of its own, so that the event loop goes on.

    It raises `LoadError` and then holds no memory. It is never cancelled.
    """

    def __call__(self, entry: CatalogueEntry, /) -> Awaitable[Engine]:
        """A loaded engine."""


class Shelf:
    """Engines on the device and in host memory.

    Args:
        load: loads a model.
        clean: gives memory that nobody uses back to the device and the system; called in a thread.
    """

    def __init__(self, load: Load, clean: Callable[[], None]) -> None:
        self._load = load
        self._clean = clean
        self._ready: dict[str, Engine] = {}
        self._parked: dict[str, Engine] = {}

    def engine(self, account: str) -> Engine | None:
        """The engine of `account`, if it is on the device."""
        return self._ready.get(account)

    async def bring(self, account: Account) -> Engine:
        """Load, or wake what is parked. The engine is not to be found before `put`.

        Raises:
            LoadError: it holds no memory.
        """
        parked = self._parked.pop(account.key, None)
        try:
            if parked is None:
                return await self._load(account.entry)
            await parked.wake()
        except LoadError as error:
            failure = LoadError(error.what, component=error.component, remedy=error.remedy)
            _forget_frames(error)
        except Exception as error:  # noqa: BLE001 - it is logged, and told as an error of ours
            _log.warning("%s could not be loaded", account.entry.name, exc_info=True)
            failure = LoadError(
                f"it could not be loaded: {type(error).__name__}: {error}", component=account.entry.name
            )
            _forget_frames(error)
        else:
            return parked
        await self._let_go(account.key, parked)
        raise failure

    def put(self, account: str, engine: Engine) -> None:
        """From now on `engine` answers for `account`."""
        self._ready[account] = engine

    async def park(self, account: str) -> bool:
        """Put an engine to host memory. False: that failed, and it is closed."""
        engine = self._ready.pop(account)
        try:
            await engine.park()
        except Exception:  # noqa: BLE001 - whatever a device's library raises: it is logged, and the memory is freed
            _log.exception("%s could not be parked", account)
            await self._let_go(account, engine)
            return False
        self._parked[account] = engine
        await asyncio.to_thread(self._clean)
        return True

    async def close(self, account: str) -> None:
        """Close what there is of `account`, on the device or parked."""
        await self._let_go(account, self._ready.pop(account, None) or self._parked.pop(account, None))

    async def drop(self, accounts: Iterable[str]) -> None:
        """Close parked engines, to make room for others. None of them can be woken any more when this has begun."""
        engines = [(account, self._parked.pop(account, None)) for account in accounts]
        for account, engine in engines:
            await self._let_go(account, engine)

    async def discard(self, account: str, engine: Engine) -> None:
        """Close an engine that was never put."""
        await self._let_go(account, engine)

    async def _let_go(self, account: str, engine: Engine | None) -> None:
        if engine is not None:
            try:
                await engine.close()
            except Exception:  # noqa: BLE001 - as above
                _log.exception("%s did not close; what it holds is freed with the last reference to it", account)
        del engine
        await asyncio.to_thread(self._clean)


def _forget_frames(error: BaseException) -> None:
    """Empty the frames that a failure came through: they hold what had been loaded by then."""
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is not None and one.__traceback__ is not None:
            traceback.clear_frames(one.__traceback__)
            one.__traceback__ = None
            left += [one.__cause__, one.__context__]


def give_back_unused() -> None:
    """Return freed memory to the device and the system, so that fragments do not add up."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        try:
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        except (OSError, AttributeError):  # another C library: it has no such call
            _log.debug("this C library has no malloc_trim")
