"""Transactions over a pool of connections: tried again when they meet another's, and their errors in Lama's words."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from blocks.errors import ConfigurationError, LamaError, UnavailableError

if TYPE_CHECKING:
    from neo4j import AsyncDriver, AsyncManagedTransaction, AsyncSession, Record
    from neo4j.exceptions import DriverError, Neo4jError

R = TypeVar("R")

_CONFLICTS = 15
"""Further tries after meeting another writer: about 20 s."""
_RECONNECTS = 6
"""Further tries after a lost connection: about 1.5 s; a server that starts takes longer, and is for who calls."""
_FIRST_S, _LONGEST_S = 0.02, 2.0


@dataclass(frozen=True, slots=True)
class Transaction:
    """One transaction that is under way."""

    _tx: AsyncManagedTransaction

    async def rows(self, text: str, **parameters: Any) -> list[Record]:
        """All rows that `text` returns."""
        result = await self._tx.run(text, parameters)
        return [record async for record in result]

    async def run(self, text: str, **parameters: Any) -> tuple[list[Record], int, int]:
        """The rows that `text` returns, and how many nodes and relationships it created."""
        result = await self._tx.run(text, parameters)
        rows = [record async for record in result]
        counters = (await result.consume()).counters
        return rows, counters.nodes_created, counters.relationships_created


class Transactions:
    """The transactions of one database."""

    def __init__(self, driver: AsyncDriver, database: str | None) -> None:
        self._driver = driver
        self._database = database
        # Two writers of one process would only meet on the server's pages, and one of them start again.
        self._writing = asyncio.Lock()

    async def write(self, work: Callable[[Transaction], Awaitable[R]]) -> R:
        """What `work` returns in a transaction that was committed; it may run several times, and has to bear that.

        Raises:
            UnavailableError: the server is not there, refuses, or met other writers in every one of several tries.
        """

        async def managed(tx: AsyncManagedTransaction) -> R:
            return await work(Transaction(tx))

        async with self._writing:
            return await self._tried(lambda session: session.execute_write(managed))

    async def read(self, text: str, **parameters: Any) -> list[Record]:
        """All rows that `text` returns, in a transaction that only reads.

        Raises:
            UnavailableError: the server is not there, or refuses.
        """

        async def managed(tx: AsyncManagedTransaction) -> list[Record]:
            return [record async for record in await tx.run(text, parameters)]

        return await self._tried(lambda session: session.execute_read(managed))

    async def values(self, text: str, **parameters: Any) -> list[list[Any]]:
        """The same as plain lists, which is the fastest.

        Raises:
            UnavailableError: the server is not there, or refuses.
        """

        async def managed(tx: AsyncManagedTransaction) -> list[list[Any]]:
            return await (await tx.run(text, parameters)).values()

        return await self._tried(lambda session: session.execute_read(managed))

    async def _tried(self, work: Callable[[AsyncSession], Awaitable[R]]) -> R:
        from neo4j.exceptions import DriverError, Neo4jError  # noqa: PLC0415

        attempt = 0
        while True:
            # The driver would begin with a second, and take ten times that for a server that is not there.
            try:
                async with self._driver.session(database=self._database, max_transaction_retry_time=0) as session:
                    return await work(session)
            except (DriverError, Neo4jError) as error:
                if attempt >= _tries(error):
                    raise _in_words(error) from error
            await asyncio.sleep(min(_LONGEST_S, _FIRST_S * 2**attempt) * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
            attempt += 1

    async def stream(self, text: str, parameters: Mapping[str, Any] | None = None) -> AsyncIterator[Record]:
        """The rows that `text` returns, a thousand at a time.

        Raises:
            UnavailableError: the server is not there, or refuses.
        """
        async with self._reading() as session:
            async for record in await session.run(text, dict(parameters or {})):
                yield record

    async def alone(self, text: str) -> None:
        """Run what changes the schema, which is a transaction of its own."""
        async with self._reading(access="WRITE") as session:
            await (await session.run(text)).consume()

    @asynccontextmanager
    async def _reading(self, access: str = "READ") -> AsyncIterator[Any]:
        from neo4j.exceptions import DriverError, Neo4jError  # noqa: PLC0415

        try:
            async with self._driver.session(database=self._database, default_access_mode=access) as session:
                yield session
        except (DriverError, Neo4jError) as error:
            raise _in_words(error) from error


def _tries(error: DriverError | Neo4jError) -> int:
    """How many more tries an error is worth."""
    from neo4j.exceptions import ConstraintError, DriverError  # noqa: PLC0415

    if isinstance(error, DriverError):
        return _RECONNECTS if error.is_retryable() else 0
    # A constraint is violated when two create the same thing at once: the next try finds it. And what was found may be
    # gone by the time that it is to be changed, for which the embedded server has no code of its own.
    vanished = "Record" in str(error) and "not found" in str(error)
    return _CONFLICTS if error.is_retryable() or isinstance(error, ConstraintError) or vanished else 0


def _in_words(error: Exception) -> LamaError:
    from neo4j.exceptions import AuthError, Forbidden, Neo4jError  # noqa: PLC0415

    if isinstance(error, AuthError):
        return ConfigurationError("The graph server refuses the user or the password.", component="graph")
    if isinstance(error, Forbidden):
        return ConfigurationError("The graph server forbids this to the user.", component="graph")
    if isinstance(error, Neo4jError):
        said = f"{error.code}: {error.message}"[:500]
        return UnavailableError(f"The graph server answered {said}", component="graph")
    return UnavailableError(
        f"The graph server does not answer ({type(error).__name__}).",
        component="graph",
        remedy="Is it up? `lama status`",
    )
