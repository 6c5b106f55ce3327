"""The outermost layer: who may ask by which name, what every answer carries, and how long it took.

A page on a hostile site can make its own name point to this machine (DNS rebinding) and then read what we answer. So
only names that are ours are answered to.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from blocks.settings import LOOPBACK, Settings
from services.gateway.measures import Measures

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
}
_RAW_HEADERS = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
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


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, settings: Settings, hosts: Iterable[str], measures: Measures) -> None:
        self._app = app
        self._measures = measures
        outside = urlsplit(settings.gateway_outside).hostname if settings.gateway_outside is not None else None
        self._names = Names(settings, [*hosts, *([outside] if outside else [])])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *_RAW_HEADERS]
            await send(message)

        try:
            if self._names.know(Headers(scope=scope).getlist("host")):
                await self._app(scope, receive, guarded)
            else:
                refusal = JSONResponse(
                    {"error": "This gateway is not known by that name; `hosts` of [webhooks] adds names."}, 421
                )
                await refusal(scope, receive, guarded)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            self._measures.request(scope["method"], route, status, time.perf_counter() - started)


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
