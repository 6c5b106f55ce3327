"""`/api/deliveries`: what came and what became of it, without bodies."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from psycopg.rows import class_row
from pydantic import AwareDatetime, Field

from models.report import Value
from models.webhook import DeliveryStatus
from services.connection import UNAVAILABLE, Connection

router = APIRouter(prefix="/api/deliveries", tags=["deliveries"])

_COLUMNS = """
source, delivery_id, event, content_type, octet_length(body) AS body_bytes, received_at, status, flow_run_ids, attempts,
CASE WHEN status = 'stored' THEN next_attempt_at END AS next_attempt_at, last_error
"""


class DeliveryView(Value):
    """A delivery as the API shows it."""

    source: str = Field(description="Who sent it.")
    delivery_id: str = Field(description="The sender's id of it.")
    event: str = Field(description="Name of the event; empty when it has none.")
    content_type: str = Field(description="As the sender said.")
    body_bytes: int = Field(description="Size of the body.")
    received_at: datetime = Field(description="When it came.")
    status: DeliveryStatus = Field(description="What became of it.")
    flow_run_ids: dict[str, str] = Field(description="Ids of the runs that it started, by route.")
    attempts: int = Field(description="Tries to start them.")
    next_attempt_at: datetime | None = Field(description="When the next try is due.")
    last_error: str | None = Field(description="Why the last try did not succeed.")


@router.get("")
async def recent(
    request: Request,
    source: Annotated[str | None, Query(description="Only those of this source.")] = None,
    status: Annotated[DeliveryStatus | None, Query(description="Only those in this state.")] = None,
    before: Annotated[AwareDatetime | None, Query(description="Only those that came before this time.")] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="How many at most.")] = 50,
) -> list[DeliveryView]:
    """The newest deliveries, newest first."""
    conditions = {"source = %(source)s": source, "status = %(status)s": status, "received_at < %(before)s": before}
    chosen = [condition for condition, value in conditions.items() if value is not None]
    where = f"WHERE {' AND '.join(chosen)}" if chosen else ""
    values = {
        "source": _storable(source or ""),
        "status": status.value if status else None,
        "before": before,
        "limit": limit,
    }
    statement = f"SELECT {_COLUMNS} FROM delivery {where} ORDER BY received_at DESC LIMIT %(limit)s"  # noqa: S608 - ours
    return await _rows(request, statement, values)


@router.get("/{source}/{delivery_id:path}", responses={404: {"description": "There is none."}})
async def one(source: str, delivery_id: str, request: Request) -> DeliveryView:
    """One delivery."""
    statement = f"SELECT {_COLUMNS} FROM delivery WHERE source = %(source)s AND delivery_id = %(delivery_id)s"  # noqa: S608
    found = await _rows(request, statement, _key(source, delivery_id))
    return _only(found)


@router.post(
    "/{source}/{delivery_id:path}/retry",
    status_code=202,
    responses={404: {"description": "There is none that failed."}},
)
async def retry(source: str, delivery_id: str, request: Request) -> DeliveryView:
    """Try a failed delivery once more. Runs that it did start are not started again."""
    statement = f"""
        UPDATE delivery SET status = 'stored', attempts = 0, next_attempt_at = clock_timestamp()
        WHERE source = %(source)s AND delivery_id = %(delivery_id)s AND status = 'failed' RETURNING {_COLUMNS}
    """  # noqa: S608 - no value in it
    view = _only(await _rows(request, statement, _key(source, delivery_id)))
    request.app.state.gateway.wake.set()
    return view


async def _rows(request: Request, statement: str, values: Mapping[str, object]) -> list[DeliveryView]:
    connection: Connection = request.app.state.gateway.reads
    try:
        async with (
            connection.use() as open_connection,
            open_connection.cursor(row_factory=class_row(DeliveryView)) as cursor,
        ):
            await cursor.execute(statement.encode(), values)
            return await cursor.fetchall()
    except UNAVAILABLE as error:
        raise HTTPException(503, "The database does not answer.") from error


def _key(source: str, delivery_id: str) -> dict[str, object]:
    return {"source": _storable(source), "delivery_id": _storable(delivery_id)}


def _storable(text: str) -> str:
    # PostgreSQL's texts cannot hold this character, so nothing that is stored has it.
    return text.replace("\x00", "\ufffd")


def _only(found: list[DeliveryView]) -> DeliveryView:
    if not found:
        raise HTTPException(404, "There is no such delivery.")
    return found[0]
