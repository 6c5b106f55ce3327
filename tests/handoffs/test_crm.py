"""Contacts of our own database: one a person, one interaction a message."""

from __future__ import annotations

from tasks.handoffs.crm_target import CrmTarget
from tests.handoffs.making import Bench, make_message, make_route

ROUTE = make_route(name="leads", extract="lead", required=["phone"], target={"kind": "crm"}, region="DE")


async def test_messages_of_a_person_are_one_contact_with_a_history(bench: Bench) -> None:
    await bench.store(
        ROUTE,
        make_message(1, "a", **{"from": "+491711234567", "name": "Jane", "text": "a flat in Berlin, budget 300k EUR"}),
        make_message(2, "a", **{"from": "+491711234567", "name": "Jane", "text": "by next summer. jane@example.com"}),
        make_message(3, "b", **{"from": "+491717654321", "name": "Joe", "text": "hi, jane@example.com is my wife"}),
        make_message(4, "c", **{"from": "unknown", "text": "no number"}),
    )
    await bench.drain(ROUTE, CrmTarget())
    await bench.drain(ROUTE, CrmTarget())
    contacts = await bench.rows("SELECT phone, email, name, interest, budget, timeline FROM crm_contact ORDER BY id")
    assert contacts == [
        ("+491711234567", "jane@example.com", "Jane", "flat in Berlin", {"amount": 300000.0, "currency": "EUR"},
         "by next summer"),
        ("+491717654321", None, "Joe", None, None, None),
    ]  # fmt: skip
    history = await bench.rows(
        "SELECT phone, message_id, text FROM crm_interaction JOIN crm_contact ON contact_id = id ORDER BY seq"
    )
    assert [row[1] for row in history] == ["m1", "m2", "m3"]
    states = await bench.rows("SELECT message_id, state FROM handoff_message WHERE state <> 'accepted'")
    assert states == [("m4", "dead")]


async def test_a_payload_that_is_no_lead_is_refused_and_takes_no_other_with_it(bench: Bench) -> None:
    route = make_route(fields={"phone": "p", "name": "n"}, schema={"type": "object"}, target={"kind": "crm"})
    await bench.store(route, make_message(1, p="12", n="x"), make_message(2, p="+491711234567"), make_message(3, n="y"))
    await bench.drain(route, CrmTarget())
    effects = await bench.effects()
    assert effects["m1"] == ("dead", 1, "is no lead: phone")
    assert effects["m2"][0] == "delivered"
    assert effects["m3"] == ("dead", 1, "is no lead: it tells neither phone nor e-mail")
    assert await bench.rows("SELECT count(*) FROM crm_contact") == [(1,)]
