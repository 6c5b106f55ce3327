"""Statuses of messages that we sent, by a real gateway: heard whether or not a route takes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from blocks.database import dsn
from blocks.settings import Settings
from tasks.handoffs.transform import idempotency_key
from tests.conftest import free_port
from tests.gateway.running import RunningGateway
from tests.handoffs.test_arrivals import SECRET, deliver
from tests.handoffs.test_whatsapp import delivery, value

TOML = """
[[handoffs.routes]]
name = "replies"
source = "webhook:github"
target = { kind = "whatsapp" }
"""
SENT = """
WITH message AS (
    INSERT INTO handoff_message (route, message_id, source, conversation, received_at, content_type, raw, attributes,
                                 state, given, valid, required, filled)
    VALUES ('replies', 'm1', 'webhook:github', 'c', now(), 'x', 'x', '{}', 'accepted', 0, 0, 0, 0) RETURNING seq)
INSERT INTO handoff_effect (route, message_id, seq, conversation, idempotency_key, payload, state, attempts,
                            next_attempt_at, lease_until)
SELECT 'replies', 'm1', seq, 'c', %s, '{}', 'pending', 1, now(), now() + interval '10 min' FROM message
"""


@pytest.fixture
def gateway(migrated: Settings, database: str, tmp_path: Path) -> Iterator[RunningGateway]:
    running = RunningGateway(tmp_path / "home", free_port(), dsn(migrated, database), migrated, TOML)
    running.set_secrets("whatsapp", SECRET)
    running.start()
    yield running
    running.stop()


def test_a_status_that_gives_back_a_key_settles_its_message(
    gateway: RunningGateway, migrated: Settings, database: str
) -> None:
    key = idempotency_key("replies", "m1")

    def told(state: str, **more: Any) -> dict[str, Any]:
        known = {"id": "wamid.1", "recipient_id": "491711234567", "timestamp": "1700000001", "status": state}
        return delivery(value(statuses=[known | {"biz_opaque_callback_data": key} | more]))

    with psycopg.connect(dsn(migrated, database), autocommit=True) as connection:
        connection.execute(SENT, (key,))

        def stands() -> tuple[Any, ...] | None:
            return connection.execute("SELECT state, reference, last_error FROM handoff_effect").fetchone()

        assert deliver(gateway, told("sent"), secret="another").status_code == 401
        assert stands() == ("pending", None, None)
        for _ in range(2):
            assert deliver(gateway, told("sent")).is_success
            assert stands() == ("delivered", "wamid.1", None)
        assert deliver(gateway, told("failed", errors=[{"code": 131026}])).is_success
        state, _, reason = stands() or ("", "", "")
        assert (state, reason) == (
            "dead", "WhatsApp: the recipient cannot be reached by WhatsApp, or has not accepted its terms (131026)",
        )  # fmt: skip
