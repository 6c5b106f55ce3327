"""The outermost layer: who may ask by which name, what every answer carries, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from blocks.settings import Settings
from services.gateway.measures import Measures
from services.guard import Names

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
}
_RAW_HEADERS = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: FastAPI, settings: Settings, hosts: Iterable[str], measures: Measures) -> None:
        self._app = app
        self._measures = measures
        outside = urlsplit(settings.gateway_outside).hostname if settings.gateway_outside is not None else None
        self._names = Names(settings, [*hosts, *([outside] if outside else [])])

    def described(self) -> dict[str, Any]:
        """The OpenAPI document of what is inside."""
        return self._app.openapi()

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
