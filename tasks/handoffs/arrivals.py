"""What arrives as the messages that it holds."""

from __future__ import annotations

from pydantic import JsonValue

from models.handoff import Message
from tasks.handoffs import whatsapp


def call_of(name: str, raw: bytes, call: JsonValue) -> Message:
    """A call by MCP of the source `name`, for a person who tries a route: `call` is `operation` and `arguments`."""
    return Message(
        source=f"mcp:{name}",
        message_id="test",
        conversation="test",
        content_type="application/json",
        raw=raw,
        attributes=call if isinstance(call, dict) else {},
    )


def messages_of(
    kind: str, source: str, *, delivery_id: str, event: str, content_type: str, body: bytes, payload: JsonValue
) -> list[Message]:
    """The messages of one verified delivery.

    Args:
        kind: how its source signs, which says what it sends: `whatsapp`, or anything else.
        source: the name of the webhook's source.
        delivery_id: the sender's id of it.
        event: the event's name.
        content_type: as the sender said.
        body: as it came.
        payload: the body's JSON.
    """
    if kind == "whatsapp":
        return whatsapp.messages(f"whatsapp:{source}", payload)
    return [
        Message(
            source=f"webhook:{source}",
            message_id=delivery_id,
            conversation=delivery_id,  # nothing orders it, unless the route says what does
            content_type=content_type,
            raw=body,
            attributes={"event": event, "id": delivery_id, "body": payload},
        )
    ]
