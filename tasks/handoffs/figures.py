"""How well a route does: accuracy, completeness, timeliness, share of success, backlog. One query for all routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg

from models.handoff_route import Route
from models.report import Finding, Severity

_LEAST = 10
"""Messages below which a share says nothing."""

# What is settled within the window, and all that still waits however old it is.
_WINDOW = """
SELECT message.route,
       count(*) FILTER (WHERE message.state IN ('accepted', 'dead')) AS taken,
       count(*) FILTER (WHERE effect.state = 'delivered') AS delivered,
       count(*) FILTER (WHERE message.state = 'dead' OR effect.state = 'dead') AS dead,
       count(*) FILTER (WHERE message.state = 'ignored') AS ignored,
       count(*) FILTER (WHERE effect.delivered_at - message.received_at <= timely.limit_s * interval '1 second')
           AS in_time,
       coalesce(sum(message.given) FILTER (WHERE message.state IN ('accepted', 'dead')), 0) AS given,
       coalesce(sum(message.valid) FILTER (WHERE message.state IN ('accepted', 'dead')), 0) AS valid,
       coalesce(sum(message.required) FILTER (WHERE message.state IN ('accepted', 'dead')), 0) AS required,
       coalesce(sum(message.filled) FILTER (WHERE message.state IN ('accepted', 'dead')), 0) AS filled,
       percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (
           ORDER BY extract(epoch FROM effect.delivered_at - message.received_at)::float8) AS latency
FROM unnest(%(routes)s::text[], %(timely)s::float8[]) AS timely (route, limit_s)
JOIN handoff_message AS message ON message.route = timely.route AND message.received_at > now() - %(window)s
LEFT JOIN handoff_effect AS effect ON effect.route = message.route AND effect.message_id = message.message_id
GROUP BY message.route
"""

_WAITING = """
SELECT route, count(*), extract(epoch FROM clock_timestamp() - min(received_at))::float8 FROM (
    SELECT route, received_at FROM handoff_message WHERE state = 'waiting' AND route = ANY(%(routes)s)
    UNION ALL
    SELECT effect.route, message.received_at FROM handoff_effect AS effect
    JOIN handoff_message AS message USING (route, message_id)
    WHERE effect.state = 'pending' AND effect.route = ANY(%(routes)s)
) AS waiting GROUP BY route
"""

_DEAD = """
SELECT message.route, count(*), count(*) FILTER (WHERE message.received_at < now() - make_interval(secs => kept.for_s))
FROM unnest(%(routes)s::text[], %(kept)s::float8[]) AS kept (route, for_s)
JOIN (SELECT route, message_id FROM handoff_message WHERE state = 'dead'
      UNION SELECT route, message_id FROM handoff_effect WHERE state = 'dead') AS dead ON dead.route = kept.route
JOIN handoff_message AS message ON message.route = dead.route AND message.message_id = dead.message_id
GROUP BY message.route
"""


@dataclass(frozen=True)
class Standing:
    """The figures of one route."""

    route: str
    taken: int = 0
    """Messages of the window that the filter let through and that were looked at."""
    delivered: int = 0
    dead: int = 0
    ignored: int = 0
    in_time: int = 0
    given: int = 0
    valid: int = 0
    required: int = 0
    filled: int = 0
    p50_s: float | None = None
    """Seconds from arrival to delivery."""
    p95_s: float | None = None
    backlog: int = 0
    """Messages that are not delivered yet, of any age."""
    oldest_s: float = 0.0
    """Age of the oldest of them."""
    dead_letters: int = 0
    """Dead letters of any age that nobody has dealt with."""
    overdue: int = 0
    """Those of them that are older than their route keeps what is done."""

    @property
    def settled(self) -> int:
        """Messages of the window of which it is known how they ended."""
        return self.delivered + self.dead

    @property
    def share(self) -> float | None:
        """Share of settled messages that were delivered; None: nothing is settled."""
        return _share(self.delivered, self.settled)

    @property
    def accuracy(self) -> float | None:
        """Share of the fields that messages gave that were valid."""
        return _share(self.valid, self.given)

    @property
    def completeness(self) -> float | None:
        """Share of required fields that were filled."""
        return _share(self.filled, self.required)

    @property
    def timeliness(self) -> float | None:
        """Share of delivered messages that were delivered in time."""
        return _share(self.in_time, self.delivered)


async def standings(
    connection: psycopg.AsyncConnection[Any], routes: Sequence[Route], *, window: timedelta
) -> list[Standing]:
    """How each of `routes` did over the `window` that ends now, in their order."""
    asked = {
        "routes": [route.name for route in routes],
        "timely": [route.success.timely_s for route in routes],
        "window": window,
        "kept": [route.retention_days * 86_400.0 for route in routes],
    }
    windowed = {row[0]: row[1:] for row in await _rows(connection, _WINDOW, asked)}
    waiting = {row[0]: row[1:] for row in await _rows(connection, _WAITING, asked)}
    dead = {row[0]: row[1:] for row in await _rows(connection, _DEAD, asked)}
    found = []
    for route in routes:
        taken, delivered, dead_now, ignored, in_time, given, valid, required, filled, latency = windowed.get(
            route.name, (0, 0, 0, 0, 0, 0, 0, 0, 0, None)
        )
        backlog, oldest = waiting.get(route.name, (0, 0.0))
        p50, p95 = latency or (None, None)
        letters, overdue = dead.get(route.name, (0, 0))
        found.append(
            Standing(
                route.name,
                taken=taken,
                delivered=delivered,
                dead=dead_now,
                ignored=ignored,
                in_time=in_time,
                given=given,
                valid=valid,
                required=required,
                filled=filled,
                p50_s=p50,
                p95_s=p95,
                backlog=backlog,
                oldest_s=oldest,
                dead_letters=letters,
                overdue=overdue,
            )
        )
    return found


def findings(route: Route, standing: Standing) -> list[Finding]:
    """What somebody should know about `route`."""
    found = []
    if standing.dead_letters:
        found.append(
            Finding(
                key=f"handoffs.dead:{route.name}",
                severity=Severity.medium,
                component=route.name,
                title="1 dead letter waits for a person."
                if standing.dead_letters == 1
                else f"{standing.dead_letters} dead letters wait for a person.",
                remedy=f"Look with `lama handoffs dead {route.name}`, mend with `edit`, and `resend`.",
                evidence={"dead_letters": standing.dead_letters},
            )
        )
    if standing.overdue:
        found.append(
            Finding(
                key=f"handoffs.overdue:{route.name}",
                severity=Severity.medium,
                component=route.name,
                title=f"Dead letters that are older than the {route.retention_days:g} days that messages are kept: "
                f"{standing.overdue}.",
                detail="They hold what people wrote until somebody has dealt with them.",
                remedy=f"Send them, or give them up with `lama handoffs discard {route.name}`.",
                evidence={"overdue": standing.overdue, "retention_days": route.retention_days},
            )
        )
    late = max(10 * route.success.timely_s, 600.0)
    if standing.backlog and standing.oldest_s > late:
        found.append(
            Finding(
                key=f"handoffs.backlog:{route.name}",
                severity=Severity.high,
                component=route.name,
                title=f"{standing.backlog} messages wait, the oldest for {standing.oldest_s / 60:.0f} minutes.",
                remedy="See the last error with `lama handoffs show`; the target may be away.",
                evidence={"backlog": standing.backlog, "oldest_seconds": round(standing.oldest_s)},
            )
        )
    if standing.settled >= _LEAST:
        for name, value, limit in _criteria(route, standing):
            if value is not None and value < limit:
                found.append(
                    Finding(
                        key=f"handoffs.{name}:{route.name}",
                        severity=Severity.medium,
                        component=route.name,
                        title=f"{_WORDS[name]} is {value:.1%}, and should be at least {limit:.0%}.",
                        evidence={name: round(value, 4), "limit": limit, "messages": standing.settled},
                    )
                )
    return found


def metrics(standing: Standing) -> Mapping[str, float]:
    """The figures by name, for the report."""
    named = {
        "settled_total": standing.settled,
        "delivered_total": standing.delivered,
        "dead_total": standing.dead,
        "ignored_total": standing.ignored,
        "backlog_total": standing.backlog,
        "oldest_seconds": standing.oldest_s,
        "dead_letters_total": standing.dead_letters,
        "overdue_total": standing.overdue,
        "success_ratio": standing.share,
        "accuracy_ratio": standing.accuracy,
        "completeness_ratio": standing.completeness,
        "timeliness_ratio": standing.timeliness,
        "latency_p50_seconds": standing.p50_s,
        "latency_p95_seconds": standing.p95_s,
    }
    return {f"{standing.route}.{name}": float(value) for name, value in named.items() if value is not None}


_WORDS = {
    "success": "The share of messages that are delivered",
    "accuracy": "The share of given fields that are valid",
    "completeness": "The share of required fields that are filled",
    "timeliness": "The share of messages that are delivered in time",
}


def _criteria(route: Route, standing: Standing) -> list[tuple[str, float | None, float]]:
    return [
        ("success", standing.share, route.success.share),
        ("accuracy", standing.accuracy, route.success.accuracy),
        ("completeness", standing.completeness, route.success.completeness),
        ("timeliness", standing.timeliness, route.success.timeliness),
    ]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


async def _rows(
    connection: psycopg.AsyncConnection[Any], statement: str, asked: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    return await (await connection.execute(statement.encode(), asked)).fetchall()
