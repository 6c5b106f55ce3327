"""Finds a task in a message: title, description, priority, tags, due date, each with where it stands.

Rules, not a model: they say nothing that is not written, and the same message gives the same task.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, timedelta

from pydantic import JsonValue

from tasks.handoffs.functions import Context, FieldError, day

_LONGEST_TITLE = 300
_LONGEST = 20_000
_LONGEST_DESCRIPTION = 100_000
_MOST_TAGS = 20
_URGENT = re.compile(
    r"\b(urgent|asap|as soon as possible|immediately|emergency|dringend|sofort|urgente?)\b", re.IGNORECASE
)
_NOT_URGENT = re.compile(
    r"\b(no rush|not urgent|no hurry|low priority|whenever you|nicht dringend|keine eile)\b", re.IGNORECASE
)
_PRIORITY = re.compile(r"^\s*priority\s*[:=]\s*(urgent|high|normal|low)\b", re.IGNORECASE | re.MULTILINE)
_TAG = re.compile(r"(?:^|(?<=\s))#([A-Za-z][A-Za-z0-9_-]{1,40})\b")
_BRACKETED = re.compile(r"\s*\[([^\[\]]{1,40})\]\s*")
_YEAR = re.compile(r"\d{4}|[./]\d{2}$")
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_DATE = (
    r"\d{4}-\d{2}-\d{2}|\d{1,2}[./]\d{1,2}[./]\d{2,4}|"
    rf"\d{{1,2}}(?:st|nd|rd|th|\.)?\s+(?:of\s+)?(?:{_MONTHS})[a-z]{{0,6}}\.?(?:,?\s+\d{{4}})?|"
    rf"(?:{_MONTHS})[a-z]{{0,6}}\.?\s+\d{{1,2}}(?:st|nd|rd|th)?\b(?:,?\s+\d{{4}})?"
)
_DUE = re.compile(
    r"\b(?:due(?:\s+(?:date|by|on))?|deadline(?:\s+is)?|by|before|until|no later than|bis(?:\s+zum)?)\s*[:=]?\s+"
    r"(?:the\s+|end of\s+|eod\s+|cob\s+)*(?:(?P<next>next|this|on)\s+)?"
    rf"(?P<when>{_DATE}|today|tomorrow|tonight|week|month|{'|'.join(_WEEKDAYS)})\b",
    re.IGNORECASE,
)


def find_task(document: Mapping[str, JsonValue], context: Context) -> dict[str, JsonValue]:
    """The task of a message.

    Args:
        document: a message's; of a mail `topic`, `said`, `attachments` and the like, of others `text`, `from`, `name`.
        context: the country whose order dates in figures have.

    Returns:
        The fields of `models.board.NewTask` that were found. `evidence` holds for each that was looked for where it
        stands: a span of `text` (of a mail `said`) or the name of the document's field.
    """
    text = str(document.get("said") or document.get("text") or "")[:_LONGEST_DESCRIPTION]
    looked = text[:_LONGEST]
    topic = str(document.get("topic") or document.get("subject") or "")
    found: dict[str, JsonValue] = {}
    evidence: dict[str, JsonValue] = {}
    title, tags = _without_brackets(topic)
    if title:
        evidence["title"] = "subject"
    else:
        title = next((line.strip() for line in looked.splitlines() if line.strip()), "")
        evidence["title"] = "text"
    found["title"] = (title or topic.strip() or "(no subject)")[:_LONGEST_TITLE]
    found["description"] = text or None
    tags += [str(tag) for tag in _list(document.get("tags"))]
    tags += [match[1].lower() for match in _TAG.finditer(looked)]
    found["tags"] = list[JsonValue](dict.fromkeys(tags))[:_MOST_TAGS]
    found["priority"] = _priority(document, topic, looked, evidence)
    due = _due(topic + "\n" + looked, document.get("occurred_at"), context)
    if due:
        found["due"], span = due
        evidence["due"] = "subject" if span[0] <= len(topic) else {
            "start": span[0] - len(topic) - 1, "end": span[1] - len(topic) - 1
        }  # fmt: skip
    for field, name in (
        ("requester", "from"),
        ("requester_name", "name"),
        ("occurred_at", "occurred_at"),
        ("id", "id"),
    ):
        if isinstance(document.get(name), str) and document[name]:
            found[field] = document[name]
    for name in ("references", "attachments"):
        if _list(document.get(name)):
            found[name] = document[name]
    found["evidence"] = evidence
    return {name: value for name, value in found.items() if value is not None}


def _without_brackets(topic: str) -> tuple[str, list[str]]:
    """A subject without `[...]` at its beginning, which are tags."""
    tags = []
    at = 0
    while match := _BRACKETED.match(topic, at):
        tags.append(re.sub(r"[^a-z0-9_-]+", "-", match[1].lower()).strip("-"))
        at = match.end()
    return topic[at:].strip(), [tag for tag in tags if tag]


def _priority(document: Mapping[str, JsonValue], topic: str, text: str, evidence: dict[str, JsonValue]) -> str:
    said = _PRIORITY.search(text)
    if said:
        evidence["priority"] = {"start": said.start(1), "end": said.end(1)}
        return said[1].lower()
    if _NOT_URGENT.search(topic) or _NOT_URGENT.search(text):
        evidence["priority"] = "text"
        return "low"
    if _URGENT.search(topic):
        evidence["priority"] = "subject"
        return "urgent"
    urgent = _URGENT.search(text)
    told = document.get("priority")
    if urgent:
        evidence["priority"] = {"start": urgent.start(), "end": urgent.end()}
        return "high"
    if told in {"high", "low"}:
        evidence["priority"] = "priority"
        return str(told)
    return "normal"


def _due(text: str, occurred_at: JsonValue, context: Context) -> tuple[str, tuple[int, int]] | None:
    """The first date after a word that makes it a due date; names of days count from when the message was written."""
    try:
        written = datetime.fromisoformat(str(occurred_at)).date()
    except ValueError:
        written = None
    for match in _DUE.finditer(text):
        when = match["when"].lower()
        span = match.span("when")
        if written is not None and (
            ahead := _days_ahead(when, written.weekday(), following=(match["next"] or "").lower() == "next")
        ):
            return (written + timedelta(days=ahead - 1)).isoformat(), span
        if when[0].isdigit() or when[:3] in _MONTHS.split("|"):
            try:
                found = _date(match["when"], written, context.region)
            except (FieldError, ValueError):
                continue
            return found.isoformat(), span
    return None


def _date(told: str, written: date | None, region: str) -> date:
    """What `told` says; without a year the next such day from `written` on."""
    if _YEAR.search(told):
        return day(told, region)
    if written is None:
        raise FieldError("names no year")
    found = day(f"{told} {written.year}", region)
    return found if found >= written else day(f"{told} {written.year + 1}", region)


def _days_ahead(when: str, weekday: int, *, following: bool) -> int:
    """One more than the days from one of that weekday to `when`; 0: it is no name of a day."""
    if when in {"today", "tonight"}:
        return 1
    if when == "tomorrow":
        return 2
    if when == "week":  # the Friday of it
        return 1 + (4 - weekday) % 7 + (7 if following else 0)
    if when in _WEEKDAYS:
        ahead = (_WEEKDAYS.index(when) - weekday) % 7 or 7
        return 1 + ahead + (7 if following and ahead < 7 - weekday else 0)
    return 0


def _list(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []
