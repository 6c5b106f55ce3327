"""Measures the PostgreSQL server that Lama uses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blocks.postgres import Postgres
from models.health_check import PerformanceSettings
from tasks.health_check.performance.samples import Database, DatabaseSample, Statement, Table, Transaction

if TYPE_CHECKING:
    import psycopg

LONG_S = 300.0
"""Seconds after which an open transaction is long: it keeps dead rows from being cleaned up."""

BLOCKED_S = 30.0
"""Seconds after which waiting for another session's lock is reported."""

_LEAST_DEAD = 10_000  # rows
_LONGEST = 300  # characters of a statement
_SQL = Path(__file__).with_name("sql")


async def measure_postgresql(
    server: Postgres,
    others: tuple[Postgres, ...],
    limits: PerformanceSettings,
    *,
    long_s: float = LONG_S,
    blocked_s: float = BLOCKED_S,
) -> DatabaseSample:
    """The server of the database `server`; tables are looked at in it and in the databases `others`.

    Raises:
        psycopg.Error: the server cannot be used.
    """
    import psycopg  # noqa: PLC0415

    unseen: list[tuple[str, str]] = []
    async with await server.get_async_client(autocommit=True) as connection:
        facts = (await _rows(connection, "server"))[0]
        databases = await _rows(connection, "databases")
        given = {"long_s": long_s, "blocked_s": blocked_s}
        transactions = await _rows(connection, "transactions", given)
        statements = []
        if facts["has_statements"]:
            try:
                statements = await _rows(connection, "statements", {"slow_s": limits.slow_statement_s})
            except psycopg.Error as error:  # installed, but not loaded by the server, or not for us to see
                unseen.append(("slow_statement", f"pg_stat_statements cannot be read ({type(error).__name__})."))
        bloat = {"least": _LEAST_DEAD, "ratio": limits.bloat_ratio}
        tables = await _rows(connection, "tables", bloat)
    for other in others:
        try:
            async with await other.get_async_client(autocommit=True) as connection:
                tables += await _rows(connection, "tables", bloat)
        except psycopg.Error as error:
            unseen.append(("bloat", f"another database cannot be looked at ({type(error).__name__})."))
    return DatabaseSample(
        **facts,
        databases=tuple(Database.model_validate(row) for row in databases),
        statements=tuple(
            Statement.model_validate(row | {"query": without_literals(row["query"])}) for row in statements
        ),
        tables=tuple(Table.model_validate(row) for row in tables),
        transactions=tuple(Transaction.model_validate(row) for row in transactions),
        unseen=tuple(unseen),
    )


_LITERAL = re.compile(
    r"""
      \$(?P<tag>[A-Za-z_]\w*|)\$ .*? (?:\$(?P=tag)\$|\Z)     # dollar-quoted
    | [eE]'(?:[^'\\]|\\.|'')*(?:'|\Z)                         # with backslashes
    | '(?:[^']|'')*(?:'|\Z)                                   # plain
    | --[^\n]* | /\*.*?(?:\*/|\Z)                             # comments
    | (?<![\w$"])\d[\d.eE]*                                   # numbers
    """,
    re.VERBOSE | re.DOTALL,
)


def without_literals(query: str) -> str:
    """`query` in one line, with `?` for every literal and comment: utility statements keep theirs, also passwords."""
    return " ".join(_LITERAL.sub("?", query).split())[:_LONGEST]


async def _rows(
    connection: psycopg.AsyncConnection[Any], name: str, given: dict[str, float] | None = None
) -> list[dict[str, Any]]:
    from psycopg.rows import dict_row  # noqa: PLC0415

    text = (_SQL / f"{name}.sql").read_bytes()
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(text, given)
        return await cursor.fetchall()
