"""Deliveries of WhatsApp's Cloud API, taken apart into messages. Pure: what is not known is kept, never dropped.

Payloads: https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks/payload-examples. One delivery holds any
number of entries, changes and messages; statuses come in any order, and twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from pydantic import JsonValue

from models.handoff import Message

_MEDIA = frozenset({"image", "video", "audio", "voice", "document", "sticker"})


def messages(source: str, payload: JsonValue) -> list[Message]:
    """The messages and statuses of one delivery, in its order.

    Args:
        source: what routes call where they come from, `whatsapp:<name>`.
        payload: the delivery's JSON.
    """
    found: list[Message] = []
    for value, field in _changes(payload):
        metadata = _mapping(value.get("metadata"))
        line = _text(metadata.get("phone_number_id"))
        names = {
            _text(contact.get("wa_id")): _text(_mapping(contact.get("profile")).get("name"))
            for contact in _mappings(value.get("contacts"))
        }
        known = [_message(source, one, line, names) for one in _mappings(value.get("messages"))]
        known += [_status(source, one, line) for one in _mappings(value.get("statuses"))]
        found += known or [_other(source, dict(value), field, line)]
    return found or [_other(source, payload, "", "")]


def _message(source: str, message: Mapping[str, Any], line: str, names: Mapping[str, str]) -> Message:
    sender = _text(message.get("from"))
    kind = _text(message.get("type")) or "unknown"
    content = _mapping(message.get(kind))
    document: dict[str, JsonValue] = {
        "kind": "message",
        "type": kind,
        "id": _text(message.get("id")),
        "from": f"+{sender}" if sender.isdigit() else sender,
        "name": names.get(sender, ""),
        "text": _said(kind, message, content),
        "line": line,
        "reply_to": _text(_mapping(message.get("context")).get("id")) or None,
        "message": dict(message),
    }
    if kind in _MEDIA:
        document["media"] = {key: content.get(key) for key in ("id", "mime_type", "sha256", "filename")}
    return _made(source, _text(message.get("id")), f"{line}:{sender}", message, document)


def _status(source: str, status: Mapping[str, Any], line: str) -> Message:
    recipient = _text(status.get("recipient_id"))
    state = _text(status.get("status"))
    identifier = _text(status.get("id"))
    document: dict[str, JsonValue] = {
        "kind": "status",
        "type": state,
        "id": identifier,
        "to": f"+{recipient}" if recipient.isdigit() else recipient,
        "line": line,
        "errors": status.get("errors"),
        "message": dict(status),
    }
    # One message has several statuses; each of them is an event of its own.
    return _made(source, f"{identifier}:{state}" if identifier else "", f"{line}:{recipient}", status, document)


def _other(source: str, value: JsonValue, field: str, line: str) -> Message:
    document: dict[str, JsonValue] = {"kind": "other", "type": field, "line": line, "message": value}
    return _made(source, "", f"{line}:{field}", {"value": value, "field": field}, document)


def _made(source: str, identifier: str, conversation: str, raw: Any, document: dict[str, JsonValue]) -> Message:
    content = orjson.dumps(raw, option=orjson.OPT_SORT_KEYS)
    occurred_at = _time(raw.get("timestamp"))
    document["occurred_at"] = occurred_at.isoformat() if occurred_at else None
    return Message(
        source=source,
        message_id=identifier or f"sha256:{hashlib.sha256(content).hexdigest()}",
        conversation=conversation,
        content_type="application/json",
        raw=content,
        occurred_at=occurred_at,
        attributes=document,
    )


def _said(kind: str, message: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    """What a person wrote or chose, whatever kind of message carries it."""
    if kind == "interactive":
        reply = _mapping(content.get("button_reply")) or _mapping(content.get("list_reply"))
        return _text(reply.get("title"))
    if kind == "location":
        return ", ".join(filter(None, (_text(content.get("name")), _text(content.get("address")))))
    if kind == "contacts":
        names = (_text(_mapping(one.get("name")).get("formatted_name")) for one in _mappings(message.get("contacts")))
        return ", ".join(filter(None, names))
    return _text(content.get({"text": "body", "button": "text", "reaction": "emoji"}.get(kind, "caption")))


def _changes(payload: JsonValue) -> Iterator[tuple[Mapping[str, Any], str]]:
    for entry in _mappings(_mapping(payload).get("entry")):
        for change in _mappings(entry.get("changes")):
            yield _mapping(change.get("value")), _text(change.get("field"))


def _time(value: Any) -> datetime | None:
    try:
        return datetime.fromtimestamp(int(value), tz=UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value) if isinstance(value, int) else ""
