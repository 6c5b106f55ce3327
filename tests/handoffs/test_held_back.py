"""What follows a dead letter waits for a person where its route says so, and what came before it does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from models.handoff import Delivered, Effect, Refused
from tasks.handoffs import outbox
from tasks.handoffs.letters import resend
from tests.handoffs.making import Bench, Recorder, make_message, make_route

TOLD = {"fields": {"told": "told"}, "required": ["told"], "on_dead": "block"}


async def test_a_message_that_was_not_understood_holds_what_follows_and_nothing_else(bench: Bench) -> None:
    route = make_route(**TOLD)
    await bench.store(
        route,
        make_message(0, told="a"),
        make_message(1),
        make_message(2, told="b"),
        make_message(3, "other", told="c"),
        make_message(4, told="d"),
    )
    target = Recorder()
    await bench.drain(route, target, linger_s=0.1)
    assert sorted(target.ids) == ["m0", "m3"]


async def test_what_was_held_goes_on_in_order_when_a_person_has_sent_it_again(bench: Bench) -> None:
    route = make_route(**TOLD)
    await bench.store(route, make_message(0), make_message(1, told="b"), make_message(2, told="c"))
    target = Recorder()
    await bench.drain(route, target, linger_s=0.1)
    assert target.ids == []
    await bench.rows("""UPDATE handoff_message SET attributes = '{"told": "a"}' WHERE message_id = 'm0'""")
    async with await bench.connect() as connection:
        assert await resend(connection, "orders", ["m0"]) == ["m0"]
        # A drain that was between its two steps when that happened must not hand on what follows.
        async with connection.transaction():
            assert await outbox.claim(connection, route, limit=10) == []
    await bench.drain(route, target, linger_s=0.1)
    assert target.ids == ["m0", "m1", "m2"]


class Picky:
    """An inside target that refuses one message."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    async def apply(self, _: psycopg.AsyncConnection[Any], effects: Sequence[Effect]) -> Sequence[Delivered | Refused]:
        self.ids += [effect.message_id for effect in effects]
        return [Refused("never") if effect.message_id == "m1" else Delivered("x") for effect in effects]


async def test_an_inside_target_is_not_given_what_follows_a_dead_letter(bench: Bench) -> None:
    route = make_route(on_dead="block")
    await bench.store(route, *(make_message(n) for n in range(4)), make_message(4, "other"))
    target = Picky()
    await bench.drain(route, target, linger_s=0.1)
    assert sorted(target.ids) == ["m0", "m1", "m4"]
