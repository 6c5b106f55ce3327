"""Leads in our own database: read with what they said, graded, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from blocks.errors import ConfigurationError
from models.handoff import Message
from models.handoff_route import Route
from models.qualify import SOURCE, LeadGrade
from tasks.handoffs.inbox import rows, store
from tasks.qualify.score import Event, Known

BATCH = 500
_EVENTS = 500
"""Messages of one lead that are looked at, the newest."""

# What a sender's clock says may lie in the future, and would never fade.
_SAID = """
SELECT jsonb_agg(jsonb_build_array(
           extract(epoch FROM least(coalesce(occurred_at, recorded_at), recorded_at)), route,
           left(coalesce(text, ''), 20000), found) ORDER BY seq)
FROM (SELECT * FROM crm_interaction WHERE contact_id = contact.id ORDER BY seq DESC LIMIT %(events)s) AS newest
"""

_CONTACTS = f"""
SELECT contact.id, contact.phone, contact.email, contact.name, contact.interest, contact.budget, contact.timeline,
       contact.updated_at, graded.grade, coalesce(({_SAID}), '[]')
FROM crm_contact AS contact LEFT JOIN crm_qualification AS graded ON graded.contact_id = contact.id
WHERE contact.id > %(after)s AND (%(only)s::bigint[] IS NULL OR contact.id = ANY(%(only)s))
ORDER BY contact.id LIMIT %(limit)s
"""  # noqa: S608 - no value in it

_OUTCOMES = f"""
SELECT outcome.contact_id, outcome.won, outcome.decided_at, coalesce(({_SAID}), '[]')
FROM crm_outcome AS outcome JOIN crm_contact AS contact ON contact.id = outcome.contact_id
WHERE outcome.contact_id > %(after)s ORDER BY outcome.contact_id LIMIT %(limit)s
"""  # noqa: S608 - no value in it

_OF_MESSAGES = "SELECT message_id, contact_id FROM crm_interaction WHERE message_id = ANY(%s)"

_WRITE = """
INSERT INTO crm_qualification AS known
    (contact_id, grade, fit, engagement, probability, disqualified, reasons, rules, as_of, graded_since)
SELECT row.*, %s, %s, %s FROM unnest(%s::bigint[], %s::text[], %s::float8[], %s::float8[], %s::float8[], %s::bool[],
    %s::jsonb[]) AS row (contact_id, grade, fit, engagement, probability, disqualified, reasons)
ON CONFLICT (contact_id) DO UPDATE SET
    grade = excluded.grade, fit = excluded.fit, engagement = excluded.engagement, probability = excluded.probability,
    disqualified = excluded.disqualified, reasons = excluded.reasons, rules = excluded.rules, as_of = excluded.as_of,
    graded_since = CASE WHEN known.grade = excluded.grade THEN known.graded_since ELSE excluded.graded_since END
"""

_OUTCOME = """
INSERT INTO crm_outcome (contact_id, won, decided_at) VALUES (%s, %s, %s)
ON CONFLICT (contact_id) DO UPDATE SET won = excluded.won, decided_at = excluded.decided_at
"""

_FIELDS = ("phone", "email", "name", "interest", "budget", "timeline")


async def read(
    connection: psycopg.AsyncConnection[Any], *, after: int, only: Sequence[int] | None, limit: int = BATCH
) -> list[tuple[Known, str | None]]:
    """Up to `limit` leads whose id is larger than `after`, by id, each with the grade that it has now."""
    asked = {"after": after, "only": None if only is None else list(only), "limit": limit, "events": _EVENTS}
    cursor = await connection.execute(_CONTACTS.encode(), asked)
    return [_known(row) for row in await cursor.fetchall()]


def _known(row: tuple[Any, ...]) -> tuple[Known, str | None]:
    contact, *values, updated_at, grade, said = row
    events = _events(said, updated_at)
    told = [event.at for event in events if "timeline" in event.found]
    known = Known(contact, dict(zip(_FIELDS, values, strict=True)), told[-1] if told else updated_at, events)
    return known, grade


def _events(said: Sequence[Any], like: datetime) -> tuple[Event, ...]:
    return tuple(
        Event(datetime.fromtimestamp(float(at), like.tzinfo), route, text, frozenset(found))
        for at, route, text, found in said
    )


async def outcomes(connection: psycopg.AsyncConnection[Any], *, after: int) -> list[tuple[Known, bool, datetime]]:
    """Leads whose outcome is known, as they were just before it: nothing that was said later is in them."""
    cursor = await connection.execute(_OUTCOMES.encode(), {"after": after, "limit": BATCH, "events": _EVENTS})
    return [_before(*row) for row in await cursor.fetchall()]


def _before(contact: int, won: bool, decided_at: datetime, said: Sequence[Any]) -> tuple[Known, bool, datetime]:  # noqa: FBT001
    fields: dict[str, Any] = {}
    told_at = decided_at
    events = []
    for event, (_, _, _, found) in zip(_events(said, decided_at), said, strict=True):
        if event.at > decided_at:
            continue
        events.append(event)
        fields |= {name: found[name] for name in _FIELDS if found.get(name) is not None}
        told_at = event.at if "timeline" in found else told_at
    return Known(contact, fields, told_at, tuple(events)), won, decided_at


async def of_messages(connection: psycopg.AsyncConnection[Any], messages: Sequence[str]) -> dict[str, int]:
    """The contacts that `messages`, by their senders' ids, were handed on to; those that were not are missing."""
    cursor = await connection.execute(_OF_MESSAGES, (list(messages),))
    return {str(message): int(contact) for message, contact in await cursor.fetchall()}


async def write(
    connection: psycopg.AsyncConnection[Any],
    grades: Sequence[LeadGrade],
    *,
    rules: str,
    as_of: datetime,
    routes: Sequence[Route],
) -> tuple[list[LeadGrade], list[int]]:
    """Write `grades` back, and tell `routes` of those that changed, all in one transaction.

    Args:
        connection: in autocommit mode.
        grades: of any contacts, each once.
        rules: digest of the rules.
        as_of: the time of grading. What was written as of a later time stays.
        routes: those that take `SOURCE`.

    Returns:
        The grades that changed, each with the one before it, and the contacts whose grade is of a later time.
        Contacts that are gone by now have none.
    """
    by_contact = {one.contact: one for one in grades}
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('lama.qualify', 0))")
        there = await connection.execute(
            "SELECT contact.id, contact.phone, contact.email, graded.grade, graded.as_of FROM crm_contact AS contact "
            "LEFT JOIN crm_qualification AS graded ON graded.contact_id = contact.id "
            "WHERE contact.id = ANY(%s) ORDER BY contact.id FOR KEY SHARE OF contact",
            (list(by_contact),),
        )
        written: list[LeadGrade] = []
        changed: list[LeadGrade] = []
        later: list[int] = []
        messages: list[Message] = []
        for contact, phone, email, before, known_as_of in await there.fetchall():
            if known_as_of is not None and known_as_of > as_of:
                later.append(contact)
                continue
            one = by_contact[contact].model_copy(update={"before": before})
            written.append(one)
            if one.grade != before:
                changed.append(one)
                messages.append(_told(one, {"phone": phone, "email": email}, as_of))
        await connection.execute(_WRITE, (rules, as_of, as_of, *_arrays(written)))
        await store(connection, rows(routes, messages), as_of)
    return changed, later


def _arrays(grades: Sequence[LeadGrade]) -> tuple[list[Any], ...]:
    return (
        [one.contact for one in grades],
        [one.grade for one in grades],
        [one.fit for one in grades],
        [one.engagement for one in grades],
        [one.probability for one in grades],
        [one.disqualified for one in grades],
        [Jsonb([reason.model_dump(mode="json") for reason in one.reasons]) for one in grades],
    )


def _told(one: LeadGrade, person: Mapping[str, str | None], as_of: datetime) -> Message:
    return Message(
        source=SOURCE,
        message_id=f"contact {one.contact} {one.grade} since {as_of.isoformat()}",
        conversation=f"contact {one.contact}",
        content_type="application/json",
        raw=b"",
        occurred_at=as_of,
        attributes={**one.model_dump(mode="json"), **person, "as_of": as_of.isoformat()},
    )


async def decide(
    connection: psycopg.AsyncConnection[Any], outcomes_: Sequence[tuple[int, bool, datetime]]
) -> list[int]:
    """Write down what became of leads; the last word about one counts. The contacts that are not there.

    Raises:
        ConfigurationError: an outcome lies before 1970.
    """
    if any(at.year < 1970 for _, _, at in outcomes_):
        raise ConfigurationError("an outcome lies before 1970.", component="qualify")
    wanted = [contact for contact, _, _ in outcomes_]
    async with connection.transaction():
        cursor = await connection.execute("SELECT id FROM crm_contact WHERE id = ANY(%s) FOR KEY SHARE", (wanted,))
        there = {int(row[0]) for row in await cursor.fetchall()}
        async with connection.cursor() as writing:
            await writing.executemany(_OUTCOME, [one for one in outcomes_ if one[0] in there])
    return sorted(set(wanted) - there)


async def listed(
    connection: psycopg.AsyncConnection[Any], *, grades: Sequence[str], limit: int
) -> list[dict[str, Any]]:
    """Graded contacts, best first: of `grades`, each a whole one or its letter; none: of all."""
    cursor = connection.cursor(row_factory=dict_row)
    await cursor.execute(
        "SELECT contact.id AS contact, grade, graded_since::text AS since, fit, engagement, probability, disqualified, "
        "reasons, name, phone, email FROM crm_qualification JOIN crm_contact AS contact ON contact.id = contact_id "
        "WHERE %(none)s OR grade = ANY(%(grades)s) OR left(grade, 1) = ANY(%(grades)s) "
        "ORDER BY grade, probability DESC NULLS LAST, engagement DESC, contact.id LIMIT %(limit)s",
        {"none": not grades, "grades": [one.upper() for one in grades], "limit": limit},
    )
    return await cursor.fetchall()
