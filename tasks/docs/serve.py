"""Shows a site on loopback: static files below one folder, to this machine only."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blocks.errors import StartError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

HOST = "127.0.0.1"
_START_S = 20.0
_HEADERS = (
    (b"content-security-policy", b"default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),
)


def application(folder: Path) -> ASGIApp:
    """The site in `folder` as an ASGI application: nothing hidden, nothing that a link leads out to.

    It answers to names of this machine only, so that no page from elsewhere can read it by a name of its own.
    """
    from starlette.applications import Starlette  # noqa: PLC0415 - a build needs no server
    from starlette.middleware.trustedhost import TrustedHostMiddleware  # noqa: PLC0415
    from starlette.responses import PlainTextResponse  # noqa: PLC0415
    from starlette.routing import Mount  # noqa: PLC0415
    from starlette.staticfiles import StaticFiles  # noqa: PLC0415

    files = StaticFiles(directory=folder, html=True, check_dir=False, follow_symlink=False)
    pages = Starlette(routes=[Mount("/", files)])

    async def site(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        parts = str(scope["path"]).split("/")
        if any(part.startswith(".") for part in parts):
            await PlainTextResponse("Not found", status_code=404)(scope, receive, send)
            return
        await pages(scope, receive, _with_headers(send))

    return TrustedHostMiddleware(site, allowed_hosts=["localhost", HOST, "[::1]"])


def _with_headers(send: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
    async def sending(message: Any) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *_HEADERS]}
        await send(message)

    return sending


def refuse_taken(port: int) -> None:
    """Look whether a server can have `port`, before there is anything to serve.

    Raises:
        StartError: it cannot.
    """
    import socket  # noqa: PLC0415 - a build needs none of it

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise _unusable(port) from error


def _unusable(port: int) -> StartError:
    return StartError(f"port {port} cannot be listened on.", component="docs", remedy="Choose another with --port.")


class Serving:
    """A server for one folder, in a thread of its own, while the context lasts."""

    def __init__(self, folder: Path, port: int) -> None:
        import uvicorn  # noqa: PLC0415 - see above

        self._server = uvicorn.Server(
            uvicorn.Config(application(folder), host=HOST, port=port, log_level="error", access_log=False)
        )
        self._thread = threading.Thread(target=self._run, name="docs-server", daemon=True)
        self._asked = port

    def __enter__(self) -> Serving:
        self._thread.start()
        step = 0.02
        for _ in range(int(_START_S / step)):
            if self._server.started or not self._thread.is_alive():
                break
            self._thread.join(step)
        self.check()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(_START_S)

    @property
    def url(self) -> str:
        """Where the site is."""
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"http://{HOST}:{port}/"

    def check(self) -> None:
        """Nothing while it serves.

        Raises:
            StartError: it does not serve, or not any more.
        """
        if not self._server.started or not self._thread.is_alive():
            raise _unusable(self._asked)

    def _run(self) -> None:
        # uvicorn leaves by exiting when its port is taken; `check` says that in words.
        try:
            self._server.run()
        except SystemExit:
            return
