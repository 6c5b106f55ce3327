"""What was ignored or died is looked at anew, or given up for good; what was delivered is never sent again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from models.handoff import Delivered, Effect, Outcome, Refused
from tasks.handoffs import forget, letters, outbox
from tests.handoffs.making import Bench, Recorder, make_message, make_route

STRICT = make_route(when="number >= `2`", fields={"number": "number", "phone": "phone(tel)"}, region="DE")
WIDE = make_route(fields={"number": "number", "phone": "phone(tel)"}, region="DE")


async def test_what_a_wrong_filter_left_out_is_handed_on_by_the_route_as_it_is_now_once_and_in_order(
    bench: Bench,
) -> None:
    await bench.store(STRICT, *(make_message(n) for n in range(4)))
    target = Recorder()
    await bench.drain(STRICT, target, linger_s=0.1)
    assert target.ids == ["m2", "m3"]
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    async with await bench.connect() as connection:
        planned = await letters.replay(connection, "orders", since=hour_ago, dry_run=True)
        assert planned.put == ("m0", "m1")
        assert await bench.rows("SELECT count(*) FROM handoff_message WHERE state = 'waiting'") == [(0,)]
        assert (await letters.replay(connection, "orders", until=hour_ago)).put == ()
        assert await letters.replay(connection, "orders", since=hour_ago) == planned
        assert (await letters.replay(connection, "orders", since=hour_ago)).put == (), "they wait already"
    await bench.drain(WIDE, target, linger_s=0.1)
    assert target.ids == ["m2", "m3", "m0", "m1"]
    async with await bench.connect() as connection:
        assert (await letters.replay(connection, "orders", message_ids=["m0", "m3"])).put == ()


async def test_a_dead_letter_is_made_anew_and_what_it_was_made_into_is_kept(bench: Bench) -> None:
    narrow = make_route(fields={"tel": "tel"}, required=["tel"])
    await bench.store(narrow, make_message(0, tel="0171 1234567"), make_message(1, "d"), make_message(2, "e", tel="x"))
    refused = Recorder(lambda effect: Refused("no number") if effect.message_id != "m2" else Delivered("x"))
    await bench.drain(narrow, refused, linger_s=0.1)
    key = refused.calls[0][0].idempotency_key
    async with await bench.connect() as connection:
        assert (await letters.replay(connection, "orders", message_ids=["m0", "m1", "m2"])).put == ("m0", "m1")
    assert await bench.rows("SELECT message_id, what, before FROM handoff_edit ORDER BY id") == [
        ("m0", "replay", {"tel": "0171 1234567"}),
        ("m1", "replay", None),
    ]
    target = Recorder()
    await bench.drain(WIDE, target, linger_s=0.1)
    assert [effect.payload for call in target.calls for effect in call if effect.message_id == "m0"] == [
        {"number": 0, "phone": "+491711234567"}
    ]
    assert sorted(target.ids) == ["m0", "m1"]
    assert target.calls[target.ids.index("m0")][0].idempotency_key == key, "the far side knows a repetition by it"


async def test_what_is_on_its_way_is_neither_replayed_nor_discarded(bench: Bench) -> None:
    await bench.store(WIDE, make_message(0), make_message(1, "d"))
    await bench.drain(WIDE, Recorder(lambda _: Refused("no")), linger_s=0.1)
    async with await bench.connect() as connection:
        await letters.resend(connection, "orders", ["m0"])
        async with connection.transaction():
            (effect,) = await outbox.claim(connection, WIDE, limit=1)
            await outbox.lease(connection, WIDE, [effect])
        assert (await letters.replay(connection, "orders", message_ids=["m0"])).put == ()
        assert await letters.discard(connection, "orders", ["m0"], waiting=True) == []
    assert (await bench.effects())["m0"][0] == "pending"


async def test_of_what_was_emptied_nothing_can_be_replayed_and_it_is_said(bench: Bench) -> None:
    route = STRICT.model_copy(update={"retention_days": 1.0})
    await bench.store(route, make_message(0), make_message(1))
    await bench.drain(route, Recorder(), linger_s=0.1)
    async with await bench.connect() as connection:
        await connection.execute("UPDATE handoff_message SET received_at = now() - interval '2 days' WHERE seq = 1")
        assert await forget.empty_old(connection, [route]) == 1
        done = await letters.replay(connection, "orders", message_ids=["m0", "m1"])
    assert (done.put, done.emptied) == (("m1",), ("m0",))


async def test_a_discarded_letter_lets_its_conversation_go_on_and_comes_back_only_by_its_id(bench: Bench) -> None:
    route = make_route(fields={"number": "number", "told": "told"}, required=["told"], on_dead="block")
    await bench.store(route, make_message(0), *(make_message(n, told="x") for n in range(1, 4)))

    def answer(effect: Effect) -> Outcome:
        return Refused("unknown") if effect.message_id == "m1" and len(target.calls) == 1 else Delivered("x")

    target = Recorder(answer)
    await bench.drain(route, target, linger_s=0.1)
    assert target.ids == []
    async with await bench.connect() as connection:
        assert await letters.discard(connection, "orders", ["m0", "m3"]) == ["m0"], "m3 is no dead letter"
    await bench.drain(route, target, linger_s=0.1)
    assert target.ids == ["m1"]
    async with await bench.connect() as connection:
        assert await letters.discard(connection, "orders", None) == ["m1"]
    await bench.drain(route, target, linger_s=0.1)
    assert target.ids == ["m1", "m2", "m3"]
    async with await bench.connect() as connection:
        assert await letters.dead_letters(connection, ["orders"]) == []
        known = await letters.look_up(connection, "orders", "m1")
        assert known is not None
        assert (known["state"], known["last_error"], [one["what"] for one in known["edits"]]) == (
            "ignored", "unknown", ["discard"],
        )  # fmt: skip
        assert await bench.rows("SELECT before FROM handoff_edit WHERE message_id = 'm1'") == [
            ({"number": 1, "told": "x"},)
        ]
        everything = datetime.now(UTC) - timedelta(hours=1)
        left = await letters.replay(connection, "orders", since=everything)
        assert (left.put, left.discarded) == ((), ("m0", "m1"))
        assert (await letters.replay(connection, "orders", message_ids=["m1"])).put == ("m1",)
    await bench.drain(route, target, linger_s=0.1)
    assert target.ids == ["m1", "m2", "m3", "m1"]


async def test_what_waits_is_discarded_only_where_nobody_will_ever_take_it_up(bench: Bench) -> None:
    await bench.store(WIDE, make_message(0))
    async with await bench.connect() as connection:
        assert await letters.discard(connection, "orders", None) == []
        assert await letters.discard(connection, "orders", None, waiting=True) == ["m0"]
    target = Recorder()
    await bench.drain(WIDE, target, linger_s=0.1)
    assert target.ids == []
