"""A way to the real Prefect server that a test can shut, for services that have to do without it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

from blocks.settings import Settings
from tests.conftest import free_port


class PrefectDoor:
    """Passes on what comes to its port, while it is open."""

    def __init__(self, config: Settings) -> None:
        self._to = ("127.0.0.1", urlsplit(config.api_url).port or 0)
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}/api"
        self._listener: socket.socket | None = None
        self._passing: list[socket.socket] = []

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self._port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def shut(self) -> None:
        listener, self._listener = self._listener, None
        for one in ([listener] if listener else []) + self._passing:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._passing.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                here, _ = listener.accept()
                there = socket.create_connection(self._to)
            except OSError:
                return
            self._passing += [here, there]
            for one, other in ((here, there), (there, here)):
                threading.Thread(target=_pass_on, args=(one, other), daemon=True).start()


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
    with contextlib.suppress(OSError):
        other.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def door(config: Settings) -> Iterator[PrefectDoor]:
    """An open one."""
    made = PrefectDoor(config)
    made.open()
    try:
        yield made
    finally:
        made.shut()
