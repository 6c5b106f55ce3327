"""What is answered 202 survives: a killed gateway, a database that goes away and comes back."""

from __future__ import annotations

import collections
import concurrent.futures
import json
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from blocks.database import dsn
from blocks.settings import CHECKOUT, Settings
from deployments.embedded_postgres import EmbeddedPostgres
from deployments.platform import Platform
from tests.conftest import free_port
from tests.gateway.conftest import NewGateway, rows
from tests.gateway.running import RunningGateway, push, signed


@pytest.fixture
def own_postgres() -> Iterator[Platform]:
    """A PostgreSQL that a test may stop."""
    with tempfile.TemporaryDirectory(prefix="lama-gw-") as home:
        platform = Platform(Settings(home=Path(home)), only=["postgres"])
        platform.start()
        yield platform
        platform.stop()
        EmbeddedPostgres(platform.settings).remove()


def test_a_database_that_is_away_is_a_503_and_never_a_lost_delivery(
    own_postgres: Platform, config: Settings, tmp_path: Path
) -> None:
    url = dsn(own_postgres.settings)
    gateway = RunningGateway(tmp_path, free_port(), url, config)
    own_postgres.stop()
    gateway.start(until="/health")  # it starts without the database, and says so
    try:
        assert httpx.get(f"{gateway.url}/ready", trust_env=False).json()["status"] == "unavailable"
        refused = gateway.deliver(push(), X_GitHub_Delivery="early")
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        assert gateway.api("/api/deliveries").status_code == 503
        assert gateway.api("/api/reports").status_code == 503
        with gateway.client() as client:
            scraped = client.get("/metrics")
        assert scraped.status_code == 200
        assert "lama_database_up 0.0" in scraped.text

        own_postgres.start()
        gateway.wait_for("/ready")
        assert gateway.deliver(push(), X_GitHub_Delivery="early").status_code == 202

        own_postgres.stop()
        assert gateway.deliver(push(), X_GitHub_Delivery="late").status_code == 503
        own_postgres.start()
        assert gateway.deliver(push(), X_GitHub_Delivery="late").status_code == 202  # at once, without being restarted
        assert {row[1] for row in rows(url)} == {"early", "late"}
        assert "Traceback" not in gateway.logged()
    finally:
        gateway.stop()


def test_a_connection_that_broke_between_two_deliveries_is_nobodys_problem(
    new_gateway: NewGateway, postgres: Settings, database: str
) -> None:
    gateway = new_gateway()
    gateway.start()
    for _ in range(3):
        assert gateway.deliver(push()).status_code == 202
        with psycopg.connect(dsn(postgres, "postgres"), autocommit=True) as connection:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (database,))


def test_a_database_without_tables_is_not_ready(postgres: Settings, tmp_path: Path) -> None:
    gateway = RunningGateway(tmp_path, free_port(), dsn(postgres, "postgres"), postgres)
    gateway.start(until="/health")
    try:
        assert httpx.get(f"{gateway.url}/ready", trust_env=False).status_code == 503
        assert gateway.deliver(push()).status_code == 503
    finally:
        gateway.stop()


def test_nothing_that_was_answered_is_lost_or_doubled_when_the_gateway_is_killed_in_the_middle(
    new_gateway: NewGateway, postgres: Settings, database: str
) -> None:
    gateway = new_gateway()
    gateway.start()
    sent = [json.dumps(push()).encode() for _ in range(600)]
    headers = {body: signed(body) for body in sent}
    accepted: collections.Counter[str] = collections.Counter()
    lock, half = threading.Lock(), threading.Event()
    local = threading.local()

    def insist(body: bytes) -> None:
        if not hasattr(local, "client"):
            local.client = gateway.client()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                code = local.client.post("/webhooks/github", content=body, headers=headers[body]).status_code
            except httpx.TransportError:
                time.sleep(0.1)
                continue
            if code in {200, 202}:
                with lock:
                    accepted[headers[body]["X-GitHub-Delivery"]] += code == 202
                    if len(accepted) == len(sent) // 3:
                        half.set()
                return
            assert code == 503
        raise AssertionError("never taken")

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        tasks = [pool.submit(insist, body) for body in sent]
        assert half.wait(60)
        gateway.kill()
        gateway.start()
        for task in tasks:
            task.result(timeout=90)
        for _ in range(12):
            pool.submit(lambda: (time.sleep(0.05), getattr(local, "client", gateway.client()).close()))
    found = [str(row[1]) for row in rows(dsn(postgres, database))]
    assert len(found) == len(set(found)) == len(sent)
    assert set(found) == {header["X-GitHub-Delivery"] for header in headers.values()}
    assert all(times <= 1 for times in accepted.values())


def test_a_port_that_is_taken_or_a_broken_configuration_ends_it_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "lama.toml").write_text("[webhooks]\nbody_limit = 5\n")
    done = subprocess.run(
        [sys.executable, "-m", "services.gateway"], cwd=CHECKOUT, capture_output=True, text=True, timeout=60,
        check=False, env={"LAMA_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 2
    assert "lama.toml:2: webhooks.body_limit: " in done.stderr
    assert "Traceback" not in done.stderr


def test_it_stops_in_order_when_asked(new_gateway: NewGateway) -> None:
    gateway = new_gateway()
    gateway.start()
    assert gateway.deliver(push(), X_GitHub_Delivery=uuid.uuid4().hex).status_code == 202
    started = time.monotonic()
    assert gateway.stop() in {0, -15}
    assert time.monotonic() - started < 10
    assert "Traceback" not in gateway.logged()
