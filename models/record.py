"""The tables that every capability shares: reports as they were given, and snapshots of what was seen."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Column, DateTime, Index, desc
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel


class ReportRecord(SQLModel, table=True):
    """One report. The columns are what is filtered and sorted by; `body` is the whole of it."""

    __tablename__ = "report"
    __table_args__ = (Index("report_latest", "capability", "scope", desc("finished_at")),)

    run_id: str = Field(primary_key=True, description="The flow run's id; storing it again replaces it.")
    capability: str = Field(index=True)
    scope: str
    status: str
    summary: str
    host: str = Field(description="The machine that it was made on.")
    started_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    finished_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False, index=True))
    body: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))


class SnapshotRecord(SQLModel, table=True):
    """What something looked like at one moment, kept so that drift from the accepted one can be seen."""

    __tablename__ = "snapshot"
    __table_args__ = (Index("snapshot_latest", "kind", "subject", desc("recorded_at")),)

    id: UUID = Field(primary_key=True)
    kind: str = Field(description="What sort of thing, such as `architecture`.")
    subject: str = Field(description="Which one: a host, a checkout.")
    content_hash: str = Field(description="BLAKE2b of the canonical body; equal content is stored once.")
    body: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    recorded_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    accepted_at: datetime | None = Field(
        default=None, sa_column=Column(DateTime(timezone=True)), description="When a person took it as right."
    )
