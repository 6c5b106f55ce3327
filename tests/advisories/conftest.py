"""A server on loopback for the sources that are asked over the network."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.loopback import Server


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()
