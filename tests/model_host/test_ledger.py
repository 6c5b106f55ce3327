"""Whatever is asked for in whatever order, the two sums hold, the guaranteed are answered and nobody waits for ever."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from models.model_host import Footprint, Priority, Reserve
from tasks.model_host.holdings import Phase, Want
from tasks.model_host.ledger import Ledger, is_guaranteed
from tasks.model_host.turns import Outlook, Rules, Weights, outlook, plan_eviction, take_turns

_MODELS = ("a", "b", "c", "d", "e")
_NAMES = {name: name for name in _MODELS} | {"a2": "a", "b2": "b"}
"""What may be asked for, and the weights that answer."""
_RULES = Rules(keep_s=5.0, starvation_s=12.0)
_priorities = st.sampled_from(Priority)


@st.composite
def _weights(draw: st.DrawFn) -> Weights:
    fixed = draw(st.sampled_from((0, 0, 8)))
    footprint = Footprint(
        weights=draw(st.integers(5, 30) | st.integers(5, 60)),
        kv_per_token=draw(st.integers(0, 2)),
        kv_fixed=fixed,
        workspace=draw(st.integers(0, 3)),
    )
    return Weights(footprint, draw(_priorities), draw(st.integers(1, 3)) if fixed else None)


class Device(RuleBasedStateMachine):
    """A device whose memory is lent at random; a shadow counts every byte a second time."""

    @initialize(known=st.lists(_weights(), min_size=5, max_size=5), parked=st.sampled_from((0, 50)))
    def start(self, known: list[Weights], parked: int) -> None:
        self.ledger = Ledger(100, parked)
        self.weights = dict(zip(_MODELS, known, strict=True))
        self.wants: dict[str, Want] = {}
        self.now = 0.0
        self.count = 0
        self.loading: str | None = None
        self.leaving: set[str] = set()
        self.barred: set[str] = set()
        self.shadow: dict[str, int] = {}

    def _key(self) -> str:
        self.count += 1
        return f"w{self.count}"

    @rule(name=st.sampled_from(sorted(_NAMES)), size=st.integers(0, 30), priority=_priorities)
    def ask(self, name: str, size: int, priority: Priority) -> None:
        size = 0 if self.weights[_NAMES[name]].slots else size
        key = self._key()
        self.wants[key] = Want(key, (_NAMES[name],), size, priority, self.now, model=name)

    @rule(
        models=st.sets(st.sampled_from(_MODELS), max_size=2),
        size=st.integers(0, 50),
        priority=_priorities,
        exclusive=st.booleans(),
    )
    def announce_job(self, models: set[str], size: int, priority: Priority, exclusive: bool) -> None:
        key = self._key()
        self.wants[key] = Want(key, tuple(sorted(models)), size, priority, self.now, job=True, exclusive=exclusive)

    @rule(model=st.sampled_from(sorted(_NAMES)), size=st.integers(1, 70), priority=_priorities, sharing=st.booleans())
    def reserve(self, model: str, size: int, priority: Priority, sharing: bool) -> None:
        before = self.ledger.holdings()
        footprint = self.weights[_NAMES[model]].footprint
        if size % 2:  # large enough to be granted, more often than not
            size = size // 7 + footprint.resident + 16 * footprint.kv_per_token
        wish = Reserve(model=model, bytes=size, priority=priority, sharing=sharing, context_window=16)
        refused = self.ledger.reserve(_NAMES[model], wish, self.weights[_NAMES[model]].footprint)
        if refused:
            assert self.ledger.holdings() == before
            assert refused.needed_bytes > refused.free_bytes
        else:
            assert self.ledger.reserve_of(model) == wish

    @rule(model=st.sampled_from(sorted(_NAMES)))
    def unreserve(self, model: str) -> None:
        self.ledger.unreserve(model)

    @rule(seconds=st.integers(1, 8))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule(model=st.sampled_from(_MODELS))
    def bar(self, model: str) -> None:
        self.barred ^= {model}

    @precondition(lambda self: self.wants)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        del self.wants[data.draw(st.sampled_from(sorted(self.wants)))]

    @precondition(lambda self: self.ledger.leases)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.ledger.leases)))
        self.ledger.end(key, self.now)
        self.shadow.pop(key)

    @precondition(lambda self: self.ledger.leases)
    @rule(data=st.data())
    def shrink(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.ledger.leases)))
        lease = self.ledger.leases[key]
        if not lease.want.job and lease.bytes:
            self.ledger.shrink(key, lease.bytes - 1)
            self.shadow[key] -= 1

    @precondition(lambda self: self.loading)
    @rule(how=st.sampled_from(("as predicted", "as predicted", "smaller", "larger", "failed")))
    def load_ends(self, how: str) -> None:
        account, self.loading = self.loading, None
        assert account
        predicted = self.weights[account].footprint
        change = {"smaller": -1, "larger": 5}.get(how, 0)
        measured = predicted.model_copy(update={"weights": predicted.weights + change})
        if how == "failed" or self.ledger.loaded(account, measured, self.now):
            self.ledger.evict(account)
            del self.shadow[account]
        else:
            self.shadow[account] = measured.resident

    @precondition(lambda self: self.leaving)
    @rule(data=st.data(), parks=st.booleans())
    def unload_ends(self, data: st.DataObject, parks: bool) -> None:
        account = data.draw(st.sampled_from(sorted(self.leaving)))
        self.leaving.remove(account)
        self.ledger.evict(account)
        del self.shadow[account]
        if parks:
            self.ledger.park(account, self.weights[account].footprint.weights)

    @precondition(lambda self: self.wants)
    @rule(data=st.data())
    def a_lease_that_ends_leaves_nothing(self, data: st.DataObject) -> None:
        want = self.wants[data.draw(st.sampled_from(sorted(self.wants)))]
        before = self.ledger.holdings()
        if not self.ledger.lease(want, self.now):
            self.nothing_works_that_does_not_fit()
            self.ledger.end(want.key, self.now)
        assert self.ledger.holdings() == before

    @rule()
    def turns(self) -> None:
        idle = {one.account for one in self.ledger.residents if not self.ledger.pins(one.account)}
        turns = take_turns(
            self.ledger,
            self.wants.values(),
            self.weights,
            _RULES,
            self.now,
            loads=self.loading is None,
            barred=self.barred,
        )
        for key in turns.granted:
            want = self.wants.pop(key)
            self.shadow[key] = want.bytes
            assert self.barred.isdisjoint(want.accounts)
        for key, refusal in turns.refused:
            del self.wants[key]
            assert refusal.for_ever
            assert refusal.needed_bytes > refusal.free_bytes
        for account in turns.leaving:
            assert account in idle
            assert not self.ledger.guaranteed(account)
        self.leaving |= set(turns.leaving)
        if turns.load:
            assert self.loading is None
            self.loading = turns.load
            self.ledger.unpark(turns.load)
            self.shadow[turns.load] = self.weights[turns.load].footprint.resident

    @rule()
    def moves_end(self) -> None:
        self.turns()
        if self.loading:
            self.load_ends("as predicted")
        for account in sorted(self.leaving):
            self.ledger.evict(account)
            del self.shadow[account]
        self.leaving.clear()
        self.turns()

    @invariant()
    def nothing_works_that_does_not_fit(self) -> None:
        assert self.ledger.missing_now().fits

    @invariant()
    def nothing_is_over_the_capacity(self) -> None:
        assert self.ledger.held == sum(self.shadow.values()) <= self.ledger.capacity
        assert sum(self.ledger.parked.values()) <= self.ledger.parked_capacity
        for one in self.ledger.residents:
            assert one.phase is Phase.ready or not self.ledger.pins(one.account)
            assert one.slots is None or self.ledger.requests(one.account) <= one.slots

    @invariant()
    def a_guaranteed_request_lacks_nothing_but_unloads(self) -> None:
        footprints = {account: known.footprint for account, known in self.weights.items()}
        idle = sum(
            one.footprint.resident
            for one in self.ledger.residents
            if not self.ledger.guaranteed(one.account) and not self.ledger.pins(one.account) and one.phase != "loading"
        )
        for name, account in _NAMES.items():
            reserve = self.ledger.reserve_of(name)
            if reserve is None or not is_guaranteed(reserve):
                continue
            used = sum(lease.bytes for lease in self.ledger.leases.values() if lease.want.model == name)
            resident = self.ledger.resident(account)
            weights = (resident.footprint if resident else footprints[account]).resident
            if reserve.bytes >= weights + used:  # not so for who took more than was predicted, or than is his
                want = Want("x", (account,), reserve.bytes - weights - used, Priority.low, self.now, model=name)
                missing = self.ledger.missing(want, footprints)
                assert self.ledger.within_guarantee(want, footprints)
                assert missing.work <= 0
                assert missing.memory <= idle

    def teardown(self) -> None:
        """When leases end, loads succeed and time goes on, everybody who waits is served: nobody waits for ever."""
        if not hasattr(self, "ledger"):
            return
        self.barred.clear()
        for _ in range(40 + 10 * len(self.wants)):
            self.turns()
            self.nothing_is_over_the_capacity()
            for key in list(self.ledger.leases):
                self.ledger.end(key, self.now)
                del self.shadow[key]
            if self.loading:
                self.load_ends("as predicted")
            for account in sorted(self.leaving):
                self.ledger.evict(account)
                del self.shadow[account]
            self.leaving.clear()
            self.now += 1
            if not self.wants:
                break
        assert not self.wants
        assert self.ledger.leased == 0


TestDevice = Device.TestCase
TestDevice.settings = settings(max_examples=150, stateful_step_count=40)


def _footprint(**sizes: int) -> Footprint:
    return Footprint(**({"weights": 40, "kv_per_token": 1, "workspace": 2} | sizes))


def _ready(ledger: Ledger, account: str, footprint: Footprint, *, at: float = 0.0, **more: Any) -> None:
    assert ledger.admit_load(account, footprint, more.pop("priority", Priority.normal), at) is None
    assert ledger.loaded(account, footprint, at, **more) is None


def test_a_reserve_that_cannot_hold_its_model_is_refused_with_the_sum() -> None:
    refused = Ledger(100).reserve("a", Reserve(model="a", bytes=57, context_window=16), _footprint())
    assert refused is not None
    assert refused.for_ever
    assert refused.needed_bytes == sum(size for _, size in refused.arithmetic) == 58
    assert ("KV of one context of 16 tokens", 16) in refused.arithmetic


def test_reserves_never_exceed_the_device_together() -> None:
    ledger = Ledger(100)
    assert ledger.reserve("a", Reserve(model="a", bytes=60, context_window=16), _footprint()) is None
    refused = ledger.reserve("b", Reserve(model="b", bytes=60, context_window=16), _footprint())
    assert refused is not None
    assert refused.free_bytes == 40
    assert ledger.reserve("a", Reserve(model="a", bytes=90, context_window=16), _footprint()) is None, "replaced"


def test_requests_to_an_engine_with_fixed_kv_take_slots_and_no_pool() -> None:
    ledger = Ledger(60)
    footprint = _footprint(kv_fixed=15)
    ledger.admit_load("a", footprint, Priority.normal, 0.0, slots=2)
    ledger.loaded("a", footprint, 0.0)
    wants = [Want(str(n), ("a",), 0, Priority.normal, 0.0) for n in range(3)]
    weights = {"a": Weights(footprint, Priority.normal, 2)}
    assert take_turns(ledger, wants, weights, _RULES, 0.0).granted == ("0", "1")
    ledger.end("0", 1.0)
    assert take_turns(ledger, wants[2:], weights, _RULES, 1.0).granted == ("2",)


def test_idle_weights_may_lie_in_a_guaranteed_reserve_and_nothing_that_works() -> None:
    ledger = Ledger(100)
    ledger.reserve("vip", Reserve(model="vip", bytes=60, priority=Priority.high, context_window=16), _footprint())
    _ready(ledger, "b", _footprint(weights=30))
    small = Want("s", ("c",), 0, Priority.normal, 0.0)
    weights = {key: Weights(_footprint(weights=30), Priority.normal) for key in "bc"}
    weights["vip"] = Weights(_footprint(), Priority.high)
    assert take_turns(ledger, [small], weights, _RULES, 0.0).load == "c", "b is idle: c may be loaded beside it"
    ledger.loaded("c", _footprint(weights=30), 0.0)
    assert ledger.held == 64
    assert take_turns(ledger, [small], weights, _RULES, 0.0).granted == ("s",)
    other = Want("o", ("b",), 0, Priority.normal, 0.0)
    assert not take_turns(ledger, [other], weights, _RULES, 0.0).granted, "both at work would be in the reserve"
    urgent = Want("u", ("vip",), 16, Priority.low, 0.0)
    turns = take_turns(ledger, [other, urgent], weights, _RULES, 0.1)
    assert turns.leaving == ("b",), "its owner does not wait for keep_s, nor for the priority of its request"


def test_what_is_not_shared_is_lent_to_nobody() -> None:
    ledger = Ledger(100)
    ledger.reserve("own", Reserve(model="own", bytes=60, sharing=False, context_window=16), _footprint())
    refused = ledger.admit_load("b", _footprint(), Priority.high, 0.0)
    assert refused is not None
    assert ("guaranteed and not in use", -60) in refused.arithmetic


def test_a_name_that_takes_more_than_its_reserve_takes_it_from_nobody_who_shares_its_weights() -> None:
    ledger = Ledger(150)
    for name in ("one", "two"):
        wish = Reserve(model=name, bytes=60, priority=Priority.high, context_window=16)
        assert ledger.reserve("w", wish, _footprint()) is None
    _ready(ledger, "w", _footprint())
    assert ledger.lease(Want("greedy", ("w",), 48, Priority.high, 0.0, model="one"), 0.0) is None
    assert ledger.lease(Want("more", ("w",), 1, Priority.high, 0.0, model="one"), 0.0) is not None
    theirs = Want("theirs", ("w",), 18, Priority.high, 0.0, model="two")
    assert ledger.within_guarantee(theirs, {})
    assert ledger.lease(theirs, 0.0) is None


def test_the_owner_of_a_shared_reserve_goes_before_others_of_its_priority_and_work_goes_on() -> None:
    ledger = Ledger(100)
    ledger.reserve("a", Reserve(model="a", bytes=60, context_window=16), _footprint())
    _ready(ledger, "b", _footprint(weights=50), at=-100.0)
    weights = {"a": Weights(_footprint(), Priority.normal), "b": Weights(_footprint(weights=50), Priority.normal)}
    at_work = Want("w", ("b",), 10, Priority.normal, 0.0)
    assert take_turns(ledger, [at_work], weights, _RULES, 0.0).granted == ("w",)
    later, owner = Want("l", ("b",), 5, Priority.normal, 1.0), Want("o", ("a",), 16, Priority.normal, 2.0)
    turns = take_turns(ledger, [later, owner], weights, _RULES, 2.0)
    assert not turns.granted, "the borrower gets no new lease while the owner waits"
    assert not turns.leaving, "and keeps what it works in"
    ledger.end("w", 3.0)
    assert take_turns(ledger, [later, owner], weights, _RULES, 3.0).leaving == ("b",)


def test_the_cheapest_of_the_least_important_leaves_first() -> None:
    ledger = Ledger(100)
    for account, priority, return_s in (
        ("dear", Priority.low, 9.0),
        ("cheap", Priority.low, 1.0),
        ("normal", Priority.normal, 0.1),
    ):
        _ready(ledger, account, _footprint(weights=20), priority=priority, return_s=return_s)
    want = Want("w", ("x",), 0, Priority.normal, 100.0)
    assert plan_eviction(ledger, want, 20, _RULES, 100.0) == ("cheap",)
    assert plan_eviction(ledger, want, 40, _RULES, 100.0) == ("cheap", "dear")
    assert plan_eviction(ledger, want, 66, _RULES, 100.0) == ("cheap", "dear", "normal")
    assert plan_eviction(ledger, want, 20, _RULES, 1.0) is None, "just loaded"
    ledger.lease(Want("at work", ("cheap",), 1, Priority.low, 0.0), 0.0)
    assert plan_eviction(ledger, want, 20, _RULES, 100.0) == ("dear",)
    assert plan_eviction(ledger, want, 66, _RULES, 100.0) is None
    ledger.end("at work", 0.0)
    assert plan_eviction(ledger, Want("l", ("x",), 0, Priority.low, 100.0), 66, _RULES, 100.0) is None
    assert plan_eviction(ledger, Want("l", ("x",), 0, Priority.low, 80.0), 66, _RULES, 100.0) is not None, "starved"


def test_what_one_eviction_frees_is_enough_for_two() -> None:
    ledger = Ledger(100)
    _ready(ledger, "large", _footprint(weights=60), at=-100.0, priority=Priority.low)
    _ready(ledger, "other", _footprint(weights=30), at=-100.0, return_s=9.0)
    weights = {key: Weights(_footprint(weights=20), Priority.normal) for key in "ab"}
    wants = [Want(key, (key,), 5, Priority.normal, 0.0) for key in "ab"]
    assert take_turns(ledger, wants, weights, _RULES, 0.0).leaving == ("large",)
    assert take_turns(ledger, wants, weights, _RULES, 0.1).leaving == (), "its memory is on the way to both"


def test_a_request_that_waits_for_weights_does_not_stop_others_from_using_what_it_will_not_need() -> None:
    ledger = Ledger(100)
    _ready(ledger, "b", _footprint(weights=50), at=-100.0)
    _ready(ledger, "small", Footprint(weights=5, kv_per_token=1), at=-100.0)
    weights = {
        "a": Weights(_footprint(weights=60), Priority.normal),
        "b": Weights(_footprint(weights=50), Priority.normal),
        "small": Weights(Footprint(weights=5, kv_per_token=1), Priority.high),
    }
    ledger.lease(Want("w", ("b",), 10, Priority.normal, 0.0), 0.0)
    big = Want("big", ("a",), 10, Priority.normal, 0.0)
    passing, too_much = (Want(f"p{size}", ("small",), size, Priority.normal, 1.0) for size in (20, 30))
    assert take_turns(ledger, [big, passing], weights, _RULES, 1.0).granted == ("p20",)
    ledger.end("p20", 1.0)
    assert not take_turns(ledger, [big, too_much], weights, _RULES, 1.0).granted


def test_a_job_that_is_not_heard_of_loses_its_lease() -> None:
    ledger = Ledger(100)
    ledger.lease(Want("run", (), 80, Priority.normal, 0.0, job=True), 0.0, expires_at=30.0)
    ledger.renew("run", 60.0)
    assert ledger.expire(59.0) == ()
    assert ledger.expire(60.0) == ("run",)
    assert ledger.held == 0


def test_the_outlook_says_how_soon_a_model_could_answer() -> None:
    ledger = Ledger(100, 50)
    known = Weights(_footprint(), Priority.normal)
    assert outlook(ledger, "a", known) is Outlook.fits
    ledger.park("a", 40)
    assert outlook(ledger, "a", known) is Outlook.parked
    _ready(ledger, "b", _footprint(weights=60))
    assert outlook(ledger, "b", known) is Outlook.resident
    assert outlook(ledger, "c", known) is Outlook.eviction
    assert outlook(ledger, "d", Weights(_footprint(weights=99), Priority.normal)) is Outlook.never


@pytest.mark.parametrize("wrong", ["evict", "leave"])
def test_who_works_cannot_be_evicted(wrong: str) -> None:
    ledger = Ledger(100)
    _ready(ledger, "a", _footprint())
    ledger.lease(Want("w", ("a",), 1, Priority.normal, 0.0), 0.0)
    before = ledger.holdings()
    with pytest.raises(ValueError, match="at work"):
        getattr(ledger, wrong)("a")
    assert ledger.holdings() == before


@pytest.mark.parametrize("big", [{"bytes": 60}, {"bytes": 0, "exclusive": True}], ids=["large", "exclusive"])
def test_no_stream_of_small_jobs_passes_one_by_for_ever(big: dict[str, Any]) -> None:
    """After a while those begin no more that would not fit beside it; who fits goes on."""
    ledger, waits = Ledger(100), Want("big", (), priority=Priority.normal, since=0.0, job=True, **big)
    ends, begun = {"job 0": 2}, 0
    ledger.lease(Want("job 0", (), 45, Priority.normal, 0.0, job=True), 0.0)
    for now in range(1, 40):
        for key in [key for key, end in ends.items() if end <= now]:
            ledger.end(key, now)
            del ends[key]
        small = [Want(f"{size} at {now}", (), size, Priority.normal, now, job=True) for size in (45, 1)]
        granted = take_turns(ledger, [waits, *small], {}, Rules(0.0, 15.0), now).granted
        if "big" in granted:
            break
        ends |= dict.fromkeys(granted, now + 2)
        begun += now >= 15 and f"1 at {now}" in granted
    assert "big" in ledger.leases
    assert begun == 0 if waits.exclusive else begun > 0


def test_what_a_file_is_unpacked_to_is_held_until_the_load_is_over() -> None:
    ledger = Ledger(1000)
    packed = Footprint(weights=300, kv_per_token=1, workspace=50, unpacking=600)
    other = Footprint(weights=200, kv_per_token=1)
    assert (packed.resident, packed.loading) == (350, 900)
    assert ledger.admit_load("other", other, Priority.normal, 0.0) is None
    assert ledger.loaded("other", other, 0.0) is None
    refused = ledger.admit_load("packed", packed, Priority.normal, 0.0)
    assert refused is not None
    assert refused.needed_bytes == 900
    ledger.leave("other")
    ledger.evict("other")
    assert ledger.admit_load("packed", packed, Priority.normal, 0.0) is None
    assert ledger.held == 900
    assert ledger.admit_load("other", other, Priority.normal, 0.0) is not None
    assert ledger.loaded("packed", packed, 0.0) is None
    assert ledger.held == 350
    assert ledger.admit_load("other", other, Priority.normal, 0.0) is None
    small = Reserve(model="m", bytes=800, priority=Priority.high, context_window=16)
    told = Ledger(1000).reserve("m", small, packed)
    assert told is not None
    assert ("unpacking its file", 600) in told.arithmetic


def test_what_lies_in_the_memory_of_the_machine_takes_nothing_of_the_card() -> None:
    ledger = Ledger(100)
    host = Footprint(weights=5_000, kv_per_token=1, kv_fixed=1_000, workspace=10, elsewhere=True)
    assert ledger.admit_load("gguf", host, Priority.normal, 0.0, slots=1) is None
    assert ledger.loaded("gguf", host, 0.0) is None
    assert (ledger.held, host.total) == (0, 6_010)
    card = Footprint(weights=100, kv_per_token=1)
    assert ledger.admit_load("other", card, Priority.normal, 0.0) is None
