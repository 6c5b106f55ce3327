"""Whose turn it is: waiting wishes get memory in an order that starves nobody, and idle weights leave for them.

Order: what fits a guaranteed reserve of its own; then who has waited for `starvation_s`, the longest first; then by
priority, within one priority those who stay within a reserve, then by arrival.

A wish that has to wait keeps its place: the free bytes that it counts on are *claimed*, and later ones get only what is
left (backfilling with a reservation for each who waits, as EASY does for the first: Lifka, "The ANL/IBM SP scheduling
system", JSSPP 1995). What it still lacks comes, in this order, from weights on their way out, from idle weights, from
requests in flight as they end, and, where that is not enough, from models that serve: these get no new requests until
they are idle. Nothing is ever taken from somebody who works.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from models.model_host import Footprint, Priority, Refusal
from tasks.model_host.holdings import Missing, Phase, Resident, Want
from tasks.model_host.ledger import Ledger

_ALL = 1 << 62
_NOTHING = Missing(0, 0)


class Weights(NamedTuple):
    """What is known of weights before they are loaded."""

    footprint: Footprint
    priority: Priority
    slots: int | None = None


@dataclass(frozen=True)
class Rules:
    """How patient the host is."""

    keep_s: float
    """How long weights stay after their load; only the owner of a guaranteed reserve does not wait for it."""
    starvation_s: float
    """How long more important idle weights are kept while somebody waits for their memory."""


@dataclass(frozen=True)
class Turns:
    """What was decided. The ledger knows it already."""

    granted: tuple[str, ...] = ()
    leaving: tuple[str, ...] = ()
    """Weights that have to be unloaded now."""
    load: str | None = None
    """Weights that have to be loaded now."""
    refused: tuple[tuple[str, Refusal], ...] = ()
    """Wishes that can never be granted."""
    wake_at: float | None = None
    """When time alone may change the decision."""
    awaiting: frozenset[str] = frozenset()
    """Weights whose requests wait for a load to end: their own, one before it, or one of weights that leave for it."""


class Outlook(StrEnum):
    """How soon a model could answer, as far as memory is concerned; the soonest first."""

    resident = "resident"
    parked = "parked"
    fits = "fits"
    eviction = "eviction"
    never = "never"


def take_turns(
    ledger: Ledger,
    wants: Iterable[Want],
    weights: Mapping[str, Weights],
    rules: Rules,
    now: float,
    *,
    loads: bool = True,
    barred: Collection[str] = (),
    hung: Collection[str] = (),
) -> Turns:
    """Grant what can be granted, and decide what leaves and what is loaded for the rest.

    Args:
        ledger: the state; it is changed by what is decided.
        wants: who waits.
        weights: of every account that a want names.
        rules: how patient the host is.
        now: the time, as of the wants' `since`.
        loads: whether a load may be started; there is one at a time.
        barred: accounts that get no new lease, because somebody wants them unloaded.
        hung: accounts whose load does not end; nobody counts on their memory.
    """
    footprints = {account: known.footprint for account, known in weights.items()}
    one = _Pass(ledger, weights, footprints, rules, now, loads, set(barred), frozenset(hung))
    one.only = next((frozenset(job.want.accounts) for job in ledger.jobs if job.want.exclusive), None)
    one.on_the_way = sum(each.footprint.resident for each in ledger.residents if each.phase is Phase.leaving)
    ordered = sorted(wants, key=lambda want: _place(ledger, want, footprints, rules, now))
    for want in ordered:
        one.turn(want)
    done = {*one.granted, *(key for key, _ in one.refused)}
    left = [want for want in ordered if want.key not in done]
    times = [want.since + rules.starvation_s for want in left]
    times += [each.loaded_at + rules.keep_s for each in ledger.residents if left and each.phase is Phase.ready]
    return Turns(
        tuple(one.granted),
        tuple(one.leaving),
        one.load,
        tuple(one.refused),
        min((at for at in times if at > now), default=None),
        frozenset(one.awaiting),
    )


def plan_eviction(
    ledger: Ledger,
    want: Want,
    memory: int,
    rules: Rules,
    now: float,
    *,
    sure: bool = False,
    spared: Collection[str] = (),
) -> tuple[str, ...] | None:
    """Which idle weights leave so that `memory` bytes become free for `want`. None: they are not enough.

    Never somebody who works or is guaranteed. The less important go first, of these those outside of a reserve, then
    those that come back fastest, then the longest idle.

    Args:
        ledger: the state.
        want: who gets the memory.
        memory: bytes that are missing.
        rules: how patient the host is.
        now: the time.
        sure: whether `want` is within a guaranteed reserve, to which every idle model has to give way.
        spared: weights for which somebody waits who is to be served before `want`.
    """
    idle = [
        one
        for one in _victims(ledger, want, rules, now, sure=sure, spared=spared)
        if not ledger.is_busy(one.account) and (sure or not _kept(one, rules, now))
    ]
    return _chosen(ledger, idle, Missing(memory, 0))


def outlook(ledger: Ledger, account: str, weights: Weights) -> Outlook:
    """How soon a model could answer."""
    resident = ledger.resident(account)
    if resident and resident.phase is not Phase.leaving:
        return Outlook.resident
    want = Want("", (account,), 0, weights.priority, 0.0)
    footprints = {account: weights.footprint}
    if ledger.never(want, footprints):
        return Outlook.never
    if account in ledger.parked:
        return Outlook.parked
    return Outlook.fits if ledger.missing(want, footprints).fits else Outlook.eviction


def _place(
    ledger: Ledger, want: Want, footprints: Mapping[str, Footprint], rules: Rules, now: float
) -> tuple[int, int, bool, float, str]:
    if not want.exclusive and ledger.within_guarantee(want, footprints):
        return 0, 0, False, want.since, want.key
    if now - want.since >= rules.starvation_s:
        return 1, 0, False, want.since, want.key
    return 2, want.priority, not ledger.within_promise(want, footprints), want.since, want.key


def _victims(
    ledger: Ledger, want: Want, rules: Rules, now: float, *, sure: bool, spared: Collection[str]
) -> list[Resident]:
    """Weights whose memory `want` may have once they are idle, the first to go first."""
    starved = now - want.since >= rules.starvation_s
    found = [
        one
        for one in ledger.residents
        if one.phase is not Phase.leaving
        and not ledger.guaranteed(one.account)
        and one.account not in want.accounts
        and one.account not in spared
        and (sure or starved or one.priority >= want.priority)
    ]
    return sorted(
        found,
        key=lambda one: (
            -one.priority,
            ledger.promised(one.account) > 0,
            one.return_s,
            one.idle_since,
            one.account,
        ),
    )


def _kept(one: Resident, rules: Rules, now: float) -> bool:
    return one.phase is Phase.loading or now - one.loaded_at < rules.keep_s


def _chosen(ledger: Ledger, victims: Iterable[Resident], short: Missing) -> tuple[str, ...] | None:
    taken: list[tuple[str, int, int]] = []
    memory, work = short
    for one in victims:
        if memory <= 0 and work <= 0:
            break
        held = ledger.held_by(one.account)
        working = held if ledger.is_busy(one.account) else 0
        taken.append((one.account, held, working))
        memory, work = memory - held, work - working
    if memory > 0 or work > 0:
        return None
    for each in sorted(taken[:-1], key=lambda entry: entry[1], reverse=True):  # those that the last made needless
        if memory + each[1] <= 0 and work + each[2] <= 0:
            taken.remove(each)
            memory, work = memory + each[1], work + each[2]
    return tuple(account for account, _, _ in taken)


@dataclass
class _Pass:
    ledger: Ledger
    weights: Mapping[str, Weights]
    footprints: Mapping[str, Footprint]
    rules: Rules
    now: float
    may_load: bool
    barred: set[str]
    """Accounts that get no lease in this pass any more: they are to become idle for somebody."""
    hung: frozenset[str] = frozenset()
    only: frozenset[str] | None = None
    """Accounts that may go on beside an exclusive job."""
    on_the_way: int = 0
    """Bytes of leaving weights that nobody counts on yet."""
    claimed: Missing = _NOTHING
    spared: set[str] = field(default_factory=set)
    queued: set[str] = field(default_factory=set)
    """Accounts for which somebody waits already: who comes later to the same one is behind him."""
    coming: set[str] = field(default_factory=set)
    granted: list[str] = field(default_factory=list)
    leaving: list[str] = field(default_factory=list)
    refused: list[tuple[str, Refusal]] = field(default_factory=list)
    load: str | None = None
    awaiting: set[str] = field(default_factory=set)
    passed_by: list[Want] = field(default_factory=list)
    """Jobs that have waited too long behind other jobs: who begins now has to leave them their room."""

    def turn(self, want: Want) -> None:
        if not want.job and want.accounts[0] in self.queued:
            return
        self._take(want)
        if not want.job and want.key not in self.granted[-1:] and want.key not in dict(self.refused[-1:]):
            self.queued.add(want.accounts[0])

    def _take(self, want: Want) -> None:
        refusal = self.ledger.never(want, self.footprints)
        if refusal:
            self.refused.append((want.key, refusal))
            return
        sure = not want.exclusive and self.ledger.within_guarantee(want, self.footprints)
        if not self._may_go_on(want, sure=sure):
            return
        residents = [self.ledger.resident(account) for account in want.accounts]
        if any(one and one.phase is Phase.leaving for one in residents) or self.coming.intersection(want.accounts):
            return
        short = self.ledger.missing(want, self.footprints)
        if not sure and not self.ledger.takes_nothing(want):
            short = Missing(short.memory + self.claimed.memory, short.work + self.claimed.work)
        if not short.fits:
            self._make_room(want, short, sure=sure)
        elif all(one and one.phase is Phase.ready for one in residents):
            self._grant(want)
        else:
            self._bring(want)

    def _may_go_on(self, want: Want, *, sure: bool) -> bool:
        if self.barred.intersection(want.accounts):
            return False
        jobs = self.ledger.jobs
        if want.job and not all(self._leaves_room(want, ahead) for ahead in self.passed_by):
            return False
        if want.job and (any(job.want.exclusive for job in jobs) or (want.exclusive and jobs)):
            self._insist(want)
            return False
        if self.only is not None and not sure and (want.job or not self.only.issuperset(want.accounts)):
            return False
        if want.exclusive:
            self.only = frozenset(want.accounts)
            if not self._alone(want):
                self._claim(want)
                return False
        return True

    def _insist(self, want: Want) -> None:
        if want.job and self.now - want.since >= self.rules.starvation_s:
            self.passed_by.append(want)

    def _leaves_room(self, want: Want, ahead: Want) -> bool:
        """Whether `ahead` could begin beside `want` and other late-comers, once those that were there before it end."""
        if ahead.exclusive or want.exclusive:
            return False
        late = [job.want for job in self.ledger.jobs if job.want.since >= ahead.since + self.rules.starvation_s]
        together = (ahead, want, *late)
        accounts = tuple(dict.fromkeys(account for one in together for account in one.accounts))
        size = sum(one.bytes for one in together)
        return self.ledger.never(Want("", accounts, size, ahead.priority, self.now, job=True), self.footprints) is None

    def _alone(self, want: Want) -> bool:
        return not any(
            self.ledger.is_busy(one.account)
            and not self.ledger.guaranteed(one.account)
            and one.account not in want.accounts
            for one in self.ledger.residents
        )

    def _grant(self, want: Want) -> None:
        if not want.job and not self.ledger.has_slot(want.accounts[0]):
            return  # one of its own slots becomes free: that is nobody else's memory
        if self.ledger.lease(want, self.now):
            raise AssertionError(f"{want.key} had fitted")  # pragma: no cover
        self.granted.append(want.key)

    def _bring(self, want: Want) -> None:
        absent = [account for account in want.accounts if self.ledger.resident(account) is None]
        if absent and self.may_load:
            known = self.weights[absent[0]]
            if self.ledger.admit_load(absent[0], known.footprint, known.priority, self.now, known.slots):
                raise AssertionError(f"{absent[0]} had fitted")  # pragma: no cover
            self.load, self.may_load = absent[0], False
        self.awaiting.update(want.accounts)
        self._claim(want)

    def _make_room(self, want: Want, short: Missing, *, sure: bool) -> None:
        coming = min(self.on_the_way, max(0, short.memory))
        lacking = Missing(short.memory - coming, short.work)
        if lacking.fits:
            self.on_the_way -= coming
            self._claim(want, Missing(coming, 0))
            return
        if lacking.work <= 0:
            leaving = plan_eviction(
                self.ledger, want, lacking.memory, self.rules, self.now, sure=sure, spared=self.spared
            )
            if leaving is not None:
                self.on_the_way -= coming
                self._evict(leaving, lacking.memory)
                self._claim(want, Missing(short.memory, 0))
                return
        victims = self._victims_of(want, self.spared | self.hung, sure=sure)
        idle = [one for one in victims if not self.ledger.is_busy(one.account)]
        kept = _chosen(self.ledger, idle, lacking)
        if kept is not None:  # a while longer; they may serve until then
            self.on_the_way -= coming
            self._count_on(want, kept, coming)
            return
        requests = self.ledger.returned_by_requests()
        idle_bytes = sum(one.footprint.resident for one in idle)
        if lacking.memory <= idle_bytes + requests.memory and lacking.work <= requests.work:
            self._claim_all(want)
            return
        draining = _chosen(self.ledger, victims, lacking)
        if draining is not None:
            self.on_the_way -= coming
            self._count_on(want, draining, coming)
        elif self._ever_enough(victims, lacking, requests):
            draining = tuple(one.account for one in victims)
            self._claim_all(want)
        else:
            self._await_load(want, self._victims_of(want, self.hung, sure=sure), lacking)
            self._insist(want)
            return  # a job or somebody more important is in the way: who comes later need not wait for that
        self._await_load(want, victims, lacking)
        just_loaded = {one.account for one in victims if _kept(one, self.rules, self.now)}
        self.barred.update(account for account in draining if account not in just_loaded)

    def _victims_of(self, want: Want, spared: Collection[str], *, sure: bool) -> list[Resident]:
        return _victims(self.ledger, want, self.rules, self.now, sure=sure, spared=spared)

    def _await_load(self, want: Want, victims: list[Resident], lacking: Missing) -> None:
        """Note it where `want` needs the memory of weights that are being loaded: these cannot leave before."""
        leaving = _chosen(self.ledger, victims, lacking)
        loading = {one.account for one in victims if one.phase is Phase.loading}
        if loading.intersection([one.account for one in victims] if leaving is None else leaving):
            self.awaiting.update(want.accounts)

    def _ever_enough(self, victims: list[Resident], lacking: Missing, requests: Missing) -> bool:
        busy = [one for one in victims if self.ledger.is_busy(one.account)]
        memory = sum(one.footprint.resident for one in victims) + requests.memory
        work = sum(one.footprint.resident for one in busy) + requests.work
        return lacking.memory <= memory and lacking.work <= work

    def _evict(self, accounts: Iterable[str], needed: int) -> None:
        freed = 0
        for account in accounts:
            resident = self.ledger.resident(account)
            freed += resident.footprint.resident if resident else 0
            self.ledger.leave(account)
            self.leaving.append(account)
        self.on_the_way += freed - needed

    def _count_on(self, want: Want, accounts: Collection[str], coming: int) -> None:
        """Wait for `accounts` to become idle and leave; nobody else counts on the same bytes."""
        memory, work = coming, 0
        for account in accounts:
            held = self.ledger.held_by(account)
            memory += held
            work += held if self.ledger.is_busy(account) else 0
        self._claim(want, Missing(memory, work))
        self.spared.update(accounts)

    def _claim(self, want: Want, freed: Missing = _NOTHING) -> None:
        """Keep what `want` takes, except for what is not free yet, from those who come later."""
        then, now = self.ledger.missing(want, self.footprints), self.ledger.missing_now()
        self.claimed = Missing(
            self.claimed.memory + max(0, then.memory - now.memory - max(0, freed.memory)),
            self.claimed.work + max(0, then.work - now.work - max(0, freed.work)),
        )
        self._keep_place(want)

    def _claim_all(self, want: Want) -> None:
        self.claimed = Missing(_ALL, _ALL)
        self._keep_place(want)

    def _keep_place(self, want: Want) -> None:
        self.spared.update(want.accounts)
        self.coming.update(account for account in want.accounts if self.ledger.resident(account) is None)
