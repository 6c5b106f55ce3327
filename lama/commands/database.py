"""One question to Lama's database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from blocks.settings import settings

if TYPE_CHECKING:
    import psycopg

    from blocks.errors import UnavailableError

T = TypeVar("T")


def with_database(ask: Callable[[psycopg.AsyncConnection[Any]], Awaitable[T]]) -> T:
    """What `ask` says, given a connection in autocommit mode.

    Raises:
        UnavailableError: the database does not answer.
    """
    import psycopg

    from blocks.postgres import Postgres

    async def asked() -> T:
        async with await Postgres.of(settings()).get_async_client(autocommit=True) as connection:
            return await ask(connection)

    try:
        return asyncio.run(asked())
    except (psycopg.OperationalError, OSError) as error:
        raise away(error) from error


def away(error: Exception) -> UnavailableError:
    """What is said when the database does not answer."""
    from blocks.errors import UnavailableError

    return UnavailableError(
        f"does not answer: {type(error).__name__}.", component="postgres", remedy="Start it with `lama up`."
    )
