"""Who may ask: by a name that is ours, from no page of another site, and with the key.

https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#security-warning. There is no way to
switch the key off: what is called here acts in outside systems.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from blocks.home import Home
from blocks.settings import Settings
from services.gateway.guard import Names

HEALTH = "/health"


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, settings: Settings, hosts: Iterable[str]) -> None:
        self._app = app
        self._names = Names(settings, hosts)
        given = settings.mcp_key
        self._key = (given.get_secret_value() if given is not None else Home(settings).secret("mcp.key")).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if not self._names.know(headers.getlist("host")):
            return _refused(421, "This server is not known by that name; `hosts` of [webhooks] adds names.")
        origins = headers.getlist("origin")
        if origins and not self._names.know([_host_of(origin) for origin in origins]):
            return _refused(403, "Pages of other sites may not ask here.")
        if scope["path"] == HEALTH:
            return PlainTextResponse("ok")
        if not self._fits(headers.getlist("authorization")):
            answer = _refused(
                401, "The key is needed: `Authorization: Bearer ...`, from `secrets/mcp.key` of the home."
            )
            answer.headers["WWW-Authenticate"] = "Bearer"
            return answer
        return None

    def _fits(self, offered: list[str]) -> bool:
        scheme, _, key = offered[0].partition(" ") if len(offered) == 1 else ("", "", "")
        return scheme.lower() == "bearer" and hmac.compare_digest(key.strip().encode("utf-8", "replace"), self._key)


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _refused(status: int, sentence: str) -> JSONResponse:
    return JSONResponse({"error": sentence}, status)
