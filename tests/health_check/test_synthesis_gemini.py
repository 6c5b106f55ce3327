"""Gemini writes the narrative, over real sockets; whatever it does, the check keeps its report and its status."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from blocks.errors import ConfigurationError, UnavailableError
from blocks.gemini import Gemini
from blocks.settings import Settings
from models.health_check import GeminiSettings, HealthReport, Narrative, ReportLevel
from models.report import Finding, Report, Severity, compose
from tasks.health_check.synthesis.assemble import assemble
from tasks.health_check.synthesis.write import Prose, write_narrative

pytestmark = [
    pytest.mark.filterwarnings("ignore:Logger 'prefect.task_runs' attempted:UserWarning"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]

_KEY = "AIza-a-very-secret-key-of-this-test"
_NOW = datetime(2026, 11, 1, tzinfo=UTC)
Answer = Callable[["Server", BaseHTTPRequestHandler], tuple[int, bytes]]


class Server:
    """Speaks the REST shape of Gemini's `generateContent` on loopback."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.keys: list[str | None] = []
        self.answer: Answer = lambda _server, _handler: (200, said("All is well.", ["Rest."]))
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append(json.loads(body))
                outer.paths.append(self.path)
                outer.keys.append(self.headers.get("x-goog-api-key"))
                status, content = outer.answer(outer, self)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def said(overview: str, steps: list[str]) -> bytes:
    return candidate(json.dumps({"overview": overview, "steps": steps}))


def candidate(text: str) -> bytes:
    part = {"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP"}
    return json.dumps({"candidates": [part], "modelVersion": "gemini-2.5-flash"}).encode()


def failure(code: int) -> bytes:
    # What it says repeats the key: a proxy or a hostile server may.
    return json.dumps({"error": {"code": code, "message": f"no, {_KEY}", "status": "NO"}}).encode()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture
def report() -> HealthReport:
    finding = Finding(
        key="security.mode:x", severity=Severity.high, component="home", title="A file is open to all",
        evidence={"path": "/evidence/path"},
    )  # fmt: skip
    module = compose(
        Report, capability="health_check.security", summary="", findings=[finding], started_at=_NOW, finished_at=_NOW,
        run_id="run",
    )  # fmt: skip
    report, _ = assemble(
        [module], before=None, skipped=[], scope="here", report_level=ReportLevel.standard, started_at=_NOW,
        finished_at=_NOW, run_id="run",
    )  # fmt: skip
    return report


async def _write(report: HealthReport, url: str, **limits: object) -> Narrative:
    config = Settings(gemini_api_key=_KEY, gemini_base_url=url)
    return await write_narrative(
        report, config, GeminiSettings.model_validate({"attempts": 1, "timeout_s": 5} | limits)
    )


async def test_gemini_writes_and_the_report_says_so(
    server: Server, report: HealthReport, prefect_server: Settings
) -> None:
    server.answer = lambda _s, _h: (200, said("One file is open.", ["Close it.", "Look again."]))
    narrative = await _write(report, server.url, output_token_budget=321)
    assert narrative == Narrative(author="gemini-2.5-flash", text="One file is open.\n1. Close it.\n2. Look again.")
    (request,) = server.requests
    assert server.paths[0].endswith("/models/gemini-2.5-flash:generateContent")
    assert server.keys == [_KEY]
    assert _KEY not in server.paths[0]
    assert request["generationConfig"]["maxOutputTokens"] == 321
    assert set(request["generationConfig"]["responseSchema"]["properties"]) == {"overview", "steps"}
    sent = json.dumps(request)
    assert "A file is open to all" in sent
    assert "/evidence/path" not in sent


@pytest.mark.parametrize(
    ("status", "content", "words"),
    [
        (401, failure(401), "does not accept the key (401)"),
        (404, failure(404), "does not know the model (404)"),
        (429, failure(429), "the quota is used up (429)"),
        (500, failure(500), "it failed (500)"),
        (200, b"not json at all", "Gemini (gemini-2.5-flash)"),
        (200, b"{}", "not what was asked for"),
        (200, candidate("plain words, no JSON"), "not what was asked for"),
        (200, candidate('{"overview": "half'), "not what was asked for"),
        (200, candidate('{"overview": "", "steps": []}'), "no words"),
        (200, candidate('{"overview": 3}'), "not what was asked for"),
    ],
)
async def test_a_failure_of_gemini_is_a_note(
    server: Server, report: HealthReport, prefect_server: Settings, status: int, content: bytes, words: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    server.answer = lambda _s, _h: (status, content)
    caplog.set_level(logging.DEBUG)
    narrative = await _write(report, server.url)
    assert narrative.author == "ranking"
    assert narrative.text == report.narrative.text
    assert words in narrative.note
    assert _KEY not in narrative.note
    assert _KEY not in "\n".join(record.getMessage() for record in caplog.records)


async def test_a_failure_that_passes_is_tried_again(server: Server) -> None:
    server.answer = lambda s, _h: (503, failure(503)) if len(s.requests) < 3 else (200, said("Well.", []))
    gemini = Gemini(api_key=_KEY, base_url=server.url, attempts=3, retry_delay_s=0.05)
    assert (await gemini.answer("?", Prose, instruction="!")).overview == "Well."
    assert len(server.requests) == 3


async def test_a_refused_key_is_not_tried_again(server: Server) -> None:
    server.answer = lambda _s, _h: (401, failure(401))
    with pytest.raises(UnavailableError, match="key"):
        await Gemini(api_key=_KEY, base_url=server.url, attempts=3, retry_delay_s=0.05).answer(
            "?", Prose, instruction="!"
        )
    assert len(server.requests) == 1


async def test_a_server_that_hangs_is_left_in_time(
    server: Server, report: HealthReport, prefect_server: Settings
) -> None:
    def hang(_server: Server, _handler: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        time.sleep(3)
        return 200, b"{}"

    server.answer = hang
    started = time.monotonic()
    narrative = await _write(report, server.url, timeout_s=0.5)
    assert time.monotonic() - started < 2.5
    assert narrative.author == "ranking"
    assert narrative.note


async def test_nobody_there_is_a_note(report: HealthReport, prefect_server: Settings) -> None:
    narrative = await _write(report, "http://127.0.0.1:9")
    assert narrative.author == "ranking"
    assert "cannot be reached" in narrative.note


def test_the_key_never_travels_in_the_clear() -> None:
    with pytest.raises(ConfigurationError, match="in the clear"):
        Gemini(api_key=_KEY, base_url="http://proxy.example").get_client()


def test_the_block_does_not_show_its_key() -> None:
    gemini = Gemini(api_key=_KEY)
    assert _KEY not in repr(gemini)
    assert _KEY not in gemini.model_dump_json()
