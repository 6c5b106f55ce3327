"""Contacts of our own database: who wrote, what they look for, and what was said."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import AwareDatetime
from pydantic import Field as ValueField
from sqlalchemy import BigInteger, Column, DateTime, ForeignKey, Identity, Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from models.report import Value


class Money(Value):
    """An amount of money."""

    amount: float = ValueField(ge=0, allow_inf_nan=False, description="In units of the currency.")
    currency: str = ValueField(pattern=r"^[A-Z]{3}$", description="ISO 4217.")


class Lead(Value):
    """What a message tells of a person and of what they look for. The payload of routes that lead to the CRM."""

    phone: str | None = ValueField(default=None, pattern=r"^\+[1-9]\d{6,14}$", description="E.164.")
    email: str | None = ValueField(default=None, max_length=254, description="Address for e-mail.")
    name: str | None = ValueField(default=None, max_length=200, description="As the person writes it.")
    interest: str | None = ValueField(default=None, max_length=500, description="What the person looks for.")
    budget: Money | None = ValueField(default=None, description="What it may cost.")
    timeline: str | None = ValueField(default=None, max_length=200, description="When it is needed.")
    text: str | None = ValueField(default=None, max_length=20_000, description="What was said, for the history.")
    occurred_at: AwareDatetime | None = ValueField(default=None, description="When it was said.")
    evidence: dict[str, Any] = ValueField(
        default_factory=dict, description="For each field that was looked for: where in the text it stands."
    )


class ContactRecord(SQLModel, table=True):
    """A person. Known by phone, or by e-mail where there is no phone."""

    __tablename__ = "crm_contact"

    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    phone: str | None = Field(default=None, unique=True)
    email: str | None = Field(default=None, unique=True)
    name: str | None = None
    interest: str | None = None
    budget: dict[str, Any] | None = Field(default=None, sa_column=Column(JSONB))
    timeline: str | None = None
    created_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    updated_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))


class InteractionRecord(SQLModel, table=True):
    """Something that a person said: one row a message, however often it is handed on."""

    __tablename__ = "crm_interaction"
    __table_args__ = (Index("crm_interaction_contact", "contact_id", "seq"),)

    reference: str = Field(primary_key=True, description="The idempotency key of the handoff.")
    contact_id: int = Field(
        sa_column=Column(BigInteger, ForeignKey("crm_contact.id", ondelete="CASCADE"), nullable=False)
    )
    seq: int = Field(sa_column=Column(BigInteger, nullable=False), description="Order of arrival.")
    message_id: str = Field(index=True, description="The sender's id of the message.")
    route: str
    text: str | None = None
    found: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False), description="The lead of this message.")
    occurred_at: datetime | None = Field(default=None, sa_column=Column(DateTime(timezone=True)))
    recorded_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
