"""The tables of what models predicted, what their rows looked like, and what came true."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Column, DateTime, Index, Integer
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field as ColumnField
from sqlmodel import SQLModel


class ProfileRecord(SQLModel, table=True):
    """What a version was trained on: the reference that its predictions are compared with."""

    __tablename__ = "model_profile"

    model: str = ColumnField(primary_key=True)
    version: int = ColumnField(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    body: dict[str, Any] = ColumnField(sa_column=Column(JSONB, nullable=False), description="A `Profile`.")
    kept_at: datetime = ColumnField(sa_column=Column(DateTime(timezone=True), nullable=False))


class BatchRecord(SQLModel, table=True):
    """Some rows that were predicted together: how many, and their sketch."""

    __tablename__ = "prediction_batch"
    __table_args__ = (
        Index("prediction_batch_window", "model", "version", "predicted_at"),
        Index("prediction_batch_age", "predicted_at"),
    )

    batch: UUID = ColumnField(primary_key=True)
    part: int = ColumnField(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    model: str
    version: int
    rows: int = ColumnField(sa_column=Column(BigInteger, nullable=False))
    predicted_at: datetime = ColumnField(sa_column=Column(DateTime(timezone=True), nullable=False))
    sketch: dict[str, Any] = ColumnField(sa_column=Column(JSONB, nullable=False), description="A `Sketch`.")


class PredictionRecord(SQLModel, table=True):
    """One prediction whose row has a key, so that the truth can find it."""

    __tablename__ = "prediction"
    __table_args__ = (
        Index("prediction_key", "model", "key", "predicted_at"),
        Index("prediction_age", "predicted_at"),
    )

    batch: UUID = ColumnField(primary_key=True)
    place: int = ColumnField(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    model: str
    version: int
    key: str
    predicted_at: datetime = ColumnField(sa_column=Column(DateTime(timezone=True), nullable=False))
    value: float | None = ColumnField(default=None, description="A number that was predicted.")
    label: str | None = ColumnField(default=None, description="A class that was.")
    low: float | None = None
    high: float | None = None
    confidence: float | None = ColumnField(default=None, description="Probability of the class.")


class TruthRecord(SQLModel, table=True):
    """What came true."""

    __tablename__ = "prediction_truth"
    __table_args__ = (Index("prediction_truth_age", "known_at"),)

    model: str = ColumnField(primary_key=True)
    key: str = ColumnField(primary_key=True)
    value: float | None = None
    label: str | None = None
    known_at: datetime = ColumnField(sa_column=Column(DateTime(timezone=True), nullable=False))
