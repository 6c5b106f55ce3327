"""Leads in a real Tryton: a search by the message's id finds exactly one, whatever failed in between."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from models.handoff import Again, Effect, Outcome, Refused
from tasks.handoffs.transform import idempotency_key
from tasks.handoffs.tryton_target import TrytonTarget
from tests.handoffs.making import Bench, make_message, make_route
from tests.handoffs.tryton import RunningTryton, running

ROUTE = make_route(
    name="leads", extract="lead", required=["phone"], target={"kind": "crm", "system": "tryton"}, region="DE",
    retry={"tries": 100, "first_s": 0.05, "longest_s": 0.2, "timeout_s": 5.0},
)  # fmt: skip


@pytest.fixture(scope="module")
def tryton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTryton]:
    with running(tmp_path_factory.mktemp("tryton")) as server:
        yield server


@pytest.fixture
async def target(tryton: RunningTryton) -> AsyncIterator[TrytonTarget]:
    made = TrytonTarget(tryton.block)
    yield made
    await made.close()


async def found(target: TrytonTarget, message_id: str) -> list[dict[str, Any]]:
    """The opportunities with this reference."""
    fields = ["description", "comment", "party", "party.rec_name"]
    named = [["reference", "=", message_id]]
    return list(await target._call("model.sale.opportunity.search_read", named, 0, None, None, fields))


def effect(message_id: str, **payload: Any) -> Effect:
    return Effect("leads", message_id, "c", 1, idempotency_key("leads", message_id), payload, 1)


async def test_messages_become_opportunities_of_one_party_each_once(target: TrytonTarget, bench: Bench) -> None:
    said = {"from": "+491711234567", "name": "Jane Roe"}
    await bench.store(
        ROUTE,
        make_message(1, "a", **said, text="a flat in Berlin, budget 300.000 EUR, by next summer"),
        make_message(2, "a", **said, text="or a house near Potsdam"),
        make_message(3, "b", **{"from": "+491717654321", "name": "Joe"}, text="hello"),
    )
    drain = await bench.drain(ROUTE, target)
    assert drain.figures.delivered == 3
    (first,), (second,), (third,) = [await found(target, name) for name in ("m1", "m2", "m3")]
    assert first["party"] == second["party"] != third["party"]
    assert first["description"] == "flat in Berlin"
    assert "Budget: 300000 EUR" in first["comment"]
    assert "When: by next summer" in first["comment"]


async def test_a_try_whose_answer_was_lost_is_found_by_the_next(tryton: RunningTryton, bench: Bench) -> None:
    class Forgetful(TrytonTarget):
        """Brings it about, and then the answer does not come."""

        lost = 0

        async def deliver(self, effects: Sequence[Effect]) -> Sequence[Outcome]:
            outcomes = await super().deliver(effects)
            if self.lost < 2:
                self.lost += 1
                await asyncio.sleep(60)
            return outcomes

    route = ROUTE.model_copy(update={"retry": ROUTE.retry.model_copy(update={"timeout_s": 1.5})})
    await bench.store(route, make_message(11, **{"from": "+491711234567"}, text="a villa"))
    target = Forgetful(tryton.block)
    drain = await bench.drain(route, target, patience_s=1.0)
    assert drain.figures.again == 2
    assert drain.figures.delivered == 1
    assert len(await found(target, "m11")) == 1
    await target.close()


async def test_a_slow_first_try_that_comes_through_after_all_leaves_one(target: TrytonTarget) -> None:
    first, second = await asyncio.gather(
        *(target.deliver([effect("twice", phone="+491711234567", text="x")]) for _ in range(2))
    )
    last = await target.deliver([effect("twice", phone="+491711234567", text="x")])
    assert len(await found(target, "twice")) == 1, (first, second, last)


async def test_a_tryton_that_is_killed_is_waited_for(tryton: RunningTryton, bench: Bench) -> None:
    await bench.store(
        ROUTE, *(make_message(n, f"c{n}", **{"from": f"+4917112345{n}"}, text="a house") for n in range(20, 30))
    )
    target = TrytonTarget(tryton.block)
    draining = asyncio.create_task(bench.drain(ROUTE, target, patience_s=8.0))
    await asyncio.sleep(0.3)
    await asyncio.to_thread(tryton.stop)
    await asyncio.sleep(0.5)
    await asyncio.to_thread(tryton.start)
    drain = await draining
    assert drain.figures.delivered == 10
    for number in range(20, 30):
        assert len(await found(target, f"m{number}")) == 1
    await target.close()


async def test_what_can_never_be_taken_is_refused_and_a_wrong_password_is_said(tryton: RunningTryton) -> None:
    target = TrytonTarget(tryton.block)
    assert await target.deliver([effect("n1", phone="12")]) == [Refused("is no lead: phone")]
    assert await target.deliver([effect("n2", name="x")]) == [Refused("is no lead: it tells neither phone nor e-mail")]
    await target.close()
    wrong = TrytonTarget(tryton.block.model_copy(update={"password": SecretStr("wrong")}))
    (outcome,) = await wrong.deliver([effect("n3", phone="+491711234567")])
    assert outcome == Again("Tryton does not accept the user or the password of the block")
    await wrong.close()


async def test_a_session_that_has_ended_is_begun_anew(target: TrytonTarget) -> None:
    await found(target, "nothing")
    with contextlib.suppress(httpx.HTTPError):
        target._session = "bm9ib2R5OjE6bm90aGluZw=="
    assert await found(target, "nothing") == []
