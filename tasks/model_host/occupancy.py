"""Carries out what the ledger decides: waiting requests are woken, weights are loaded, parked and unloaded."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from models.model_host import Footprint, Measured, Refusal
from tasks.model_host.accounts import Account
from tasks.model_host.engine import Engine
from tasks.model_host.errors import AtWorkError, LoadError, NoRoomError
from tasks.model_host.holdings import Phase, Want
from tasks.model_host.ledger import Ledger
from tasks.model_host.patience import Patience
from tasks.model_host.shelf import Shelf
from tasks.model_host.turns import Rules, Weights, plan_eviction, take_turns

_log = logging.getLogger(__name__)

_LONGEST_RETRY_S = 30.0
_COPIED_PER_S = 8e9
"""Bytes a second from host memory to a device, for the cost of bringing parked weights back."""


@dataclass(frozen=True)
class _Failure:
    error: LoadError
    until: float


@dataclass(frozen=True)
class Plan:
    """What loading a model would mean."""

    fits: bool
    evicted: tuple[str, ...] = ()
    """Names that would go, those of one copy of weights beside each other."""
    refusal: Refusal | None = None


def held(counted: Footprint, measured: Measured) -> Footprint:
    """What is counted for loaded weights: what the engine says, or what was measured where that is more."""
    weights = max(counted.weights, measured.weights)
    workspace = counted.workspace
    if measured.beside is not None:
        workspace = max(workspace, measured.beside - counted.kv_fixed)
    return counted.model_copy(update={"weights": weights, "workspace": workspace})


class Occupancy:
    """The one owner of a device's ledger and engines.

    Args:
        ledger: the state; nobody else changes it.
        shelf: the engines.
        rules: how patient the host is.
        load_timeout_s: longest that a load may take.
        failure_ttl_s: how long a load that failed is not tried again.
        clock: seconds that only go forward.
        changed: called after every change.
    """

    def __init__(
        self,
        ledger: Ledger,
        shelf: Shelf,
        rules: Rules,
        *,
        load_timeout_s: float,
        failure_ttl_s: float,
        clock: Callable[[], float],
        changed: Callable[[], None],
    ) -> None:
        self.ledger = ledger
        self.shelf = shelf
        self.counts: Counter[str] = Counter()
        self.measured: dict[str, Measured] = {}
        """What loaded weights were seen to take, by account."""
        self._rules = rules
        self._load_timeout_s = load_timeout_s
        self._failure_ttl_s = failure_ttl_s
        self._clock = clock
        self._changed = changed
        self._accounts: dict[str, Account] = {}
        self._weights: dict[str, Weights] = {}
        self._wants: dict[str, Want] = {}
        self._futures: dict[str, asyncio.Future[None]] = {}
        self._patience: dict[str, Patience] = {}
        self._failures: dict[str, _Failure] = {}
        self._barred: Counter[str] = Counter()
        self._moves: dict[asyncio.Task[None], str] = {}
        self._loading: str | None = None
        self._hung: set[str] = set()
        """Accounts whose load has taken too long and goes on: what its thread holds cannot be taken from it."""
        self._asked = False
        self._alarm: asyncio.TimerHandle | None = None
        self._wake_at: float | None = None
        self._moved = asyncio.Event()

    def know(self, account: Account, weights: Weights) -> None:
        """Say what weights take, before anybody wants them. What was measured is known better."""
        self._accounts[account.key] = account
        self._weights.setdefault(account.key, weights)

    def weights(self, account: str) -> Weights | None:
        """What is known of weights."""
        return self._weights.get(account)

    def failure(self, account: str) -> LoadError | None:
        """Why a load failed a moment ago."""
        known = self._failures.get(account)
        if known and known.until > self._clock():
            return LoadError(known.error.what, component=known.error.component, remedy=known.error.remedy)
        self._failures.pop(account, None)
        return None

    def wanted(self) -> Mapping[str, Want]:
        """Who waits."""
        return self._wants

    # Waiting

    async def grant(self, want: Want, queue_s: float) -> None:
        """Wait until `want` has its lease, which the caller has to `end`.

        Args:
            want: what is wished for.
            queue_s: how long it waits for others to end; a load that it waits for is not counted in.

        Raises:
            NoRoomError: there was no memory in time, or never will be.
            LoadError: its model cannot be loaded.
        """
        future = self._futures[want.key] = asyncio.get_running_loop().create_future()
        patience = Patience(queue_s, self._clock, lambda: self._settle(want.key, self.no_room(want)))
        self._patience[want.key] = patience
        self.announce(want)
        patience.run()
        try:
            await future
        except BaseException:  # cancelled, refused or too late: whatever it has been given goes back
            self.end(want.key)
            raise
        finally:
            patience.stand()
            del self._futures[want.key], self._patience[want.key]
            future.cancel()
            if not future.cancelled():
                future.exception()

    def announce(self, want: Want) -> None:
        """Let `want` wait for its turn."""
        failure = next((found for key in want.accounts if (found := self.failure(key))), None)
        if failure:
            self._settle(want.key, failure)
            return
        self._wants[want.key] = want
        self.soon()

    def end(self, key: str) -> None:
        """Give a lease back, or stop waiting for it."""
        self._wants.pop(key, None)
        self.ledger.end(key, self._clock())
        self.soon()

    def no_room(self, want: Want, refusal: Refusal | None = None) -> NoRoomError:
        """The answer to who cannot have memory."""
        self.counts["refusals"] += 1
        footprints = {key: known.footprint for key, known in self._weights.items()}
        refusal = refusal or self.ledger.never(want, footprints)
        if refusal is None:
            needed = want.bytes + sum(
                self._weights[key].footprint.loading for key in want.accounts if not self.ledger.resident(key)
            )
            refusal = self.ledger.refusal(want.key, needed, self.ledger.missing(want, footprints))
        retry_after_s = None
        if not refusal.for_ever:
            wait = 1.0 if self._wake_at is None else self._wake_at - self._clock()
            retry_after_s = float(math.ceil(min(max(wait, 1.0), _LONGEST_RETRY_S)))
        return NoRoomError(
            "there is no memory for it at the moment." if retry_after_s else f"it can never fit: {refusal.reason}.",
            refusal,
            retry_after_s=retry_after_s,
            component=self._accounts[want.accounts[0]].entry.name if want.accounts else want.key,
        )

    def plan(self, want: Want, weights: Weights) -> Plan:
        """What it would take to have the weights of `want` loaded now."""
        footprints = {want.accounts[0]: weights.footprint}
        missing = self.ledger.missing(want, footprints)
        if self.ledger.resident(want.accounts[0]) or missing.fits:
            return Plan(fits=True)
        refusal = self.ledger.never(want, footprints)
        if refusal is None and missing.work <= 0:
            sure = self.ledger.within_guarantee(want, footprints)
            gone = plan_eviction(self.ledger, want, missing.memory, self._rules, self._clock(), sure=sure)
            if gone is not None:
                return Plan(fits=True, evicted=tuple(name for key in gone for name in self._accounts[key].names))
        return Plan(fits=False, refusal=refusal or self.ledger.refusal(want.key, weights.footprint.loading, missing))

    def _settle(self, key: str, error: Exception | None = None) -> None:
        self._wants.pop(key, None)
        future = self._futures.get(key)
        if future is None or future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    # Turns

    def soon(self) -> None:
        """Decide anew, once for all that happens in this round of the event loop."""
        if not self._asked:
            self._asked = True
            asyncio.get_running_loop().call_soon(self.decide)

    def decide(self) -> None:
        """Decide anew, now."""
        self._asked = False
        now = self._clock()
        for key in self.ledger.expire(now):
            self.counts["expired"] += 1
            _log.warning("The lease of %s ended: its holder was not heard of", key)
        turns = take_turns(
            self.ledger,
            self._wants.values(),
            self._weights,
            self._rules,
            now,
            loads=self._loading is None,
            barred=[key for key, count in self._barred.items() if count],
            hung=self._hung,
        )
        for key, refusal in turns.refused:
            self._settle(key, self.no_room(self._wants[key], refusal))
        for key in turns.granted:
            self._settle(key)
        for account in turns.leaving:
            self._move(account, self._take_away(account))
        if turns.load:
            self._loading = turns.load
            self._move(turns.load, self._bring(self._accounts[turns.load]))
        for key, patience in self._patience.items():
            known = self._wants.get(key)
            if known and turns.awaiting.intersection(known.accounts):
                patience.stand()
            else:
                patience.run()
        self._wake(turns.wake_at, now)
        self._moved.set()
        self._moved = asyncio.Event()
        self._changed()

    def _wake(self, at: float | None, now: float) -> None:
        if self._alarm:
            self._alarm.cancel()
        self._wake_at = at
        self._alarm = None if at is None else asyncio.get_running_loop().call_later(at - now + 1e-3, self.decide)

    def _move(self, account: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"model-host {account}")
        self._moves[task] = account
        task.add_done_callback(self._moved_over)

    def _moved_over(self, task: asyncio.Task[None]) -> None:
        account = self._moves.pop(task)
        if not task.cancelled() and (error := task.exception()):
            _log.error("Moving the weights %s went wrong", account, exc_info=error)
        self.soon()

    # Weights

    async def _bring(self, account: Account) -> None:
        started, parked = self._clock(), account.key in self.ledger.parked
        self.ledger.unpark(account.key)
        task = asyncio.create_task(self.shelf.bring(account))
        try:
            await asyncio.wait({task}, timeout=self._load_timeout_s)
            if not task.done():
                self._hang(account)
            engine = await task
        except LoadError as error:
            self.counts["load failures"] += account.key not in self._hung
            self._fail(account, error)
            self.ledger.evict(account.key)
        else:
            self.counts["wakes" if parked else "loads"] += 1
            await self._receive(account, engine, started)
        finally:
            self._hung.discard(account.key)
            if self._loading == account.key:
                self._loading = None

    def _hang(self, account: Account) -> None:
        """A load takes too long: who waits for it is told, and others are loaded. Its bytes stay counted."""
        self.counts["load failures"] += 1
        self._hung.add(account.key)
        self._loading = None
        error = LoadError(f"its load takes longer than {self._load_timeout_s:g} s, and goes on")
        self._fail(account, error, until=math.inf)
        _log.error("%s: its load takes longer than %g s; others are loaded", error.component, self._load_timeout_s)
        self.soon()

    async def _receive(self, account: Account, engine: Engine, started: float) -> None:
        key, now = account.key, self._clock()
        self._failures.pop(key, None)  # it was only slow
        before = self._weights[key].footprint
        kept = {"unpacking": before.unpacking, "elsewhere": before.elsewhere}  # it will be unpacked again
        found = engine.footprint.model_copy(update=kept)
        if (measured := engine.measured) is not None:
            self.measured[key] = measured
            found = held(found, measured)
        again = before == found
        self._weights[key] = self._weights[key]._replace(footprint=found)
        parks = not found.elsewhere and 0 < found.weights <= self.ledger.parked_capacity
        return_s = found.weights / _COPIED_PER_S if parks else now - started
        refused = self.ledger.loaded(key, found, now, return_s)
        if refused is None:
            self.shelf.put(key, engine)
            return
        # Those who wait for it go on waiting: it is planned once more, with what has been learned.
        await self.shelf.discard(key, engine)
        self.ledger.evict(key)
        if again:
            self._fail(account, LoadError(refused.reason))

    def _fail(self, account: Account, error: LoadError, until: float | None = None) -> None:
        error.component = error.component or account.entry.name
        self._failures[account.key] = _Failure(error, until or self._clock() + self._failure_ttl_s)
        for want in [one for one in self._wants.values() if account.key in one.accounts]:
            self._settle(want.key, LoadError(error.what, component=error.component, remedy=error.remedy))

    async def _take_away(self, account: str, *, parks: bool = True) -> None:
        resident = self.ledger.resident(account)
        size = 0 if resident is None or resident.footprint.elsewhere else resident.footprint.weights
        wanted = {key for want in self._wants.values() for key in want.accounts}
        dropped = self.ledger.park(account, size, wanted) if parks and size else None
        try:
            if dropped is None:
                await self.shelf.close(account)
            else:
                await self.shelf.drop(dropped)
                if not await self.shelf.park(account):
                    self.ledger.unpark(account)
                elif account not in self.ledger.parked:  # its place was given away while it was copied
                    await self.shelf.drop([account])
        finally:
            self.counts["evictions"] += 1
            self.ledger.evict(account)

    async def unload(self, account: str, timeout_s: float) -> bool:
        """Unload weights as soon as nobody works with them; nobody new is let to them. False: they were not there.

        Raises:
            AtWorkError: somebody did so for all of `timeout_s`.
        """
        until = self._clock() + timeout_s
        self._barred[account] += 1
        try:
            while resident := self.ledger.resident(account):
                if not self.ledger.is_busy(account) and resident.phase is Phase.ready:
                    self.ledger.leave(account)
                    self._move(account, self._take_away(account, parks=False))
                    while self.ledger.resident(account):
                        await self.next_change(None)
                    return True
                if not await self.next_change(until - self._clock()):
                    raise AtWorkError(
                        "it is at work.", component=account, remedy="Unload it when its requests are over."
                    )
            if account in self.ledger.parked:
                self.ledger.unpark(account)
                await self.shelf.close(account)
                return True
            return False
        finally:
            self._barred[account] -= 1
            self.soon()

    async def make_room(self, want: Want, memory: int) -> bool:
        """Evict idle weights for a guaranteed reserve. False: they are not enough."""
        leaving = plan_eviction(self.ledger, want, memory, self._rules, self._clock(), sure=True)
        if leaving is None:
            return False
        self._barred.update(leaving)  # who asks for them meanwhile would have them loaded again, for ever
        try:
            for account in leaving:
                self.ledger.leave(account)
                self._move(account, self._take_away(account))
            while any(self.ledger.resident(account) for account in leaving):
                await self.next_change(None)
        finally:
            self._barred.subtract(leaving)
            self.soon()
        return True

    async def next_change(self, timeout_s: float | None) -> bool:
        """Wait until something has changed. False: nothing did in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._moved.wait()
        except TimeoutError:
            return False
        return True

    async def close(self, timeout_s: float) -> tuple[str, ...]:
        """Refuse who waits, let work end for `timeout_s`, then close every engine.

        Returns the weights whose load or unload has not ended `timeout_s` later: what they hold ends with the process.
        """
        for want in list(self._wants.values()):
            self._settle(want.key, self.no_room(want))
        until = self._clock() + timeout_s
        while any(not lease.want.job for lease in self.ledger.leases.values()):
            if not await self.next_change(until - self._clock()):
                break
        for key in list(self.ledger.leases):
            self.ledger.end(key, self._clock())
        until = self._clock() + timeout_s
        await self._still(until)
        for resident in self.ledger.residents:
            if resident.phase is Phase.ready:
                self.ledger.leave(resident.account)
                self._move(resident.account, self._take_away(resident.account, parks=False))
        for account in list(self.ledger.parked):
            self.ledger.unpark(account)
            self._move(account, self.shelf.close(account))
        await self._still(until)
        self._wake(None, self._clock())
        return tuple(self._moves.values())

    async def _still(self, until: float) -> None:
        """Wait until no weights are moved any more, but those that hang."""
        while set(self._moves.values()) - self._hung and (left := until - self._clock()) > 0:
            await asyncio.wait(set(self._moves), timeout=left, return_when=asyncio.FIRST_COMPLETED)
