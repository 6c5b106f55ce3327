"""A server on loopback that answers as a test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, str, bytes] | tuple[int, str, bytes, dict[str, str]]
"""Status, content type, body; further headers."""


class Server:
    """Answers by `route`, which is given path and decoded body; None is a 404. Remembers what it was asked."""

    def __init__(self) -> None:
        self.route: Callable[[str, Any], Reply | None] = lambda _path, _body: None
        self.requests: list[str] = []
        self.headers: list[dict[str, str]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                server.headers.append({name.lower(): value for name, value in self.headers.items()})
                server.requests.append(self.path)
                status, kind, content, *more = server.route(self.path, body) or (404, "text/plain", b"no such thing")
                headers = {"content-type": kind, "content-length": str(len(content))} | (more[0] if more else {})
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD" and status != 304:
                    self.wfile.write(content)

            do_GET = do_POST = do_HEAD = _answer  # noqa: N815

            def log_message(self, *_args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def as_json(data: Any, kind: str = "application/json") -> Reply:
    return 200, kind, json.dumps(data).encode()


BROKEN: dict[str, Reply] = {
    "500": (500, "text/plain", b"oops"),
    "404": (404, "text/plain", b""),
    "403": (403, "text/plain", b""),
    "html": (200, "text/html", b"<html>Please log in to this network</html>"),
    "truncated": (200, "application/json", b'{"results": [{"vulns": [{"id": "X-'),
    "other shape": (200, "application/json", b"[]"),
    "empty": (200, "application/json", b"{}"),
    "too few results": (200, "application/json", b'{"results": []}'),
    "no ids": (200, "application/json", b'{"results": [{"vulns": [{}]}]}'),
    "deep": (200, "application/json", b"[" * 100_000),
}
"""Answers that are none."""
