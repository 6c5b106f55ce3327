"""The graph as a script of Cypher that makes it again in an empty database, Neo4j or another that speaks it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import TextIO, TypeVar

from models.graph import Edge, Label, Node, Property

T = TypeVar("T")
K = TypeVar("K")

_BATCH = 100
_PLAIN = frozenset(range(0x20, 0x7F)) - {ord("'"), ord("\\")}


async def to_cypher(nodes: AsyncIterator[Node], edges: AsyncIterator[Edge], out: TextIO) -> tuple[int, int]:
    """Write statements, one a line, to `out`; returns how many nodes and relationships were said.

    An end that nobody says, because its source has not been told yet, becomes a node with nothing but its key.
    """
    counts = [0, 0]
    for label in Label:
        out.write(
            f"CREATE CONSTRAINT {label.value.lower()}_key IF NOT EXISTS "
            f"FOR (n:{label.value}) REQUIRE n.key IS UNIQUE;\n"
        )
    async for label, some in _batches(nodes, lambda node: node.ref.label):
        counts[0] += len(some)
        rows = ", ".join(f"{{key: {_literal(one.ref.key)}, p: {_map(one.properties)}}}" for one in some)
        out.write(f"UNWIND [{rows}] AS row MERGE (n:{label.value} {{key: row.key}}) SET n += row.p;\n")
    async for (type_, start, end), group in _batches(edges, lambda one: (one.type, one.start.label, one.end.label)):
        counts[1] += len(group)
        rows = ", ".join(
            f"{{s: {_literal(one.start.key)}, e: {_literal(one.end.key)}, p: {_map(one.properties)}}}" for one in group
        )
        out.write(
            f"UNWIND [{rows}] AS row MERGE (s:{start.value} {{key: row.s}}) MERGE (e:{end.value} {{key: row.e}}) "
            f"MERGE (s)-[r:{type_.value}]->(e) SET r += row.p;\n"
        )
    return counts[0], counts[1]


async def _batches(items: AsyncIterator[T], kind_of: Callable[[T], K]) -> AsyncIterator[tuple[K, Sequence[T]]]:
    """Neighbours of one kind, some at a time."""
    batch: list[T] = []
    kind: K | None = None
    async for item in items:
        of = kind_of(item)
        if batch and (of != kind or len(batch) >= _BATCH):
            yield kind, batch  # type: ignore[misc] # a batch has a kind
            batch = []
        kind = of
        batch.append(item)
    if batch:
        yield kind, batch  # type: ignore[misc]


def _map(properties: Mapping[str, Property]) -> str:
    return "{" + ", ".join(f"{_name(name)}: {_value(value)}" for name, value in sorted(properties.items())) + "}"


def _name(name: str) -> str:
    """A property's name; in backticks, where a backtick is written twice."""
    return "`" + name.replace("\\", "\\u005c").replace("`", "``") + "`"


def _value(value: Property) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} has no literal in Cypher")
        return repr(value)
    if isinstance(value, str):
        return _literal(value)
    return "[" + ", ".join(_value(one) for one in value) + "]"


def _literal(text: str) -> str:
    """`text` in quotes; whatever is no plain ASCII is written by its number, so that nothing ends the string early."""
    return "'" + "".join(_escaped(text)) + "'"


def _escaped(text: str) -> Iterable[str]:
    for letter in text:
        code = ord(letter)
        if code in _PLAIN:
            yield letter
        elif code > 0xFFFF:  # as the two halves of UTF-16
            high, low = divmod(code - 0x10000, 0x400)
            yield f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
        else:
            yield f"\\u{code:04x}"
