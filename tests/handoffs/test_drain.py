"""The engine: each message once, in order within its conversation, whatever fails."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest

from models.handoff import Again, Delivered, Effect, Outcome, Refused
from tasks.handoffs.deliver import grouped
from tasks.handoffs.drain import only_one
from tests.handoffs.making import Bench, Recorder, make_message, make_route


async def test_messages_become_effects_once_and_in_order(bench: Bench) -> None:
    route = make_route()
    messages = [make_message(n, f"c{n % 7}") for n in range(100)]
    assert await bench.store(route, *messages) == 100
    assert await bench.store(route, *messages) == 0, "resent messages are known by their ids"
    target = Recorder(takes_s=0.001)
    drain = await bench.drain(route, target)
    assert drain.figures.delivered == 100
    assert Counter(target.ids) == {f"m{n}": 1 for n in range(100)}
    for name in range(7):
        of_one = [effect.seq for call in target.calls for effect in call if effect.conversation == f"c{name}"]
        assert of_one == sorted(of_one)
    assert target.most_at_once == 7, "conversations go side by side, each by itself in order"
    assert set((await bench.effects()).values()) == {("delivered", 1, None)}
    assert await bench.rows("SELECT DISTINCT reference FROM handoff_effect WHERE message_id = 'm3'") == [("ref-m3",)]


async def test_what_follows_in_a_conversation_waits_for_the_retry_and_others_do_not(bench: Bench) -> None:
    route = make_route(retry={"first_s": 0.3, "timeout_s": 2})
    await bench.store(route, *(make_message(n, "slow" if n < 3 else f"c{n}") for n in range(6)))

    def answer(effect: Effect) -> Outcome:
        if effect.message_id == "m0" and effect.attempt < 3:
            return Again("busy")
        return Delivered("x")

    target = Recorder(answer)
    await bench.drain(route, target, patience_s=1.0)
    assert target.ids[:4] == ["m0", "m3", "m4", "m5"], "others were not held up"
    assert target.ids[4:] == ["m0", "m0", "m1", "m2"]
    assert (await bench.effects())["m0"] == ("delivered", 3, None)


@pytest.mark.parametrize(("on_dead", "handed_on"), [("continue", ["m0", "m1"]), ("block", ["m0"])])
async def test_a_dead_letter_lets_its_conversation_go_on_or_holds_it(
    bench: Bench, on_dead: str, handed_on: list[str]
) -> None:
    route = make_route(on_dead=on_dead)
    await bench.store(route, make_message(0), make_message(1))
    target = Recorder(lambda effect: Refused("never") if effect.message_id == "m0" else Delivered("x"))
    await bench.drain(route, target, linger_s=0.1)
    assert target.ids == handed_on
    assert (await bench.effects())["m0"] == ("dead", 1, "never")


async def test_tries_end_in_a_dead_letter_that_says_why(bench: Bench) -> None:
    route = make_route(retry={"tries": 3, "first_s": 0.01, "longest_s": 0.02})
    await bench.store(route, make_message(0))
    target = Recorder(lambda _: Again("500 Internal Server Error"))
    drain = await bench.drain(route, target)
    assert len(target.calls) == 3
    assert await bench.effects() == {"m0": ("dead", 3, "500 Internal Server Error")}
    assert drain.figures.dead == 1


async def test_an_outage_uses_up_no_tries_and_one_call_at_a_time_asks_whether_it_is_over(bench: Bench) -> None:
    route = make_route(retry={"tries": 2, "first_s": 0.02, "longest_s": 0.02})
    await bench.store(route, *(make_message(n, f"c{n}") for n in range(4)))
    back_at = time.monotonic() + 0.5
    target = Recorder(lambda _: Delivered("x") if time.monotonic() > back_at else Again("refused", outage=True))
    drain = await bench.drain(route, target, patience_s=2.0)
    assert drain.figures.delivered == 4
    assert drain.figures.outage == ""
    assert {state for state, _, _ in (await bench.effects()).values()} == {"delivered"}
    assert len(target.calls) < 20


async def test_a_slow_call_holds_up_its_own_conversation_only(bench: Bench) -> None:
    route = make_route(retry={"timeout_s": 0.4, "first_s": 0.02, "tries": 2})

    class Slow(Recorder):
        async def deliver(self, effects: Sequence[Effect]) -> Sequence[Outcome]:
            if effects[0].conversation == "slow":
                await asyncio.sleep(30)
            return await super().deliver(effects)

    await bench.store(route, make_message(0, "slow"), *(make_message(n, f"c{n % 3}") for n in range(1, 31)))
    target = Slow()
    await bench.drain(route, target)
    assert len(target.calls) == 30
    assert (await bench.effects())["m0"] == ("dead", 2, "no answer within 0.4 s")


async def test_a_target_that_raises_is_tried_again_and_its_error_holds_no_value(bench: Bench) -> None:
    route = make_route(retry={"tries": 1})

    def answer(_: Effect) -> Outcome:
        raise KeyError("secret of a customer")

    await bench.store(route, make_message(0))
    await bench.drain(route, Recorder(answer))
    assert await bench.effects() == {"m0": ("dead", 1, "the target failed: KeyError")}


async def test_batches_take_one_of_each_conversation(bench: Bench) -> None:
    route = make_route()
    await bench.store(route, *(make_message(n, f"c{n % 5}") for n in range(20)))
    target = Recorder(batch=4)
    await bench.drain(route, target)
    assert sorted(target.ids) == sorted(f"m{n}" for n in range(20))
    for call in target.calls:
        assert len(call) <= 4
        assert len({effect.conversation for effect in call}) == len(call)
    for name in range(5):
        of_one = [effect.seq for call in target.calls for effect in call if effect.conversation == f"c{name}"]
        assert of_one == sorted(of_one)


async def test_what_a_dead_process_took_is_taken_again_after_its_lease_with_the_same_key(bench: Bench) -> None:
    route = make_route(retry={"timeout_s": 0.05, "first_s": 0.01})
    await bench.store(route, make_message(0), make_message(1))

    class Dies(Recorder):
        async def deliver(self, effects: Sequence[Effect]) -> Sequence[Outcome]:
            self.calls.append(list(effects))
            self.called.set()
            raise asyncio.CancelledError  # the process is gone: nothing is recorded

    first = Dies()
    drain = asyncio.create_task(bench.drain(route, first))
    await first.called.wait()
    drain.cancel()
    await asyncio.gather(drain, return_exceptions=True)
    second = Recorder()
    await bench.drain(route, second, linger_s=0.1)
    assert second.calls == [], "it may still be under way"
    await bench.rows("UPDATE handoff_effect SET lease_until = now()")
    await bench.drain(route, second, linger_s=0.1)
    assert second.ids == ["m0", "m1"]
    assert second.calls[0][0].idempotency_key == first.calls[0][0].idempotency_key


async def test_one_drain_a_route(bench: Bench) -> None:
    route = make_route()
    await bench.store(route, make_message(0))
    async with await bench.connect() as other, only_one(other, route.name) as ours:
        assert ours
        target = Recorder()
        drain = await bench.drain(route, target)
        assert drain.figures.held_elsewhere
        assert target.calls == []
    await bench.drain(route, target)
    assert target.ids == ["m0"]


async def test_what_comes_while_it_drains_is_handed_on_at_once(bench: Bench) -> None:
    route = make_route()
    target = Recorder()

    async def later() -> float:
        await asyncio.sleep(0.3)
        await bench.store(route, make_message(0))
        stored = time.monotonic()
        await target.called.wait()
        return time.monotonic() - stored

    from models.handoff_route import HandoffsSettings
    from tasks.handoffs.drain import Bell, RouteDrain
    from tasks.handoffs.transform import Transformation

    drain = RouteDrain(route, Transformation(route), target, HandoffsSettings(), bench.connect)
    ringing = Bell()
    ear = asyncio.create_task(ringing.listen(bench.connect))
    _, took = await asyncio.gather(drain.run(ringing.of(route.name), linger_s=0.8), later())
    ear.cancel()
    await asyncio.gather(ear, return_exceptions=True)
    assert took < 0.3, "the notification woke it, not the clock"


async def test_a_held_row_holds_back_what_follows_in_its_conversation(bench: Bench) -> None:
    route = make_route()
    await bench.store(route, make_message(0, "a"), make_message(1, "b"), make_message(2, "a"))
    async with await bench.connect() as other, other.transaction():
        await other.execute("SELECT 1 FROM handoff_message WHERE message_id = 'm0' FOR UPDATE")
        target = Recorder()
        await bench.drain(route, target, linger_s=0.05, longest_run_s=0.5)
        assert target.ids == ["m1"]
    await bench.drain(route, target)
    assert target.ids == ["m1", "m0", "m2"]


class InTables:
    """An inside target: a table of its own, in which every message may be once."""

    def __init__(self, *, fails_at: str = "") -> None:
        self.fails_at = fails_at

    async def apply(
        self, connection: psycopg.AsyncConnection[Any], effects: Sequence[Effect]
    ) -> Sequence[Delivered | Refused]:
        for effect in effects:
            number: Any = "no number" if effect.message_id == self.fails_at else effect.seq
            await connection.execute("INSERT INTO done VALUES (%s, %s::text::bigint)", (effect.message_id, str(number)))
        return [Delivered(effect.message_id) for effect in effects]


async def test_inside_targets_commit_with_the_record_and_one_bad_effect_takes_no_other_with_it(bench: Bench) -> None:
    await bench.rows("CREATE TABLE done (message_id text PRIMARY KEY, seq bigint)")
    route = make_route()
    await bench.store(route, *(make_message(n, f"c{n % 3}") for n in range(20)))
    await bench.drain(route, InTables(fails_at="m7"))
    done = [row[0] for row in await bench.rows("SELECT message_id FROM done ORDER BY seq")]
    assert done == [f"m{n}" for n in range(20) if n != 7]
    state, _, error = (await bench.effects())["m7"]
    assert state == "dead"
    assert "the database refuses it" in str(error)


async def test_messages_that_cannot_be_understood_are_dead_letters_and_filtered_ones_are_ignored(bench: Bench) -> None:
    route = make_route(when="number < `10`", fields={"phone": "phone(told)"}, required=["phone"], region="DE")
    await bench.store(
        route,
        make_message(1, told="0171 1234567"),
        make_message(2, told="no number \x00 at all"),
        make_message(3),
        make_message(11, told="0171 1234567"),
    )
    target = Recorder()
    drain = await bench.drain(route, target)
    assert target.calls[0][0].payload == {"phone": "+491711234567"}
    assert (drain.figures.accepted, drain.figures.ignored, drain.figures.dead) == (1, 1, 2)
    found = await bench.rows(
        "SELECT message_id, state, last_error, given, valid, required, filled FROM handoff_message ORDER BY seq"
    )
    assert found == [
        ("m1", "accepted", None, 1, 1, 1, 1),
        ("m2", "dead", "phone: is no phone number", 1, 0, 1, 0),
        ("m3", "dead", "phone is required and not there", 0, 0, 1, 0),
        ("m11", "ignored", None, 0, 0, 0, 0),
    ]


def test_groups_hold_no_two_of_a_conversation_when_they_go_together() -> None:
    effects = [Effect("r", f"m{n}", f"c{n % 3}", n, f"k{n}", {}, 1) for n in range(9)]
    assert [[e.seq for e in group] for group in grouped(effects, most=2, batch=1)] == [[0, 3, 6], [1, 4, 7]]
    assert [[e.seq for e in group] for group in grouped(effects, most=2, batch=2)] == [[0, 1], [2]]
    assert grouped([], most=2, batch=1) == []
