"""Probes against real listeners: what is there, what is down, what hangs, and what stays secret."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from blocks.database import dsn
from blocks.settings import Settings
from models.health_check import Service, ServiceKind
from models.service_address import AddressError, parse_address
from tasks.health_check.architecture.answer import Answer, Outcome, findings_of, skip_of
from tasks.health_check.architecture.look import probe_services
from tasks.health_check.architecture.probe import probe
from tests.bolt_server import BoltServer
from tests.conftest import free_port


class _Handler(BaseHTTPRequestHandler):
    """A server of many moods, by path."""

    seen: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        _Handler.seen.append((self.path, self.headers.get("Authorization")))
        path = self.path.partition("?")[0]
        if path == "/slow":
            time.sleep(0.3)
        if path.startswith("/to/"):
            self.send_response(307)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        if path == "/v1/health/":
            self._say(200, json.dumps({"status": "ok", "version": "0.16.8"}).encode())
        elif path == "/endless":
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(b"1" * 65536)
        elif path == "/api/admin/version":
            self._say(200, b'"9.9.9"')
        else:
            self._say(int(path[1:]) if path[1:].isdigit() else 200, b"fine")

    def _say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@contextlib.contextmanager
def _serving() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def web() -> Iterator[str]:
    _Handler.seen = []
    with _serving() as place:
        yield place


@pytest.fixture
def hanging() -> Iterator[str]:
    """A listener that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


async def _ask(kind: str, url: str, secret: str | None = None, **more: object) -> Answer:
    service = Service.model_validate({"name": "it", "kind": kind, "url": url, "timeout_s": 5, **more})
    return await probe(service, SecretStr(secret) if secret else None)


@pytest.mark.parametrize(
    ("path", "outcome"),
    [("/", "up"), ("/204", "up"), ("/401", "refused"), ("/403", "refused"), ("/404", "failing"), ("/500", "failing")],
)
async def test_an_http_status_says_how_it_is(web: str, path: str, outcome: str) -> None:
    assert (await _ask("http", f"http://{web}{path}")).outcome == outcome


async def test_a_slow_answer_is_measured_and_reported(web: str) -> None:
    service = Service(name="it", kind=ServiceKind.http, url=f"http://{web}/slow", slow_s=0.2)
    answer = await probe(service)
    assert answer.seconds is not None
    assert 0.3 <= answer.seconds < 3
    assert [finding.key for finding in findings_of(service, answer)] == ["architecture.slow:it"]
    assert findings_of(service.model_copy(update={"slow_s": 60}), answer) == []


@pytest.mark.parametrize("kind", ["http", "tcp", "postgresql", "bolt", "prefect", "letta"])
async def test_nobody_listening_is_down(kind: str) -> None:
    scheme = kind if kind in {"tcp", "postgresql", "bolt"} else "http"
    service = Service(name="it", kind=ServiceKind(kind), url=f"{scheme}://127.0.0.1:{free_port()}")
    answer = await probe(service)
    assert answer.outcome is Outcome.down
    assert skip_of(answer) is None, "we looked: it is not there"
    assert [f.severity for f in findings_of(service, answer)] == ["high"]


async def test_a_name_with_several_addresses_where_nobody_listens_is_down() -> None:
    assert (await _ask("tcp", f"tcp://localhost:{free_port()}")).outcome is Outcome.down
    assert (await _ask("http", f"http://localhost:{free_port()}")).outcome is Outcome.down


@pytest.mark.parametrize("kind", ["http", "postgresql", "bolt", "prefect", "letta"])
async def test_a_service_that_hangs_ends_in_time_and_is_skipped(hanging: str, kind: str) -> None:
    scheme = kind if kind in {"postgresql", "bolt"} else "http"
    begun = time.perf_counter()
    answer = await _ask(kind, f"{scheme}://{hanging}", timeout_s=0.5)
    assert time.perf_counter() - begun < 3
    assert answer.outcome is Outcome.hanging
    skip = skip_of(answer)
    assert skip is not None
    assert skip.may_hide("architecture.credentials:it")
    assert not skip.may_hide("architecture.hanging:it"), "that it hangs was seen"


async def test_a_hundred_hanging_services_take_the_time_of_a_few(hanging: str) -> None:
    services = [Service(name=str(n), kind=ServiceKind.http, url=f"http://{hanging}", timeout_s=0.3) for n in range(60)]
    begun = time.perf_counter()
    answers = await probe_services.fn([(service, None) for service in services])
    assert {answer.outcome for answer in answers} <= {Outcome.hanging, Outcome.unseen}
    assert [answer.service for answer in answers] == [service.name for service in services]
    assert time.perf_counter() - begun < 5


@pytest.mark.parametrize("kind", ["http", "tcp", "letta"])
async def test_an_unknown_name_could_not_be_looked_at(kind: str) -> None:
    scheme = "tcp" if kind == "tcp" else "http"
    answer = await _ask(kind, f"{scheme}://no-such-host.invalid:80")
    assert answer.outcome is Outcome.unseen
    assert skip_of(answer) is not None


async def test_a_redirect_elsewhere_is_not_followed_and_the_secret_stays(web: str) -> None:
    with _serving() as other:
        answer = await _ask("http", f"http://{web}/to/http://{other}/stolen", secret="hunter2hunter2")
    assert answer.outcome is Outcome.up
    assert [path for path, _ in _Handler.seen] == [f"/to/http://{other}/stolen"]
    assert (await _ask("http", f"http://{web}/to//500")).outcome is Outcome.failing, "its own redirect is followed"
    assert (await _ask("letta", f"http://{web}/to/http://{web}", secret="s")).outcome is Outcome.failing


async def test_an_endless_answer_is_read_in_part_only(web: str) -> None:
    assert (await _ask("http", f"http://{web}/endless")).outcome is Outcome.up
    assert (await _ask("prefect", f"http://{web}/to//endless?")).outcome is Outcome.failing


async def test_letta_says_its_version_and_gets_its_token(web: str) -> None:
    answer = await _ask("letta", f"http://{web}", secret="token-of-letta")
    assert (answer.outcome, answer.version) == (Outcome.up, "Letta 0.16.8")
    assert _Handler.seen == [("/v1/health/", "Bearer token-of-letta")]
    _Handler.seen.clear()
    assert (await _ask("letta", f"http://{web}")).outcome is Outcome.up
    assert _Handler.seen == [("/v1/health/", None)]
    assert (await _ask("letta", f"http://{web}/other")).outcome is Outcome.failing


@pytest.mark.parametrize("kind", ["postgresql", "bolt", "http", "letta", "prefect"])
async def test_what_speaks_another_protocol_is_failing(kind: str) -> None:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.9\r\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        scheme = kind if kind in {"postgresql", "bolt"} else "http"
        answer = await _ask(kind, f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert answer.outcome is Outcome.failing


async def test_a_server_without_tls_is_failing_when_tls_is_asked_for(web: str) -> None:
    assert (await _ask("http", f"https://{web}")).outcome is Outcome.failing


async def test_a_real_postgresql_is_up_and_says_its_version(postgres: Settings) -> None:
    answer = await _ask("postgresql", dsn(postgres))
    assert answer.outcome is Outcome.up, answer
    assert str(answer.version).startswith("PostgreSQL 1")


async def test_postgresql_that_refuses_us_is_a_finding_about_credentials(postgres: Settings) -> None:
    answer = await _ask("postgresql", dsn(postgres).replace("lama@", "somebody:hunter2@"))
    assert answer.outcome is Outcome.refused, answer
    assert "hunter2" not in answer.model_dump_json()
    answer = await _ask("postgresql", dsn(postgres, "no_such_database"))
    assert answer.outcome is Outcome.failing
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(dsn(postgres, "no_such_database"))


async def test_a_real_prefect_server_is_up_and_says_its_version(prefect_server: Settings) -> None:
    import prefect

    answer = await _ask("prefect", prefect_server.api_url)
    assert (answer.outcome, answer.version) == (Outcome.up, f"Prefect {prefect.__version__}")
    assert (await _ask("prefect", prefect_server.api_url + "/nothing")).outcome is Outcome.failing


@pytest.fixture(scope="module")
def bolt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Bolt server; its root's password is `hunter2hunter2`."""
    server = BoltServer(tmp_path_factory.mktemp("graph"))
    try:
        server.start()
        yield server.address
    finally:
        server.kill()


async def test_a_real_bolt_server_is_up_or_refuses_a_wrong_password(bolt: str) -> None:
    answer = await _ask("bolt", f"bolt://root@{bolt}", secret="hunter2hunter2")
    assert answer.outcome is Outcome.up, answer
    assert answer.version
    wrong = await _ask("bolt", f"bolt://root:not-the-password@{bolt}")
    assert wrong.outcome is Outcome.refused, wrong
    assert "not-the-password" not in wrong.model_dump_json()


@pytest.mark.parametrize(
    ("kind", "url"),
    [("http", "ftp://a"), ("http", "http://"), ("tcp", "tcp://a"), ("tcp", "tcp://a:99999"), ("bolt", "http://a:1")],
)
async def test_a_wrong_url_is_said_and_never_repeated(kind: str, url: str) -> None:
    answer = await _ask(kind, url)
    assert answer.outcome is Outcome.misconfigured
    assert url not in answer.model_dump_json()


@given(st.sampled_from(ServiceKind), st.text())
def test_any_text_is_an_address_or_a_clear_error(kind: ServiceKind, url: str) -> None:
    with contextlib.suppress(AddressError):
        parse_address(kind, url)


@given(st.text("ABCDEFGHJKLMNPQRSTUVWXYZ", min_size=12, max_size=12), st.sampled_from(["http", "prefect", "letta"]))
def test_an_address_is_shown_without_what_is_secret(secret: str, kind: str) -> None:
    address = parse_address(ServiceKind(kind), f"http://{secret}:{secret}@host:81/path?token={secret}#{secret}")
    assert address.shown == "http://host:81/path"
    assert (address.user, address.password) == (secret, secret)


async def test_a_cancelled_probe_leaves_nothing_behind(hanging: str) -> None:
    task = asyncio.create_task(_ask("http", f"http://{hanging}", timeout_s=60))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
