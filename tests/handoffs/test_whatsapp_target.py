"""Messages by WhatsApp: each at most once, and what became of it is learned from statuses."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from models.handoff import Again, Effect, Refused
from models.whatsapp import Outgoing
from tasks.handoffs import letters
from tasks.handoffs.drain import RouteDrain
from tasks.handoffs.hearing import hear, heard_of
from tasks.handoffs.transform import idempotency_key
from tasks.handoffs.whatsapp import messages
from tasks.handoffs.whatsapp_errors import meaning
from tasks.handoffs.whatsapp_target import WhatsAppTarget
from tests.handoffs.cloud_api import RunningCloudApi, running
from tests.handoffs.making import FAST, Bench, make_message, make_route

ROUTE = make_route(
    name="replies", fields={"to": "to", "text": "text", "template": "template", "reply_to": "reply_to"},
    target={"kind": "whatsapp"}, retry=FAST | {"timeout_s": 1.0},
)  # fmt: skip
TO = "+491711234567"


@pytest.fixture
def api() -> Iterator[RunningCloudApi]:
    with running() as number:
        yield number


async def drain(
    bench: Bench,
    api: RunningCloudApi,
    *,
    heard_within_s: float = 60.0,
    linger_s: float = 0.3,
    patience_s: float | None = None,
) -> RouteDrain:
    target = WhatsAppTarget(api.block, heard_within_s=heard_within_s)
    try:
        return await bench.drain(ROUTE, target, linger_s=linger_s, patience_s=patience_s, longest_run_s=5.0)
    finally:
        await target.close()


async def told(bench: Bench, delivery: dict[str, Any]) -> int:
    """Hear what a delivery of statuses tells."""
    async with await bench.connect() as connection:
        return await hear(connection, heard_of(messages("whatsapp:w", delivery)))


async def leases_run_out(bench: Bench) -> None:
    await bench.rows("UPDATE handoff_effect SET lease_until = now() - interval '1 s' WHERE lease_until IS NOT NULL")


async def test_what_is_sent_is_what_the_cloud_api_asks_for(bench: Bench, api: RunningCloudApi) -> None:
    template = {"name": "hello", "language": "en_US", "components": [{"type": "body", "parameters": []}]}
    await bench.store(
        ROUTE,
        make_message(1, "a", to=TO, text="Good day", reply_to="wamid.x"),
        make_message(2, "a", to=TO, template=template),
        make_message(3, "a", to=TO, text="Again"),
    )
    await drain(bench, api)
    first, second, third = api.sent
    key = idempotency_key("replies", "m1")
    assert first == {
        "messaging_product": "whatsapp", "recipient_type": "individual", "to": TO, "type": "text",
        "text": {"body": "Good day", "preview_url": False}, "context": {"message_id": "wamid.x"},
        "biz_opaque_callback_data": key, "wamid": "wamid.1",
    }  # fmt: skip
    assert second["template"] == {
        "name": "hello", "language": {"code": "en_US"}, "components": template["components"],
    }  # fmt: skip
    assert third["text"]["body"] == "Again"
    assert await bench.rows("SELECT reference, answer FROM handoff_effect WHERE message_id = 'm1'") == [
        ("wamid.1", {"message_status": "accepted"})
    ]


@pytest.mark.parametrize("status", ["sent", "delivered", "read"])
async def test_a_lost_answer_is_never_sent_again_and_a_status_says_that_it_was_sent(
    bench: Bench, api: RunningCloudApi, status: str
) -> None:
    api.lose = 1
    await bench.store(ROUTE, make_message(1, "a", to=TO, text="one"), make_message(2, "a", to=TO, text="two"))
    await drain(bench, api)
    assert [one["text"]["body"] for one in api.sent] == ["one"], "what follows waits"
    state, attempts, reason = (await bench.effects())["m1"]
    assert (state, attempts) == ("pending", 1)
    assert reason == "WhatsApp gave no answer: RemoteProtocolError; it waits for a status"
    assert await told(bench, api.statuses(status)) == 1
    assert await told(bench, api.statuses(status)) == 0
    await drain(bench, api)
    assert [one["text"]["body"] for one in api.sent] == ["one", "two"]
    assert await bench.rows("SELECT state, reference, last_error FROM handoff_effect ORDER BY seq") == [
        ("delivered", "wamid.1", None), ("delivered", "wamid.2", None),
    ]  # fmt: skip


async def test_what_nobody_hears_of_waits_for_a_person_and_a_late_status_settles_it(
    bench: Bench, api: RunningCloudApi
) -> None:
    api.lose = 1
    await bench.store(ROUTE, make_message(1, "a", to=TO, text="one"), make_message(2, "a", to=TO, text="two"))
    await drain(bench, api)
    await leases_run_out(bench)
    await drain(bench, api)
    state, _, reason = (await bench.effects())["m1"]
    assert state == "dead"
    assert reason is not None
    assert reason.startswith("it is not known whether it was sent")
    assert [one["text"]["body"] for one in api.sent] == ["one", "two"]
    assert await told(bench, api.statuses("delivered", of=0)) == 1
    assert (await bench.effects())["m1"][0] == "delivered"


async def test_only_a_person_sends_it_again(bench: Bench, api: RunningCloudApi) -> None:
    api.lose = 1
    await bench.store(ROUTE, make_message(1, "a", to=TO, text="one"))
    await drain(bench, api)
    await leases_run_out(bench)
    await drain(bench, api)
    async with await bench.connect() as connection:
        assert await letters.resend(connection, "replies", ["m1"]) == ["m1"]
    await drain(bench, api)
    assert len(api.sent) == 2
    assert (await bench.effects())["m1"][0] == "delivered"


async def test_a_drain_that_is_killed_in_the_middle_sends_nothing_twice(bench: Bench, api: RunningCloudApi) -> None:
    class Dying(WhatsAppTarget):
        """Sends it, and then the process is gone."""

        async def deliver(self, effects: Any) -> Any:
            await super().deliver(effects)
            sent.set()
            await asyncio.sleep(60)

    sent = asyncio.Event()
    await bench.store(ROUTE, make_message(1, "a", to=TO, text="one"), make_message(2, "b", to=TO, text="two"))
    target = Dying(api.block, heard_within_s=60.0)
    killed = asyncio.create_task(bench.drain(ROUTE, target))
    await sent.wait()
    await asyncio.sleep(0.1)
    killed.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await killed
    await target.close()
    await drain(bench, api)
    await leases_run_out(bench)
    await drain(bench, api)
    assert sorted(one["text"]["body"] for one in api.sent) == ["one", "two"]
    assert {state for state, _, _ in (await bench.effects()).values()} == {"dead"}


async def test_a_failure_that_is_told_later_is_a_dead_letter_with_its_reason_whatever_the_order(
    bench: Bench, api: RunningCloudApi
) -> None:
    await bench.store(ROUTE, make_message(1, "a", to=TO, text="one"))
    await drain(bench, api)
    failed = api.statuses("failed", errors=[{"code": 131047, "title": "Re-engagement message"}])
    assert await told(bench, failed) == 1
    assert await told(bench, failed) == 0
    assert await told(bench, api.statuses("sent")) == 0, "it came late"
    assert (await bench.effects())["m1"][::2] == (
        "dead", "WhatsApp: the recipient last wrote more than 24 hours ago; only a template may be sent now (131047)",
    )  # fmt: skip
    async with await bench.connect() as connection:
        await letters.resend(connection, "replies", None)
    assert await told(bench, failed) == 0, "it tells of the try before"
    await drain(bench, api)
    assert (await bench.effects())["m1"][0] == "delivered"


async def test_keys_of_others_and_statuses_without_one_change_nothing(bench: Bench, api: RunningCloudApi) -> None:
    await bench.store(ROUTE, make_message(1, "a", to=TO, text="one"))
    await drain(bench, api)
    api.sent[0]["biz_opaque_callback_data"] = "x" * 32
    assert await told(bench, api.statuses("failed", "read")) == 0
    assert heard_of(messages("whatsapp:w", api.statuses("sent", biz_opaque_callback_data={"no": "text"}))) == []


@pytest.mark.parametrize(("status", "code"), [(400, 131047), (400, 131026), (400, 132001), (400, 100)])
async def test_what_is_refused_is_a_dead_letter(
    bench: Bench, api: RunningCloudApi, status: int, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    api.refuse = [(status, code)]
    await bench.store(ROUTE, make_message(1, "a", to=TO, text="one"))
    with caplog.at_level(logging.DEBUG):
        await drain(bench, api)
    state, _, reason = (await bench.effects())["m1"]
    assert state == "dead"
    assert f"({code})" in str(reason)
    assert TO not in caplog.text + str(reason)
    assert (api.asked, api.sent) == (1, [])


@pytest.mark.parametrize(
    ("status", "code"),
    [(429, 130429), (429, 80007), (400, 80007), (429, 4), (401, 190), (401, 0), (403, 10), (503, 2), (500, 131000)],
)
async def test_what_was_not_sent_for_now_is_sent_later(
    bench: Bench, api: RunningCloudApi, status: int, code: int
) -> None:
    api.refuse = [(status, code)] * 2
    await bench.store(ROUTE, make_message(1, "a", to=TO, text="one"))
    await drain(bench, api, patience_s=1.0)
    assert (api.asked, len(api.sent)) == (3, 1)
    assert (await bench.effects())["m1"][0] == "delivered"


def test_credentials_are_everybodys_problem_and_a_busy_recipient_their_own() -> None:
    expired = meaning(190, status=401)
    assert isinstance(expired, Again)
    assert expired.outage
    assert meaning(131056, status=400) == Again(
        "WhatsApp takes no more messages to this recipient for now (131056)", after_s=6.0
    )
    assert isinstance(meaning(1, status=400), Refused)


async def test_an_address_where_nobody_listens_is_waited_for_and_nothing_is_taken_for_sent(
    bench: Bench, api: RunningCloudApi
) -> None:
    api.server.close()
    await bench.store(ROUTE, make_message(1, "a", to=TO, text="one"))
    drained = await drain(bench, api)
    assert drained.figures.outage == "cannot be reached: ConnectError"
    assert await bench.rows("SELECT state, lease_until FROM handoff_effect") == [("pending", None)]


async def test_a_payload_that_is_no_message_is_refused(api: RunningCloudApi) -> None:
    target = WhatsAppTarget(api.block, heard_within_s=1.0)
    payload = {"to": "0171", "text": "x"}
    effect = Effect("replies", "m1", "a", 1, "k", payload, 1)
    assert await target.deliver([effect]) == [Refused("is no message for WhatsApp: to")]
    await target.close()
    assert api.asked == 0
    with pytest.raises(ValidationError, match="either text or template"):
        Outgoing(to=TO)
