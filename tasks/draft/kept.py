"""Drafts in our own database: stored once a run, decided once, and handed to the routes in the same transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from blocks.errors import ConfigurationError
from models.draft import SOURCE, Draft, DraftTemplate, Fact, Problem, State
from models.handoff import Message
from models.handoff_route import Route
from tasks.handoffs.expressions import ExpressionError
from tasks.handoffs.inbox import rows, storable, store
from tasks.handoffs.transform import Transformation

_COLUMNS = "id, contact_id AS contact, channel, template, subject, text, state, digest, facts, problems"
_KEEP = """
INSERT INTO client_draft (run_id, contact_id, channel, template, language, subject, text, digest, facts, problems,
                          state, written_by, created_at)
SELECT %(run_id)s, id, %(channel)s, %(template)s, %(language)s, %(subject)s, %(text)s, %(digest)s, %(facts)s,
       %(problems)s, %(state)s, %(written_by)s, now() FROM crm_contact WHERE id = %(contact)s FOR KEY SHARE
ON CONFLICT (run_id) DO NOTHING
"""
_OF_ROUTES = """
SELECT route, coalesce(effect.state, message.state) AS state, effect.delivered_at::text AS delivered_at
FROM handoff_message AS message LEFT JOIN handoff_effect AS effect USING (route, message_id)
WHERE message.source = %s AND message.message_id = %s
"""
_LEAST_DIGEST = 8


def digest_of(subject: str, text: str) -> str:
    """What stands for exactly this draft."""
    return hashlib.sha256(f"{subject}\0{text}".encode()).hexdigest()


async def contact(connection: psycopg.AsyncConnection[Any], identifier: int) -> dict[str, Any]:
    """A contact's row.

    Raises:
        ConfigurationError: there is no such contact.
    """
    cursor = connection.cursor(row_factory=dict_row)
    await cursor.execute("SELECT * FROM crm_contact WHERE id = %s", (identifier,))
    row = await cursor.fetchone()
    if row is None:
        raise ConfigurationError(f"there is no contact {identifier}.", component="draft")
    return row


async def of_run(connection: psycopg.AsyncConnection[Any], run_id: str) -> Draft | None:
    """The draft that a run made; None: it has made none yet."""
    return await _one(connection, "run_id = %s", run_id)


async def of_id(connection: psycopg.AsyncConnection[Any], identifier: int) -> Draft:
    """The draft with this id.

    Raises:
        ConfigurationError: there is none.
    """
    found = await _one(connection, "id = %s", identifier)
    if found is None:
        raise ConfigurationError(f"there is no draft {identifier}.", component="draft")
    return found


async def _one(connection: psycopg.AsyncConnection[Any], where: str, value: Any, *, lock: str = "") -> Draft | None:
    cursor = connection.cursor(row_factory=dict_row)
    statement = f"SELECT {_COLUMNS} FROM client_draft WHERE {where} {lock}"  # noqa: S608 - no value in it
    await cursor.execute(statement.encode(), (value,))
    row = await cursor.fetchone()
    return None if row is None else Draft.model_validate(row)


async def keep(
    connection: psycopg.AsyncConnection[Any],
    template: DraftTemplate,
    *,
    run_id: str,
    contact: int,
    subject: str,
    text: str,
    facts: Sequence[Fact],
    problems: Sequence[Problem],
    written_by: str,
) -> Draft:
    """Keep a draft, once a run; with problems it is refused, otherwise it waits for somebody's approval.

    Raises:
        ConfigurationError: the contact is gone.
    """
    subject, text = storable(subject), storable(text)
    state: State = "refused" if problems else "waiting"
    values = {
        "run_id": run_id, "contact": contact, "channel": template.channel, "template": template.name,
        "language": template.language, "subject": subject, "text": text, "digest": digest_of(subject, text),
        "facts": Jsonb([fact.model_dump(mode="json") for fact in facts]),
        "problems": Jsonb([problem.model_copy(update={"quote": storable(problem.quote)}).model_dump(mode="json")
                           for problem in problems]),
        "state": state, "written_by": written_by,
    }  # fmt: skip
    await connection.execute(_KEEP, values)
    found = await of_run(connection, run_id)
    if found is None:
        raise ConfigurationError(f"the contact {contact} is gone.", component="draft")
    return found


async def decide(
    connection: psycopg.AsyncConnection[Any],
    identifier: int,
    *,
    approve: bool,
    by: str,
    digest: str,
    routes: Sequence[Route],
) -> Draft:
    """Approve a draft, which hands it to `routes` in the same transaction, or reject it. Decided once.

    Args:
        connection: in autocommit mode.
        identifier: of the draft.
        approve: whether it may be sent.
        by: who says so.
        digest: the first 8 or more digits of what they have read.
        routes: those of `SOURCE`; it is handed to the ones whose filter lets it through.

    Raises:
        ConfigurationError: it is not there or does not wait, is not what was read, has nobody to go to, or no route
            takes it. Nothing has changed.
    """
    who = storable(by).strip()[:200]
    if not who:
        raise ConfigurationError("say who decides.", component="draft")
    async with connection.transaction():
        draft = await _one(connection, "id = %s", identifier, lock="FOR UPDATE")
        if draft is None:
            raise ConfigurationError(f"there is no draft {identifier}.", component="draft")
        if draft.state != "waiting":
            raise ConfigurationError(f"the draft {identifier} is {draft.state}: it is decided once.", component="draft")
        read = digest.strip().lower()
        if len(read) < _LEAST_DIGEST or not digest_of(draft.subject, draft.text).startswith(read):
            raise ConfigurationError(
                f"the draft {identifier} is not what was read: its digest is another.",
                component="draft",
                remedy=f"Read it with `lama draft show {identifier}`.",
            )
        if approve:
            await _hand_on(connection, draft, routes, by=who)
        state: State = "approved" if approve else "rejected"
        await connection.execute(
            "UPDATE client_draft SET state = %s, decided_at = now(), decided_by = %s WHERE id = %s",
            (state, who, identifier),
        )
    return draft.model_copy(update={"state": state})


async def _hand_on(connection: psycopg.AsyncConnection[Any], draft: Draft, routes: Sequence[Route], *, by: str) -> None:
    person = await contact(connection, draft.contact)
    to = person["phone"] if draft.channel == "whatsapp" else person["email"]
    if not to:
        what = "phone" if draft.channel == "whatsapp" else "e-mail address"
        raise ConfigurationError(f"the contact {draft.contact} has no {what}.", component="draft")
    message = Message(
        source=SOURCE,
        message_id=f"draft {draft.id}",
        conversation=f"contact {draft.contact}",
        content_type="application/json",
        raw=b"",
        attributes={
            "draft": draft.id, "contact": draft.contact, "channel": draft.channel, "to": to, "name": person["name"],
            "subject": draft.subject, "text": draft.text, "approved_by": by,
        },
    )  # fmt: skip
    takers = [route for route in routes if _takes(route, message)]
    if not takers:
        raise ConfigurationError(
            "no route takes what is approved.",
            component="draft",
            remedy=f'Add one with source = "{SOURCE}" whose `when` lets {draft.channel} through.',
        )
    await store(connection, rows(takers, [message]), datetime.now(UTC))


def _takes(route: Route, message: Message) -> bool:
    """Whether the filter of `route` lets `message` through; one that cannot be read sends nothing."""
    try:
        return Transformation(route).passes(message.attributes)
    except ExpressionError:
        return False


async def listed(connection: psycopg.AsyncConnection[Any], *, state: str | None, limit: int) -> list[dict[str, Any]]:
    """Drafts, the latest first; of one state, or all."""
    cursor = connection.cursor(row_factory=dict_row)
    await cursor.execute(
        "SELECT id, contact_id AS contact, template, channel, state, created_at::text AS created_at, decided_by, "
        "jsonb_array_length(problems) AS problems FROM client_draft "
        "WHERE %(state)s::text IS NULL OR state = %(state)s ORDER BY id DESC LIMIT %(limit)s",
        {"state": state, "limit": limit},
    )
    return await cursor.fetchall()


async def ways(connection: psycopg.AsyncConnection[Any], identifier: int) -> list[dict[str, Any]]:
    """What became of an approved draft, for each route that took it."""
    cursor = connection.cursor(row_factory=dict_row)
    await cursor.execute(_OF_ROUTES, (SOURCE, f"draft {identifier}"))
    return await cursor.fetchall()
