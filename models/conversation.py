"""What was said in conversations with language models: kept for the next question, and for so long only."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Column, DateTime, Identity, Index
from sqlmodel import Field, SQLModel

CONVERSATION = r"^[A-Za-z0-9][A-Za-z0-9._:@/-]{0,127}$"


class TurnRecord(SQLModel, table=True):
    """One thing that was said."""

    __tablename__ = "model_turn"
    __table_args__ = (
        Index("model_turn_conversation", "conversation", "id"),
        Index("model_turn_once", "conversation", "run_id", "role", unique=True),
    )

    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    conversation: str
    run_id: str = Field(description="The run that added it: a run that is repeated adds it once.")
    role: str
    content: str
    model: str | None = None
    said_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False, index=True))
