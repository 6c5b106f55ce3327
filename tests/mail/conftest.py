"""A real IMAP server, and a receiver of mail in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from blocks.database import dsn
from blocks.settings import Settings
from tests.conftest import free_port
from tests.handoffs.conftest import bench
from tests.mail import imap_server
from tests.mail.receiving import RunningReceiver

__all__ = ["bench"]

NewReceiver = Callable[..., RunningReceiver]


@pytest.fixture
def imap(tmp_path: Path) -> Iterator[imap_server.RunningImap]:
    """An IMAP server with an empty mailbox."""
    folder = tmp_path / "imap"
    folder.mkdir()
    with imap_server.running(folder) as server:
        yield server


@pytest.fixture
def new_receiver(postgres: Settings, database: str, tmp_path: Path) -> Iterator[NewReceiver]:
    """Makes receivers, started, on the database of `bench`."""
    made: list[RunningReceiver] = []

    def make(**keys: object) -> RunningReceiver:
        home = tmp_path / f"home{len(made)}"
        home.mkdir(mode=0o700)
        made.append(RunningReceiver(home, free_port(), dsn(postgres, database), keys))
        made[-1].start()
        return made[-1]

    yield make
    for receiver in made:
        receiver.stop()
