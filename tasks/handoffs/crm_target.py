"""Leads into the contacts of our own database. Committed with the outbox, so each message counts exactly once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.types.json import Jsonb
from pydantic import ValidationError

from models.crm import Lead
from models.handoff import Delivered, Effect, Refused

# What is known stays; what a later message tells anew replaces it.
_CONTACT = """
INSERT INTO crm_contact AS known (phone, email, name, interest, budget, timeline, created_at, updated_at)
VALUES (%(phone)s, %(email)s, %(name)s, %(interest)s, %(budget)s, %(timeline)s, now(), now())
ON CONFLICT ({key}) DO UPDATE SET
    name = coalesce(excluded.name, known.name), interest = coalesce(excluded.interest, known.interest),
    budget = coalesce(excluded.budget, known.budget), timeline = coalesce(excluded.timeline, known.timeline),
    updated_at = now()
RETURNING id
"""

_ADD_EMAIL = """
UPDATE crm_contact SET email = %(email)s WHERE id = %(id)s AND email IS NULL
AND NOT EXISTS (SELECT FROM crm_contact WHERE email = %(email)s)
"""

_INTERACTION = """
INSERT INTO crm_interaction (reference, contact_id, seq, message_id, route, text, found, occurred_at, recorded_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, now()) ON CONFLICT (reference) DO NOTHING
"""


def lead_of(effect: Effect) -> Lead | Refused:
    """The lead that is the payload of `effect`; why it is none."""
    try:
        lead = Lead.model_validate(effect.payload)
    except ValidationError as error:
        places = ", ".join(".".join(map(str, problem["loc"])) or "the payload" for problem in error.errors())
        return Refused(f"is no lead: {places}")
    if lead.phone is None and lead.email is None:
        return Refused("is no lead: it tells neither phone nor e-mail")
    return lead


class CrmTarget:
    """The tables of `models.crm`."""

    async def apply(
        self, connection: psycopg.AsyncConnection[Any], effects: Sequence[Effect]
    ) -> Sequence[Delivered | Refused]:
        """A contact for each person, an interaction for each message."""
        return [await self._apply(connection, effect) for effect in effects]

    async def _apply(self, connection: psycopg.AsyncConnection[Any], effect: Effect) -> Delivered | Refused:
        lead = lead_of(effect)
        if isinstance(lead, Refused):
            return lead
        contact_id = await self._contact(connection, lead)
        found = lead.model_dump(mode="json", exclude_none=True, exclude={"text", "occurred_at"})
        await connection.execute(
            _INTERACTION,
            (effect.idempotency_key, contact_id, effect.seq, effect.message_id, effect.route, lead.text, Jsonb(found),
             lead.occurred_at),
        )  # fmt: skip
        return Delivered(f"contact {contact_id}")

    async def _contact(self, connection: psycopg.AsyncConnection[Any], lead: Lead) -> int:
        values = {
            "phone": lead.phone,
            "email": None if lead.phone else lead.email,
            "name": lead.name,
            "interest": lead.interest,
            "budget": Jsonb(lead.budget.model_dump()) if lead.budget else None,
            "timeline": lead.timeline,
        }
        statement = _CONTACT.format(key="phone" if lead.phone else "email")
        row = await (await connection.execute(statement.encode(), values)).fetchone()
        assert row is not None  # noqa: S101 - INSERT ... DO UPDATE always returns its row
        if lead.phone and lead.email:
            # Somebody else may be known by this address: who they are is for a person to say, so it stays theirs.
            await connection.execute(_ADD_EMAIL, {"email": lead.email, "id": row[0]})
        return int(row[0])
