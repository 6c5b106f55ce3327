"""An API on loopback that an OpenAPI document describes, and that knows repetitions by their key."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DOCUMENT: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "Shop", "version": "1"},
    "paths": {
        "/orders": {
            "post": {
                "operationId": "createOrder",
                "summary": "Place an order.",
                "parameters": [{"name": "X-Note", "in": "header", "schema": {"type": "string"}}],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Order"}}},
                },
            },
        },
        "/orders/{id}": {
            "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
            "get": {
                "operationId": "getOrder",
                "summary": "Look at an order.",
                "parameters": [
                    {"name": "fields", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}}
                ],
            },
            "delete": {"operationId": "dropOrder", "summary": "Drop an order."},
        },
    },
    "components": {
        "schemas": {
            "Order": {
                "type": "object",
                "required": ["number"],
                "additionalProperties": False,
                "properties": {
                    "number": {"type": "integer", "minimum": 0},
                    "note": {"type": "string", "nullable": True, "maxLength": 200},
                    "how": {"type": "string"},
                },
            }
        }
    },
}  # fmt: skip


class Shop(ThreadingHTTPServer):
    """The API. An order says by `how` what goes wrong with it."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.orders: dict[str, dict[str, Any]] = {}
        """By idempotency key: each order once."""
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.writing = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join(5)

    def place(self, key: str, order: dict[str, Any]) -> tuple[int, bool]:
        """The order's place, and whether it is new."""
        with self.writing:
            new = key not in self.orders
            self.orders.setdefault(key, order)
            return list(self.orders).index(key) + 1, new

    def numbers(self) -> list[int]:
        return sorted(order["number"] for order in self.orders.values())


class _Handler(BaseHTTPRequestHandler):
    server: Shop
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._note()
        how = order.get("how", "")
        if how == "conflict":
            return self._answer(422, {"why": "sold out"})
        place, new = self.server.place(self.headers["Idempotency-Key"], order)
        if how == "cut off" and new:
            self.close_connection = True  # it happened, and nobody is told
            return None
        if how == "slow" and new:
            time.sleep(1.5)
        return self._answer(201, {"id": place, "number": order["number"], "secret": "not for callers"})

    def do_GET(self) -> None:
        self._note()
        if self.path.startswith("/orders/none"):
            return self._answer(404, {"why": "there is no such order"})
        if self.path.startswith("/orders/large"):
            return self._answer(200, {"text": "x" * int(self.path.rpartition("-")[2])})
        return self._answer(200, {"path": self.path})

    do_DELETE = do_GET  # noqa: N815

    def _note(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.command, self.path, headers))

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except OSError:  # whoever asked has given up, or was killed
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        return
