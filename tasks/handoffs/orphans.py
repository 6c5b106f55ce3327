"""Messages of routes that are there no more: nobody hands them on, so somebody has to hear of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import class_row

from models.report import Finding, Severity

# Each of these reads a partial index of what is not done, whatever there is besides.
_ORPHANS = """
SELECT route, count(*) FILTER (WHERE NOT dead) AS waiting, count(*) FILTER (WHERE dead) AS dead FROM (
    SELECT route, false AS dead FROM handoff_message WHERE state = 'waiting'
    UNION ALL SELECT route, true FROM handoff_message WHERE state = 'dead'
    UNION ALL SELECT route, false FROM handoff_effect WHERE state = 'pending'
    UNION ALL SELECT route, true FROM handoff_effect WHERE state = 'dead'
) AS left_over WHERE NOT route = ANY(%s) GROUP BY route ORDER BY route
"""


@dataclass(frozen=True)
class Orphan:
    """What is left of a route that is not there any more."""

    route: str
    waiting: int
    """Messages that nobody looks at, and effects that nobody delivers."""
    dead: int


async def orphans(connection: psycopg.AsyncConnection[Any], names: Sequence[str]) -> list[Orphan]:
    """Routes with messages that are not done and that are none of `names`, which are all that are configured."""
    async with connection.cursor(row_factory=class_row(Orphan)) as cursor:
        await cursor.execute(_ORPHANS, (list(names),))
        return await cursor.fetchall()


def finding(orphan: Orphan) -> Finding:
    """What somebody should know about `orphan`."""
    return Finding(
        key=f"handoffs.orphaned:{orphan.route}",
        severity=Severity.medium,
        component=orphan.route,
        title=f"There is no such route any more, and of its messages {orphan.waiting} wait and {orphan.dead} are dead "
        "letters.",
        remedy=f"Put the route back, or give them up with `lama handoffs discard {orphan.route} --all`.",
        evidence={"waiting": orphan.waiting, "dead": orphan.dead},
    )
