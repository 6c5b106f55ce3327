"""When the gateway starts the drain of a route, and when it does not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from blocks.prefect_starter import PrefectStarter
from blocks.settings import Settings
from services.gateway import drains
from services.gateway.drains import DrainStarter, Stand, Start
from tasks.handoffs.drain import only_one
from tests.handoffs.making import Bench, Recorder, make_message, make_route

EARLY, LATE = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)


class Prefect(ThreadingHTTPServer):
    """Takes runs as Prefect does; they are in the state that the test says."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.state = "SCHEDULED"
        self.runs: list[list[str]] = []


class _Answers(BaseHTTPRequestHandler):
    server: Prefect

    def do_GET(self) -> None:
        self._answer({"id": "a-deployment", "state_type": self.server.state})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.runs.append(body["parameters"]["routes"])
        self._answer({"id": f"run-{len(self.server.runs)}"})

    def log_message(self, *_: object) -> None:
        return

    def _answer(self, body: dict[str, str]) -> None:
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def prefect() -> Iterator[Prefect]:
    with Prefect() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


@contextlib.asynccontextmanager
async def starting(bench: Bench, prefect: Prefect, config: Settings) -> AsyncIterator[None]:
    url = f"http://127.0.0.1:{prefect.server_port}/api"
    starter = PrefectStarter(config.model_copy(update={"prefect_api_url": url}))
    watching = DrainStarter(lambda: (make_route(),), bench.url, starter)
    work = [asyncio.create_task(one()) for one in (watching.run, watching.listen)]
    try:
        yield
    finally:
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        await watching.close()
        await starter.close()


async def until(prefect: Prefect, runs: int) -> None:
    deadline = time.monotonic() + 10
    while len(prefect.runs) < runs:
        assert time.monotonic() < deadline, prefect.runs
        await asyncio.sleep(0.02)


async def test_runs_do_not_pile_up_while_nobody_takes_them(
    bench: Bench, prefect: Prefect, config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drains, "_LOOK_S", 0.05)
    monkeypatch.setattr(drains, "_PATIENCE_S", 0.2)
    async with starting(bench, prefect, config):
        await bench.store(make_route(), make_message(0))
        await until(prefect, 1)
        await asyncio.sleep(1.5)
        assert prefect.runs == [["orders"]], "it waits for a worker; a second one would wait beside it"
        prefect.state = "CRASHED"
        await until(prefect, 2)  # nobody will take it up any more


async def test_nothing_is_started_while_somebody_drains_the_route(
    bench: Bench, prefect: Prefect, config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drains, "_LOOK_S", 0.05)
    prefect.state = "RUNNING"
    async with await bench.connect() as other, only_one(other, "orders"), starting(bench, prefect, config):
        await bench.store(make_route(), make_message(0))
        await asyncio.sleep(0.7)
        assert prefect.runs == []
    async with starting(bench, prefect, config):
        await until(prefect, 1)
        await bench.drain(make_route(), Recorder(), linger_s=0.0)
        await asyncio.sleep(0.7)
        assert len(prefect.runs) == 1, "nothing is left to be done"
        await bench.store(make_route(), make_message(1))
        stored = time.monotonic()
        await until(prefect, 2)
        assert time.monotonic() - stored < drains._PATIENCE_S / 2, "that run is over: it is known by what it delivered"


def test_while_a_target_is_away_runs_come_less_and_less_often() -> None:
    stuck = Stand(newest=EARLY, stuck=True)
    pauses = [Start(100.0, stuck, "r", in_vain, seen_at=110.0).patient_until(stuck) - 110.0 for in_vain in range(8)]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_run_that_got_something_done_is_followed_at_once() -> None:
    start = Start(100.0, Stand(newest=EARLY, stuck=True), "r", 7, seen_at=110.0)
    assert start.patient_until(Stand(newest=LATE, stuck=True)) <= 110.0
    assert start.patient_until(Stand(newest=EARLY, stuck=False)) <= 110.0, "only filtered messages came, say"
    assert Start(100.0, Stand(None, stuck=False), "r").patient_until(Stand(LATE, stuck=False)) == 100.0
