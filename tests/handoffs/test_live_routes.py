"""Services that stay up take routes from blocks without a restart, and keep what they knew while Prefect is away."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from blocks.database import LAMA_DATABASE, dsn
from blocks.settings import Settings
from flows.handoffs import handoffs
from tests.conftest import free_port
from tests.gateway.running import RunningGateway, push
from tests.handoffs.making import Bench
from tests.handoffs.mcp_service import Service
from tests.handoffs.route_blocks import CRM, delete, delete_all, save
from tests.handoffs.shop import Shop
from tests.mail.receiving import RunningReceiver, mail
from tests.prefect_door import PrefectDoor, door

TOML = """
[handoffs]
refresh_s = 0.3
"""


@pytest.fixture
def way(migrated: Settings) -> Iterator[PrefectDoor]:
    with door(migrated) as made:
        yield made


@pytest.fixture
async def name(migrated: Settings) -> AsyncIterator[str]:
    yield f"b-{uuid.uuid4().hex[:12]}"
    await delete_all()


@pytest.fixture
def gateway(migrated: Settings, tmp_path: Path, way: PrefectDoor) -> Iterator[RunningGateway]:
    running = RunningGateway(tmp_path / "home", free_port(), dsn(migrated, LAMA_DATABASE), migrated, TOML)
    running.start(LAMA_PREFECT_API_URL=way.url)
    yield running
    running.stop()


async def until(holds: Callable[[], bool], why: Callable[[], str] = lambda: "") -> None:
    deadline = time.monotonic() + 20
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < deadline, why()
        await asyncio.sleep(0.1)


def arrive(gateway: RunningGateway) -> None:
    body = push() | {"from": "+491711234567", "text": "a flat in Berlin"}
    assert gateway.deliver(body).status_code == 202


def arrived(migrated: Settings, name: str) -> int:
    with psycopg.connect(dsn(migrated, LAMA_DATABASE)) as connection:
        row = connection.execute("SELECT count(*) FROM handoff_message WHERE route = %s", (name,)).fetchone()
        return int(row[0]) if row else 0


async def said(gateway: RunningGateway, words: str) -> None:
    await until(lambda: words in gateway.logged(), gateway.logged)


async def test_a_block_takes_messages_soon_after_it_is_made_and_none_when_it_is_gone(
    gateway: RunningGateway, migrated: Settings, name: str
) -> None:
    arrive(gateway)
    assert arrived(migrated, name) == 0
    fields = {"phone": "'+491711234567'", "text": "body.text"}
    await save(name, **CRM | {"extract": None, "fields": fields})
    await said(gateway, f"the route {name} of a block is there")
    arrive(gateway)
    assert arrived(migrated, name) == 1
    assert 'lama_handoff_routes{state="block"} 1.0' in gateway.api("/metrics").text
    report = await handoffs(routes=[name], linger_s=0.0)
    assert report.metrics[f"{name}.run_delivered_total"] == 1
    await save(name, **CRM | {"source": "webhook:nobody"})
    await said(gateway, f"{name}: source: ")
    arrive(gateway)
    assert arrived(migrated, name) == 2, "an edit that broke it loses nothing: it is stored, and waits"
    assert 'lama_handoff_routes{state="unusable"} 1.0' in gateway.api("/metrics").text
    await save(name, **CRM | {"extract": None, "fields": fields, "when": "`false`"})
    await said(gateway, f"the route {name} of a block is gone")
    await until(lambda: 'lama_handoff_routes{state="block"} 1.0' in gateway.api("/metrics").text)
    report = await handoffs(routes=[name], linger_s=0.0)
    assert report.metrics[f"{name}.run_delivered_total"] == 0, "what waited was looked at by the mended route"
    assert report.metrics[f"{name}.backlog_total"] == 0
    await delete(name)
    await until(lambda: 'lama_handoff_routes{state="block"} 0.0' in gateway.api("/metrics").text)
    arrive(gateway)
    assert arrived(migrated, name) == 2
    with gateway.client() as client:
        assert client.post(f"/webhooks/{name}", content=b"{}").status_code == 404


async def test_while_prefect_is_away_the_last_known_routes_hold_also_over_a_restart(
    gateway: RunningGateway, migrated: Settings, name: str, way: PrefectDoor
) -> None:
    await save(name, **CRM)
    await said(gateway, f"the route {name} of a block is there")
    way.shut()
    await said(gateway, "routes that are blocks stay as last seen (1)")
    arrive(gateway)
    assert arrived(migrated, name) == 1
    assert "lama_handoff_route_blocks_up 0.0" in gateway.api("/metrics").text
    gateway.kill()
    gateway.start(LAMA_PREFECT_API_URL=way.url)
    arrive(gateway)
    assert arrived(migrated, name) == 2
    await delete(name)
    way.open()
    await said(gateway, "routes that are blocks can be looked at again")
    await said(gateway, f"the route {name} of a block is gone")
    arrive(gateway)
    assert arrived(migrated, name) == 2
    assert gateway.logged().count("routes that are blocks stay as last seen") == 2, "said once each time"


async def test_mail_comes_to_a_block(migrated: Settings, database: str, tmp_path: Path, name: str) -> None:
    url = dsn(migrated, database)
    receiver = RunningReceiver(tmp_path, free_port(), url, {})
    with (tmp_path / "lama.toml").open("a") as file:
        file.write(TOML)
    receiver._environment["LAMA_PREFECT_API_URL"] = migrated.api_url
    receiver.start()
    try:
        await save(name, source="email:desk", extract="task", target={"kind": "board"})
        await until(lambda: f"the route {name} of a block is there" in receiver.logged(), receiver.logged)
        await asyncio.to_thread(receiver.send, mail())
        with psycopg.connect(url) as connection:
            taken = connection.execute("SELECT route FROM handoff_message ORDER BY route").fetchall()
        assert taken == [(name,), ("mail-to-board",)]
    finally:
        assert receiver.stop() in {0, -15}


async def test_tools_come_change_and_go_with_their_block_and_a_session_outlasts_it(
    bench: Bench, migrated: Settings, tmp_path: Path, name: str
) -> None:
    shop = Shop()
    service = Service(tmp_path / "home", free_port(), bench.url, shop.url)
    with (tmp_path / "home" / "lama.toml").open("a") as file:
        file.write(TOML)
    service._environment |= {"LAMA_PREFECT_API_URL": migrated.api_url, "PREFECT_API_URL": migrated.api_url}
    target: dict[str, Any] = {
        "kind": "api", "document": "shop.json", "url": shop.url, "operations": ["getOrder"],
        "allow_private": ["127.0.0.1"],
    }  # fmt: skip
    await asyncio.to_thread(service.start)
    try:
        async with service.client("legacy") as client:
            assert await _tools(client) == ["createOrder", "getOrder"]
            await save(name, source="mcp:shop", target=target)
            await until(lambda: "offers the tool" in service.log.read_text())
            assert await _tools(client) == ["createOrder", "getOrder"], "the file's tool holds"
            await save(name, source="mcp:more", target=target)
            await until(lambda: f"the route {name} of a block has changed" in service.log.read_text())
            await _there(service, "more", there=True)
            shop.place("k", {"number": 3})
            async with service.client("legacy", "more") as other:
                assert await _tools(other) == ["getOrder"]
                answer = await other.call_tool("getOrder", {"id": "1"})
                assert not answer.is_error, answer
                await save(name, source="mcp:more", target=target | {"operations": ["createOrder"]})
                await until(lambda: service.log.read_text().count("of a block has changed") == 2)
                await asyncio.sleep(0.3)
                assert await _tools(other) == ["createOrder"], "the same session"
            await delete(name)
            await _there(service, "more", there=False)
            assert await _tools(client) == ["createOrder", "getOrder"]
    finally:
        assert await asyncio.to_thread(service.end) in {0, -15}, service.log.read_text()
        shop.close()


async def _tools(client: Any) -> list[str]:
    return sorted(tool.name for tool in (await client.list_tools()).tools)


async def _there(service: Service, name: str, *, there: bool) -> None:
    import httpx

    headers = {"Authorization": f"Bearer {service.key}", "Accept": "application/json, text/event-stream"}

    def holds() -> bool:
        answer = httpx.post(f"{service.url}/mcp/{name}", json={}, headers=headers, trust_env=False)
        return (answer.status_code != 404) is there

    await until(holds, service.log.read_text)
