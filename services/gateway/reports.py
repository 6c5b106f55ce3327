"""`/api/reports`: every report that was stored, and what changed between two."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from fastapi import APIRouter, HTTPException, Query
from pydantic import Field

from models.report import Report, Status, Value
from tasks.reports.diff import ReportDiff, diff

if TYPE_CHECKING:
    from blocks.postgres import Postgres

T = TypeVar("T")

router = APIRouter(prefix="/api/reports", tags=["reports"])

_ABSENT: dict[int | str, dict[str, Any]] = {404: {"description": "There is none."}}


class ReportSummary(Value):
    """A report without its findings."""

    run_id: str = Field(description="The flow run's id.")
    capability: str = Field(description="What looked.")
    scope: str = Field(description="What was looked at.")
    status: Status = Field(description="What it adds up to.")
    summary: str = Field(description="One or two sentences.")
    host: str = Field(description="The machine that it was made on.")
    started_at: datetime = Field(description="When the looking began.")
    finished_at: datetime = Field(description="When the looking ended.")


@router.get("")
async def recent(
    capability: Annotated[str | None, Query(description="Only those of this capability.")] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="How many at most.")] = 20,
) -> list[ReportSummary]:
    """The newest reports, newest first."""

    def read(database: Postgres) -> list[ReportSummary]:
        from tasks.reports import store  # noqa: PLC0415

        rows = store.recent(database, capability=_storable(capability), limit=limit)
        fields = ReportSummary.model_fields
        return [ReportSummary.model_validate({name: getattr(row, name) for name in fields}) for row in rows]

    return await _read(read)


@router.get("/{run_id}", responses=_ABSENT)
async def one(run_id: str) -> dict[str, Any]:
    """One report, whole. Eight or more characters of its run's id will do."""
    return await _read(lambda database: _body(database, run_id))


@router.get("/{before}/diff/{after}", responses=_ABSENT)
async def between(before: str, after: str) -> ReportDiff:
    """What changed from the report of one run to that of another."""

    def read(database: Postgres) -> ReportDiff:
        earlier, later = (_plain(_body(database, run_id)) for run_id in (before, after))
        if earlier.capability != later.capability:
            raise HTTPException(409, f"{earlier.capability} and {later.capability} cannot be compared.")
        return diff(earlier, later)

    return await _read(read)


def _body(database: Postgres, run_id: str) -> dict[str, Any]:
    from tasks.reports import store  # noqa: PLC0415

    record = store.find(database, _storable(run_id) or "")
    if record is None:
        raise HTTPException(404, "There is no report of that run.")
    return record.body


def _plain(body: dict[str, Any]) -> Report:
    # A capability's report may have more than every report has; comparing needs what they share.
    return Report.model_validate({name: value for name, value in body.items() if name in Report.model_fields})


async def _read(read: Callable[[Postgres], T]) -> T:
    def in_thread() -> T:
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

        from blocks.postgres import Postgres  # noqa: PLC0415

        try:
            return read(Postgres.of())
        except SQLAlchemyError as error:
            raise HTTPException(503, "The database does not answer.") from error

    return await asyncio.to_thread(in_thread)


def _storable(text: str | None) -> str | None:
    # PostgreSQL's texts cannot hold this character, so nothing that is stored has it.
    return None if text is None else text.replace("\x00", "\ufffd")
