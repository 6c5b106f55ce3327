"""What one would otherwise write: a flow run a message. The same transformation, the same tables."""

from __future__ import annotations

from typing import Any

import psycopg
from prefect import flow

from blocks.database import dsn
from blocks.settings import settings
from models.handoff import Effect
from tasks.handoffs.crm_target import CrmTarget
from tasks.handoffs.functions import Context
from tasks.handoffs.lead import find_lead


@flow(name="hand-on-one", persist_result=False)
async def hand_on_one(message: dict[str, Any]) -> None:
    payload = find_lead(message, Context(region="DE", currency="EUR"))
    identifier = str(message["id"])
    async with await psycopg.AsyncConnection.connect(dsn(settings())) as connection:
        await CrmTarget().apply(connection, [Effect("peer", identifier, "c", 0, identifier, payload, 1)])
