"""The tables in which a device remembers what it synced."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, BigInteger, Column, DateTime, Identity, Index, Integer, LargeBinary, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field as ColumnField
from sqlmodel import SQLModel


class CategoryRecord(SQLModel, table=True):
    """What a device remembers of a category between two runs."""

    __tablename__ = "sync_category"

    device: str = ColumnField(primary_key=True)
    category: str = ColumnField(primary_key=True)
    state: dict[str, Any] = ColumnField(sa_column=Column(JSONB, nullable=False), description="But for the tree.")
    saved_at: datetime = ColumnField(sa_column=Column(DateTime(timezone=True), nullable=False))


class ShardRecord(SQLModel, table=True):
    """A piece of a device's tree: the paths of some directories, compressed."""

    __tablename__ = "sync_shard"

    device: str = ColumnField(primary_key=True)
    category: str = ColumnField(primary_key=True)
    shard: int = ColumnField(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    content: bytes = ColumnField(sa_column=Column(LargeBinary, nullable=False))


class DoneRecord(SQLModel, table=True):
    """What was done to which paths; committed with the tree that says so."""

    __tablename__ = "sync_done"
    __table_args__ = (Index("sync_done_category", "device", "category", "id"),)

    id: int | None = ColumnField(default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    device: str
    category: str
    run: str
    at: datetime = ColumnField(sa_column=Column(DateTime(timezone=True), nullable=False))
    what: str
    paths: list[str] = ColumnField(sa_column=Column(ARRAY(String), nullable=False))


class DeviceRecord(SQLModel, table=True):
    """What a device remembers of the store."""

    __tablename__ = "sync_device"

    device: str = ColumnField(primary_key=True)
    counters: dict[str, Any] = ColumnField(
        sa_column=Column(JSONB, nullable=False), description="By device and category the newest manifest that was seen."
    )
    collected_at: datetime | None = ColumnField(
        default=None,
        sa_column=Column(DateTime(timezone=True)),
        description="When objects that nobody names were last removed.",
    )
