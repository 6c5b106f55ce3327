"""Asks a service whether it is there and well: one attempt, bounded in time and in what is read."""

from __future__ import annotations

import asyncio
import errno
import functools
import importlib
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from blocks.settings import LOOPBACK
from models.health_check import Service, ServiceKind
from models.service_address import Address, AddressError, parse_address
from tasks.health_check.architecture.answer import Answer, Outcome

if TYPE_CHECKING:
    import httpx

_LARGEST = 64 * 1024  # bytes of an answer that are read
_HOPS = 3  # redirects within one origin
_LONGEST_VERSION = 60
_NEEDED = {
    ServiceKind.http: ("httpx",),
    ServiceKind.prefect: ("httpx",),
    ServiceKind.letta: ("blocks.letta", "letta_client.types.health_response"),
    ServiceKind.postgresql: ("psycopg",),
    ServiceKind.bolt: ("blocks.graph", "neo4j"),
}


async def probe(service: Service, secret: SecretStr | None = None) -> Answer:
    """How `service` answers within its `timeout_s`. Never raises for what the service does."""
    try:
        address = parse_address(service.kind, service.url)
    except AddressError as error:
        return _answer(service, "", Outcome.misconfigured, reason=f"{error}.")
    for module in _NEEDED.get(service.kind, ()):
        importlib.import_module(module)  # now, and not within the time that the service has
    progress = _Progress()
    begun = time.perf_counter()
    try:
        async with asyncio.timeout(service.timeout_s):
            version = await _ask(service, address, secret, progress)
    except TimeoutError:
        if progress.connected:
            reason = f"connected, but no answer within {service.timeout_s:g} s."
            return _answer(service, address.shown, Outcome.hanging, reason=reason)
        reason = f"no connection within {service.timeout_s:g} s; is there a firewall in between?"
        return _answer(service, address.shown, Outcome.unseen, reason=reason)
    except _AnsweredError as error:
        seconds = time.perf_counter() - begun
        return _answer(service, address.shown, error.outcome, reason=str(error), seconds=seconds)
    except OSError as error:
        outcome, reason = _classified(error, connected=progress.connected)
        return _answer(service, address.shown, outcome, reason=reason)
    return _answer(service, address.shown, Outcome.up, seconds=time.perf_counter() - begun, version=_plain(version))


@dataclass
class _Progress:
    """How far a probe came before its time was up."""

    connected: bool = False

    async def trace(self, event: str, _info: dict[str, Any]) -> None:
        """Called by httpx with what it does."""
        self.connected = self.connected or event == "connection.connect_tcp.complete"


class _AnsweredError(Exception):
    """The service answered with something other than success."""

    def __init__(self, outcome: Outcome, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome


async def _ask(service: Service, address: Address, secret: SecretStr | None, progress: _Progress) -> str | None:
    match service.kind:
        case ServiceKind.tcp:
            await _connect(address, progress)
            return None
        case ServiceKind.postgresql:
            return await _postgresql(service, address, secret, progress)
        case ServiceKind.bolt:
            return await _bolt(service, address, secret, progress)
        case ServiceKind.prefect:
            return await _prefect(address, secret, progress)
        case ServiceKind.letta:
            return await _letta(service, address, secret, progress)
        case ServiceKind.http:
            headers = {"Authorization": f"Bearer {secret.get_secret_value()}"} if secret else {}
            await _get(address, address.path or "/", _query(service.url), headers, progress, read=False)
            return None


async def _connect(address: Address, progress: _Progress) -> None:
    """One connection that is closed again: says apart what the protocols' own libraries mix up."""
    if address.port is None:
        return
    _, writer = await asyncio.open_connection(address.host, address.port)
    progress.connected = True
    writer.close()


async def _postgresql(service: Service, address: Address, secret: SecretStr | None, progress: _Progress) -> str:
    import psycopg  # noqa: PLC0415

    await _connect(address, progress)
    given: dict[str, Any] = {"password": secret.get_secret_value()} if secret else {}
    timeout = max(2, int(service.timeout_s) + 1)  # ours ends it sooner
    try:
        async with await psycopg.AsyncConnection.connect(
            service.url, autocommit=True, connect_timeout=timeout, application_name="lama-health-check", **given
        ) as connection:
            progress.connected = True
            cursor = await connection.execute("SELECT current_setting('server_version')")
            row = await cursor.fetchone()
            return f"PostgreSQL {row[0]}" if row else "PostgreSQL"
    except psycopg.Error as error:
        raise _postgresql_answer(error, address) from error


def _postgresql_answer(error: Exception, address: Address) -> _AnsweredError:
    # Before a session there is no SQLSTATE to go by, only the server's words. They are not passed on: they hold names.
    said = str(error)
    if any(words in said for words in ("authentication failed", "no password supplied", "no pg_hba.conf entry")):
        return _AnsweredError(Outcome.refused, "the server refuses this user or password.")
    for words, meaning in (
        ("does not exist", "the server has no such database or role."),
        ("starting up", "the server is still starting up."),
        ("shutting down", "the server is shutting down."),
        ("too many clients", "the server has no connection left."),
        ("remaining connection slots", "the server has no connection left."),
    ):
        if words in said:
            return _AnsweredError(Outcome.failing, meaning)
    if address.port is None:  # a UNIX socket, which nobody has connected to before
        return _AnsweredError(Outcome.down, "nobody listens on its socket.")
    return _AnsweredError(Outcome.failing, f"no PostgreSQL session could be opened ({type(error).__name__}).")


async def _bolt(service: Service, address: Address, secret: SecretStr | None, progress: _Progress) -> str:
    from neo4j.exceptions import AuthError, ConfigurationError, DriverError, Neo4jError  # noqa: PLC0415

    from blocks.graph_access import GraphAccess  # noqa: PLC0415

    await _connect(address, progress)
    password = secret or (SecretStr(address.password) if address.password else None)
    graph = GraphAccess(
        uri=address.origin, user=address.user or "neo4j", password=password, timeout_s=max(service.timeout_s, 0.1)
    )
    try:
        async with graph.get_client() as driver:
            info = await driver.get_server_info()
            return info.agent
    except AuthError as error:
        raise _AnsweredError(Outcome.refused, "the server refuses this user or password.") from error
    except (Neo4jError, DriverError, ConfigurationError, ValueError) as error:
        raise _AnsweredError(Outcome.failing, f"no Bolt session could be opened ({type(error).__name__}).") from error


async def _prefect(address: Address, secret: SecretStr | None, progress: _Progress) -> str:
    import base64  # noqa: PLC0415

    base = address.path.rstrip("/") or "/api"
    headers = {}
    if secret:
        headers["Authorization"] = f"Basic {base64.b64encode(secret.get_secret_value().encode()).decode()}"
    version = (await _get(address, f"{base}/admin/version", "", headers, progress)).strip().strip(b'"')
    if not version[:1].isdigit():
        raise _AnsweredError(Outcome.failing, "what answers is no Prefect server.")
    await _get(address, f"{base}/ready", "", headers, progress)
    return f"Prefect {version.decode(errors='replace')}"


async def _letta(service: Service, address: Address, secret: SecretStr | None, progress: _Progress) -> str:
    import json  # noqa: PLC0415

    import httpx  # noqa: PLC0415
    from letta_client import APIConnectionError, APIStatusError, LettaError  # noqa: PLC0415

    from blocks.letta import LettaServer  # noqa: PLC0415

    await _connect(address, progress)
    block = LettaServer(url=address.origin + address.path, token=secret, timeout_s=service.timeout_s)
    try:
        # Streamed, so that no more is read than an answer about health can be.
        async with block.get_client() as client, client.with_streaming_response.health() as response:
            content = b""
            async for chunk in response.iter_bytes():
                content += chunk
                if len(content) > _LARGEST:
                    break
        health = json.loads(content)
        return f"Letta {health['version']}"
    except APIStatusError as error:
        raise _by_status(error.status_code) from error
    except APIConnectionError as error:
        raise _AnsweredError(Outcome.failing, "it ended the connection without an answer.") from error
    except (LettaError, ValueError, KeyError, TypeError, httpx.HTTPError) as error:
        raise _AnsweredError(Outcome.failing, "what answers is no Letta server.") from error


async def _get(
    address: Address, path: str, query: str, headers: dict[str, str], progress: _Progress, *, read: bool = True
) -> bytes:
    """The first part of the body of a GET that succeeds. Redirects are followed within one origin only."""
    import httpx  # noqa: PLC0415

    auth = (address.user or "", address.password or "") if address.user or address.password else None
    url = httpx.URL(address.origin + path + query)
    # A proxy from the environment is for hosts elsewhere, never for this machine.
    through_proxy = address.host not in LOOPBACK
    async with httpx.AsyncClient(
        timeout=None,  # noqa: S113 - the whole probe has one
        follow_redirects=False,
        trust_env=through_proxy,
        verify=_tls(),
    ) as client:
        for _ in range(_HOPS):
            try:
                request = client.build_request("GET", url, headers=headers)
                request.extensions["trace"] = progress.trace
                response = await client.send(request, auth=auth, stream=True)
                try:
                    if response.status_code < 300:
                        return await _beginning(response) if read else b""
                    target = response.next_request.url if response.next_request else None
                finally:
                    await response.aclose()
            except httpx.ConnectError as error:
                raise _origin(error) from error
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise _AnsweredError(Outcome.failing, f"it gave no valid answer ({type(error).__name__}).") from error
            if target is None:
                raise _by_status(response.status_code)
            if (target.scheme, target.host, target.port) != (url.scheme, url.host, url.port):
                return b""  # it answers; whoever it points to is not the service that was asked about
            url = target
    raise _AnsweredError(Outcome.failing, f"it redirects more than {_HOPS} times.")


@functools.lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    import httpx  # noqa: PLC0415

    return httpx.create_ssl_context()  # reads all certificates: some 50 ms, which are not the service's


async def _beginning(response: httpx.Response) -> bytes:
    content = b""
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > _LARGEST:
            break
    return content


def _by_status(status: int) -> _AnsweredError:
    if status in {401, 403}:
        return _AnsweredError(Outcome.refused, f"it answers {status}.")
    return _AnsweredError(Outcome.failing, f"it answers {status}.")


def _classified(error: OSError, *, connected: bool) -> tuple[Outcome, str]:
    """What an error of the network says about the service."""
    if isinstance(error, socket.gaierror):
        return Outcome.unseen, "its host name is not known here."
    if isinstance(error, ssl.SSLError):
        return Outcome.failing, "no TLS connection could be made; is its certificate trusted here?"
    # asyncio joins the errors of several addresses into one without an errno, only words.
    if isinstance(error, ConnectionRefusedError) or f"[Errno {errno.ECONNREFUSED}]" in str(error):
        return Outcome.down, "the connection was refused."
    if connected or isinstance(error, ConnectionError):
        return Outcome.failing, f"it ended the connection ({type(error).__name__})."
    return Outcome.unseen, f"no connection: {error.strerror or type(error).__name__}."


def _origin(error: BaseException) -> OSError:
    """The error of the operating system that `error` was made from."""
    causes = [cause for cause in _chain(error) if isinstance(cause, OSError)]
    return next(
        (cause for cause in causes if cause.errno is not None), causes[0] if causes else OSError("no connection")
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for member in error.exceptions:
                yield from _chain(member)
        error = error.__cause__ or error.__context__


def _query(url: str) -> str:
    query = urlsplit(url).query
    return f"?{query}" if query else ""


def _plain(version: str | None) -> str | None:
    """A version from outside as one short printable line."""
    if version is None:
        return None
    return "".join(character for character in version if character.isprintable())[:_LONGEST_VERSION]


def _answer(
    service: Service,
    shown: str,
    outcome: Outcome,
    *,
    reason: str = "",
    seconds: float | None = None,
    version: str | None = None,
) -> Answer:
    return Answer(
        service=service.name,
        kind=service.kind.value,
        address=shown,
        outcome=outcome,
        reason=reason,
        seconds=seconds,
        version=version,
    )
