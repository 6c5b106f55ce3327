"""A receiver of mail in a process of its own, spoken to over real sockets."""

from __future__ import annotations

import json
import os
import signal
import smtplib
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from blocks.settings import CHECKOUT

DESK = "desk@example.com"


def mail(subject: str = "hello", body: str = "words", **headers: str) -> bytes:
    """A plain mail; `headers` with underscores for dashes."""
    given = {"From": "Ann <ann@example.org>", "To": DESK, "Subject": subject} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return "".join(f"{name}: {value}\r\n" for name, value in given.items()).encode() + b"\r\n" + body.encode() + b"\r\n"


class RunningReceiver:
    """Starts, stops and kills `python -m services.mail`; home, port and database stay the same over restarts."""

    def __init__(self, home: Path, port: int, database_url: str, keys: Mapping[str, object]) -> None:
        self.port = port
        self.protocol = str(keys.get("protocol", "lmtp"))
        self.log = home / "mail.log"
        told = {"name": "desk", "port": port, "recipients": [DESK, "*@tasks.example.com"], **keys}
        receiver = "\n".join(f"{name} = {json.dumps(value)}" for name, value in told.items())
        (home / "lama.toml").write_text(
            f"[[mail.receivers]]\n{receiver}\n[[handoffs.routes]]\nname = 'mail-to-board'\nsource = 'email:desk'\n"
            "extract = 'task'\ntarget = { kind = 'board' }\n"
        )
        self._environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ},
            "LAMA_HOME": str(home),
            "LAMA_DATABASE_URL": database_url,
            "PYTHONPATH": str(CHECKOUT),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.mail"], cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=self._environment, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 30
        while True:
            assert self._process.poll() is None, self.logged()
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                    return
            except OSError:
                assert time.monotonic() < deadline, self.logged()
                time.sleep(0.05)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        return process.wait(timeout=20)

    def logged(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def client(self) -> smtplib.SMTP:
        """A conversation."""
        if self.protocol == "lmtp":
            return smtplib.LMTP("127.0.0.1", self.port, timeout=20)
        return smtplib.SMTP("127.0.0.1", self.port, timeout=20, local_hostname="test")

    def send(self, raw: bytes, recipient: str = DESK, sender: str = "ann@example.org") -> None:
        """Send a mail by a conversation of its own; what it raises says what was answered."""
        with self.client() as client:
            client.sendmail(sender, [recipient], raw)
