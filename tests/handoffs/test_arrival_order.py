"""Deliveries that come together are stored in the order in which they came."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from models.webhook import DeliveryStatus
from services.connection import Connection
from services.gateway.intake import Arrival, Intake
from services.gateway.measures import Measures
from tests.handoffs.making import Bench, make_message


async def test_messages_of_one_commit_keep_the_order_of_their_arrival(bench: Bench) -> None:
    connection = Connection(bench.url)
    intake = Intake(connection, Measures())
    arrivals = [
        Arrival(
            source="shop",
            delivery_id=f"d{9 - number}",
            fingerprint=None,
            event="order",
            content_type="application/json",
            body=b"{}",
            received_at=datetime.now(UTC),
            status=DeliveryStatus.handed_on,
            messages=(("orders", make_message(number)),),
        )
        for number in range(9)
    ]
    waiting = [asyncio.create_task(intake.store(arrival)) for arrival in arrivals]
    await asyncio.sleep(0)
    running = asyncio.create_task(intake.run())
    assert await asyncio.gather(*waiting) == [True] * 9
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await connection.close()
    stored = await bench.rows("SELECT message_id FROM handoff_message ORDER BY seq")
    assert [row[0] for row in stored] == [f"m{number}" for number in range(9)]
