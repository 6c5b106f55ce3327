"""Servers that answer without asking who wants to know. Every probe is a plain read, without any password."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from blocks.errors import UnavailableError
from blocks.settings import Settings
from models.health_check import Service, ServiceKind
from models.report import Finding, Severity, Skip
from tasks.scan.listeners import is_loopback
from tasks.scan.looked import Looked
from tasks.scan.redis_protocol import answers_ping, may_be_redis

_LARGEST = 1_000_000


class Guard(StrEnum):
    """What a server does when asked without a password."""

    open = "open"
    closed = "closed"


async def look_at_service(service: Service) -> Looked:
    """Whether `service` answers without authentication; kinds that have none of their own are left to custom rules."""
    probe = _PROBES.get(service.kind)
    if probe is None or (service.kind is ServiceKind.tcp and not may_be_redis(service.url, service.name)):
        return Looked()
    try:
        guard = await probe(service.url, service.timeout_s)
    except UnavailableError as error:
        return Looked(skipped=(_skip(service.name, error),))
    return Looked((_finding(service.name, service.kind, service.url),) if guard is Guard.open else ())


async def look_at_platform(settings: Settings, *, timeout_s: float = 5.0) -> Looked:
    """Whether this node's own Prefect API, PostgreSQL and graph answer without authentication."""
    findings: list[Finding] = []
    skipped: list[Skip] = []
    try:
        if await _prefect(settings.api_url, timeout_s) is Guard.open:
            findings.append(_finding("prefect", ServiceKind.prefect, settings.api_url))
    except UnavailableError as error:
        skipped.append(_skip("prefect", error))
    if settings.database_url is not None:  # the embedded one has no TCP port at all
        url = settings.database_url.get_secret_value()
        try:
            if await _postgresql(url, timeout_s) is Guard.open:
                findings.append(_finding("postgres", ServiceKind.postgresql, url))
        except UnavailableError as error:
            skipped.append(_skip("postgres", error))
    if settings.graph_uri is not None:  # the embedded one is made with users, and listens on loopback only
        try:
            if await _bolt(settings.graph_uri, timeout_s) is Guard.open:
                findings.append(_finding("graph", ServiceKind.bolt, settings.graph_uri))
        except UnavailableError as error:
            skipped.append(_skip("graph", error))
    return Looked(tuple(findings), tuple(skipped))


async def _prefect(url: str, timeout_s: float) -> Guard:
    base = url.rstrip("/")
    address = f"{base if base.endswith('/api') else f'{base}/api'}/flows/count"
    return await _http("POST", address, timeout_s, int, body={})


async def _letta(url: str, timeout_s: float) -> Guard:
    return await _http("GET", f"{url.rstrip('/')}/v1/agents/?limit=1", timeout_s, list)


async def _http(method: str, url: str, timeout_s: float, shape: type, body: Any = None) -> Guard:
    import httpx  # noqa: PLC0415

    try:
        # No environment: a proxy or a .netrc would answer or sign for us.
        async with httpx.AsyncClient(timeout=timeout_s, trust_env=False) as client:
            # A user and password in the address would be sent, and the server look open.
            response = await client.request(method, httpx.URL(url).copy_with(userinfo=b""), json=body)
    except httpx.TimeoutException as error:
        raise UnavailableError("did not answer in time.") from error
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise UnavailableError(f"cannot be reached ({type(error).__name__}).") from error
    if response.status_code in {401, 403}:
        return Guard.closed
    if response.status_code == 200 and len(response.content) <= _LARGEST:
        try:
            if isinstance(response.json(), shape):
                return Guard.open
        except (ValueError, RecursionError) as error:
            raise UnavailableError("answered something else than its API.") from error
    raise UnavailableError(f"answered {response.status_code}, which says nothing about authentication.")


async def _postgresql(url: str, timeout_s: float) -> Guard:
    import psycopg  # noqa: PLC0415
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        raise UnavailableError("has an address that cannot be understood.") from error
    host = str(given.get("host") or "")
    if not host or host.startswith(("/", "@")):
        return Guard.closed  # a UNIX socket: modes of files guard it
    # An empty password is one that is given: neither PGPASSWORD nor a password file is asked for another.
    plain: dict[str, Any] = {
        **given,
        "password": "",
        "passfile": "/dev/null",
        "sslcert": "/dev/null",
        "sslkey": "/dev/null",
    }
    plain |= {"connect_timeout": max(2, round(timeout_s)), "gssencmode": "disable", "application_name": "lama"}
    try:
        connection = await psycopg.AsyncConnection.connect(**plain)
    except psycopg.OperationalError as error:
        told = str(error)
        # Before a connection is there, libpq gives no SQLSTATE, so its words must do.
        if any(words in told for words in ("password", "authentication failed", "pg_hba.conf", "certificate")):
            return Guard.closed
        raise UnavailableError("cannot be reached by the PostgreSQL protocol.") from error
    await connection.close()
    return Guard.open


async def _bolt(url: str, timeout_s: float) -> Guard:
    from neo4j import AsyncGraphDatabase  # noqa: PLC0415
    from neo4j.exceptions import AuthError, ClientError, ConfigurationError, DriverError, Neo4jError  # noqa: PLC0415

    try:
        async with (
            AsyncGraphDatabase.driver(
                url,
                auth=None,
                connection_timeout=timeout_s,
                connection_acquisition_timeout=timeout_s,
                max_transaction_retry_time=0,
            ) as driver,
            driver.session() as session,
        ):
            result = await session.run("RETURN 1 AS one")
            await result.consume()
    except (AuthError, ClientError) as error:
        if isinstance(error, AuthError) or ".Security." in (error.code or ""):
            return Guard.closed
        raise UnavailableError("answered with an error that says nothing about authentication.") from error
    except (Neo4jError, DriverError, ConfigurationError, ValueError, OSError) as error:
        raise UnavailableError(f"cannot be reached by Bolt ({type(error).__name__}).") from error
    return Guard.open


async def _redis(url: str, timeout_s: float) -> Guard:
    answers = await answers_ping(url, timeout_s)
    return Guard.open if answers else Guard.closed  # what does not speak as Redis does gives nothing away


_PROBES: dict[ServiceKind, Callable[[str, float], Awaitable[Guard]]] = {
    ServiceKind.prefect: _prefect,
    ServiceKind.letta: _letta,
    ServiceKind.postgresql: _postgresql,
    ServiceKind.bolt: _bolt,
    ServiceKind.tcp: _redis,
}

_REMEDIES = {
    ServiceKind.prefect: "Set LAMA_PREFECT_AUTH (PREFECT_SERVER_API_AUTH_STRING of a server of its own).",
    ServiceKind.letta: "Start it with SECURE=true and LETTA_SERVER_PASSWORD.",
    ServiceKind.postgresql: "Replace `trust` in pg_hba.conf by `scram-sha-256`.",
    ServiceKind.bolt: "Switch authentication on (dbms.security.auth_enabled of Neo4j).",
    ServiceKind.tcp: "Set `requirepass` or users (ACL) in redis.conf, and leave protected mode on.",
}


def _finding(name: str, kind: ServiceKind, url: str) -> Finding:
    host = urlsplit(url).hostname or ""
    near = is_loopback(host)
    return Finding(
        key=f"security.open_server:{name}",
        severity=Severity.low if near else Severity.critical,
        component=name,
        title=f"{name} ({kind.value}) answers without authentication.",
        detail="Every user and program of this machine can use it." if near else "Everybody who reaches it can use it.",
        remedy=_REMEDIES[kind],
        evidence={"kind": kind.value, "host": host, "loopback": near},
    )


def _skip(name: str, error: UnavailableError) -> Skip:
    return Skip(
        area="security",
        component=name,
        reason=f"Whether it asks for authentication is not known: it {error.what}",
        hides=(f"security.open_server:{name}",),
    )
