"""`python -m tests.handoffs.far_side PORT FILE FAULTS`: an outside system on loopback that fails as such systems do.

It keeps the effects in SQLite, each once by its idempotency key, in the order in which they first came. With faults it
answers some requests with 503 or 429 before anything happened, and after the effect cuts some off or is slow.
"""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TABLE = """
CREATE TABLE IF NOT EXISTS effect (
    place INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT UNIQUE NOT NULL, conversation TEXT NOT NULL,
    number INTEGER NOT NULL, posts INTEGER NOT NULL DEFAULT 1)
"""
_KEEP = """
INSERT INTO effect (key, conversation, number) VALUES (?, ?, ?)
ON CONFLICT (key) DO UPDATE SET posts = posts + 1 RETURNING place
"""


class FarSide(ThreadingHTTPServer):
    """The server. `faults` is the share of requests that go wrong."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, path: str, faults: float) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.faults = faults
        self.random = random.Random(7)
        self.writing = threading.Lock()
        self.database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self.database.execute("PRAGMA journal_mode = WAL")
        self.database.execute(TABLE)

    def keep(self, key: str, conversation: str, number: int) -> int:
        with self.writing:
            row = self.database.execute(_KEEP, (key, conversation, number)).fetchone()
            return int(row[0])


class Handler(BaseHTTPRequestHandler):
    server: FarSide
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        try:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        except ValueError:  # whoever sent it was killed in the middle
            self.close_connection = True
            return
        fault = self.server.random.random() / self.server.faults if self.server.faults else 2.0
        if fault < 0.4:
            self._answer(503, {})
            return
        if fault < 0.5:
            self._answer(429, {}, ("Retry-After", "1"))
            return
        place = self.server.keep(self.headers["Idempotency-Key"], str(body["conversation"]), int(body["number"]))
        if fault < 0.8:
            self.close_connection = True  # it happened, and nobody is told
            return
        if fault < 1.0:
            time.sleep(1.5)
        self._answer(201, {"id": place})

    def _answer(self, status: int, body: dict[str, int], *headers: tuple[str, str]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in (("Content-Length", str(len(content))), *headers):
            self.send_header(name, value)
        with contextlib.suppress(OSError):  # whoever asked has given up
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        return


if __name__ == "__main__":
    FarSide(int(sys.argv[1]), sys.argv[2], float(sys.argv[3])).serve_forever(0.05)
