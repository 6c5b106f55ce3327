"""Reports in the database: stored whole, found again by run, capability and scope."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, desc, select

from blocks.postgres import Postgres
from blocks.settings import settings
from models.record import ReportRecord
from models.report import Report
from models.report_kinds import read_report

R = TypeVar("R", bound=Report)


def save(database: Postgres, report: Report) -> None:
    """Store `report`; storing a run again replaces what it said before, so a retry is harmless."""
    values: dict[str, Any] = {
        "run_id": report.run_id,
        "capability": report.capability,
        "scope": report.scope,
        "status": report.status.value,
        "summary": report.summary,
        "host": settings().node,
        "started_at": report.started_at,
        "finished_at": report.finished_at,
        "body": report.model_dump(mode="json"),
    }
    statement = insert(ReportRecord).values(values)
    statement = statement.on_conflict_do_update(
        index_elements=["run_id"],
        set_={name: statement.excluded[name] for name in values if name != "run_id"},
    )
    engine = database.engine()
    try:
        with engine.begin() as connection:
            connection.execute(statement)
    finally:
        engine.dispose()


def load(database: Postgres, run_id: str, cls: type[R]) -> R | None:
    """The report of `run_id`, which has to be a `cls`, or None. A unique prefix of eight characters or more will do."""
    return _read(find(database, run_id), cls)


def find(database: Postgres, run_id: str) -> ReportRecord | None:
    """The stored row of `run_id`, or None. A unique prefix of eight characters or more will do."""
    with _session(database) as session:
        statement = select(ReportRecord).where(col(ReportRecord.run_id) == run_id)
        record = session.exec(statement).first()
        if record is None and len(run_id) >= 8:
            found = session.exec(
                select(ReportRecord).where(col(ReportRecord.run_id).startswith(run_id, autoescape=True)).limit(2)
            ).all()
            record = found[0] if len(found) == 1 else None
        return record


def latest(
    database: Postgres, capability: str, cls: type[R], *, scope: str | None = None, before: str | None = None
) -> R | None:
    """The newest report of `capability` (and `scope`, when given), other than that of the run `before`."""
    statement = select(ReportRecord).where(col(ReportRecord.capability) == capability)
    if scope is not None:
        statement = statement.where(col(ReportRecord.scope) == scope)
    if before is not None:
        statement = statement.where(col(ReportRecord.run_id) != before)
    with _session(database) as session:
        record = session.exec(statement.order_by(desc(ReportRecord.finished_at)).limit(1)).first()
        return _read(record, cls)


def recent(database: Postgres, *, capability: str | None = None, limit: int = 20) -> Sequence[ReportRecord]:
    """The newest reports, newest first."""
    statement = select(ReportRecord).order_by(desc(ReportRecord.finished_at)).limit(limit)
    if capability is not None:
        statement = statement.where(col(ReportRecord.capability) == capability)
    with _session(database) as session:
        return session.exec(statement).all()


def _read(record: ReportRecord | None, cls: type[R]) -> R | None:
    if record is None:
        return None
    report = read_report(record.body)
    if not isinstance(report, cls):
        raise TypeError(f"the report of run {record.run_id} is a {type(report).__name__}, not a {cls.__name__}")
    return report


@contextlib.contextmanager
def _session(database: Postgres) -> Iterator[Session]:
    engine = database.engine()
    try:
        with Session(engine, expire_on_commit=False) as session:
            yield session
    finally:
        engine.dispose()
