"""A real IMAP server on loopback (pymap, over Maildir folders): `tests.mail.imap_server.running(folder)`."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imap_tools.mailbox import MailBoxUnencrypted
from pydantic import SecretStr

from blocks.mailbox import Mailbox
from tests.conftest import free_port
from tests.environments import environment

PACKAGES = ("pymap==0.36.7",)
USER = "desk"
PASSWORD = "a password for tests"
_HASH = "import sys; from pysasl.hashing import BuiltinHash; print(BuiltinHash(rounds=1000).hash(sys.argv[1]))"


@dataclass
class RunningImap:
    """The server; it may be killed and started again, with the same folders."""

    environment: Path
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def block(self) -> Mailbox:
        return Mailbox(
            host="127.0.0.1", port=self.port, security="none", user=USER, password=SecretStr(PASSWORD), timeout_s=10
        )

    def start(self, *tls: str) -> None:
        command = [str(self.environment / "bin" / "pymap"), "--no-service", "admin", *(tls or ("--no-tls",)),
                   "--host", "127.0.0.1", "--port", str(self.port), "maildir", str(self.folder)]  # fmt: skip
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            assert time.monotonic() < deadline, (self.folder / "server.log").read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def put(self, *mails: bytes, folder: str = "INBOX", flags: tuple[str, ...] = ()) -> None:
        """Put mails into a folder, as a delivery does."""
        with self.login() as client:
            for mail in mails:
                client.append(mail, folder, flag_set=list(flags))

    @contextlib.contextmanager
    def login(self) -> Iterator[MailBoxUnencrypted]:
        client = MailBoxUnencrypted("127.0.0.1", self.port, timeout=10)
        client.login(USER, PASSWORD, initial_folder=None)
        try:
            yield client
        finally:
            client.logout()

    def mails(self, folder: str = "INBOX") -> list[tuple[str, tuple[str, ...]]]:
        """Subject and flags of each mail of a folder."""
        with self.login() as client:
            if not client.folder.exists(folder):
                return []
            client.folder.set(folder, readonly=True)
            return [(one.subject, one.flags) for one in client.fetch(mark_seen=False)]


@contextlib.contextmanager
def running(folder: Path) -> Iterator[RunningImap]:
    """A server with one account and its empty INBOX."""
    server = RunningImap(environment("pymap", PACKAGES), folder, free_port())
    asked = [str(server.environment / "bin" / "python"), "-c", _HASH, PASSWORD]
    hashed = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    (folder / "pymap-etc-passwd").write_text(f"{USER}:x::::desk:\n")
    (folder / "pymap-etc-shadow").write_text(f"{USER}:{hashed}:::::::\n")
    (folder / "pymap-etc-group").touch()
    (folder / "pymap-tokens").touch()
    server.start()
    try:
        yield server
    finally:
        server.stop()
