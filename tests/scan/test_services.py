"""How running services are configured: real TLS servers with certificates made here, a real PostgreSQL, loopback."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from blocks.database import dsn
from blocks.home import Home
from blocks.settings import Settings
from deployments.embedded_postgres import EmbeddedPostgres
from models.health_check import Service, ServiceKind
from models.report import Severity
from models.scan import ScanSettings
from tasks.scan.known_passwords import MOST_TRIES, takes_a_known_password
from tasks.scan.looked import Looked
from tasks.scan.open_servers import look_at_service
from tasks.scan.services import judge_tls, look_at_services
from tasks.scan.tls import Certificate, Tls, look_at_tls
from tests.conftest import free_port
from tests.scan.test_exposure import http, own_address, postgresql

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
KEY = ec.generate_private_key(ec.SECP256R1())


def certificate(
    folder: Path, *, ends: datetime = NOW + 90 * DAY, names: Iterable[str] = ("127.0.0.1", "localhost")
) -> tuple[Path, Path]:
    """A certificate that signs itself, and its key, in files."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "it")])
    held = [x509.IPAddress(ip_address(name)) if name[0].isdigit() else x509.DNSName(name) for name in names]
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(KEY.public_key())
        .serial_number(7)
        .not_valid_before(min(NOW, ends) - 10 * DAY)
        .not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName(held), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(KEY, hashes.SHA256())
    )
    folder.mkdir(exist_ok=True)
    shown, key = folder / "it.crt", folder / "it.key"
    shown.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.touch(mode=0o600)
    key.write_bytes(
        KEY.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return shown, key


@asynccontextmanager
async def https(folder: Path, *, old: bool = False, **more: object) -> AsyncIterator[int]:
    """A TLS server on loopback; with `old` it takes versions of long ago."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate(folder, **more))  # type: ignore[arg-type]
    if old:
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            context.minimum_version = ssl.TLSVersion.TLSv1

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


def service(kind: ServiceKind, url: str, name: str = "it", **more: object) -> Service:
    return Service.model_validate({"name": name, "kind": kind, "url": url, "timeout_s": 2, **more})


@pytest.fixture
def quiet(config: Settings, tmp_path: Path) -> Settings:
    """Settings of a node whose own platform is not there, with a home of its own."""
    changed = {"prefect_api_url": "http://127.0.0.1:9/api", "home": tmp_path / "home", "letta_token": None}
    return config.model_copy(update=changed)


async def looked_at(quiet: Settings, *services: Service, passwords: bool = False) -> Looked:
    looked = await look_at_services(quiet, services, ScanSettings(default_passwords=passwords), delay_s=0)
    return Looked(looked.findings, tuple(skip for skip in looked.skipped if skip.component != "prefect"))


def rules(looked: Looked) -> dict[str, Severity]:
    return {str(one.evidence["rule"]): one.severity for one in looked.findings if "rule" in one.evidence}


async def test_a_certificate_is_judged_by_its_dates_its_names_and_who_signed_it(
    quiet: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def found(host: str, name: str, **more: object) -> set[str]:
        folder = tmp_path / name
        async with https(folder, **more) as port:
            monkeypatch.setenv("SSL_CERT_FILE", str(folder / "it.crt"))
            trusted = rules(await looked_at(quiet, service(ServiceKind.http, f"https://{host}:{port}")))
            monkeypatch.delenv("SSL_CERT_FILE")
            distrusted = rules(await looked_at(quiet, service(ServiceKind.http, f"https://{host}:{port}")))
            assert "SV004" not in trusted
            assert "SV004" in distrusted
            return set(trusted)

    assert await found("127.0.0.1", "fine") == set()
    assert await found("localhost", "named") == set()
    assert await found("127.0.0.1", "other", names=("web.example",)) == {"SV005"}
    assert await found("127.0.0.1", "soon", ends=NOW + 13 * DAY) == {"SV003"}
    assert await found("127.0.0.1", "ended", ends=NOW - DAY) == {"SV002"}
    # One flaw hides no other.
    assert await found("127.0.0.1", "both", ends=NOW - DAY, names=("web.example",)) == {"SV002", "SV005"}


async def test_versions_before_tls_1_2_are_found(tmp_path: Path) -> None:
    async with https(tmp_path / "new") as port:
        new = await look_at_tls("127.0.0.1", port, postgresql=False, timeout_s=2)
    assert new is not None
    assert (new.old, new.old_untried) == ("", False)
    async with https(tmp_path / "old", old=True) as port:
        old = await look_at_tls("127.0.0.1", port, postgresql=False, timeout_s=2)
    assert old is not None
    keys = [one.key for one in judge_tls(service(ServiceKind.http, "https://127.0.0.1"), old, "127.0.0.1", NOW)]
    assert "security.service:it/SV006" in keys


@pytest.mark.parametrize(
    ("host", "names", "fits"),
    [
        ("web.example", ("web.example",), True),
        ("WEB.example.", ("web.example",), True),
        ("a.web.example", ("*.web.example",), True),
        ("a.b.web.example", ("*.web.example",), False),
        ("web.example", ("*.web.example",), False),
        ("example", ("*.",), False),
        ("10.0.0.1", ("10.0.0.1",), True),
        ("10.0.0.1", ("*.0.0.1",), False),
        ("[::1]", ("::1",), True),
    ],
)
def test_names_of_certificates(host: str, names: tuple[str, ...], fits: bool) -> None:
    assert Certificate(NOW, NOW, names).is_for(host) is fits


def test_one_that_begins_later_is_not_valid_now() -> None:
    held = Tls(Certificate(NOW + DAY, NOW + 90 * DAY, ("a",)), "", "", old_untried=False)
    found = judge_tls(service(ServiceKind.http, "https://a"), held, "a", NOW)
    assert [one.evidence["rule"] for one in found] == ["SV002"]


async def test_what_goes_without_encryption_across_the_network(quiet: Settings) -> None:
    def far(**more: object) -> Service:
        return service(ServiceKind.http, "http://10.255.255.1:9", **more)

    assert rules(await looked_at(quiet, far())) == {"SV001": Severity.medium}
    near = [service(ServiceKind.http, "http://127.0.0.1:9"), service(ServiceKind.tcp, "tcp://localhost:9", "b")]
    assert rules(await looked_at(quiet, *near)) == {}
    secrets = Home(quiet).secrets
    secrets.mkdir(parents=True)
    (secrets / "token").write_text("hunter2hunter2")
    looked = await looked_at(quiet, far(secret="token"))
    assert rules(looked) == {"SV001": Severity.high}
    assert "hunter2" not in looked.findings[0].model_dump_json()
    gone = await looked_at(quiet, far(secret="gone"))
    assert gone.skipped[0].may_hide("security.service:it/SV001")


@pytest.mark.parametrize("url", ["https://127.0.0.1:9", "https://no-such-host.invalid", "https://[", "https://a:x"])
async def test_what_cannot_be_reached_or_understood_is_a_skip(quiet: Settings, url: str) -> None:
    looked = await looked_at(quiet, service(ServiceKind.http, url))
    assert looked.findings == ()
    assert looked.skipped[0].may_hide("security.service:it/SV002")


async def test_a_server_that_hangs_or_speaks_no_tls_is_a_skip_in_time(quiet: Settings) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.transport.abort()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server, http(lambda _: (200, "text/plain", b""), "127.0.0.1") as plain:
        port = server.sockets[0].getsockname()[1]
        hangs = service(ServiceKind.http, f"https://127.0.0.1:{port}", "a", timeout_s=0.3)
        wrong = service(ServiceKind.http, plain.replace("http:", "https:"), "b", timeout_s=1)
        async with asyncio.timeout(8):
            looked = await looked_at(quiet, hangs, wrong)
    assert sorted(skip.component for skip in looked.skipped) == ["a", "b"]


@asynccontextmanager
async def redis(answer: Callable[[bytes], bytes]) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that speaks as much of Redis' protocol as its documentation shows."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(1000))
        writer.write(answer(asked[-1]))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], asked


async def test_a_redis_that_answers_ping_is_open_and_one_that_wants_a_password_is_not() -> None:
    for answer, keys in (
        (b"+PONG\r\n", ["security.open_server:redis"]),
        (b"-NOAUTH Authentication required.\r\n", []),
        (b"-DENIED Redis is running in protected mode\r\n", []),
        (b"220 mail.example ESMTP\r\n", []),
    ):
        async with redis(lambda _, answer=answer: answer) as (port, _):  # type: ignore[misc]
            looked = await look_at_service(service(ServiceKind.tcp, f"tcp://127.0.0.1:{port}", "redis"))
        assert [one.key for one in looked.findings] == keys
        assert looked.skipped == ()
    async with redis(lambda _: b"") as (port, asked):
        assert await look_at_service(service(ServiceKind.tcp, f"tcp://127.0.0.1:{port}", "mail")) == Looked()
    assert asked == []  # to what is no Redis by port or name nothing is said


async def test_default_passwords_are_tried_only_when_asked_for_and_three_at_most(quiet: Settings) -> None:
    def locked(asked: bytes) -> bytes:
        if b"AUTH" not in asked:
            return b"-NOAUTH Authentication required.\r\n"
        return b"+OK\r\n" if b"foobared" in asked else b"-WRONGPASS invalid\r\n"

    async with redis(locked) as (port, asked):
        it = service(ServiceKind.tcp, f"tcp://127.0.0.1:{port}", "redis")
        assert rules(await looked_at(quiet, it)) == {}
        assert not any(b"AUTH" in one for one in asked)
        looked = await looked_at(quiet, it, passwords=True)
        assert rules(looked) == {"SV010": Severity.high}
        assert "foobared" not in looked.findings[0].model_dump_json()
    async with redis(lambda _: b"-WRONGPASS invalid\r\n") as (port, asked):
        it = service(ServiceKind.tcp, f"tcp://127.0.0.1:{port}", "redis")
        assert not await takes_a_known_password(it, delay_s=0)
        assert len(asked) == MOST_TRIES


async def test_a_server_that_takes_admin_admin_is_found_and_one_without_a_login_is_not_tried() -> None:
    seen: list[str] = []

    def answer(head: str) -> tuple[int, str, bytes]:
        seen.append(head)
        return (
            (200 if "authorization: Basic YWRtaW46YWRtaW4=" in head.replace("Authorization", "authorization") else 401),
            "text/plain",
            b"",
        )

    async with http(answer) as url:
        assert await takes_a_known_password(service(ServiceKind.http, url), delay_s=0)
    seen.clear()
    async with http(lambda head: (seen.append(head) or 200, "text/plain", b"")) as url:  # type: ignore[func-returns-value]
        assert not await takes_a_known_password(service(ServiceKind.http, url), delay_s=0)
    assert len(seen) == 1


async def test_a_postgresql_is_asked_about_itself(config: Settings, quiet: Settings, tmp_path: Path) -> None:
    home = tmp_path / "pg"
    own = config.model_copy(update={"home": home, "database_url": None})
    with postgresql(config, home, "scram-sha-256") as url:
        port = int(url.rpartition(":")[2].partition("/")[0])
        server = EmbeddedPostgres(own)
        with session(own, port) as admin:
            admin.execute("CREATE ROLE app LOGIN PASSWORD 'long and random, kept in a file'")
            admin.execute("CREATE ROLE shop LOGIN PASSWORD 'shop'")
            admin.execute("CREATE ROLE boss LOGIN SUPERUSER PASSWORD 'boss-4711-boss'")

        def at(user: str, password: str = "", **more: object) -> Service:
            login = f"{user}:{password}" if password else user
            return service(ServiceKind.postgresql, f"postgresql://{login}@127.0.0.1:{port}/postgres", **more)

        assert rules(await looked_at(quiet, at("shop", "shop"))) == {}
        boss = at("boss", "boss-4711-boss")
        assert rules(await looked_at(quiet, boss)) == {"SV008": Severity.medium}
        secrets = Home(quiet).secrets
        secrets.mkdir(parents=True)
        (secrets / "pg").write_text("wrong")
        refused = await looked_at(quiet, at("app", secret="pg"))
        assert [skip.component for skip in refused.skipped] == ["it"]
        with (server.location.data / "pg_hba.conf").open("a") as file:
            file.write("host all all 10.0.0.0/8 trust\n")
        with session(own, port) as admin:
            admin.execute("ALTER SYSTEM SET password_encryption = 'md5'")
            admin.execute("SELECT pg_reload_conf()")
        for _ in range(50):
            found = rules(await looked_at(quiet, boss))
            if "SV007" in found:
                break
            await asyncio.sleep(0.05)
        assert found == {"SV007": Severity.medium, "SV008": Severity.medium, "SV009": Severity.high}

        assert rules(await looked_at(quiet, at("shop"), passwords=True)) == {"SV010": Severity.high}
        assert rules(await looked_at(quiet, at("app"), passwords=True)) == {}

        assert await look_at_tls("127.0.0.1", port, postgresql=True, timeout_s=2) is None


async def test_a_postgresql_with_tls_is_asked_for_it_by_its_own_protocol(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate(tmp_path))

    async def upgrades(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(8) == bytes.fromhex("0000000804d2162f")
        writer.write(b"S")
        await writer.drain()
        with contextlib.suppress(OSError):
            await writer.start_tls(context)
        writer.transport.abort()

    server = await asyncio.start_server(upgrades, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        tls = await look_at_tls("127.0.0.1", port, postgresql=True, timeout_s=2)
    assert tls is not None
    assert tls.distrust
    assert tls.certificate.is_for("localhost")


def session(config: Settings, port: int) -> psycopg.Connection[tuple[object, ...]]:
    """A session of the administrator over the socket."""
    for _ in range(100):
        try:
            return psycopg.connect(dsn(config, "postgres"), port=port, autocommit=True, connect_timeout=2)
        except psycopg.OperationalError:  # it is still starting up
            time.sleep(0.05)
    raise AssertionError


async def test_a_postgresql_beyond_loopback_without_tls_is_found(quiet: Settings) -> None:
    address = own_address()
    if address is None:
        pytest.skip("this machine has no address but loopback")

    async def declines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(b"N")
        await writer.drain()
        writer.transport.abort()

    server = await asyncio.start_server(declines, address, 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        looked = await looked_at(quiet, service(ServiceKind.postgresql, f"postgresql://a@{address}:{port}/a"))
    assert rules(looked) == {"SV001": Severity.high}


async def test_the_nodes_own_platform_is_looked_at_and_never_tried(quiet: Settings) -> None:
    far = quiet.model_copy(
        update={
            "prefect_api_url": "http://10.255.255.1:9/api",
            "database_url": SecretStr(f"postgresql://a:b@127.0.0.1:{free_port()}/a"),
        }
    )
    looked = await look_at_services(far, (), ScanSettings(default_passwords=True))
    assert {one.key for one in looked.findings} == {"security.service:prefect/SV001"}
    assert {skip.component for skip in looked.skipped} == {"prefect", "postgres"}
