"""How facts come out of the graph: as they are now, and as they were at a point of both times."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable
from hashlib import sha256
from itertools import islice
from typing import Any

import orjson

from models.graph import AsOf, Counts, Direction, Edge, Label, Node, Ref, Type
from tasks.graph import batches, cypher
from tasks.graph.checked import SHARED, canonical, checked_ref, checked_type, hash_of, micros
from tasks.graph.columns import Fact, Statement, alone, live_edge, live_node, shown, statement
from tasks.graph.temporal import FOREVER
from tasks.graph.transactions import Transactions

_MANY = 10_000
"""Keys of one query."""


async def get(transactions: Transactions, refs: Collection[Ref], as_of: AsOf) -> dict[Ref, Node]:
    """Those of `refs` that somebody says."""
    if as_of == AsOf():
        found: dict[Ref, Node] = {}
        for label, keys in _by_label(refs).items():
            for some in _some(keys):
                for record in await transactions.read(cypher.get_nodes(label), keys=some):
                    node = live_node(label, record["columns"])
                    found[node.ref] = node
        return found
    statements = await _statements_of(transactions, refs)
    shown_ = {ref: _shown_at(ref, said, as_of) for ref, said in statements.items()}
    return {ref: node for ref, node in shown_.items() if isinstance(node, Node)}


async def edges(
    transactions: Transactions,
    refs: Collection[Ref],
    types: Collection[Type] | None,
    direction: Direction,
    as_of: AsOf,
    *,
    limit: int | None,
    properties: bool,
) -> list[Edge]:
    """One level: the relationships of `refs`, of these types or all, at most `limit`."""
    wanted = tuple(sorted({checked_type(one) for one in types})) if types is not None else tuple(Type)
    if not wanted or not refs or limit == 0:
        return []
    found: dict[Fact, Edge] = {}
    for side in (Direction.out, Direction.in_) if direction is Direction.both else (direction,):
        reading = _level if as_of == AsOf() else _level_at
        rest = None if limit is None else limit - len(found)
        for edge in await reading(transactions, refs, wanted, side, as_of, limit=rest, properties=properties):
            found[edge.type, edge.start, edge.end] = edge
        if limit is not None and len(found) >= limit:
            break
    return list(islice(found.values(), limit))


async def _level(
    transactions: Transactions,
    refs: Collection[Ref],
    types: tuple[Type, ...],
    side: Direction,
    _as_of: AsOf,
    *,
    limit: int | None,
    properties: bool,
) -> list[Edge]:
    found: list[Edge] = []
    labels = _LABELS
    for label, keys in _by_label(refs).items():
        text = cypher.level(label, types, side, properties=properties)
        for some in _some(keys):
            rest = "" if limit is None else f" LIMIT {int(limit) - len(found)}"
            for key, type_, other_label, other, columns in await transactions.values(text + rest, keys=some):
                near, far = Ref(label, key), Ref(labels[other_label], other)
                ends = (near, far) if side is Direction.out else (far, near)
                if columns is None:
                    found.append(Edge(_TYPES[type_], *ends))
                else:
                    found.append(live_edge((_TYPES[type_], *ends), columns))
            if limit is not None and len(found) >= limit:
                return found
    return found


async def _level_at(
    transactions: Transactions,
    refs: Collection[Ref],
    types: tuple[Type, ...],
    side: Direction,
    as_of: AsOf,
    *,
    limit: int | None,
    properties: bool,
) -> list[Edge]:
    valid, recorded = _point(as_of)
    statements: dict[Fact, list[Statement]] = defaultdict(list)
    several: dict[str, Fact] = {}
    for fact, columns in await _live_edges(transactions, refs, types, side):
        if columns["scope"] == SHARED:
            several[columns["uid"]] = fact
        elif (record := alone(columns)).holds(valid, recorded):
            statements[fact].append(Statement(fact, columns["scope"], record))
    for some in _some(list(several)):
        for record_ in await transactions.read(cypher.SAID_OF, ofs=some):
            said = statement(record_["columns"])
            if said.record.holds(valid, recorded):
                statements[said.fact].append(said)
    for some in _some([hash_of(checked_ref(ref)) for ref in refs]):
        for record_ in await transactions.read(cypher.past_level(side), ofs=some, valid=valid, recorded=recorded):
            said = statement(record_["columns"])
            if said.fact[0] in types:  # type: ignore[index]
                statements[said.fact].append(said)
    held = islice(sorted(statements.items()), limit)
    return [edge for one, said_ in held if isinstance(edge := shown(one, said_), Edge)]


async def _live_edges(
    transactions: Transactions, refs: Collection[Ref], types: tuple[Type, ...], side: Direction
) -> list[tuple[tuple[Type, Ref, Ref], dict[str, Any]]]:
    found = []
    for label, keys in _by_label(refs).items():
        text = cypher.level(label, types, side, properties=True)
        for some in _some(keys):
            for key, type_, other_label, other, columns in await transactions.values(text, keys=some):
                near, far = Ref(label, key), Ref(_LABELS[other_label], other)
                ends = (near, far) if side is Direction.out else (far, near)
                found.append(((_TYPES[type_], *ends), columns))
    return found


async def named(
    transactions: Transactions,
    names: Collection[str],
    labels: Collection[Label] | None,
    as_of: AsOf,
    *,
    ending: str,
    limit: int,
) -> list[Ref]:
    """The nodes whose property `name` is one of these, and whose key ends so; at most `limit`, by label and key."""
    wanted = sorted(Label(label) for label in labels) if labels is not None else sorted(Label)
    found: set[Ref] = set()
    for label in wanted:
        for record in await transactions.read(cypher.named(label), names=list(names), ending=ending, limit=limit):
            found.add(Ref(label, record["key"]))
    if as_of == AsOf():
        return sorted(found)[:limit]
    # A name of another time is in no index: what is past is gone through.
    async for record in transactions.stream(cypher.EVERY_PAST):
        columns = record["columns"]
        if "label" in columns and columns["label"] in wanted and columns["key"].endswith(ending):
            found.add(Ref(Label(columns["label"]), columns["key"]))
    then = await get(transactions, sorted(found), as_of)
    return sorted(ref for ref, node in then.items() if node.properties.get("name") in names)[:limit]


async def ever_named(
    transactions: Transactions, labels: Collection[Label] | None, *, ending: str, limit: int
) -> list[Ref]:
    """The nodes of which there is a record of the past, and whose key ends so; at most `limit`."""
    wanted = sorted(Label(label).value for label in (Label if labels is None else labels))
    found = await transactions.read(cypher.PAST_NAMED, labels=wanted, ending=ending, limit=limit)
    return sorted(Ref(Label(record["label"]), record["key"]) for record in found)


async def history(transactions: Transactions, ref: Ref) -> list[Node]:
    """Every record of one thing, of each source its own, in the order in which they were recorded."""
    said = (await _statements_of(transactions, [ref])).get(ref, [])
    said.sort(key=lambda one: (one.record.recorded_from, one.record.valid_from, one.scope))
    return [node for one in said if isinstance(node := shown(ref, [one]), Node)]


async def _statements_of(transactions: Transactions, refs: Collection[Ref]) -> dict[Ref, list[Statement]]:
    """Every record of these things."""
    statements: dict[Ref, list[Statement]] = defaultdict(list)
    several: list[str] = []
    for label, keys in _by_label(refs).items():
        for some in _some(keys):
            for record in await transactions.read(cypher.get_nodes(label), keys=some):
                columns = record["columns"]
                ref = Ref(label, columns["key"])
                if columns["scope"] == SHARED:
                    several.append(hash_of(ref))
                else:
                    statements[ref].append(Statement(ref, columns["scope"], alone(columns)))
    for text, hashes in ((cypher.SAID_OF, several), (cypher.PAST_OF, [hash_of(ref) for ref in refs])):
        for some in _some(hashes):
            for record in await transactions.read(text, ofs=some):
                said = statement(record["columns"])
                statements[said.fact].append(said)  # type: ignore[index]
    return statements


def _shown_at(fact: Fact, said: Iterable[Statement], as_of: AsOf) -> Node | Edge | None:
    point = _point(as_of)
    holding = [one for one in said if one.record.holds(*point)]
    return shown(fact, holding) if holding else None


def _point(as_of: AsOf) -> tuple[int, int]:
    valid = FOREVER - 1 if as_of.valid is None else micros(as_of.valid)
    return valid, FOREVER - 1 if as_of.recorded is None else micros(as_of.recorded)


async def count(transactions: Transactions) -> Counts:
    """How much is in the graph."""
    many = {record["what"]: record["many"] for record in await transactions.read(cypher.counts())}
    return Counts(
        {label: many.get(label.value, 0) for label in Label},
        {type_: many.get(type_.value, 0) for type_ in Type},
        many.get("Past", 0),
    )


async def all_nodes(transactions: Transactions) -> AsyncIterator[Node]:
    """Every live node, streamed, in no order."""
    for label in Label:
        async for record in transactions.stream(cypher.every_node(label)):
            yield live_node(label, record["columns"])


async def all_edges(transactions: Transactions) -> AsyncIterator[Edge]:
    """Every live relationship with its properties, streamed, in no order."""
    for type_ in Type:
        async for record in transactions.stream(cypher.every_edge(type_)):
            start = Ref(Label(record["start_label"]), record["start"])
            end = Ref(Label(record["end_label"]), record["end"])
            yield live_edge((type_, start, end), record["columns"])


async def canonical_hash(transactions: Transactions, *, history: bool) -> str:
    """See `Store.canonical_hash`."""
    digests: list[bytes] = []

    def take(fact: Fact, *rest: object) -> None:
        said = fact if isinstance(fact, tuple) else (fact,)
        names = [[one.label, one.key] if isinstance(one, Ref) else one for one in said]
        digests.append(sha256(orjson.dumps([names, *rest])).digest())

    def record(one: Statement) -> None:
        it = one.record
        take(one.fact, one.scope, it.value, it.valid_from, it.valid_to, it.recorded_from, it.recorded_to)

    for label in Label:
        async for row in transactions.stream(cypher.every_node(label)):
            columns = row["columns"]
            ref = Ref(label, columns["key"])
            if not history:
                take(ref, canonical(live_node(label, columns).properties))
            elif columns["scope"] != SHARED:
                record(Statement(ref, columns["scope"], alone(columns)))
    for type_ in Type:
        async for row in transactions.stream(cypher.every_edge(type_)):
            columns = row["columns"]
            fact = (type_, Ref(Label(row["start_label"]), row["start"]), Ref(Label(row["end_label"]), row["end"]))
            if not history:
                take(fact, canonical(live_edge(fact, columns).properties))
            elif columns["scope"] != SHARED:
                record(Statement(fact, columns["scope"], alone(columns)))
    if history:
        for text in (cypher.EVERY_SAID, cypher.EVERY_PAST):
            async for row in transactions.stream(text):
                record(statement(row["columns"]))
    return sha256(b"".join(sorted(digests))).hexdigest()


_LABELS = {label.value: label for label in Label}
_TYPES = {type_.value: type_ for type_ in Type}


def _by_label(refs: Iterable[Ref]) -> dict[Label, list[str]]:
    labels: dict[Label, dict[str, None]] = defaultdict(dict)
    for ref in refs:
        labels[checked_ref(ref).label][ref.key] = None
    return {label: list(keys) for label, keys in labels.items()}


def _some(keys: list[str]) -> Iterable[list[str]]:
    return batches.keys(keys, _MANY)
