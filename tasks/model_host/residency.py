"""Which models are on the device, for whom and how long: the one place that requests, jobs and people ask.

Whoever asks gets memory by the rules of `ledger` and `turns`; what he was given comes back however he ends.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from blocks.errors import ConfigurationError, LamaError
from models.model_host import (
    CatalogueEntry,
    Footprint,
    HostStatus,
    ModelHostSettings,
    ModelStatus,
    Priority,
    Refusal,
    Reserve,
)
from tasks.model_host.accounts import DEFAULT_CONTEXT, Account, accounts_of
from tasks.model_host.engine import Ask, Engine, Prepared
from tasks.model_host.errors import LoadError, NoRoomError, UnknownModelError
from tasks.model_host.holdings import Want
from tasks.model_host.host_status import host_status, model_status
from tasks.model_host.jobs import JOB_TTL_S, JobLease, Jobs
from tasks.model_host.ledger import Ledger
from tasks.model_host.occupancy import Occupancy, Plan
from tasks.model_host.prediction import lease_bytes
from tasks.model_host.preparing import guess, prepare
from tasks.model_host.promises import Promises
from tasks.model_host.shelf import Load, Shelf, give_back_unused
from tasks.model_host.turns import Outlook, Rules, Weights, outlook

_log = logging.getLogger(__name__)

_TEND_S = 5.0
_FRAGMENTED = 0.25


class Residency:
    """Serves models of a catalogue within the memory of one device.

    Args:
        settings: `[model_host]`.
        capacity: bytes of the device that may be used.
        predict: what a model will take; called in a thread. Raises `LoadError`.
        load: loads a model; see `shelf.Load`.
        entries: the catalogue; by default that of the settings.
        device: `cpu` or `cuda`, for the status; on a CPU nothing is parked, for there is no other memory.
        device_uuid: the UUID of the GPU.
        fragmentation: share of the memory that an allocator holds and nobody can use.
        clean: gives unused memory back; called in a thread.
        failure_ttl_s: how long a load that failed is not tried again.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        settings: ModelHostSettings,
        capacity: int,
        predict: Callable[[CatalogueEntry], Footprint],
        load: Load,
        *,
        entries: Iterable[CatalogueEntry] | None = None,
        device: str = "cpu",
        device_uuid: str = "",
        fragmentation: Callable[[], float] = lambda: 0.0,
        clean: Callable[[], None] = give_back_unused,
        failure_ttl_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._entries = {entry.name: entry for entry in (settings.models if entries is None else entries)}
        self._accounts = accounts_of(self._entries.values())
        self._predict = predict
        self._predicting = asyncio.Lock()
        self._device = device
        self._device_uuid = device_uuid
        self._fragmentation = fragmentation
        self._clean = clean
        self._clock = clock
        self._keys = itertools.count(1)
        self._predicted: dict[str, Footprint] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._draining = False
        # A request must see the starvation limit work before its own patience is over.
        rules = Rules(settings.keep_s, min(settings.starvation_s, settings.queue_s / 2))
        self._occupancy = Occupancy(
            Ledger(capacity, 0 if device == "cpu" else settings.parked_bytes),
            Shelf(load, clean),
            rules,
            load_timeout_s=settings.load_timeout_s,
            failure_ttl_s=failure_ttl_s,
            clock=clock,
            changed=self._tell,
        )
        self._jobs = Jobs(self._occupancy, clock)
        self._promises = Promises(self._entries.values(), self.reserve, self._preload, clock)

    @property
    def unkept(self) -> Mapping[str, LamaError]:
        """Reserves of the catalogue that are not made yet, by model, and why. They are tried again."""
        return self._promises.unmade

    @property
    def entries(self) -> Mapping[str, CatalogueEntry]:
        """The catalogue by name."""
        return self._entries

    @property
    def counts(self) -> Mapping[str, int]:
        """`loads`, `wakes`, `evictions`, `load failures`, `refusals`, `expired`: how often since the start."""
        return self._occupancy.counts

    # Requests

    @asynccontextmanager
    async def serve(
        self, name: str, ask: Ask, priority: Priority | None = None, *, queue_s: float | None = None
    ) -> AsyncIterator[tuple[Engine, Prepared]]:
        """An engine that holds memory for `ask` while the block lasts; its model is loaded if it has to be.

        Args:
            name: a model of the catalogue.
            ask: what will be generated.
            priority: by default the model's.
            queue_s: longest wait for memory, beside loads; by default that of the settings.

        Raises:
            UnknownModelError: there is no such model.
            RequestError: the request can never be answered.
            NoRoomError: there was no memory in time, or never will be.
            LoadError: the model cannot be loaded.
        """
        account = self._account(name)
        known = await self._weights_of(name)
        since = self._clock()
        engine, prepared = await self._looked_at(name, account, ask)
        tokens = prepared.most_tokens if prepared else guess(ask, self._window(name))
        while True:
            size = lease_bytes((self._occupancy.weights(account.key) or known).footprint, tokens)
            want = self._want(account, name, size, priority, since)
            await self._occupancy.grant(want, self._settings.queue_s if queue_s is None else queue_s)
            try:
                ready = self._engine(account)
                if ready is not engine or prepared is None:  # it was loaded meanwhile
                    engine, prepared = ready, await self._prepared(name, ready, ask)
                exact = lease_bytes(engine.footprint, prepared.most_tokens)
                if exact <= size:
                    self._occupancy.ledger.shrink(want.key, exact)
                    self._occupancy.soon()
                    yield engine, prepared
                    return
            finally:
                self._occupancy.end(want.key)
            tokens = prepared.most_tokens  # more than was guessed before its model was there

    @asynccontextmanager
    async def embedding(
        self, name: str, priority: Priority | None = None, *, queue_s: float | None = None
    ) -> AsyncIterator[Engine]:
        """An engine that stays while the block lasts, for work that leaves nothing behind. Raises as `serve` does."""
        account = self._account(name)
        await self._weights_of(name)
        want = self._want(account, name, 0, priority, self._clock())
        await self._occupancy.grant(want, self._settings.queue_s if queue_s is None else queue_s)
        try:
            yield self._engine(account)
        finally:
            self._occupancy.end(want.key)

    # Jobs of the worker

    async def job_lease(
        self,
        run_id: str,
        *,
        size: int = 0,
        models: Iterable[str] = (),
        exclusive: bool = False,
        priority: Priority = Priority.normal,
        only_if_warm: bool = False,
        ttl_s: float = JOB_TTL_S,
    ) -> JobLease:
        """Lease `size` bytes to a run, and keep its models loaded until it ends. Asking again renews the lease.

        It does not wait: who is refused keeps a place in the queue as long as it goes on asking. An exclusive run has
        no other run and no request beside it, except for its own models and for what is guaranteed.

        Raises:
            NoRoomError: not yet, or never.
            UnknownModelError: one of `models` is not in the catalogue.
            LoadError: one of `models` cannot be loaded.
        """
        names = tuple(dict.fromkeys(models))
        accounts = tuple(dict.fromkeys(self._account(name).key for name in names))
        for name in names:
            await self._weights_of(name)
        if self._draining:
            raise self._refused(f"run {run_id}", "the model host is stopping")
        want = Want(f"run {run_id}", accounts, size, priority, self._clock(), job=True, exclusive=exclusive)
        return self._jobs.lease(run_id, want, ttl_s, only_if_warm=only_if_warm)

    def end_job(self, run_id: str) -> bool:
        """Take a run's lease back, or its place in the queue. False: it had none."""
        return self._jobs.end(run_id)

    # People

    async def start(self) -> None:
        """Make the reserves of the catalogue and begin to load what is reserved with high priority.

        What cannot be made is among `unkept`, and is tried again.
        """
        self._spawn(self._tend())
        await self._promises.keep()

    async def load(self, name: str, *, queue_s: float | None = None) -> None:
        """Have a model loaded; it stays until somebody needs its memory. Takes and raises what `serve` does."""
        async with self.embedding(name, queue_s=queue_s):
            pass

    async def unload(self, name: str, *, timeout_s: float | None = None) -> bool:
        """Unload a model (and all names that share its weights) when its work is over. False: it was not there.

        Raises:
            UnknownModelError: there is no such model.
            AtWorkError: it is still at work after `timeout_s`, by default `queue_s`.
        """
        wait_s = self._settings.queue_s if timeout_s is None else timeout_s
        self._promises.unload(self._account(name).names)
        return await self._occupancy.unload(self._account(name).key, wait_s)

    async def reserve(self, reserve: Reserve) -> None:
        """Promise memory to a model; with high priority it is loaded at once.

        Raises:
            UnknownModelError: there is no such model.
            LoadError: what it takes cannot be found out.
            NoRoomError: it does not hold the model, or others hold the memory.
        """
        account, known = self._account(reserve.model), await self._weights_of(reserve.model)
        ledger = self._occupancy.ledger
        refusal = ledger.reserve(account.key, reserve, known.footprint)
        if refusal and not refusal.for_ever and not reserve.sharing:  # idle weights may be where nobody may be now
            want = self._want(account, reserve.model, 0, Priority.high, self._clock())
            if await self._occupancy.make_room(want, refusal.needed_bytes - refusal.free_bytes):
                refusal = ledger.reserve(account.key, reserve, known.footprint)
        if refusal:
            raise NoRoomError(
                f"it cannot be reserved: {refusal.reason}.",
                refusal,
                retry_after_s=None if refusal.for_ever else 5.0,
                component=reserve.model,
            )
        self._occupancy.soon()
        self._promises.made(reserve)

    def unreserve(self, name: str) -> bool:
        """Take a promise back; what is loaded stays. False: there was none."""
        self._account(name)
        self._promises.taken_back(name)
        done = self._occupancy.ledger.unreserve(name)
        self._occupancy.soon()
        return done

    async def drain(self, timeout_s: float = 30.0) -> tuple[str, ...]:
        """Take no more requests, let those in flight end for `timeout_s`, then unload everything.

        Returns the weights that could not be: a load that hangs is in a thread, and ends with the process at last.
        """
        self._draining = True
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        self._jobs.end_all()
        left = await self._occupancy.close(timeout_s)
        self._tell()
        return left

    async def clean(self) -> None:
        """Give memory that nobody uses back to the device and the system."""
        await asyncio.to_thread(self._clean)
        self._tell()

    # What is to be seen

    async def plan(self, name: str, priority: Priority | None = None) -> Plan:
        """What loading a model would mean now; does nothing. Raises `UnknownModelError` and `LoadError`."""
        account, known = self._account(name), await self._weights_of(name)
        given = self._entries[name].priority if priority is None else priority
        want = Want(name, (account.key,), 0, given, self._clock(), model=name)
        return self._occupancy.plan(want, self._occupancy.weights(account.key) or known)

    def outlook(self, name: str) -> Outlook:
        """How soon a model could answer. One of which nothing is known yet has to be loaded at least."""
        account = self._account(name).key
        known = self._occupancy.weights(account)
        return outlook(self._occupancy.ledger, account, known) if known else Outlook.eviction

    def status(self) -> HostStatus:
        """The host as it is now."""
        models = tuple(self._status_of(entry) for entry in self._entries.values())
        return host_status(self._occupancy.ledger, models, self._device, self._device_uuid, self._fragmentation())

    async def watch(self) -> AsyncIterator[HostStatus]:
        """The status now and after every change. Who is slow misses what was in between, never the latest."""
        while True:
            changed = self._changed
            yield self.status()
            await changed.wait()

    def _status_of(self, entry: CatalogueEntry) -> ModelStatus:
        account = self._accounts[entry.name]
        return model_status(
            entry,
            account,
            self._occupancy.ledger,
            engine=self._occupancy.shelf.engine(account.key),
            context_window=self._window(entry.name),
            predicted=self._predicted.get(account.key),
            measured=self._occupancy.measured.get(account.key),
            waiting=sum(not want.job and want.model == entry.name for want in self._occupancy.wanted().values()),
            failure=self._occupancy.failure(account.key),
        )

    # Inside

    def _preload(self, name: str, over: Callable[[LamaError | None], None]) -> None:
        async def load() -> None:
            failed: LamaError | None = None
            try:
                await self.load(name, queue_s=math.inf)
            except LamaError as error:
                failed = error
            finally:
                over(failed)

        self._spawn(load())

    def _account(self, name: str) -> Account:
        try:
            return self._accounts[name]
        except KeyError:
            raise UnknownModelError(
                f"there is no model {name!r} in the catalogue.", parameter="model", code="model_not_found"
            ) from None

    def _want(self, account: Account, name: str, size: int, priority: Priority | None, since: float) -> Want:
        if self._draining:
            raise self._refused(name, "the model host is stopping")
        given = self._entries[name].priority if priority is None else priority
        return Want(f"{name} #{next(self._keys)}", (account.key,), size, given, since, model=name)

    def _refused(self, what: str, why: str) -> NoRoomError:
        refusal = Refusal(reason=why, needed_bytes=0, free_bytes=0)
        return NoRoomError(f"{why}.", refusal, retry_after_s=5.0, component=what)

    def _engine(self, account: Account) -> Engine:
        engine = self._occupancy.shelf.engine(account.key)
        assert engine is not None  # noqa: S101 - a lease keeps it there
        return engine

    async def _weights_of(self, name: str) -> Weights:
        account = self._accounts[name]
        known = self._occupancy.weights(account.key)
        if known is not None:  # who is known does not wait until another one's files have been read
            return known
        async with self._predicting:
            known = self._occupancy.weights(account.key)
            if known is None:
                try:
                    footprint = await asyncio.to_thread(self._predict, account.entry)
                except ConfigurationError as error:  # of one entry; the others of the catalogue are served
                    raise LoadError(error.what, component=name, remedy=error.remedy) from None
                self._predicted[account.key] = footprint
                known = Weights(footprint, account.priority, account.entry.concurrency if footprint.kv_fixed else None)
                self._occupancy.know(account, known)
        return known

    def _window(self, name: str) -> int:
        """Most tokens of a request to `name`."""
        engine = self._occupancy.shelf.engine(self._accounts[name].key)
        window = self._entries[name].context_window or DEFAULT_CONTEXT
        return min(window, engine.context_window) if engine else window

    async def _prepared(self, name: str, engine: Engine, ask: Ask) -> Prepared:
        return await prepare(engine, ask, self._window(name), name)

    async def _looked_at(self, name: str, account: Account, ask: Ask) -> tuple[Engine | None, Prepared | None]:
        """What `ask` takes, if its model is there. Nothing keeps it there while a long prompt is read."""
        engine = self._occupancy.shelf.engine(account.key)
        if engine is None:
            return None, None
        try:
            return engine, await self._prepared(name, engine, ask)
        except Exception:
            if self._occupancy.shelf.engine(account.key) is engine:
                raise
            return None, None

    async def _tend(self) -> None:
        """Do what is to be done every now and then, for as long as the host lives."""
        while True:
            await asyncio.sleep(_TEND_S)
            try:
                await self._look_after()
            except Exception:  # noqa: BLE001 - it is logged, and what it did is done again
                _log.exception("Looking after the models went wrong; it is done again in %g s", _TEND_S)

    async def _look_after(self) -> None:
        """Jobs that went silent lose their place, promises are kept, and unused memory is given back in quiet times."""
        self._jobs.forget_silent()
        self._occupancy.soon()
        self._spawn(self._promises.keep())  # files of slow disks are read for it, and jobs do not wait for these
        if self._fragmentation() > _FRAGMENTED and not self._occupancy.ledger.leased:
            await self.clean()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.error("Work in the background ended", exc_info=error)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
