"""Learned weights in our own database."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from models.qualify import Weights
from tasks.qualify.learn import Learned

_KEEP = """
INSERT INTO crm_weights (run_id, learned_at, weights, comparison, in_use) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (run_id) DO NOTHING
"""

_NEWEST = "SELECT weights FROM crm_weights WHERE in_use ORDER BY id DESC LIMIT 1"


async def keep(connection: psycopg.AsyncConnection[Any], learned: Learned, *, run_id: str, at: datetime) -> None:
    """Keep what was learned; it is used where it was better than the rules beyond noise."""
    weights, comparison = learned.weights.model_dump(mode="json"), learned.comparison.model_dump(mode="json")
    await connection.execute(_KEEP, (run_id, at, Jsonb(weights), Jsonb(comparison), learned.comparison.better))


async def in_use(connection: psycopg.AsyncConnection[Any]) -> Weights | None:
    """The newest weights that were better than the rules; None: there are none."""
    row = await (await connection.execute(_NEWEST)).fetchone()
    return None if row is None else Weights.model_validate(row[0])
