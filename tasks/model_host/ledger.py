"""Who holds how many bytes of one device, and what is promised to whom. No I/O; the time is passed in.

Two sums are kept at or below the capacity, whatever is asked for:

- *memory*: what is held, and of a reserve that is not shared also what its owner does not use. It is what the device
  sees, so nothing ever runs out of memory.
- *work*: what cannot be taken back before somebody ends (leases, models that serve or are being loaded, jobs), and of
  a guaranteed reserve also what its owner does not use.

A reserve is guaranteed when its priority is high or it is not shared. A borrowed byte comes back only when its borrower
ends, so the second sum lets nothing that works into a guaranteed reserve: at most idle weights lie there, and these
leave within the time of an unload. Therefore the owner, as long as it stays within its reserve, always gets memory by
evicting idle models alone. Other reserves are lent to anybody until their owner waits (see `turns`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from models.model_host import Footprint, Priority, Refusal, Reserve
from tasks.model_host.holdings import Holdings, Lease, Missing, Phase, Resident, Want
from tasks.model_host.prediction import lease_bytes


@dataclass
class _Account:
    reserves: dict[str, Reserve] = field(default_factory=dict)
    resident: Resident | None = None
    leased: dict[str, int] = field(default_factory=dict)
    """Bytes of requests by the name that they were for."""
    pins: int = 0
    requests: int = 0

    @property
    def weights(self) -> int:
        return self.resident.taken if self.resident else 0

    @property
    def held(self) -> int:
        return self.weights + sum(self.leased.values())

    @property
    def busy(self) -> bool:
        return self.pins > 0 or (self.resident is not None and self.resident.phase is Phase.loading)

    @property
    def guaranteed(self) -> tuple[Reserve, ...]:
        return tuple(one for one in self.reserves.values() if is_guaranteed(one))

    def memory(self, weights: int, leased: Mapping[str, int]) -> int:
        return _with_unused(tuple(one for one in self.reserves.values() if not one.sharing), weights, leased)

    def work(self, weights: int, leased: Mapping[str, int], *, busy: bool) -> int:
        # Guaranteed weights are never evicted for others: they count as working even while they are idle.
        return _with_unused(self.guaranteed, weights, leased) if busy or self.guaranteed else 0

    def add(self, name: str, size: int) -> None:
        self.leased[name] = self.leased.get(name, 0) + size
        if not self.leased[name]:
            del self.leased[name]


def _with_unused(reserves: Sequence[Reserve], weights: int, leased: Mapping[str, int]) -> int:
    """What is held, and what of `reserves` is not in use. A name's requests use its own reserve, nobody else's."""
    held = weights + sum(leased.values())
    if not reserves:
        return held
    used = weights + sum(min(leased.get(one.model, 0), max(0, one.bytes - weights)) for one in reserves)
    return held + max(0, sum(one.bytes for one in reserves) - used)


def is_guaranteed(reserve: Reserve) -> bool:
    """Whether nothing that works may ever be in `reserve` but its owner."""
    return reserve.priority is Priority.high or not reserve.sharing


class Ledger:
    """The state of one device's memory.

    Args:
        capacity: bytes that models and jobs may use.
        parked_capacity: bytes of host memory for weights that had to leave.
    """

    def __init__(self, capacity: int, parked_capacity: int = 0) -> None:
        self.capacity = capacity
        self.parked_capacity = parked_capacity
        self._accounts: dict[str, _Account] = {}
        self._leases: dict[str, Lease] = {}
        self._parked: dict[str, int] = {}

    # What is there

    @property
    def held(self) -> int:
        """Bytes that are held by weights, requests and jobs."""
        return sum(one.held for one in self._accounts.values()) + self._job_bytes

    @property
    def leased(self) -> int:
        """Bytes that requests and jobs hold."""
        return sum(lease.bytes for lease in self._leases.values())

    @property
    def reserved(self) -> int:
        """Bytes that are promised."""
        return sum(self.promised(account) for account in self._accounts)

    @property
    def parked(self) -> Mapping[str, int]:
        """Weights in host memory and their bytes, the oldest first."""
        return self._parked

    @property
    def residents(self) -> tuple[Resident, ...]:
        """Weights on the device."""
        return tuple(one.resident for one in self._accounts.values() if one.resident)

    @property
    def leases(self) -> Mapping[str, Lease]:
        """Leases by their key."""
        return self._leases

    @property
    def jobs(self) -> tuple[Lease, ...]:
        """Leases of jobs."""
        return tuple(lease for lease in self._leases.values() if lease.want.job)

    @property
    def _job_bytes(self) -> int:
        return sum(lease.bytes for lease in self.jobs)

    def resident(self, account: str) -> Resident | None:
        """The weights of `account`, if they are on the device."""
        return self._of(account).resident

    def pins(self, account: str) -> int:
        """Leases that keep the weights of `account` where they are."""
        return self._of(account).pins

    def is_busy(self, account: str) -> bool:
        """Whether `account` works or is being loaded: it cannot be evicted."""
        return self._of(account).busy

    def held_by(self, account: str) -> int:
        """Bytes of the weights of `account` and of the requests to it."""
        return self._of(account).held

    def requests(self, account: str) -> int:
        """Requests that `account` is serving."""
        return self._of(account).requests

    def leased_to(self, account: str) -> int:
        """Bytes that requests to `account` hold."""
        return sum(self._of(account).leased.values())

    def returned_by_requests(self) -> Missing:
        """Bytes of the two sums that come back when all requests of the moment have ended, without an eviction."""
        memory = work = 0
        for one in self._accounts.values():
            memory += one.memory(one.weights, one.leased) - one.memory(one.weights, {})
            work += one.work(one.weights, one.leased, busy=one.busy) - one.work(one.weights, {}, busy=one.busy)
        return Missing(memory, work)

    def promised(self, account: str) -> int:
        """Bytes of all reserves of `account`."""
        return sum(one.bytes for one in self._of(account).reserves.values())

    def guaranteed(self, account: str) -> int:
        """Bytes of the guaranteed reserves of `account`."""
        return sum(one.bytes for one in self._of(account).guaranteed)

    def reserve_of(self, model: str) -> Reserve | None:
        """The reserve of the model that is called so."""
        return next((one.reserves[model] for one in self._accounts.values() if model in one.reserves), None)

    def holdings(self) -> Holdings:
        """The whole state, for comparing."""
        accounts = sorted(self._accounts.items())
        return Holdings(
            tuple((key, reserve) for key, one in accounts for _, reserve in sorted(one.reserves.items())),
            tuple((key, one.resident.footprint, one.resident.phase) for key, one in accounts if one.resident),
            tuple(sorted((key, lease.bytes) for key, lease in self._leases.items())),
            tuple(sorted(self._parked.items())),
        )

    # What would be

    def missing_now(self) -> Missing:
        """The two sums against the capacity, as they are: never above zero."""
        accounts = self._accounts.values()
        memory = self._job_bytes + sum(one.memory(one.weights, one.leased) for one in accounts)
        work = self._job_bytes + sum(one.work(one.weights, one.leased, busy=one.busy) for one in accounts)
        return Missing(memory - self.capacity, work - self.capacity)

    def missing(self, want: Want, loads: Mapping[str, Footprint]) -> Missing:
        """What `want` lacks, when `loads` says the predicted footprints of its weights that are not resident."""
        memory = work = self._job_bytes + (want.bytes if want.job else 0)
        for key, one in self._accounts.items():
            if key not in want.accounts:
                memory += one.memory(one.weights, one.leased)
                work += one.work(one.weights, one.leased, busy=one.busy)
        for key in want.accounts:
            one, weights = self._of(key), self._weights(key, loads)
            leased = one.leased if want.job else one.leased | {want.name: one.leased.get(want.name, 0) + want.bytes}
            memory += one.memory(weights, leased)
            work += one.work(weights, leased, busy=True)
        return Missing(memory - self.capacity, work - self.capacity)

    def takes_nothing(self, want: Want) -> bool:
        """Whether `want` is answered without a byte more than now: in fixed KV of weights that work anyway."""
        return not want.job and not want.bytes and self._of(want.accounts[0]).busy

    def within_guarantee(self, want: Want, loads: Mapping[str, Footprint]) -> bool:
        """Whether all that `want` needs is in guaranteed reserves of its own."""
        return self._within(want, loads, is_guaranteed)

    def within_promise(self, want: Want, loads: Mapping[str, Footprint]) -> bool:
        """Whether all that `want` needs is in reserves of its own."""
        return self._within(want, loads, lambda _: True)

    def never(self, want: Want, loads: Mapping[str, Footprint]) -> Refusal | None:
        """Why `want` could not be granted even if everybody else left; None: it could."""
        alone = [(f"weights and KV of {key}", self._alone_with(want, key, loads)) for key in want.accounts]
        own = [(f"job {want.key}", want.bytes)] if want.job else []
        others = sum(self.guaranteed(key) for key in self._accounts if key not in want.accounts)
        needed = sum(size for _, size in (*alone, *own))
        if needed + others <= self.capacity:
            return None
        return Refusal(
            reason=f"{needed:,} bytes are needed, and {self.capacity - others:,} can ever be free",
            needed_bytes=needed,
            free_bytes=self.capacity - others,
            arithmetic=(("capacity", self.capacity), ("guaranteed to others", -others), *alone, *own),
            for_ever=True,
        )

    def refusal(self, what: str, needed: int, missing: Missing) -> Refusal:
        """The sum for somebody who does not get memory now."""
        lacking = max(missing)
        kept = sum(_with_unused(one.guaranteed, one.weights, one.leased) - one.held for one in self._accounts.values())
        return Refusal(
            reason=f"{what} needs {needed:,} bytes; {lacking:,} are missing at the moment",
            needed_bytes=needed,
            free_bytes=max(0, needed - lacking),
            arithmetic=(
                ("capacity", self.capacity),
                ("weights", -sum(one.footprint.resident for one in self.residents)),
                ("requests and jobs", -self.leased),
                ("guaranteed and not in use", -kept),
                ("needed", needed),
            ),
        )

    # Changes; each that is refused changes nothing

    def reserve(self, account: str, reserve: Reserve, footprint: Footprint) -> Refusal | None:
        """Promise memory to a model; a promise that it has already is replaced."""
        kv = lease_bytes(footprint, reserve.context_window)
        parts: tuple[tuple[str, int], ...] = (
            ("weights", footprint.weights),
            ("fixed KV", footprint.kv_fixed),
            ("workspace", footprint.workspace),
            (f"KV of one context of {reserve.context_window} tokens", kv),
        )
        least = footprint.resident + kv
        if footprint.loading > least:  # nobody asks it during its load
            parts, least = (*parts[:2], ("unpacking its file", footprint.unpacking)), footprint.loading
        if least > reserve.bytes:
            return Refusal(
                reason=f"a reserve of {reserve.bytes:,} bytes cannot hold {reserve.model}: it needs {least:,}",
                needed_bytes=least,
                free_bytes=reserve.bytes,
                arithmetic=parts,
                for_ever=True,
            )
        others = self.reserved - (known.bytes if (known := self.reserve_of(reserve.model)) else 0)
        if others + reserve.bytes > self.capacity:
            return Refusal(
                reason=f"all reserves together would exceed the {self.capacity:,} bytes of the device",
                needed_bytes=reserve.bytes,
                free_bytes=self.capacity - others,
                arithmetic=(("capacity", self.capacity), ("other reserves", -others), (reserve.model, reserve.bytes)),
                for_ever=True,
            )
        one = self._of(account)
        before = dict(one.reserves)
        one.reserves[reserve.model] = reserve
        missing = self.missing_now()
        if missing.fits:
            return None
        one.reserves = before
        return self.refusal(f"the reserve of {reserve.model}", reserve.bytes, missing)

    def unreserve(self, model: str) -> bool:
        """Take a promise back; what is loaded stays. False: there was none."""
        return any(one.reserves.pop(model, None) for one in self._accounts.values())

    def admit_load(
        self, account: str, footprint: Footprint, priority: Priority, now: float, slots: int | None = None
    ) -> Refusal | None:
        """Hold the memory of weights that are going to be loaded."""
        one = self._of(account)
        if one.resident:
            raise ValueError(f"{account} is resident already")
        want = Want(f"load of {account}", (account,), 0, priority, now)
        missing = self.missing(want, {account: footprint})
        if not missing.fits:
            return self.refusal(want.key, footprint.loading, missing)
        one.resident = Resident(account, footprint, Phase.loading, priority, slots, now, now)
        return None

    def loaded(self, account: str, footprint: Footprint, now: float, return_s: float = 0.0) -> Refusal | None:
        """The load is over and took `footprint`. Refused: that is too much, and the weights must leave."""
        one = self._of(account)
        if one.resident is None or one.resident.phase is not Phase.loading:
            raise ValueError(f"{account} is not being loaded")
        before = one.resident
        one.resident = replace(before, footprint=footprint.model_copy(update={"unpacking": 0}))  # that is over
        missing = self.missing_now()
        if not missing.fits:
            one.resident = before
            return self.refusal(f"{account}, which took more than predicted,", footprint.resident, missing)
        one.resident = replace(
            before, footprint=footprint, phase=Phase.ready, loaded_at=now, idle_since=now, return_s=return_s
        )
        return None

    def lease(self, want: Want, now: float, expires_at: float | None = None) -> Refusal | None:
        """Grant `want`, whose weights have to be ready."""
        if want.key in self._leases:
            raise ValueError(f"{want.key} has its lease already")
        residents = [self._of(key).resident for key in want.accounts]
        if any(one is None or one.phase is not Phase.ready for one in residents):
            return self.refusal(f"{want.key}, whose weights are not there,", want.bytes, Missing(want.bytes, 0))
        if not want.job and not self.has_slot(want.accounts[0]):
            return Refusal(reason=f"all slots of {want.accounts[0]} are taken", needed_bytes=0, free_bytes=0)
        missing = self.missing(want, {})
        if not missing.fits:
            return self.refusal(want.key, want.bytes, missing)
        for key in want.accounts:
            self._of(key).pins += 1
        if not want.job:
            self._of(want.accounts[0]).add(want.name, want.bytes)
            self._of(want.accounts[0]).requests += 1
        self._leases[want.key] = Lease(want, want.bytes, expires_at)
        return None

    def has_slot(self, account: str) -> bool:
        """Whether one more request can be served, as far as slots are concerned."""
        one = self._of(account)
        return one.resident is None or one.resident.slots is None or one.requests < one.resident.slots

    def shrink(self, key: str, to: int) -> None:
        """Return a part of a request's lease early."""
        lease = self._leases[key]
        if lease.want.job or to > lease.bytes:
            raise ValueError(f"{key} cannot become {to}: only a request's lease shrinks")
        self._of(lease.want.accounts[0]).add(lease.want.name, to - lease.bytes)
        self._leases[key] = replace(lease, bytes=to)

    def renew(self, key: str, expires_at: float) -> None:
        """Let a lease go on until `expires_at`."""
        self._leases[key] = replace(self._leases[key], expires_at=expires_at)

    def end(self, key: str, now: float) -> None:
        """Take a lease back. One that has ended already is none to complain about."""
        lease = self._leases.pop(key, None)
        if lease is None:
            return
        for account in lease.want.accounts:
            one = self._of(account)
            one.pins -= 1
            if not one.pins and one.resident:
                one.resident = replace(one.resident, idle_since=now)
        if not lease.want.job:
            self._of(lease.want.accounts[0]).add(lease.want.name, -lease.bytes)
            self._of(lease.want.accounts[0]).requests -= 1

    def expire(self, now: float) -> tuple[str, ...]:
        """End the leases whose holders were not heard of in time."""
        gone = tuple(key for key, one in self._leases.items() if one.expires_at is not None and one.expires_at <= now)
        for key in gone:
            self.end(key, now)
        return gone

    def leave(self, account: str) -> None:
        """Idle weights are on their way out: nobody gets a lease on them, their bytes are held until `evict`."""
        one = self._of(account)
        if one.resident is None or one.busy:
            raise ValueError(f"{account} is at work or not there")
        one.resident = replace(one.resident, phase=Phase.leaving)

    def evict(self, account: str) -> None:
        """The weights are gone: after `leave`, or after a load that failed."""
        one = self._of(account)
        if one.pins:
            raise ValueError(f"{account} is at work")
        one.resident = None

    def park(self, account: str, size: int, wanted: Collection[str] = ()) -> tuple[str, ...] | None:
        """Count weights as parked.

        Returns who leaves host memory for it, the oldest first, and nobody of `wanted`; None: there is no room.
        """
        taken = sum(self._parked.values()) + size
        dropped = []
        for other, held in self._parked.items():
            if taken <= self.parked_capacity:
                break
            if other not in wanted:
                dropped.append(other)
                taken -= held
        if taken > self.parked_capacity:
            return None
        for other in dropped:
            del self._parked[other]
        self._parked[account] = size
        return tuple(dropped)

    def unpark(self, account: str) -> None:
        """Weights are in host memory no more."""
        self._parked.pop(account, None)

    # Sums

    def _of(self, account: str) -> _Account:
        return self._accounts.setdefault(account, _Account())

    def _weights(self, key: str, loads: Mapping[str, Footprint]) -> int:
        known = self._of(key)
        return known.weights if known.resident else loads[key].loading if key in loads else 0

    def _within(self, want: Want, loads: Mapping[str, Footprint], counts: Callable[[Reserve], bool]) -> bool:
        if want.job:
            return not want.bytes and all(
                self._weights(key, loads)
                <= max((one.bytes for one in self._of(key).reserves.values() if counts(one)), default=-1)
                for key in want.accounts
            )
        one = self._of(want.accounts[0])
        reserve = one.reserves.get(want.name)
        if reserve is None or not counts(reserve):
            return False
        return self._weights(want.accounts[0], loads) + one.leased.get(want.name, 0) + want.bytes <= reserve.bytes

    def _alone_with(self, want: Want, key: str, loads: Mapping[str, Footprint]) -> int:
        leased = {} if want.job else {want.name: want.bytes}
        return self._of(key).work(self._weights(key, loads), leased, busy=True)
