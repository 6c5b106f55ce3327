"""Invitations: the first event of a mail's calendar parts (RFC 5545, RFC 6047)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from pydantic import JsonValue

from tasks.mail.mime import Part, text_of

_CALENDAR = frozenset({"text/calendar", "application/ics"})
_LARGEST = 64 * 1024
_LONGEST = 500


def event_of(parts: Sequence[Part]) -> JsonValue:
    """Summary, start, end, place, organizer, UID and method of the first event; None where there is none to be read."""
    for part in parts:
        if part.content_type not in _CALENDAR or len(part.content) > _LARGEST:
            continue
        found = _first_event(text_of(part))
        if found is not None:
            method = part.parameters.get("method")
            return {**found, "method": found["method"] or (method.upper() if method else None)}
    return None


def _first_event(text: str) -> dict[str, JsonValue] | None:
    import icalendar  # noqa: PLC0415 - few mails have any

    try:
        calendar = icalendar.Calendar.from_ical(text)
        event = next(iter(calendar.walk("VEVENT")), None)
        if event is None:
            return None
        return {
            "summary": _said(event.get("summary")),
            "starts": _when(event.get("dtstart")),
            "ends": _when(event.get("dtend")),
            "location": _said(event.get("location")),
            "organizer": _said(event.get("organizer")),
            "uid": _said(event.get("uid")),
            "method": _said(calendar.get("method")),
        }
    except Exception:  # noqa: BLE001 - what others call a calendar; it is kept as an attachment all the same
        return None


def _said(value: Any) -> str | None:
    return str(value)[:_LONGEST] if value is not None and not isinstance(value, list) else None


def _when(value: Any) -> str | None:
    told = getattr(value, "dt", None)
    return told.isoformat() if isinstance(told, date | datetime) else None
