"""What people do with dead letters, and what is left of a person who is forgotten."""

from __future__ import annotations

import pytest

from blocks.errors import ConfigurationError
from models.handoff import Delivered, Effect, Outcome, Refused
from tasks.handoffs import forget, letters
from tasks.handoffs.crm_target import CrmTarget
from tests.handoffs.making import Bench, Recorder, make_message, make_route

ROUTE = make_route(fields={"phone": "phone(tel)"}, required=["phone"], region="DE")


async def test_dead_letters_are_listed_mended_and_sent_once(bench: Bench) -> None:
    await bench.store(
        ROUTE, make_message(1, tel="none"), make_message(2, tel="0171 1234567"), make_message(3, tel="0171 7654321")
    )

    def answer(effect: Effect) -> Outcome:
        return Refused("unknown country") if effect.payload["phone"] == "+491711234567" else Delivered("x")

    target = Recorder(answer)
    await bench.drain(ROUTE, target)
    async with await bench.connect() as connection:
        dead = await letters.dead_letters(connection, ["orders"])
        assert [(one.message_id, one.last_error) for one in dead] == [
            ("m1", "phone: is no phone number"),
            ("m2", "unknown country"),
        ]
        await letters.edit(connection, ROUTE, "m1", {"phone": "+15125550199"})
        await letters.edit(connection, ROUTE, "m2", {"phone": "+15125550143"})
        with pytest.raises(ConfigurationError, match="is no dead letter: it is delivered"):
            await letters.edit(connection, ROUTE, "m3", {"phone": "+15125550143"})
        with pytest.raises(ConfigurationError, match="has no message"):
            await letters.edit(connection, ROUTE, "m9", {})
    await bench.drain(ROUTE, target)
    assert [e.payload["phone"] for call in target.calls[-2:] for e in call] == ["+15125550199", "+15125550143"]
    assert {state for state, _, _ in (await bench.effects()).values()} == {"delivered"}
    async with await bench.connect() as connection:
        known = await letters.look_up(connection, "orders", "m2")
        assert known is not None
        assert [edit["what"] for edit in known["edits"]] == ["edit"]
        assert await letters.resend(connection, "orders", ["m2"]) == [], "what was delivered is never sent again"
    assert await bench.rows("SELECT before FROM handoff_edit WHERE message_id = 'm2'") == [
        ({"phone": "+491711234567"},)
    ]


async def test_resending_all_takes_dead_letters_of_both_kinds(bench: Bench) -> None:
    await bench.store(ROUTE, make_message(1, tel="none"), make_message(2, tel="0171 1234567"))
    await bench.drain(ROUTE, Recorder(lambda _: Refused("no")))
    async with await bench.connect() as connection:
        assert sorted(await letters.resend(connection, "orders", None)) == ["m1", "m2"]
    target = Recorder()
    await bench.drain(ROUTE, target)
    assert target.ids == ["m2"]
    assert await bench.rows("SELECT state FROM handoff_message WHERE message_id = 'm1'") == [("dead",)]


async def test_a_person_is_forgotten_everywhere_and_a_resent_message_is_still_known(bench: Bench) -> None:
    route = make_route(name="leads", extract="lead", required=["phone"], target={"kind": "crm"})
    jane = make_message(
        1, "99:491711234567", **{"from": "+491711234567", "name": "Jane Roe", "text": "hello from Jane"}
    )
    joe = make_message(2, "99:491717654321", **{"from": "+491717654321", "name": "Joe", "text": "hello from Joe"})
    waiting = make_message(3, "99:491711234567", **{"from": "+491711234567", "name": "Jane Roe", "text": "Jane again"})
    await bench.store(route, jane, joe)
    await bench.drain(route, CrmTarget())
    await bench.store(route, waiting)
    await bench.rows(
        "INSERT INTO delivery (source, delivery_id, event, content_type, body, received_at, status, flow_run_ids, "
        "attempts, next_attempt_at) VALUES ('w', 'd', '', '', '{\"from\": \"491711234567\"}', now(), 'handed_on', "
        "'{}', 0, now())"
    )
    key = forget.key_of("0171 1234567", "DE")
    async with await bench.connect() as connection:
        planned = await forget.forget(connection, key, dry_run=True)
        assert planned.counts["messages"] == 2
        assert await bench.rows("SELECT count(*) FROM crm_contact") == [(2,)]
        done = await forget.forget(connection, key)
    assert done == planned
    assert {name: count for name, count in done.counts.items() if count} == {
        "messages": 2, "effects": 1, "deliveries": 1, "contacts": 1,
    }  # fmt: skip
    everything = ""
    for table in ("handoff_message", "handoff_effect", "handoff_edit", "crm_contact", "crm_interaction", "delivery"):
        everything += str(await bench.rows(f"SELECT * FROM {table}"))
    assert "Jane" not in everything
    assert "491711234567" not in everything
    assert "hello from Joe" in everything
    assert await bench.store(route, jane, waiting) == 0
    await bench.drain(route, CrmTarget())
    assert await bench.rows("SELECT phone FROM crm_contact") == [("+491717654321",)]
    async with await bench.connect() as connection:
        assert (await forget.forget(connection, key)).nothing


@pytest.mark.parametrize("text", ["", "49", "a@b"])
def test_a_key_that_could_mean_anybody_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="could mean anybody"):
        forget.key_of(text, "US")


async def test_a_key_is_no_pattern(bench: Bench) -> None:
    await bench.store(make_route(), make_message(1, "99:491711234567"))
    async with await bench.connect() as connection:
        assert (await forget.forget(connection, "%%%%%%")).nothing
        assert (await forget.forget(connection, "49171_234567")).nothing


async def test_what_is_done_is_emptied_when_its_time_is_over_and_what_waits_is_not(bench: Bench) -> None:
    route = make_route(retention_days=1)
    await bench.store(route, *(make_message(n, f"c{n}", text="words") for n in range(3)))
    await bench.drain(route, Recorder(lambda e: Refused("no") if e.message_id == "m2" else Delivered("x", {"a": "b"})))
    async with await bench.connect() as connection:
        assert await forget.empty_old(connection, [route]) == 0
        await connection.execute("UPDATE handoff_message SET received_at = now() - interval '2 days'")
        assert await forget.empty_old(connection, [route]) == 2
        assert await forget.empty_old(connection, [route]) == 0
    left = await bench.rows("SELECT message_id FROM handoff_message WHERE raw <> '' OR attributes <> '{}'")
    assert left == [("m2",)]
    assert await bench.store(route, make_message(0)) == 0
