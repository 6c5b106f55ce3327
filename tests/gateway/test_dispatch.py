"""Stored deliveries become flow runs on a real Prefect server: each once, whatever happens in between."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from blocks.database import dsn
from blocks.settings import Settings
from services.connection import Connection
from services.gateway.retention import prune
from tests.gateway.conftest import NOBODY, NewGateway
from tests.gateway.running import RunningGateway, push, signed


class Prefect:
    """The server, with a deployment of this test's own; nobody works its runs off."""

    def __init__(self, config: Settings) -> None:
        self._client = httpx.Client(base_url=config.api_url, timeout=20, trust_env=False)
        self.flow = f"flow-{uuid.uuid4().hex[:8]}"
        self._flow_id = self.post("/flows/", name=self.flow)["id"]
        self.name = f"{self.flow}/here"

    def post(self, path: str, **body: Any) -> Any:
        answer = self._client.post(path, json=body)
        answer.raise_for_status()
        return answer.json()

    def deploy(self, **schema: Any) -> None:
        self.post(
            "/deployments/", name="here", flow_id=self._flow_id, enforce_parameter_schema=bool(schema),
            parameter_openapi_schema=schema or {"type": "object", "properties": {}},
        )  # fmt: skip

    def runs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.post("/flow_runs/filter", flows={"name": {"any_": [self.flow]}})
        return found

    def close(self) -> None:
        self._client.close()


@pytest.fixture
def prefect(prefect_server: Settings) -> Any:
    server = Prefect(prefect_server)
    yield server
    server.close()


def eventually(check: Callable[[], Any], timeout_s: float = 90.0) -> Any:
    """The first value that says yes; a busy machine makes Prefect time out, and then the next attempt comes later."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = check()
        if value or time.monotonic() > deadline:
            assert value
            return value
        time.sleep(0.1)


def route(prefect: Prefect, extra: str = "") -> str:
    return f"""
[[webhooks.routes]]
source = "github"
event = "push"
where = {{ ref = "refs/heads/*" }}
deployment = "{prefect.name}"
[webhooks.routes.parameters]
repository = "$.repository"
note = "push to {{repository.full_name}} ({{{{literal}}}})"
limit = 3
{extra}
"""


def delivery(gateway: RunningGateway, identifier: str) -> dict[str, Any]:
    found: dict[str, Any] = gateway.api(f"/api/deliveries/github/{identifier}").json()
    return found


def settled(gateway: RunningGateway, identifier: str) -> dict[str, Any]:
    found: dict[str, Any] = eventually(lambda: (d := delivery(gateway, identifier))["status"] != "stored" and d)
    return found


def ready(gateway: RunningGateway) -> Any:
    with gateway.client() as client:
        return client.get("/ready").json()


def figures(gateway: RunningGateway) -> dict[tuple[str, tuple[str, ...]], float]:
    """What `/metrics` says, by name and labels."""
    with gateway.client() as client:
        families = list(text_string_to_metric_families(client.get("/metrics").text))
    return {
        (sample.name, tuple(sample.labels.values())): sample.value for family in families for sample in family.samples
    }


def test_a_delivery_starts_one_run_with_parameters_from_its_payload(new_gateway: NewGateway, prefect: Prefect) -> None:
    prefect.deploy()
    gateway = new_gateway(route(prefect))
    gateway.start()
    payload = push()
    assert gateway.deliver(payload, X_GitHub_Delivery="one").status_code == 202
    shown = settled(gateway, "one")
    [run] = prefect.runs()
    assert shown["status"] == "started"
    assert shown["flow_run_ids"] == {prefect.name: run["id"]}
    assert run["parameters"] == {
        "repository": payload["repository"], "note": "push to acme/shop ({literal})", "limit": 3,
    }  # fmt: skip
    assert run["idempotency_key"] == f"webhook:github:one:{prefect.name}"
    assert set(run["tags"]) == {"github", "webhook"}

    assert gateway.deliver(payload, X_GitHub_Delivery="one").status_code == 200  # resent
    assert gateway.deliver(push(ref="refs/tags/v1"), X_GitHub_Delivery="tag").status_code == 202
    assert gateway.deliver(push(), X_GitHub_Delivery="ping", X_GitHub_Event="ping").status_code == 202
    assert delivery(gateway, "tag")["status"] == delivery(gateway, "ping")["status"] == "ignored"
    assert gateway.deliver(push(), X_GitHub_Delivery="two").status_code == 202
    settled(gateway, "two")
    assert len(prefect.runs()) == 2

    # Both are told as away while they answer slowly, which they may on a busy machine.
    eventually(lambda: ready(gateway) == {"status": "ok", "database": True, "prefect": True})
    values = eventually(lambda: (found := figures(gateway))["lama_prefect_up", ()] and found)
    assert values["lama_flow_runs", ("scheduled",)] >= 2
    assert values["lama_webhook_backlog", ()] == 0


def test_a_run_that_was_started_just_before_a_crash_is_not_started_again(
    new_gateway: NewGateway, prefect: Prefect, postgres: Settings, database: str
) -> None:
    prefect.deploy()
    gateway = new_gateway(route(prefect))
    gateway.start()
    gateway.deliver(push(), X_GitHub_Delivery="once")
    first = settled(gateway, "once")
    gateway.kill()
    # As a crash between Prefect's answer and our note of it would leave it.
    with psycopg.connect(dsn(postgres, database)) as connection:
        connection.execute("UPDATE delivery SET status = 'stored', flow_run_ids = '{}'")
    gateway.start()
    assert settled(gateway, "once")["flow_run_ids"] == first["flow_run_ids"]
    assert len(prefect.runs()) == 1


def test_what_was_stored_and_not_started_is_started_at_the_next_start(
    new_gateway: NewGateway, prefect: Prefect, postgres: Settings
) -> None:
    prefect.deploy()
    gateway = new_gateway(route(prefect))
    gateway.start(LAMA_PREFECT_API_URL=NOBODY, PREFECT_API_URL=NOBODY)
    for number in range(40):
        assert gateway.deliver(push(), X_GitHub_Delivery=f"d{number}").status_code == 202
    eventually(lambda: any(d["last_error"] for d in gateway.api("/api/deliveries").json()))
    assert {d["status"] for d in gateway.api("/api/deliveries").json()} == {"stored"}
    gateway.kill()
    gateway.start()
    eventually(lambda: not gateway.api("/api/deliveries?status=stored").json())
    assert len(prefect.runs()) == 40
    assert {d["status"] for d in gateway.api("/api/deliveries").json()} == {"started"}


def test_two_gateways_share_the_work_and_start_each_run_once(new_gateway: NewGateway, prefect: Prefect) -> None:
    prefect.deploy()
    gateways = [new_gateway(route(prefect)) for _ in range(2)]
    for gateway in gateways:
        gateway.start()
    for number in range(30):
        payload, identifier = push(), f"d{number}"
        codes = {gateway.deliver(payload, X_GitHub_Delivery=identifier).status_code for gateway in gateways}
        assert codes == {200, 202}
    eventually(lambda: not gateways[0].api("/api/deliveries?status=stored").json())
    assert len(prefect.runs()) == 30


def test_a_deployment_that_appears_later_is_waited_for(new_gateway: NewGateway, prefect: Prefect) -> None:
    gateway = new_gateway(route(prefect))
    gateway.start()
    gateway.deliver(push(), X_GitHub_Delivery="early")
    waiting = eventually(lambda: (d := delivery(gateway, "early"))["last_error"] and d)
    assert "there is no deployment" in waiting["last_error"]
    prefect.deploy()
    assert settled(gateway, "early")["status"] == "started"


def test_a_deployment_that_never_appears_is_given_up(new_gateway: NewGateway, prefect: Prefect) -> None:
    gateway = new_gateway("[webhooks]\ngive_up_hours = 0.0001\n" + route(prefect))
    gateway.start()
    gateway.deliver(push(), X_GitHub_Delivery="lost")
    assert settled(gateway, "lost")["status"] == "failed"
    prefect.deploy()
    assert gateway.api("/api/deliveries/github/lost/retry", "POST").status_code == 202
    assert settled(gateway, "lost")["status"] == "started"
    assert gateway.api("/api/deliveries/github/lost/retry", "POST").status_code == 404


@pytest.mark.parametrize(
    ("repository", "complaint"),
    [
        ({"full_name": "x", "__prefect_kind": "jinja", "template": "{{ 1 }}"}, "reserved"),
        ({}, "no 'repository.full_name'"),
        ({"full_name": "acme\x00shop"}, "NUL character"),
        ({"full_name": "x", "ke\x00y": 1}, "NUL character"),
        ({"full_name": 7}, "Prefect refuses the run (409)"),
    ],
)
def test_a_payload_that_cannot_be_used_fails_its_delivery_and_no_other(
    new_gateway: NewGateway, prefect: Prefect, repository: dict[str, Any], complaint: str
) -> None:
    prefect.deploy(
        type="object",
        properties={
            "repository": {"type": "object", "properties": {"full_name": {"type": "string"}}},
            "note": {"type": "string"},
            "limit": {"type": "integer"},
        },
        required=["repository"],
    )
    gateway = new_gateway(route(prefect))
    gateway.start()
    gateway.deliver({"ref": "refs/heads/main", "repository": repository}, X_GitHub_Delivery="bad")
    gateway.deliver(push(), X_GitHub_Delivery="good")
    bad = settled(gateway, "bad")
    assert bad["status"] == "failed"
    assert complaint in bad["last_error"]
    assert settled(gateway, "good")["status"] == "started"
    assert len(prefect.runs()) == 1


def test_one_route_that_fails_does_not_repeat_the_others(new_gateway: NewGateway, prefect: Prefect) -> None:
    prefect.deploy()
    second = f"""
[[webhooks.routes]]
source = "github"
name = "second"
deployment = "{prefect.flow}/elsewhere"
"""
    gateway = new_gateway(route(prefect) + second)
    gateway.start()
    gateway.deliver(push(), X_GitHub_Delivery="both")
    eventually(lambda: delivery(gateway, "both")["attempts"] >= 2)
    shown = delivery(gateway, "both")
    assert shown["status"] == "stored"
    assert list(shown["flow_run_ids"]) == [prefect.name]
    assert len(prefect.runs()) == 1


async def test_old_deliveries_are_deleted_but_never_one_that_is_still_to_be_started(
    postgres: Settings, database: str
) -> None:
    url = dsn(postgres, database)
    with psycopg.connect(url) as connection:
        connection.execute(
            """INSERT INTO delivery
               SELECT 'github', status || age, NULL, 'push', '', '{}', moment, status, '{}', 0, moment
               FROM unnest(ARRAY['stored', 'started', 'ignored', 'failed']) AS status,
                    unnest(ARRAY[1, 29, 31]) AS age,
                    LATERAL (SELECT now() - make_interval(days => age)) AS at (moment)"""
        )
        connection.execute(
            """INSERT INTO delivery
               SELECT 'github', n::text, NULL, '', '', '', now() - interval '99 days', 'ignored', '{}', 0, now()
               FROM generate_series(1, 2500) AS n"""
        )
    pruning = Connection(url)
    try:
        assert await prune(pruning, 30) == 2503
    finally:
        await pruning.close()
    with psycopg.connect(url) as connection:
        left = {row[0] for row in connection.execute("SELECT delivery_id FROM delivery")}
    assert left == {f"{status}{age}" for status in ("stored", "started", "ignored", "failed") for age in (1, 29)} | {
        "stored31"
    }


def test_signed_headers_do_not_reach_the_database(new_gateway: NewGateway, postgres: Settings, database: str) -> None:
    gateway = new_gateway()
    gateway.start()
    headers = signed(b"{}")
    gateway.deliver(body=b"{}", Authorization="Bearer hunter2", Cookie="session=hunter2")
    with psycopg.connect(dsn(postgres, database)) as connection:
        stored = str(connection.execute("SELECT * FROM delivery").fetchall())
    assert "hunter2" not in stored
    assert headers["X-Hub-Signature-256"].removeprefix("sha256=") not in stored
