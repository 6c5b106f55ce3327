"""A tool call that arrives by MCP is one HTTP call, whatever goes wrong; whoever asks again is given its answer."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp.shared.exceptions import MCPError

from blocks.configuration import load_configuration
from blocks.settings import Settings
from deployments.programs import programs
from tasks.handoffs.routes import target_of
from tests.conftest import free_port
from tests.handoffs.making import Bench
from tests.handoffs.mcp_service import Service, told
from tests.handoffs.shop import Shop

NewService = Callable[..., Service]
INITIALIZE = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}  # fmt: skip


@pytest.fixture
def shop() -> Iterator[Shop]:
    server = Shop()
    yield server
    server.close()


@pytest.fixture
def new_service(bench: Bench, shop: Shop, tmp_path: Path) -> Iterator[NewService]:
    """Makes services, started, on the database of this test."""
    made: list[Service] = []

    def make(**route: Any) -> Service:
        made.append(Service(tmp_path / f"home{len(made)}", free_port(), bench.url, shop.url, **route))
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.end()


def order(number: int, **more: Any) -> dict[str, Any]:
    return {"body": {"number": number, **more}}


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_call_becomes_a_request_and_the_answer_what_the_route_makes_of_it(
    new_service: NewService, shop: Shop, mode: str
) -> None:
    service = new_service()
    async with service.client(mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        placed = await client.call_tool("createOrder", order(7) | {"X-Note": "please"})
        seen = await client.call_tool("getOrder", {"id": "a/b c?#", "fields": ["x", "y&z"]})
        again = await client.call_tool("createOrder", order(7))
    assert set(tools) == {"createOrder", "getOrder"}, "what is not allowed is not offered"
    assert tools["createOrder"].description == "Place an order."
    assert tools["createOrder"].input_schema["$defs"]["Order"]["properties"]["note"]["type"] == ["string", "null"]
    assert told(placed) == '{"id":1,"number":7}'
    assert placed.structured_content["status"] == 201
    assert told(seen) == '{"path":"/orders/a%2Fb%20c%3F%23?fields=x&fields=y%26z"}'
    assert told(again) == '{"id":2,"number":7}', "without a key each call is one of its own"
    method, path, headers = shop.requests[0]
    assert (method, path, headers["x-note"]) == ("POST", "/orders", "please")
    assert headers["idempotency-key"] in shop.orders


async def test_the_same_key_is_one_order_however_often_and_from_wherever_it_is_asked(
    new_service: NewService, shop: Shop, bench: Bench
) -> None:
    first, second = new_service(), new_service()
    async with first.client("legacy") as one, second.client() as other:
        calls = [
            client.call_tool("createOrder", order(1, note="x"), meta={"idempotencyKey": "k"})
            for client in (one, other) for _ in range(4)
        ]  # fmt: skip
        answers = await asyncio.gather(*calls)
        different = await other.call_tool("createOrder", order(2), meta={"idempotencyKey": "k"})
        answer_id = answers[0].structured_content["id"]
        by_id = await other.call_tool("createOrder", order(1, note="x"), meta={"idempotencyKey": answer_id})
    assert {told(answer) for answer in [*answers, by_id]} == {'{"id":1,"number":1}'}
    assert told(different) == '{"id":2,"number":2}', "other arguments are another call"
    assert len(shop.requests) == 2
    assert await bench.rows("SELECT count(*), min(state) FROM handoff_effect") == [(2, "delivered")]


async def test_bad_arguments_and_unknown_tools_are_refused_before_anything_is_stored(
    new_service: NewService, shop: Shop, bench: Bench
) -> None:
    service = new_service()
    bad: list[tuple[str, dict[str, Any], str]] = [
        ("createOrder", {}, "lacks body"),
        ("createOrder", order(-1), "must be at least 0"),
        ("createOrder", order(1) | {"more": 1}, "fields that are not in the schema"),
        ("createOrder", order(1) | {"X-Note": "a\r\nX-Other: b"}, "no header can"),
        ("createOrder", order(1, note="a\x00"), "cannot be stored"),
        ("createOrder", order(1, how="x" * 2000), "more than 2000"),
        ("getOrder", {"id": "../admin"}, "another path"),
        ("getOrder", {"id": ""}, "is empty"),
    ]
    async with service.client() as client:
        for tool, arguments, words in bad:
            refused = await client.call_tool(tool, arguments)
            assert refused.is_error
            assert words in told(refused), told(refused)
        refused = await client.call_tool("getOrder", {"id": "1"}, meta={"idempotencyKey": "x" * 300})
        assert "is not a text of 1 to 200" in told(refused)
        for tool in ("dropOrder", "nothing"):
            with pytest.raises(MCPError, match="there is no tool"):
                await client.call_tool(tool, {"id": "1"})
    assert shop.requests == []
    assert await bench.rows("SELECT count(*) FROM handoff_message") == [(0,)]


async def test_only_those_with_the_key_may_ask_and_no_page_of_another_site(new_service: NewService) -> None:
    service = new_service()
    accepted = {"Accept": "application/json, text/event-stream", "Authorization": f"Bearer {service.key}"}
    cases: list[tuple[dict[str, str], int]] = [
        ({}, 200),
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": f"http://localhost:{service.port}"}, 200),
        ({"Host": "evil.example"}, 421),
        ({"Host": f"127.0.0.1.evil.example:{service.port}"}, 421),
    ]
    async with httpx.AsyncClient(trust_env=False) as client:
        for headers, status in cases:
            answer = await client.post(f"{service.url}/mcp/shop", json=INITIALIZE, headers=accepted | headers)
            assert answer.status_code == status, headers
        large = await client.post(f"{service.url}/mcp/shop", content=b"x" * 50_000, headers=accepted)
        assert large.status_code == 413
        assert (await client.post(f"{service.url}/mcp/other", json=INITIALIZE, headers=accepted)).status_code == 404
    assert stat.S_IMODE((service.home / "secrets" / "mcp.key").stat().st_mode) == 0o600
    assert service.key not in service.log.read_text()


async def test_what_is_refused_for_good_is_an_answer_and_a_private_address_a_dead_letter(
    new_service: NewService, shop: Shop, bench: Bench
) -> None:
    async with new_service().client() as client:
        missing = await client.call_tool("getOrder", {"id": "none"}, meta={"idempotencyKey": "k"})
        again = await client.call_tool("getOrder", {"id": "none"}, meta={"idempotencyKey": "k"})
        conflict = await client.call_tool("createOrder", order(1, how="conflict"))
        large = await client.call_tool("getOrder", {"id": "large-95000"})
        larger = await client.call_tool("getOrder", {"id": "large-1500000"})
    assert missing.is_error
    assert told(missing) == told(again) == 'getOrder answered 404. {"why":"there is no such order"}'
    assert "sold out" in told(conflict)
    assert "more than 90000: that is too large" in told(large)
    assert "more than 1000000 bytes: that is too large" in told(larger)
    assert large.is_error
    assert await bench.rows("SELECT count(*) FROM handoff_effect WHERE state <> 'delivered'") == [(0,)]
    made = len(shop.requests)
    async with new_service(private="").client() as client:
        private = await client.call_tool("getOrder", {"id": "1"})
    assert private.is_error
    assert "not public" in told(private)
    assert len(shop.requests) == made
    assert await bench.rows("SELECT count(*) FROM handoff_effect WHERE state = 'dead'") == [(1,)]


@pytest.mark.parametrize("how", ["cut off", "slow"])
async def test_what_happened_and_was_not_answered_is_sent_again_and_happens_once(
    new_service: NewService, shop: Shop, bench: Bench, how: str
) -> None:
    async with new_service().client() as client:
        answer = await client.call_tool("createOrder", order(3, how=how))
    assert told(answer) == '{"id":1,"number":3}'
    assert len(shop.requests) == 2
    assert len({headers["idempotency-key"] for _, _, headers in shop.requests}) == 1
    assert [(state, tries) for state, tries, _ in (await bench.effects()).values()] == [("delivered", 2)]


async def test_a_caller_who_has_waited_long_enough_is_told_how_to_ask_again(
    new_service: NewService, shop: Shop
) -> None:
    service = new_service(answer_s=0.3, timeout_s=5)
    async with service.client() as client:
        early = await client.call_tool("createOrder", order(4, how="slow"))
        assert "is under way" in told(early)
        key = early.structured_content["id"]
        for _ in range(20):
            answer = await client.call_tool("createOrder", order(4, how="slow"), meta={"idempotencyKey": key})
            if "under way" not in told(answer):
                break
    assert told(answer) == '{"id":1,"number":4}'
    assert len(shop.requests) == 1


async def test_what_a_killed_service_left_is_done_by_an_ordinary_drain(
    new_service: NewService, shop: Shop, bench: Bench
) -> None:
    service = new_service(timeout_s=0.4)
    meta: Any = {"idempotencyKey": "k"}
    with contextlib.suppress(Exception):  # the service is killed under its client
        async with asyncio.timeout(5), service.client() as client:
            calling = asyncio.create_task(client.call_tool("createOrder", order(5, how="slow"), meta=meta))
            while not shop.requests:  # noqa: ASYNC110 - another thread adds them
                await asyncio.sleep(0.01)
            await asyncio.to_thread(service.end, signal.SIGKILL)
            await calling
    route = load_configuration(service.settings).handoffs.routes[0]
    target: Any = await target_of(route, service.settings)
    await bench.drain(route, target, patience_s=6.5)  # the lease of whoever was killed has to run out
    await target.close()
    assert shop.numbers() == [5]
    assert [state for state, _, _ in (await bench.effects()).values()] == ["delivered"]
    service.start()
    made = len(shop.requests)
    async with service.client() as client:
        answer = await client.call_tool("createOrder", order(5, how="slow"), meta=meta)
    assert told(answer) == '{"id":1,"number":5}'
    assert len(shop.requests) == made, "the answer was kept"


def test_the_platform_runs_the_server_where_a_route_needs_it(new_service: NewService, tmp_path: Path) -> None:
    service = new_service()
    assert programs(service.settings)["mcp"].port == service.settings.mcp_port
    assert "mcp" not in programs(Settings(home=tmp_path / "other"))


async def test_a_service_that_is_killed_again_and_again_places_each_order_once(
    new_service: NewService, shop: Shop, bench: Bench
) -> None:
    service = new_service(timeout_s=0.3, answer_s=8)
    answers: Counter[str] = Counter()
    ended = asyncio.Event()

    async def place(number: int) -> None:
        how = "cut off" if number % 5 == 0 else "slow" if number % 7 == 0 else ""
        while True:
            with contextlib.suppress(Exception):  # the service is killed under its clients
                async with asyncio.timeout(6), service.client() as client:
                    answer = await client.call_tool(
                        "createOrder", order(number, how=how), meta={"idempotencyKey": f"order {number}"}
                    )
                    if not answer.is_error and "under way" not in told(answer):
                        answers[told(answer)] += 1
                        return
            await asyncio.sleep(0.05)

    async def kill() -> None:
        for _ in range(4):
            await asyncio.sleep(1.0)
            await asyncio.to_thread(service.end, signal.SIGKILL)
            await asyncio.to_thread(service.start)
        ended.set()

    async with asyncio.timeout(120):
        killing = asyncio.create_task(kill())
        for start in range(0, 60, 12):
            await asyncio.gather(*(place(number) for number in range(start, start + 12)))
        await killing
    assert ended.is_set()
    assert shop.numbers() == list(range(60))
    assert len(answers) == 60
    assert await bench.rows("SELECT state, count(*) FROM handoff_effect GROUP BY state") == [("delivered", 60)]
