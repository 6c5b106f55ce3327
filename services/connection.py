"""One PostgreSQL connection of a service, opened when needed and opened anew after a failure."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import psycopg

CONNECT_S = 3
"""Seconds to wait for a connection."""

UNAVAILABLE = (psycopg.Error, OSError, TimeoutError)
"""What is raised when the database is away, hangs, or lacks its tables."""


class Connection:
    """A connection that one task at a time uses. It is in autocommit mode, and commits reach the disk.

    Args:
        url: where the database is; never logged.
        name: what the database is told that we are.
        timeout_s: seconds that one use may take before it counts as failed.
    """

    def __init__(self, url: str, *, name: str = "lama gateway", timeout_s: float = 10.0) -> None:
        self._url = url
        self._name = name
        self._timeout_s = timeout_s
        self._lock = asyncio.Lock()
        self._open: psycopg.AsyncConnection[Any] | None = None

    @contextlib.asynccontextmanager
    async def use(self, timeout_s: float | None = None) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """The connection, for the time of the block. Whatever is raised inside closes it.

        Raises:
            psycopg.Error, OSError, TimeoutError: it cannot be had, or took too long.
        """
        async with self._lock, asyncio.timeout(timeout_s or self._timeout_s):
            if self._open is None or self._open.closed:
                self._open = await psycopg.AsyncConnection.connect(
                    self._url,
                    autocommit=True,
                    connect_timeout=CONNECT_S,
                    application_name=self._name,
                    # A database or role may have switched it off; what we promise rests on it.
                    options="-c synchronous_commit=on",
                )
            try:
                yield self._open
            except BaseException:
                await self._drop()
                raise

    async def close(self) -> None:
        """Close it; the next use opens another."""
        async with self._lock:
            await self._drop()

    async def _drop(self) -> None:
        held, self._open = self._open, None
        if held is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                await held.close()
