"""Snapshots of an architecture in the database: the ones seen, and the ones that a person took as right."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import Connection, delete, text
from sqlalchemy import select as sql_select
from sqlalchemy import update as sql_update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col

from blocks.errors import ConfigurationError
from blocks.postgres import Postgres
from models.record import SnapshotRecord
from tasks.health_check.architecture.drift import View

KIND = "architecture"
_KEPT = 50  # snapshots a subject that nobody accepted
_NAMESPACE = UUID("6d6e3c0e-4b5a-4c0d-9d62-4f2f0b7c1a11")


def record(database: Postgres, views: dict[str, View], now: datetime) -> dict[str, View]:
    """Store what every subject looks like at `now`, and return what it was accepted as.

    Equal content is stored once, with the time it was last seen. What is seen first is taken as right.
    Two runs at once wait for each other, so that only one of them is first.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database cannot be used; nothing was stored.
    """
    engine = database.engine()
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('lama architecture'))"))
            return {subject: _record(connection, subject, view, now) for subject, view in views.items()}
    finally:
        engine.dispose()


def accept(database: Postgres, now: datetime, subjects: Iterable[str] | None = None) -> tuple[str, ...]:
    """Take what was seen last of `subjects` (of all, by default) as right; returns the subjects.

    Raises:
        ConfigurationError: one of `subjects` was never seen; nothing was accepted.
        sqlalchemy.exc.SQLAlchemyError: the database cannot be used.
    """
    engine = database.engine()
    try:
        with engine.begin() as connection:
            newest = _newest(connection)
            chosen = sorted(newest) if subjects is None else sorted(set(subjects))
            for subject in chosen:
                if subject not in newest:
                    known = ", ".join(sorted(newest)) or "none so far"
                    raise ConfigurationError(
                        f"no architecture of {subject!r} was seen yet.",
                        component="accept",
                        remedy=f"Run the health check first, or name one of {known}.",
                    )
                statement = sql_update(SnapshotRecord).where(col(SnapshotRecord.id) == newest[subject])
                connection.execute(statement.values(accepted_at=now))
            return tuple(chosen)
    finally:
        engine.dispose()


def _record(connection: Connection, subject: str, view: View, now: datetime) -> View:
    accepted = _accepted(connection, subject)
    digest = hashlib.blake2b(json.dumps(view, sort_keys=True).encode(), digest_size=32).hexdigest()
    values: dict[str, Any] = {
        "id": uuid5(_NAMESPACE, f"{KIND}\0{subject}\0{digest}"),
        "kind": KIND,
        "subject": subject,
        "content_hash": digest,
        "body": view,
        "recorded_at": now,
        "accepted_at": now if accepted is None else None,
    }
    statement = insert(SnapshotRecord).values(values)
    statement = statement.on_conflict_do_update(index_elements=["id"], set_={"recorded_at": now})
    connection.execute(statement)
    _prune(connection, subject)
    return view if accepted is None else accepted


def _accepted(connection: Connection, subject: str) -> View | None:
    statement = (
        sql_select(col(SnapshotRecord.body))
        .where(col(SnapshotRecord.kind) == KIND, col(SnapshotRecord.subject) == subject)
        .where(col(SnapshotRecord.accepted_at).is_not(None))
        .order_by(col(SnapshotRecord.accepted_at).desc())
        .limit(1)
    )
    body: View | None = connection.execute(statement).scalar()
    return body


def _newest(connection: Connection) -> dict[str, UUID]:
    statement = (
        sql_select(col(SnapshotRecord.subject), col(SnapshotRecord.id))
        .where(col(SnapshotRecord.kind) == KIND)
        .order_by(col(SnapshotRecord.recorded_at))  # of each subject, the last one stays in the dictionary
    )
    return {row.subject: row.id for row in connection.execute(statement)}


def _prune(connection: Connection, subject: str) -> None:
    old = sql_select(col(SnapshotRecord.id)).where(col(SnapshotRecord.accepted_at).is_(None))
    old = old.where(col(SnapshotRecord.kind) == KIND, col(SnapshotRecord.subject) == subject)
    old = old.order_by(col(SnapshotRecord.recorded_at).desc()).offset(_KEPT)
    connection.execute(delete(SnapshotRecord).where(col(SnapshotRecord.id).in_(old)))
