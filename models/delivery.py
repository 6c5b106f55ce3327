"""The table of webhooks that came. Apart from their settings, which are read where no database is needed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Column, DateTime, Index, LargeBinary, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel


class Delivery(SQLModel, table=True):
    """One delivery, as it came. The body is kept as bytes: JSON may hold what JSONB cannot."""

    __tablename__ = "delivery"
    __table_args__ = (
        UniqueConstraint("source", "fingerprint", name="delivery_once_per_signature"),
        Index("delivery_due", "next_attempt_at", postgresql_where=text("status = 'stored'")),
    )

    source: str = Field(primary_key=True)
    delivery_id: str = Field(primary_key=True, description="The sender's id; resent deliveries have the same.")
    fingerprint: bytes | None = Field(
        default=None,
        sa_column=Column(LargeBinary),
        description="Digest of the signature where that does not cover the id; equal ones are replays.",
    )
    event: str
    content_type: str
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    received_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False, index=True))
    status: str
    flow_run_ids: dict[str, Any] = Field(
        sa_column=Column(JSONB, nullable=False), description="Ids of the runs that were started, by route."
    )
    attempts: int = 0
    next_attempt_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    last_error: str | None = None
