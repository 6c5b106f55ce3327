"""Questions in Cypher: read only, and bounded in time, rows and bytes."""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blocks.errors import LamaError, UnavailableError
from blocks.graph_access import GraphAccess
from models.graph_settings import LONGEST_RANGE, GraphRole, GraphSettings
from tasks.graph.guard import read_only
from tasks.graph.tokens import QueryRefusedError

if TYPE_CHECKING:
    from neo4j import AsyncDriver

Json = Any
"""None, a bool, a number, text, a list or a map of these."""

_KILL_S = 3.0
_TRANSACTION = re.compile(r"[\w@.:-]{1,200}")
_DEEPEST_VALUE = 100


class QueryLimitError(LamaError):
    """A question that took more time or room than it was given; nothing of its answer is returned."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a question may take."""

    rows: int = 10_000
    """More are cut off, which the answer says."""
    seconds: float = 10.0
    bytes: int = 32 * 1024 * 1024
    """About what the answer takes as JSON."""

    @classmethod
    def of(cls, configured: GraphSettings) -> Limits:
        """Those of `[graph]`."""
        return cls(configured.query_rows, configured.query_s, int(configured.query_mb * 1024 * 1024))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a question gave."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Json, ...], ...]
    cut: bool
    """Whether there was more than the limit of rows."""
    seconds: float
    bytes: int


async def query(
    graph: GraphAccess,
    cypher: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    limits: Limits = Limits(),
    role: GraphRole | None = None,
) -> Answer:
    """The answer of `graph` (its reader, see `Graph.of`) to one question that reads.

    It runs in a transaction that is always rolled back. What is still running when the time is over, or when the caller
    is cancelled, is ended on the server, too.

    Args:
        graph: whom to ask.
        cypher: one query; what is not known to read only is refused (see `tasks.graph.guard`).
        parameters: values that it names as `$name`.
        limits: what it may take.
        role: of the one who asks; who may not see everything may not ask in Cypher.

    Raises:
        QueryRefusedError: it is no query, would write, or the server does not understand it.
        QueryLimitError: it took too long, or its answer is too big.
        UnavailableError: the server does not answer.
    """
    if role is not None and not role.unrestricted:
        raise QueryRefusedError(
            "your role does not see the whole graph, and a question in Cypher would.",
            remedy="Ask by `lama graph impact`, `path`, `neighbours` or `find`.",
        )
    plain = read_only(cypher)
    # The mark is how the query is found among those that run.
    mark = f"lama-{secrets.token_hex(8)}"
    async with _connected(graph, plain) as driver:
        try:
            async with asyncio.timeout(limits.seconds):
                return await _ask(driver, graph.database, f"{plain} /* {mark} */", dict(parameters or {}), limits)
        except TimeoutError as error:
            await _end(driver, graph.database, mark)
            raise QueryLimitError(
                f"the question took longer than {limits.seconds:g} s.",
                component="graph",
                remedy="Narrow it, or raise query_s of [graph].",
            ) from error
        except (asyncio.CancelledError, QueryLimitError):
            await asyncio.shield(_end(driver, graph.database, mark))
            raise


@asynccontextmanager
async def _connected(graph: GraphAccess, cypher: str) -> AsyncIterator[AsyncDriver]:
    from neo4j.exceptions import AuthError, DriverError, Neo4jError  # noqa: PLC0415

    try:
        async with graph.get_client() as driver:
            yield driver
    except AuthError as error:
        raise UnavailableError(
            "it does not let us in.", component="graph", remedy="Are LAMA_GRAPH_USER and LAMA_GRAPH_PASSWORD right?"
        ) from error
    except Neo4jError as error:
        raise _translated(error, cypher) from error
    except (DriverError, OSError) as error:
        raise UnavailableError(
            f"it does not answer ({type(error).__name__}).",
            component="graph",
            remedy="Is it up (`lama status`)? A question that needs more memory than it has ends it, too.",
        ) from error


def _translated(error: Any, cypher: str) -> LamaError:
    # The embedded server keeps the details to its own log: what is most often behind a code is said as a remedy.
    code = str(getattr(error, "code", "") or "")
    if "TimedOut" in code or "Terminated" in code or "TransactionTimeout" in code:
        return QueryLimitError(
            "the server ended the question: it took too long.", component="graph", remedy="Narrow it."
        )
    if "Security" in code or "Forbidden" in code:
        return QueryRefusedError("the server refuses it: questions only read.")
    if "ClientError" in code:
        long = re.search(r"\brange\s*\(", cypher, re.IGNORECASE)
        return QueryRefusedError(
            f"the server does not understand it ({code.rpartition('.')[2]}).",
            remedy=f"One range() gives {LONGEST_RANGE:,} numbers at most." if long else "",
        )
    return UnavailableError(
        f"the server failed at the question ({code or type(error).__name__}).",
        component="graph",
        remedy="Does it need more memory than the server has (`heap_mb` of [graph])? Collect less, or add LIMIT.",
    )


async def _ask(
    driver: AsyncDriver, database: str | None, cypher: str, parameters: dict[str, Any], limits: Limits
) -> Answer:
    from neo4j import READ_ACCESS  # noqa: PLC0415
    from neo4j.exceptions import DriverError  # noqa: PLC0415

    began = time.monotonic()
    rows: list[tuple[Json, ...]] = []
    size, cut = 0, False
    session = driver.session(database=database, default_access_mode=READ_ACCESS, fetch_size=200)
    try:
        # Neo4j ends it by itself then; the embedded server by the clock of its reader.
        transaction = await session.begin_transaction(timeout=limits.seconds)
        try:
            result = await transaction.run(cypher, parameters)
            columns = tuple(result.keys())
            async for record in result:
                if len(rows) >= limits.rows:
                    cut = True
                    break
                row = tuple(_plain(value) for value in record.values())
                size += sum(map(_size, row))
                if size > limits.bytes:
                    raise QueryLimitError(
                        f"the answer takes more than {limits.bytes} bytes.",
                        component="graph",
                        remedy="Return less, add LIMIT, or raise query_mb of [graph].",
                    )
                rows.append(row)
        finally:
            with contextlib.suppress(DriverError):
                await transaction.rollback()
    finally:
        await session.close()
    return Answer(columns, tuple(rows), cut, time.monotonic() - began, size)


async def _end(driver: AsyncDriver, database: str | None, mark: str) -> None:
    """End the query that holds `mark`, if it is still running; on both servers the one who asked may do that."""
    from neo4j.exceptions import DriverError, Neo4jError  # noqa: PLC0415

    with contextlib.suppress(DriverError, Neo4jError, OSError, TimeoutError):
        async with asyncio.timeout(_KILL_S), driver.session(database=database) as session:
            result = await session.run("SHOW TRANSACTIONS YIELD transactionId, currentQuery")
            running = [dict(record) async for record in result]
            for one in running:
                name = str(one["transactionId"])
                if mark in str(one["currentQuery"]) and _TRANSACTION.fullmatch(name):
                    await (await session.run(f"TERMINATE TRANSACTIONS '{name}'")).consume()


def _plain(value: Any, depth: int = 0) -> Json:  # noqa: PLR0911 - one for each kind of value
    """A value of the driver as JSON has it: nodes and relationships as maps, times in their ISO form."""
    from neo4j.graph import Node, Path, Relationship  # noqa: PLC0415

    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth > _DEEPEST_VALUE:
        raise QueryLimitError(f"a value is more than {_DEEPEST_VALUE} deep.", component="graph")
    if isinstance(value, list | tuple | set | frozenset) and not hasattr(value, "srid"):
        return [_plain(one, depth + 1) for one in value]
    if isinstance(value, Node):
        return {"labels": sorted(value.labels), "properties": _map(value, depth)}
    if isinstance(value, Relationship):
        ends = [_end_of(node) for node in value.nodes]
        return {"type": value.type, "start": ends[0], "end": ends[-1], "properties": _map(value, depth)}
    if isinstance(value, Path):
        return {
            "nodes": [_plain(node, depth + 1) for node in value.nodes],
            "relationships": [_plain(one, depth + 1) for one in value.relationships],
        }
    if isinstance(value, Mapping):
        return _map(value, depth)
    if isinstance(value, bytes | bytearray):
        return value.hex()
    if hasattr(value, "iso_format"):
        return str(value.iso_format())
    return str(value)


def _map(value: Any, depth: int) -> dict[str, Json]:
    return {str(name): _plain(one, depth + 1) for name, one in value.items()}


def _end_of(node: Any) -> Json:
    """An end of a relationship: a server may send it without anything but its number."""
    return None if node is None else dict(node).get("key")


def _size(value: Json) -> int:
    """About what `value` takes as JSON, in bytes."""
    if isinstance(value, str):
        return len(value.encode(errors="replace")) + 3
    if isinstance(value, list):
        return 2 + sum(map(_size, value))
    if isinstance(value, dict):
        return 2 + sum(len(name) + 4 + _size(one) for name, one in value.items())
    return 8
