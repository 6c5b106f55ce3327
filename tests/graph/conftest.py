"""A real Bolt server for the tests of the graph, and a store in it that is empty at first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from tasks.graph.store import Store
from tests.bolt_server import BoltServer


class Clock:
    """Tells the time that a test says."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def tick(self, seconds: float = 1) -> datetime:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)
        return self.now


@pytest.fixture(scope="session")
def bolt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoltServer]:
    server = BoltServer(tmp_path_factory.mktemp("bolt"))
    try:
        server.start()
        yield server
    finally:
        server.kill()


async def emptied(server: BoltServer) -> None:
    """Take everything out of the database, except for what its schema is."""
    async with server.block.get_client() as driver:
        await driver.execute_query("MATCH (n) DETACH DELETE n")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture
async def store(bolt: BoltServer, clock: Clock) -> AsyncIterator[Store]:
    async with Store.open(bolt.block, clock=clock) as store:
        await store.prepare()
        await emptied(bolt)
        yield store
