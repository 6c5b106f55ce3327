"""What a PostgreSQL says about itself to a user who may ask: passwords, superusers, who gets in without one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from blocks.errors import UnavailableError
from tasks.scan.listeners import is_loopback

_ASKED = """
SELECT current_setting('password_encryption'), rolsuper, current_user
FROM pg_roles WHERE rolname = current_user
"""
_RULES = """
SELECT line_number, type, coalesce(address, ''), auth_method, array_to_string(user_name, ',')
FROM pg_hba_file_rules WHERE error IS NULL AND auth_method IN ('trust', 'password') ORDER BY line_number
"""
_OLD_HASHES = "SELECT count(*) FROM pg_authid WHERE rolpassword LIKE 'md5%' AND rolcanlogin"


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of pg_hba.conf that lets users in without a password, or has them send it as it is."""

    line: int
    method: str
    far: bool
    """Whether it is for connections that may come from other machines."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the server says."""

    encryption: str
    """`password_encryption`: how new passwords are stored."""
    superuser: bool
    user: str
    old_hashes: int | None
    """Roles whose password is stored as MD5; None when this user may not know."""
    entries: tuple[Entry, ...] | None
    """None when this user may not read them."""


async def ask_postgresql(url: str, password: str | None, timeout_s: float) -> Told:
    """What the server at `url` says to the user that it names.

    Raises:
        UnavailableError: no session could be opened, or it did not answer in time.
    """
    import psycopg  # noqa: PLC0415

    given: dict[str, Any] = {"password": password} if password is not None else {}
    given |= {"connect_timeout": max(2, round(timeout_s)), "application_name": "lama-scan"}
    try:
        async with (
            asyncio.timeout(2 * timeout_s),
            await psycopg.AsyncConnection.connect(url, autocommit=True, **given) as connection,
        ):
            row = await (await connection.execute(_ASKED)).fetchone()
            if row is None:
                raise UnavailableError("does not know the user that asks.")
            return Told(
                str(row[0]), bool(row[1]), str(row[2]), await _old_hashes(connection), await _entries(connection)
            )
    except TimeoutError as error:
        raise UnavailableError("did not answer a session in time.") from error
    except psycopg.Error as error:
        # The message may hold names and addresses; its kind is enough.
        raise UnavailableError(f"did not answer a session ({type(error).__name__}).") from error


async def _old_hashes(connection: Any) -> int | None:
    import psycopg  # noqa: PLC0415

    try:
        row = await (await connection.execute(_OLD_HASHES)).fetchone()
    except psycopg.errors.InsufficientPrivilege:
        return None
    return int(row[0]) if row else None


async def _entries(connection: Any) -> tuple[Entry, ...] | None:
    import psycopg  # noqa: PLC0415

    try:
        rows = await (await connection.execute(_RULES)).fetchall()
    except psycopg.errors.InsufficientPrivilege:
        return None
    return tuple(
        Entry(int(line), str(method), far=kind != "local" and address != "samehost" and not is_loopback(str(address)))
        for line, kind, address, method, _ in rows
    )
