"""As much of Redis' protocol as it takes to see whether it asks for a password (RESP, redis.io)."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from blocks.errors import UnavailableError

PORTS = frozenset({6379, 6380})


def may_be_redis(url: str, name: str) -> bool:
    """Whether a TCP service is a Redis by its port or its name; to others its words are not said."""
    try:
        port = urlsplit(url).port
    except ValueError:
        return False
    return port in PORTS or any(word in name.lower() for word in ("redis", "valkey"))


async def answers_ping(url: str, timeout_s: float) -> bool | None:
    """Whether it answers PING without a password; None when what listens is no Redis.

    Raises:
        UnavailableError: it cannot be reached.
    """
    answer = await _ask(url, b"PING\r\n", timeout_s)
    if answer.startswith(b"+PONG"):
        return True
    return False if answer.startswith((b"-NOAUTH", b"-DENIED", b"-NOPERM")) else None


async def takes_password(url: str, password: str, timeout_s: float) -> bool | None:
    """Whether it takes `password`; None when what listens is no Redis that has one.

    Raises:
        UnavailableError: it cannot be reached.
    """
    secret = password.encode()
    answer = await _ask(url, b"*2\r\n$4\r\nAUTH\r\n$%d\r\n%b\r\n" % (len(secret), secret), timeout_s)
    if answer.startswith(b"+OK"):
        return True
    return False if answer.startswith((b"-WRONGPASS", b"-ERR invalid password")) else None


async def _ask(url: str, request: bytes, timeout_s: float) -> bytes:
    parts = urlsplit(url)
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writer.write(request)
            await writer.drain()
            return await reader.read(200)
    except TimeoutError as error:
        raise UnavailableError("did not answer in time.") from error
    except (OSError, ValueError) as error:
        raise UnavailableError(f"cannot be reached ({type(error).__name__}).") from error
    finally:
        if writer is not None:
            writer.transport.abort()
