"""The board: tasks that came out of messages, and what was said about each since."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime
from pydantic import Field as ValueField
from sqlalchemy import BigInteger, Column, Date, DateTime, ForeignKey, Identity, Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from models.report import Value


class TaskState(StrEnum):
    """How far a task is."""

    open = "open"
    doing = "doing"
    done = "done"
    dropped = "dropped"

    @property
    def ended(self) -> bool:
        """Whether nobody works on it any more."""
        return self in {TaskState.done, TaskState.dropped}


class Priority(StrEnum):
    """How soon somebody should look."""

    urgent = "urgent"
    high = "high"
    normal = "normal"
    low = "low"


class FileOf(Value):
    """A file that came with a message."""

    name: str = ValueField(max_length=200, description="As its sender calls it.")
    content_type: str = ValueField(default="application/octet-stream", max_length=200, description="Media type.")
    size: int = ValueField(default=0, ge=0, description="Bytes.")
    sha256: str = ValueField(pattern=r"^[0-9a-f]{64}$", description="Digest of its content.")


class NewTask(Value):
    """What a message asks for. The payload of routes that lead to the board."""

    title: str = ValueField(min_length=1, max_length=300, description="What it is about.")
    description: str | None = ValueField(default=None, max_length=200_000, description="What is to be done.")
    priority: Priority = ValueField(default=Priority.normal, description="How soon somebody should look.")
    tags: tuple[str, ...] = ValueField(default=(), max_length=50, description="What it belongs to.")
    due: date | None = ValueField(default=None, description="When it has to be done.")
    requester: str | None = ValueField(default=None, max_length=320, description="Who asks: an address or a number.")
    requester_name: str | None = ValueField(default=None, max_length=200, description="And their name.")
    occurred_at: AwareDatetime | None = ValueField(default=None, description="When it was said.")
    references: tuple[str, ...] = ValueField(
        default=(), max_length=200, description="Ids of earlier messages of the same conversation."
    )
    id: str | None = ValueField(default=None, max_length=1000, description="The id that answers refer to.")
    attachments: tuple[FileOf, ...] = ValueField(default=(), max_length=500, description="Files that came with it.")
    evidence: dict[str, Any] = ValueField(
        default_factory=dict, description="For each field that was looked for: where it stands."
    )


class TaskRecord(SQLModel, table=True):
    """A task. One for each conversation of a route."""

    __tablename__ = "board_task"
    __table_args__ = (
        Index("board_task_thread", "route", "thread", unique=True),
        Index("board_task_state", "state", "due"),
    )

    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    route: str = Field(description="That brought it; empty: a person.")
    thread: str = Field(description="The conversation.")
    title: str
    description: str | None = None
    state: str = Field(description="A `TaskState`.")
    priority: str = Field(description="A `Priority`.")
    tags: list[str] = Field(sa_column=Column(JSONB, nullable=False))
    due: date | None = Field(default=None, sa_column=Column(Date))
    requester: str | None = None
    requester_name: str | None = None
    assignee: str | None = None
    created_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    updated_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))


class EntryRecord(SQLModel, table=True):
    """Something that was said or done about a task: one row a message, however often it is handed on."""

    __tablename__ = "board_entry"
    __table_args__ = (
        Index("board_entry_task", "task_id", "id"),
        Index("board_entry_mail", "route", "mail_id"),
        Index("board_entry_message", "route", "message_id"),
    )

    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    reference: str = Field(unique=True, description="The idempotency key of the handoff.")
    task_id: int = Field(sa_column=Column(BigInteger, ForeignKey("board_task.id", ondelete="CASCADE"), nullable=False))
    route: str
    message_id: str | None = Field(default=None, description="The natural id of the message.")
    mail_id: str | None = Field(default=None, description="The id that answers refer to.")
    author: str | None = None
    text: str | None = None
    changes: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False), description="Fields that it changed.")
    attachments: list[dict[str, Any]] = Field(sa_column=Column(JSONB, nullable=False))
    occurred_at: datetime | None = Field(default=None, sa_column=Column(DateTime(timezone=True)))
    recorded_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
