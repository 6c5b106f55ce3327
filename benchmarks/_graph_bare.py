"""What one would write by hand over the bare driver: batches by UNWIND, unique, with the same columns and constraints.

It keeps no history, checks no value, and closes nothing that is gone; it is given the hashes ready-made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from neo4j import AsyncDriver, AsyncManagedTransaction

from models.graph import Part, Ref

NODES = (
    "UNWIND $rows AS row MERGE (n:{label} {{key: row.key}}) ON CREATE SET n += row "
    "WITH n, row WHERE n.said <> row.said SET n += row RETURN count(n)"
)
EDGES = (
    "UNWIND $rows AS row MATCH (a:{start} {{key: row.start}}) MATCH (b:{end} {{key: row.end}}) "
    "MERGE (a)-[r:{type}]->(b) ON CREATE SET r += row.columns "
    "WITH r, row WHERE r.said <> row.columns.said SET r += row.columns RETURN count(r)"
)
AFTER = "MATCH (n:Function {{key: $key}})<-[:CALLS*1..{depth}]-(m) RETURN DISTINCT m.key AS key LIMIT 200"


def prepared(parts: Iterable[Part], hashes: dict[Any, str]) -> list[tuple[str, list[dict[str, Any]]]]:
    """The statements and their rows: nodes first."""
    nodes: dict[str, list[dict[str, Any]]] = defaultdict(list)
    edges: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for part in parts:
        for node in part.nodes:
            own = {"scope": part.scope, "said": hashes[node.ref], "valid_from": 1, "recorded_from": 1}
            nodes[node.ref.label.value].append({**node.properties, **own, "key": node.ref.key})
        for one in part.relationships:
            name = (one.type, one.start, one.end)
            said = hashes[name]
            columns = {"uid": said, "scope": part.scope, "said": said, "valid_from": 1, "recorded_from": 1}
            text = EDGES.format(type=one.type.value, start=one.start.label.value, end=one.end.label.value)
            edges[text].append({"start": one.start.key, "end": one.end.key, "columns": {**one.properties, **columns}})
    return [(NODES.format(label=label), rows) for label, rows in nodes.items()] + list(edges.items())


async def load(driver: AsyncDriver, statements: list[tuple[str, list[dict[str, Any]]]], batch: int) -> None:
    """Send all of it, `batch` rows a transaction."""
    async with driver.session() as session:
        for text, rows in statements:
            for begin in range(0, len(rows), batch):
                await session.execute_write(_run, text, rows[begin : begin + batch])


async def _run(tx: AsyncManagedTransaction, text: str, rows: list[dict[str, Any]]) -> None:
    await (await tx.run(text, rows=rows)).consume()


async def impact(driver: AsyncDriver, ref: Ref, depth: int) -> int:
    """How many functions call `ref`, directly or not, up to 200."""
    async with driver.session(default_access_mode="READ") as session:
        return len(await (await session.run(AFTER.format(depth=depth), key=ref.key)).values())
