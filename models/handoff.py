"""Handoffs: messages that arrived, and what becomes of each at its target. Routes are in `models.handoff_route`.

The inbox holds every message as it came, the outbox what it was made into; both know a message by its route and its
natural id (WhatsApp's wamid, the id of a webhook's delivery), so the same message is never there twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import JsonValue
from sqlalchemy import BigInteger, Column, DateTime, ForeignKeyConstraint, Identity, Index, LargeBinary, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

CHANNEL = "lama_handoffs"
"""PostgreSQL's NOTIFY channel on which receivers say for which route something came."""


class MessageState(StrEnum):
    """What became of a message of the inbox."""

    waiting = "waiting"
    """Not looked at yet."""
    accepted = "accepted"
    """Understood: the outbox has what it was made into."""
    ignored = "ignored"
    """The route's filter left it out, or a person has discarded it."""
    dead = "dead"
    """It could not be understood; a person has to look."""


class EffectState(StrEnum):
    """What became of an effect of the outbox."""

    pending = "pending"
    delivered = "delivered"
    dead = "dead"
    """The target refused it, or every try failed; a person has to look."""


@dataclass(frozen=True)
class Message:
    """A message as a source gives it."""

    source: str
    """`whatsapp:` or `webhook:`, and the name of the source."""
    message_id: str
    """The sender's natural id; resent messages have the same."""
    conversation: str
    """What orders it: messages of one conversation are handed on one after the other."""
    content_type: str
    raw: bytes
    """As it came, before anything was understood."""
    occurred_at: datetime | None = None
    """When the sender says that it was sent; its clock, not ours."""
    attributes: dict[str, JsonValue] = field(default_factory=dict)
    """What the source understood of it: the document that the route's expressions are asked about."""


@dataclass(frozen=True)
class Effect:
    """What one message is to bring about at its target."""

    route: str
    message_id: str
    conversation: str
    seq: int
    """Order of arrival within this database."""
    idempotency_key: str
    """The same at every try; the far side knows a repetition by it."""
    payload: dict[str, JsonValue]
    attempt: int
    """1 at the first try."""
    unsure: bool = False
    """Whether somebody took it before, and did not say what became of it."""


@dataclass(frozen=True)
class Delivered:
    """The effect is there, brought about now or by an earlier try."""

    reference: str
    """What the far side calls it."""
    answer: dict[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True)
class Again:
    """Not now; perhaps it happened, perhaps not. The next try must find out."""

    reason: str
    after_s: float | None = None
    """Seconds that the target asked us to wait; None: as the route's backoff says."""
    outage: bool = False
    """Whether the target as a whole is away: then tries are not counted against the effect."""
    unclear: bool = False
    """Whether that may be so, or the fault of this effect alone: it is an outage unless others got through lately."""


@dataclass(frozen=True)
class Refused:
    """Never: the same effect will be refused again."""

    reason: str


@dataclass(frozen=True)
class Uncertain:
    """It may have happened, and the far side knows no repetition: it is not tried again, but waits to be heard of."""

    reason: str


Outcome = Delivered | Again | Refused | Uncertain


class MessageRecord(SQLModel, table=True):
    """The inbox."""

    __tablename__ = "handoff_message"
    __table_args__ = (
        Index("handoff_message_waiting", "route", "seq", postgresql_where=text("state = 'waiting'")),
        Index("handoff_message_dead", "route", "seq", postgresql_where=text("state = 'dead'")),
        Index("handoff_message_conversation", "conversation"),
        Index("handoff_message_received", "route", "received_at"),
        Index("handoff_message_kept", "route", "received_at", postgresql_where=text("raw <> ''::bytea")),
    )

    route: str = Field(primary_key=True)
    message_id: str = Field(primary_key=True, description="The sender's natural id.")
    seq: int = Field(sa_column=Column(BigInteger, Identity(always=True), nullable=False, unique=True))
    source: str
    conversation: str
    received_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    occurred_at: datetime | None = Field(default=None, sa_column=Column(DateTime(timezone=True)))
    content_type: str
    raw: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    attributes: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    state: str = Field(description="A `MessageState`.")
    last_error: str | None = None
    given: int = Field(default=0, description="Fields that the message gave the route.")
    valid: int = Field(default=0, description="Those of them that were valid.")
    required: int = Field(default=0, description="Fields that the route needs.")
    filled: int = Field(default=0, description="Those of them that were filled.")


class EffectRecord(SQLModel, table=True):
    """The outbox."""

    __tablename__ = "handoff_effect"
    __table_args__ = (
        ForeignKeyConstraint(
            ["route", "message_id"],
            ["handoff_message.route", "handoff_message.message_id"],
            ondelete="CASCADE",
            onupdate="CASCADE",
            name="handoff_effect_message",
        ),
        Index("handoff_effect_pending", "route", "seq", postgresql_where=text("state = 'pending'")),
        Index(
            "handoff_effect_tried",
            "route",
            "conversation",
            postgresql_where=text("state = 'pending' AND (attempts > 0 OR lease_until IS NOT NULL)"),
        ),
        Index("handoff_effect_dead", "route", "conversation", postgresql_where=text("state = 'dead'")),
        Index("handoff_effect_delivered", "route", "delivered_at"),
    )

    route: str = Field(primary_key=True)
    message_id: str = Field(primary_key=True)
    seq: int = Field(sa_column=Column(BigInteger, nullable=False), description="That of its message.")
    conversation: str
    idempotency_key: str = Field(unique=True)
    payload: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    state: str = Field(description="An `EffectState`.")
    attempts: int = 0
    next_attempt_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    lease_until: datetime | None = Field(
        default=None,
        sa_column=Column(DateTime(timezone=True)),
        description="Until then somebody is delivering it; after that, whoever it was has died.",
    )
    delivered_at: datetime | None = Field(default=None, sa_column=Column(DateTime(timezone=True)))
    reference: str | None = Field(default=None, description="What the far side calls it.")
    answer: dict[str, Any] | None = Field(default=None, sa_column=Column(JSONB))
    last_error: str | None = None


class EditRecord(SQLModel, table=True):
    """What people did to messages: payloads as they were before, and who sent what again."""

    __tablename__ = "handoff_edit"
    __table_args__ = (Index("handoff_edit_message", "route", "message_id"),)

    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    route: str
    message_id: str
    at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    what: str = Field(description="`edit`, `resend`, `replay` or `discard`.")
    before: dict[str, Any] | None = Field(default=None, sa_column=Column(JSONB))
