"""A Prefect that fails: at one run, which waits alone, or altogether, and then everything waits."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from blocks.prefect_starter import NotYetError, OutageError, PrefectStarter
from blocks.settings import Settings
from tests.gateway.conftest import NewGateway
from tests.gateway.running import push

ROUTE = """
[[webhooks.routes]]
source = "github"
deployment = "flow/here"
"""


class FailingPrefect(ThreadingHTTPServer):
    """Answers as Prefect does, but with 500 to runs whose key has `bad` in it, and to `sick` paths."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.sick: set[str] = set()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/api"


class _Answers(BaseHTTPRequestHandler):
    server: FailingPrefect

    def do_GET(self) -> None:
        sick = self.path.removeprefix("/api") in self.server.sick
        self._answer(500 if sick else 200, {"id": "a-deployment"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(500 if b"bad" in body else 201, {"id": "a-run"})

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, status: int, body: dict[str, str]) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@pytest.fixture
def failing() -> Iterator[FailingPrefect]:
    with FailingPrefect() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


@pytest.mark.parametrize(
    ("sick", "expected"), [(set(), NotYetError), ({"/health"}, OutageError), ({"/ready"}, OutageError)]
)
async def test_a_failure_is_an_outage_only_when_prefect_is_not_well(
    failing: FailingPrefect, config: Settings, sick: set[str], expected: type[Exception]
) -> None:
    failing.sick = sick
    starter = PrefectStarter(config.model_copy(update={"prefect_api_url": failing.url}))
    try:
        with pytest.raises(expected, match="500"):
            await starter.start("flow/here", {}, "bad", ())
        assert await starter.start("flow/here", {}, "good", ()) == "a-run"
    finally:
        await starter.close()


def state(gateway: Any, identifier: str, wanted: str) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while True:
        shown: dict[str, Any] = gateway.api(f"/api/deliveries/github/{identifier}").json()
        if shown["status"] == wanted and shown["attempts"]:
            return shown
        assert time.monotonic() < deadline, shown
        time.sleep(0.1)


def test_a_delivery_that_prefect_fails_at_waits_alone(new_gateway: NewGateway, failing: FailingPrefect) -> None:
    gateway = new_gateway(ROUTE)
    gateway.start(LAMA_PREFECT_API_URL=failing.url, PREFECT_API_URL=failing.url)
    for number in range(5):
        gateway.deliver(push(), X_GitHub_Delivery=f"bad{number}")
    assert "answers this run with 500" in state(gateway, "bad4", "stored")["last_error"]
    for number in range(20):
        gateway.deliver(push(), X_GitHub_Delivery=f"good{number}")
    for number in range(20):
        state(gateway, f"good{number}", "started")
    state(gateway, "bad4", "stored")


def test_a_delivery_that_prefect_fails_at_for_too_long_is_given_up(
    new_gateway: NewGateway, failing: FailingPrefect
) -> None:
    gateway = new_gateway("[webhooks]\ngive_up_hours = 0.0001\n" + ROUTE)
    gateway.start(LAMA_PREFECT_API_URL=failing.url, PREFECT_API_URL=failing.url)
    gateway.deliver(push(), X_GitHub_Delivery="bad")
    assert "answers this run with 500" in state(gateway, "bad", "failed")["last_error"]
