"""Leads in a HubSpot: a contact a person, many a call, each message's fate its own."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from pydantic import SecretStr, ValidationError

from blocks.hubspot import HubSpot
from models.handoff import Message
from tasks.handoffs.hubspot_target import HubSpotTarget
from tests.handoffs.hubspot import RunningHubSpot, running
from tests.handoffs.making import FAST, Bench, make_message, make_route
from tests.loopback import Reply

ROUTE = make_route(
    name="leads", extract="lead", required=["phone"], target={"kind": "crm", "system": "hubspot"}, region="DE",
    retry=FAST,
)  # fmt: skip


@pytest.fixture
def hubspot() -> Iterator[RunningHubSpot]:
    with running() as account:
        yield account


def said(number: int, conversation: str, text: str, *, phone: str = "", name: str = "") -> Message:
    """What somebody wrote."""
    sender = {"from": phone or f"+49171{1000000 + number}", "name": name}
    return make_message(number, conversation, **sender, text=text)


async def drain(
    bench: Bench, hubspot: RunningHubSpot, *messages: Message, linger_s: float = 0.4, patience_s: float | None = None
) -> str:
    """Hand `messages` on; why the account was away, if it was."""
    await bench.store(ROUTE, *messages)
    target = HubSpotTarget(hubspot.block, patience_s=1.6)
    try:
        drained = await bench.drain(ROUTE, target, linger_s=linger_s, patience_s=patience_s, longest_run_s=4.0)
        return drained.figures.outage
    finally:
        await target.close()


async def test_a_person_is_one_contact_however_often_they_write(bench: Bench, hubspot: RunningHubSpot) -> None:
    jane = {"phone": "+491711234567", "name": "Jane van Roe"}
    await drain(
        bench, hubspot,
        said(1, "a", "a flat in Berlin, budget 300.000 EUR", **jane),
        said(2, "a", "by next summer", **jane),
        said(3, "b", "hello, joe@Example.com here"),
    )  # fmt: skip
    (first,) = [one for one in hubspot.contacts.values() if "lama_key" in one]
    (second,) = [one for one in hubspot.contacts.values() if "lama_key" not in one]
    person = {"firstname": "Jane van", "lastname": "Roe", "phone": "+491711234567", "lama_key": "+491711234567"}
    assert first.items() >= (person | {"lama_interest": "flat in Berlin", "lama_budget": "300000 EUR"}).items()
    assert (first["lama_timeline"], first["lama_message"]) == ("by next summer", "m2")
    assert second["email"] == "joe@example.com"
    answers = await bench.rows("SELECT reference, answer FROM handoff_effect ORDER BY seq")
    assert [answer for _, answer in answers] == [{"new": True}, {"new": False}, {"new": True}]
    assert answers[0][0] == answers[1][0] != answers[2][0]


async def test_many_leads_are_few_calls_and_a_conversation_keeps_its_order(
    bench: Bench, hubspot: RunningHubSpot
) -> None:
    first = [said(number, f"c{number}", "a house") for number in range(250)]
    later = [said(1000 + n, f"c{n}", "a villa", phone=f"+49171{1000000 + n}") for n in range(10)]
    await drain(bench, hubspot, *first, *later)
    assert len(hubspot.contacts) == 250
    assert len(hubspot.calls) < 12
    assert max(len(call) for call in hubspot.calls) <= 100
    last = {contact["lama_key"]: contact["lama_message"] for contact in hubspot.contacts.values()}
    assert [last[f"+49171{1000000 + n}"] for n in range(10)] == [f"m{1000 + n}" for n in range(10)]


async def test_two_conversations_of_one_person_do_not_refuse_their_batch(bench: Bench, hubspot: RunningHubSpot) -> None:
    await drain(bench, hubspot, *(said(n, f"c{n}", "a loft", phone="+491711234567") for n in range(3)))
    assert len(hubspot.contacts) == 1
    assert {state for state, _, _ in (await bench.effects()).values()} == {"delivered"}


@pytest.mark.parametrize("multi_status", [True, False], ids=["207", "400 for all"])
async def test_what_is_refused_takes_no_other_with_it(
    bench: Bench, hubspot: RunningHubSpot, multi_status: bool
) -> None:
    hubspot.multi_status = multi_status
    bad = (3, 17)
    await drain(
        bench, hubspot,
        *(said(n, f"c{n}", f"mail x{n}@example.{'invalid' if n in bad else 'com'}") for n in range(20)),
    )  # fmt: skip
    effects = await bench.effects()
    what = "refused" if multi_status else "answered 400"
    for number in bad:
        assert effects.pop(f"m{number}") == ("dead", 1, f"HubSpot {what}: VALIDATION_ERROR, INVALID_EMAIL")
    assert {state for state, _, _ in effects.values()} == {"delivered"}
    assert len(hubspot.contacts) == 18


async def test_a_lost_answer_is_asked_for_again_and_makes_no_second_contact(
    bench: Bench, hubspot: RunningHubSpot
) -> None:
    hubspot.late_s = 3.0

    def soon(_inputs: object) -> None:
        hubspot.late_s = 3.0 if len(hubspot.calls) == 1 else 0.0

    hubspot.fault = soon
    await drain(bench, hubspot, *(said(n, f"c{n}", "a plot") for n in range(5)), patience_s=3.0)
    assert len(hubspot.contacts) == 5
    assert len(hubspot.calls) > 1
    assert {state for state, _, _ in (await bench.effects()).values()} == {"delivered"}


@pytest.mark.parametrize(
    ("status", "headers", "waits_s"),
    [(429, {"Retry-After": "1"}, 1.0), (503, {}, 0), (502, {}, 0), (477, {"Retry-After": "1"}, 1.0), (403, {}, 0)],
)
async def test_what_is_no_fault_of_a_lead_uses_up_no_tries(
    bench: Bench, hubspot: RunningHubSpot, status: int, headers: dict[str, str], waits_s: float
) -> None:
    def fault(_inputs: object) -> Reply | None:
        document = b'{"status": "error", "category": "RATE_LIMITS"}'
        return (status, "application/json", document, headers) if len(hubspot.calls) == 1 else None

    hubspot.fault = fault
    began = time.monotonic()
    await drain(bench, hubspot, said(1, "a", "a house"), patience_s=3.0)
    assert time.monotonic() - began >= waits_s
    assert (await bench.effects())["m1"][:2] == ("delivered", 2)


async def test_an_account_without_the_properties_is_waited_for(bench: Bench, hubspot: RunningHubSpot) -> None:
    hubspot.properties.discard("lama_key")
    outage = await drain(bench, hubspot, said(1, "a", "a house"))
    assert outage == "HubSpot lacks the properties that docs/handoffs.md says how to make"
    assert (await bench.effects())["m1"][0] == "pending"
    hubspot.properties.add("lama_key")
    await drain(bench, hubspot, patience_s=1.0)
    assert (await bench.effects())["m1"][0] == "delivered"


async def test_a_token_that_is_not_accepted_is_an_outage(bench: Bench, hubspot: RunningHubSpot) -> None:
    await bench.store(ROUTE, said(1, "a", "a house"))
    target = HubSpotTarget(hubspot.block.model_copy(update={"token": SecretStr("wrong")}))
    drained = await bench.drain(ROUTE, target, longest_run_s=1.0)
    await target.close()
    assert drained.figures.outage == "HubSpot answered 401"
    assert hubspot.contacts == {}


def test_a_token_is_never_sent_in_the_clear() -> None:
    with pytest.raises(ValidationError, match="in the clear"):
        HubSpot(token=SecretStr("x"), base_url="http://api.hubapi.com")
