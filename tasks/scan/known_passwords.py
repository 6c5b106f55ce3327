"""Whether a server takes a password that it comes with. Only where `default_passwords` says so; three tries at most."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from blocks.errors import UnavailableError
from models.health_check import Service, ServiceKind
from tasks.scan.redis_protocol import takes_password

MOST_TRIES = 3
_LARGEST = 1_000_000

_KNOWN: dict[ServiceKind, tuple[tuple[str, str], ...]] = {
    ServiceKind.postgresql: (("postgres", "postgres"), ("postgres", "password"), ("postgres", "changeme")),
    ServiceKind.bolt: (("neo4j", "neo4j"), ("neo4j", "password"), ("root", "playwithdata")),
    ServiceKind.prefect: (("admin", "pass"), ("admin", "admin"), ("prefect", "prefect")),
    ServiceKind.letta: (("", "password"), ("", "letta"), ("", "changeme")),
    ServiceKind.http: (("admin", "admin"), ("admin", "password"), ("root", "root")),
    ServiceKind.tcp: (("", "redis"), ("", "password"), ("", "foobared")),
}
"""Users and passwords of the servers' own documentation and of common examples; the first are the likeliest."""

Try = Callable[[Service, str, str], Awaitable[bool | None]]
"""Whether a user and password are taken; None when this server cannot be asked."""


async def takes_a_known_password(service: Service, *, delay_s: float) -> bool:
    """Whether `service` takes one of the passwords that servers of its kind come with.

    Args:
        service: one that is named in `lama.toml`, and does ask for a password.
        delay_s: seconds between two tries, so that no server takes this for an attack or locks a user out.

    Raises:
        UnavailableError: it cannot be reached.
    """
    attempt = _TRIES[service.kind]
    user = urlsplit(service.url).username if service.kind is ServiceKind.postgresql else None
    pairs = _pairs(service.kind, user)
    for at, (name, password) in enumerate(pairs):
        if at:
            await asyncio.sleep(delay_s)
        taken = await attempt(service, name, password)
        if taken is None:
            return False
        if taken:
            return True
    return False


def _pairs(kind: ServiceKind, user: str | None) -> Sequence[tuple[str, str]]:
    if user and user != "postgres":
        return ((user, user), (user, "password"), (user, "postgres"))[:MOST_TRIES]
    return _KNOWN[kind][:MOST_TRIES]


async def _postgresql(service: Service, user: str, password: str) -> bool | None:
    import psycopg  # noqa: PLC0415

    given: dict[str, Any] = {
        "user": user,
        "password": password,
        "passfile": "/dev/null",
        "application_name": "lama-scan",
    }
    try:
        connection = await psycopg.AsyncConnection.connect(
            service.url, connect_timeout=max(2, round(service.timeout_s)), **given
        )
    except psycopg.OperationalError as error:
        told = str(error)
        if "password authentication failed" in told or "pg_hba.conf" in told:
            return False
        if "role" in told and "does not exist" in told:
            return False
        if "does not exist" in told:
            return True  # whoever is told that there is no such database was let in
        raise UnavailableError("cannot be reached by the PostgreSQL protocol.") from error
    except psycopg.Error as error:
        raise UnavailableError("has an address that cannot be understood.") from error
    await connection.close()
    return True


async def _bolt(service: Service, user: str, password: str) -> bool | None:
    from neo4j import AsyncGraphDatabase  # noqa: PLC0415
    from neo4j.exceptions import AuthError, ClientError, ConfigurationError, DriverError, Neo4jError  # noqa: PLC0415

    try:
        async with AsyncGraphDatabase.driver(
            service.url, auth=(user, password), connection_timeout=service.timeout_s, max_transaction_retry_time=0
        ) as driver:
            await driver.verify_connectivity()
    except AuthError as error:
        return None if "RateLimit" in (error.code or "") else False
    except ClientError as error:
        if "CredentialsExpired" in (error.code or ""):
            return True  # it took the password, and wants another one next
        raise UnavailableError("answered with an error that says nothing about passwords.") from error
    except (Neo4jError, DriverError, ConfigurationError, ValueError, OSError) as error:
        raise UnavailableError(f"cannot be reached by Bolt ({type(error).__name__}).") from error
    return True


async def _basic(service: Service, user: str, password: str) -> bool | None:
    path = ""
    if service.kind is ServiceKind.prefect:
        path = "/flows/filter" if service.url.rstrip("/").endswith("/api") else "/api/flows/filter"
    method = "POST" if path else "GET"
    return await _http(
        method, f"{service.url.rstrip('/') if path else service.url}{path}", service, (user, password), {}
    )


async def _bearer(service: Service, _user: str, password: str) -> bool | None:
    url = f"{service.url.rstrip('/')}/v1/agents/?limit=1"
    return await _http("GET", url, service, None, {"Authorization": f"Bearer {password}"})


async def _http(
    method: str, url: str, service: Service, basic: tuple[str, str] | None, headers: dict[str, str]
) -> bool | None:
    """Whether a server that refuses without credentials answers with them; None when it asks for none of this kind."""
    import httpx  # noqa: PLC0415

    body: Any = {"limit": 1} if method == "POST" else None
    try:
        address = httpx.URL(url).copy_with(userinfo=b"")
        async with httpx.AsyncClient(timeout=service.timeout_s, trust_env=False, verify=False) as client:  # noqa: S501  # nosec B501 - a made-up password is sent
            plain = await client.request(method, address, json=body)
            if plain.status_code not in {401, 403}:
                return None
            scheme = plain.headers.get("www-authenticate", "basic" if basic else "bearer").lower()
            if basic and not scheme.startswith("basic"):
                return None
            answer = await client.request(method, address, json=body, headers=headers, auth=basic)
    except httpx.TimeoutException as error:
        raise UnavailableError("did not answer in time.") from error
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise UnavailableError(f"cannot be reached ({type(error).__name__}).") from error
    if answer.status_code == 429:
        return None
    return answer.status_code == 200


async def _redis(service: Service, _user: str, password: str) -> bool | None:
    return await takes_password(service.url, password, service.timeout_s)


_TRIES: dict[ServiceKind, Try] = {
    ServiceKind.postgresql: _postgresql,
    ServiceKind.bolt: _bolt,
    ServiceKind.prefect: _basic,
    ServiceKind.letta: _bearer,
    ServiceKind.http: _basic,
    ServiceKind.tcp: _redis,
}
