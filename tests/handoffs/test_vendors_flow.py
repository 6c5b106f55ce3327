"""Routes to WhatsApp and HubSpot as they are configured: blocks by name, the flow end to end."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from blocks.database import LAMA_DATABASE, dsn
from blocks.settings import Settings
from flows.handoffs import handoffs
from models.report import Status
from tasks.handoffs.inbox import rows, store
from tasks.handoffs.whatsapp import messages
from tests.handoffs import cloud_api, hubspot
from tests.handoffs.making import make_route
from tests.handoffs.test_whatsapp import delivery, text, value


async def test_a_message_with_a_picture_is_answered_becomes_a_contact_and_its_file_is_fetched(
    configured: Path, migrated: Settings
) -> None:
    name = f"v-{hashlib.sha256(str(configured).encode()).hexdigest()[:12]}"
    with configured.open("a") as file:
        file.write(
            f'[[handoffs.routes]]\nname = "{name}-r"\nsource = "whatsapp:whatsapp"\nmedia = "{name}"\n'
            'fields = { to = "from", text = "\'Thank you\'", reply_to = "id" }\n'
            f'target = {{ kind = "whatsapp", block = "{name}" }}\n'
            f'[[handoffs.routes]]\nname = "{name}-c"\nsource = "whatsapp:whatsapp"\nextract = "lead"\n'
            f'target = {{ kind = "crm", system = "hubspot", block = "{name}" }}\n'
        )
    picture = {**text("w1"), "type": "image", "image": {"id": "11", "mime_type": "image/jpeg", "caption": "a villa"}}
    came = messages("whatsapp:whatsapp", delivery(value(picture)))
    routes = [make_route(name=f"{name}-{end}", source="whatsapp:whatsapp") for end in "rc"]
    names = [f"{name}-r", f"{name}-c"]
    async with await psycopg.AsyncConnection.connect(dsn(migrated, LAMA_DATABASE), autocommit=True) as connection:
        await store(connection, rows(routes, came), datetime.now(UTC))
        before = await handoffs(routes=names, linger_s=0.0)
        assert before.status is Status.incomplete
        assert {"Lama WhatsApp" in one.reason or "Lama HubSpot" in one.reason for one in before.skipped} == {True}
        with cloud_api.running() as api, hubspot.running() as account:
            api.files["11"] = b"a picture"
            await api.block.model_copy(update={"media_hosts": ("127.0.0.1",)}).save(name)
            await account.block.save(name)
            report = await handoffs(routes=names, linger_s=0.0)
            assert report.status is Status.ok, report.skipped
            assert [(one["to"], one["context"]) for one in api.sent] == [("+491711234567", {"message_id": "w1"})]
            assert [one["lama_interest"] for one in account.contacts.values()] == ["villa"]
        cursor = await connection.execute("SELECT message_id FROM mail_attachment WHERE route = %s", (names[0],))
        assert await cursor.fetchall() == [("w1",)]
