"""Deliveries of WhatsApp's Cloud API, taken apart: everything is kept, each once."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tasks.handoffs.whatsapp import messages

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=10),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(["entry", "changes", "value", "messages", "statuses", "from", "id", "type", "text", "x"]),
            children,
            max_size=4,
        )
    ),
    max_leaves=15,
)


def delivery(*values: dict[str, Any], field: str = "messages") -> dict[str, Any]:
    """A delivery with one entry a value."""
    entries = [{"id": "1", "changes": [{"field": field, "value": value}]} for value in values]
    return {"object": "whatsapp_business_account", "entry": entries}


def value(*messages_: dict[str, Any], statuses: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """The value of one change."""
    return {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550100", "phone_number_id": "99"},
        "contacts": [{"profile": {"name": "Jane Roe"}, "wa_id": "491711234567"}],
        "messages": list(messages_),
        "statuses": statuses or [],
    }


def text(identifier: str, body: str = "hello") -> dict[str, Any]:
    """A text message."""
    return {"from": "491711234567", "id": identifier, "timestamp": "1700000000", "type": "text", "text": {"body": body}}


def test_a_batch_is_taken_apart_in_its_order() -> None:
    found = messages("whatsapp:w", delivery(value(text("w1"), text("w2")), value(text("w3", "bye"))))
    assert [one.message_id for one in found] == ["w1", "w2", "w3"]
    assert {one.conversation for one in found} == {"99:491711234567"}
    document = found[2].attributes
    assert (document["from"], document["name"], document["text"]) == ("+491711234567", "Jane Roe", "bye")
    assert document["occurred_at"] == "2023-11-14T22:13:20+00:00"


def test_statuses_are_events_of_their_own_whatever_their_order() -> None:
    statuses = [
        {"id": "w1", "status": state, "timestamp": "1700000001", "recipient_id": "491711234567"}
        for state in ("read", "delivered", "sent", "read")
    ]
    found = messages("whatsapp:w", delivery(value(statuses=statuses)))
    assert [one.message_id for one in found] == ["w1:read", "w1:delivered", "w1:sent", "w1:read"]
    assert {one.attributes["kind"] for one in found} == {"status"}


def test_media_reactions_replies_and_what_is_not_known_are_kept() -> None:
    found = messages(
        "whatsapp:w",
        delivery(
            value(
                {**text("m1"), "type": "image", "image": {"id": "media", "mime_type": "image/jpeg", "caption": "mine"}},
                {**text("m2"), "type": "reaction", "reaction": {"message_id": "w1", "emoji": "👍"}},
                {**text("m3"), "type": "interactive",
                 "interactive": {"type": "button_reply", "button_reply": {"id": "b", "title": "Yes"}}},
                {**text("m4"), "type": "hologram", "hologram": {"what": "ever"}},
                {**text("m5"), "context": {"from": "x", "id": "w1"}},
            )
        ),
    )  # fmt: skip
    assert [one.attributes["text"] for one in found] == ["mine", "👍", "Yes", "", "hello"]
    assert found[0].attributes["media"] == {
        "id": "media", "mime_type": "image/jpeg", "sha256": None, "filename": None,
    }  # fmt: skip
    assert found[4].attributes["reply_to"] == "w1"
    assert b"hologram" in found[3].raw


def test_other_fields_and_empty_deliveries_are_kept_under_their_digest() -> None:
    account = messages("whatsapp:w", delivery({"event": "ban"}, field="account_update"))
    assert account[0].attributes["kind"] == "other"
    assert account[0].message_id.startswith("sha256:")
    assert (
        messages("whatsapp:w", delivery({"event": "ban"}, field="account_update"))[0].message_id
        == account[0].message_id
    )
    assert len(messages("whatsapp:w", {})) == 1


@given(payload=json_values)
def test_whatever_comes_something_is_kept(payload: Any) -> None:
    found = messages("whatsapp:w", payload)
    assert found
    assert all(one.message_id and one.source == "whatsapp:w" for one in found)
