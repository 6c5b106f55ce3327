"""What can be reached from elsewhere, and what answers without a password: real sockets, real PostgreSQL."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr

from blocks.settings import Settings
from deployments.embedded_postgres import EmbeddedPostgres
from models.health_check import Service, ServiceKind
from models.report import Severity
from tasks.scan.listeners import Listener, is_loopback, judge_listeners, look_at_listeners
from tasks.scan.looked import Looked
from tasks.scan.open_servers import look_at_platform, look_at_service
from tests.conftest import free_port


def own_address() -> str | None:
    """An address of this machine that is not loopback."""
    for addresses in psutil.net_if_addrs().values():
        for address in addresses:
            if address.family == socket.AF_INET and not is_loopback(address.address):
                return str(address.address)
    return None


def test_a_socket_beyond_loopback_is_found_until_it_is_allowed() -> None:
    with closing(socket.create_server(("0.0.0.0", 0))) as far, closing(socket.create_server(("127.0.0.1", 0))) as near:
        port = far.getsockname()[1]
        keys = {finding.key for finding in look_at_listeners("here", ()).findings}
        assert f"security.listener:here/tcp/{port}" in keys
        assert f"security.listener:here/tcp/{near.getsockname()[1]}" not in keys
        allowed = {finding.key for finding in look_at_listeners("here", (f"*:{port}",)).findings}
        assert keys - allowed == {f"security.listener:here/tcp/{port}"}


def test_one_finding_a_port_and_delicate_ports_weigh_more() -> None:
    found = (Listener("0.0.0.0", 6379, "redis"), Listener("::", 6379, "redis"), Listener("10.0.0.5", 9999, ""))
    keys = {finding.key: finding.severity for finding in judge_listeners("here", found, ())}
    assert keys == {
        "security.listener:here/tcp/6379": Severity.high,
        "security.listener:here/tcp/9999": Severity.medium,
    }
    assert len(judge_listeners("here", found, ("0.0.0.0:6379",))) == 2  # the other address is not allowed by that
    assert judge_listeners("here", found, ("*:6379", "10.0.0.5:*")) == ()


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "::ffff:127.0.0.1", "localhost"])
def test_loopback(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "10.0.0.1", "localhost.evil.example", "::ffff:10.0.0.1", ""])
def test_not_loopback(address: str) -> None:
    assert not is_loopback(address)


def test_listeners_that_the_system_hides_are_a_skip(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(**_: object) -> list[object]:  # as macOS answers everybody but root; Linux never does
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", denied)
    looked = look_at_listeners("here", ())
    assert looked.skipped[0].may_hide("security.listener:here/tcp/1")


@asynccontextmanager
async def http(answer: Callable[[str], tuple[int, str, bytes]], host: str = "127.0.0.1") -> AsyncIterator[str]:
    """A server that answers a request, given as its text, with status, content type and body."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        status, kind, body = answer(head)
        writer.write(f"HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n".encode())
        writer.write(b"connection: close\r\n\r\n" + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, host, 0)
    async with server:
        yield f"http://{host}:{server.sockets[0].getsockname()[1]}"


def service(kind: ServiceKind, url: str, timeout_s: float = 2) -> Service:
    return Service(name="it", kind=kind, url=url, timeout_s=timeout_s)


ANSWERS = {
    ServiceKind.prefect: (200, "application/json", b"7"),
    ServiceKind.letta: (200, "application/json", b"[]"),
}


@pytest.mark.parametrize("kind", ANSWERS)
async def test_an_open_server_is_low_on_loopback_and_critical_beyond(kind: ServiceKind) -> None:
    async with http(lambda _: ANSWERS[kind]) as url:
        (finding,) = (await look_at_service(service(kind, url))).findings
        assert (finding.key, finding.severity) == ("security.open_server:it", Severity.low)
    address = own_address()
    if address is None:
        pytest.skip("this machine has no address but loopback")
    async with http(lambda _: ANSWERS[kind], address) as url:
        (finding,) = (await look_at_service(service(kind, url))).findings
        assert finding.severity is Severity.critical


@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.parametrize("status", [401, 403])
async def test_a_server_that_asks_for_a_password_is_no_finding(kind: ServiceKind, status: int) -> None:
    async with http(lambda _: (status, "application/json", b"{}")) as url:
        assert await look_at_service(service(kind, url)) == Looked()


@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.parametrize(
    "answer",
    [
        (200, "text/html", b"<html>log in</html>"),
        (200, "application/json", b'{"detail": "no"}'),
        (200, "application/json", b"[1, "),
        (404, "application/json", b"{}"),
        (500, "text/plain", b""),
        (302, "text/plain", b""),
    ],
)
async def test_an_answer_that_proves_nothing_is_a_skip(kind: ServiceKind, answer: tuple[int, str, bytes]) -> None:
    async with http(lambda _: answer) as url:
        looked = await look_at_service(service(kind, url))
    assert looked.findings == ()
    assert looked.skipped[0].may_hide("security.open_server:it")


@pytest.mark.parametrize("kind", [*ANSWERS, ServiceKind.postgresql, ServiceKind.bolt])
async def test_a_server_that_is_not_there_or_hangs_is_a_skip_in_time(kind: ServiceKind) -> None:
    scheme = {ServiceKind.postgresql: "postgresql", ServiceKind.bolt: "bolt"}.get(kind, "http")
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        port = silent.getsockname()[1]
        for url in (f"{scheme}://127.0.0.1:9", f"{scheme}://127.0.0.1:{port}", f"{scheme}://no-such-host.invalid:1"):
            async with asyncio.timeout(12):
                looked = await look_at_service(service(kind, url, timeout_s=0.5))
            assert looked.findings == ()
            assert len(looked.skipped) == 1, url


async def test_a_password_in_an_address_is_not_used_and_not_told() -> None:
    seen: list[str] = []

    def answer(head: str) -> tuple[int, str, bytes]:
        seen.append(head)
        return 401, "application/json", b"{}"

    async with http(answer) as url:
        looked = await look_at_service(service(ServiceKind.letta, url.replace("//", "//user:hunter2secret@")))
        gone = await look_at_service(service(ServiceKind.letta, "http://user:hunter2secret@127.0.0.1:9"))
    assert looked == Looked()
    assert base64.b64encode(b"user:hunter2secret").decode() not in seen[0]
    assert "hunter2" not in json.dumps([skip.model_dump() for skip in gone.skipped])


@contextmanager
def postgresql(config: Settings, home: Path, method: str) -> Iterator[str]:
    """A PostgreSQL of its own that listens on TCP and checks passwords by `method`."""
    server = EmbeddedPostgres(config.model_copy(update={"home": home}))
    server.prepare()
    port = free_port()
    with (server.location.data / "pg_hba.conf").open("a") as file:
        file.write(f"host all all 127.0.0.1/32 {method}\n")
    with (server.location.data / "postgresql.auto.conf").open("a") as file:
        file.write(f"listen_addresses = '127.0.0.1'\nport = {port}\nshared_preload_libraries = ''\n")
    user = server.location.os_user
    process = subprocess.Popen(
        server.command(), user=user, extra_groups=[] if user else None, cwd="/", stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 30
        while not _listens(port):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield f"postgresql://lama:wrong-password@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(2)
        process.wait(20)
        server.remove()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_a_postgresql_that_trusts_is_found_and_one_that_asks_is_not(
    config: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgresql(config, tmp_path / "a", "trust") as url:
        looked = await _once_started(url)
        assert [finding.severity for finding in looked.findings] == [Severity.low]
        assert "wrong-password" not in looked.findings[0].model_dump_json()
        remote = config.model_copy(update={"database_url": SecretStr(url), "prefect_api_url": "http://127.0.0.1:9/api"})
        assert [one.key for one in (await look_at_platform(remote)).findings] == ["security.open_server:postgres"]
    monkeypatch.setenv("PGPASSWORD", "one of the environment")
    with postgresql(config, tmp_path / "b", "scram-sha-256") as url:
        assert await _once_started(url) == Looked()


async def _once_started(url: str) -> Looked:
    for _ in range(50):
        looked = await look_at_service(service(ServiceKind.postgresql, url))
        if not looked.skipped:  # while it starts up it refuses everybody
            return looked
        await asyncio.sleep(0.1)
    raise AssertionError(looked)


async def test_the_platform_that_is_down_is_a_skip(config: Settings) -> None:
    down = config.model_copy(update={"prefect_api_url": "http://127.0.0.1:9/api"})
    looked = await look_at_platform(down, timeout_s=1)
    assert [skip.component for skip in looked.skipped] == ["prefect"]
