"""Who may ask a service of ours: by a name that is ours, from no page of another site, and with its key.

A page on a hostile site can make its own name point to this machine (DNS rebinding) and then read what we answer. So
only names that are ours are answered to.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from blocks.home import Home
from blocks.settings import LOOPBACK, Settings

_WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104  # nosec B104 - compared with, not bound to


class Names:
    """The names that this machine is asked by: those of loopback, its own where it listens beyond, and `hosts`."""

    def __init__(self, settings: Settings, hosts: Iterable[str]) -> None:
        self._any_address = settings.host in _WILDCARDS
        own = set() if settings.on_loopback else {settings.host, socket.gethostname(), socket.getfqdn()}
        self._names = {name.lower().rstrip(".") for name in (*LOOPBACK, *own, *hosts)}

    def know(self, hosts: Sequence[str]) -> bool:
        """Whether `hosts`, the values of a header, are one host of ours, with or without a port."""
        if len(hosts) != 1:
            return False
        name = _without_port(hosts[0]).lower().rstrip(".")
        return name in self._names or (self._any_address and _is_address(name))


def _sentence(status: int, sentence: str) -> Response:
    return JSONResponse({"error": sentence}, status)


@dataclass(frozen=True)
class Lesser:
    """A second key, for whom not everything is meant. What it opened has `LESSER` in its scope.

    Args:
        secret: its file among the home's secrets.
        given: the key, where a setting has it.
        opens: beginnings of the paths that it opens.
    """

    secret: str
    given: SecretStr | None
    opens: tuple[str, ...]


LESSER = "lama.lesser"


class Guard:
    """ASGI middleware around a whole application. There is no way to switch the key off.

    Args:
        app: what is guarded.
        names: what it may be called.
        home: keeps the key.
        secret: its file among the home's secrets.
        given: the key, where a setting has it.
        without_key: paths that are answered to anybody.
        refused: makes the answer to whoever may not ask, of a status and a sentence.
        lesser: a second key.
    """

    def __init__(
        self,
        app: ASGIApp,
        names: Names,
        home: Home,
        secret: str,
        given: SecretStr | None,
        *,
        without_key: frozenset[str] = frozenset({"/health"}),
        refused: Callable[[int, str], Response] = _sentence,
        lesser: Lesser | None = None,
    ) -> None:
        self._app = app
        self._names = names
        self._where = f"secrets/{secret}"
        self._key = _key(given, home, secret)
        self._opens = lesser.opens if lesser else ()
        self._lesser = _key(lesser.given, home, lesser.secret) if lesser else None
        self._without_key = without_key
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if not self._names.know(headers.getlist("host")):
            return self._refused(421, "This server is not known by that name; `hosts` of [webhooks] adds names.")
        origins = headers.getlist("origin")
        if origins and not self._names.know([_host_of(origin) for origin in origins]):
            return self._refused(403, "Pages of other sites may not ask here.")
        if scope["path"] in self._without_key:
            return None
        offered = _offered(headers.getlist("authorization"))
        if self._lesser is not None and _same(offered, self._lesser):
            scope[LESSER] = True
            opened = scope["path"].startswith(self._opens)
            return None if opened else self._refused(403, "This key is for programs that ask models only.")
        if not _same(offered, self._key):
            answer = self._refused(
                401, f"The key is needed: `Authorization: Bearer ...`, from `{self._where}` of the home."
            )
            answer.headers["WWW-Authenticate"] = "Bearer"
            return answer
        return None


def _key(given: SecretStr | None, home: Home, secret: str) -> bytes:
    return (given.get_secret_value() if given is not None else home.secret(secret)).encode()


def _same(offered: bytes, key: bytes) -> bool:
    return bool(offered) and hmac.compare_digest(offered, key)


def _offered(headers: list[str]) -> bytes:
    """The key that is offered; nothing where there is none, which is no key."""
    scheme, _, key = headers[0].partition(" ") if len(headers) == 1 else ("", "", "")
    return key.strip().encode("utf-8", "replace") if scheme.lower() == "bearer" else b""


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_address(name: str) -> bool:
    # Rebinding needs a name; an address always leads to whom it says.
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
