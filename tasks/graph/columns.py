"""How facts are laid out in columns: live nodes and relationships, what several sources say, and what is past."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from models.graph import Edge, Label, Node, Property, Ref, Type
from tasks.graph.checked import RESERVED, SHARED, Said, canonical, hash_of, moment, parsed
from tasks.graph.temporal import FOREVER, Record

Triple = tuple[Type, Ref, Ref]
Fact = Ref | Triple


@dataclass(frozen=True, slots=True)
class Statement:
    """One record of what one source says of one fact."""

    fact: Fact
    scope: str
    record: Record


def node_row(said: Said, now: int) -> dict[str, Any]:
    """The columns of a live node that one source says."""
    return {
        **said.properties,
        "key": said.fact.key,  # type: ignore[union-attr]
        "scope": said.scope,
        "said": said.said,
        "valid_from": said.valid_from,
        "recorded_from": now,
    }


def names_of(facts: Iterable[Said]) -> tuple[str, ...]:
    """The names of all their properties, sorted."""
    return tuple(sorted(set().union(*(one.properties for one in facts))))


def node_rows(facts: Iterable[Said], names: Sequence[str]) -> list[list[Any]]:
    """Live nodes, each as `cypher.NODE` says, then the properties of these names: a quarter faster than by name."""
    return [
        [one.fact.key, one.said, one.valid_from, one.scope, *map(one.properties.get, names)]  # type: ignore[union-attr]
        for one in facts
    ]


def edge_rows(facts: Iterable[Said], names: Sequence[str]) -> list[list[Any]]:
    """Live relationships, each as `cypher.EDGE` says, then the properties of these names."""
    rows = []
    for one in facts:
        _, start, end = one.fact  # type: ignore[misc]
        values = map(one.properties.get, names)
        rows.append([start.key, end.key, one.said, one.valid_from, one.scope, one.uid, *values])
    return rows


def properties_of(columns: Mapping[str, Any]) -> dict[str, Property]:
    """What is said of a live node or relationship, without the store's own columns."""
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in columns.items()
        if name not in RESERVED
    }


def alone(columns: Mapping[str, Any]) -> Record:
    """What the one source of a live node or relationship says."""
    return Record(canonical(properties_of(columns)), columns["valid_from"], columns["recorded_from"])


def together(statements: Mapping[str, Record], said: Mapping[str, str]) -> dict[str, Any]:
    """The columns that show what these sources say: of what several say, the first in the order of their names.

    Args:
        statements: what each source says.
        said: the hash of that.
    """
    scopes = sorted(statements)
    if len(scopes) == 1:
        (scope,) = scopes
        record = statements[scope]
        own: dict[str, Any] = {"scope": scope, "said": said[scope]}
        merged = parsed(record.value)
    else:
        own = {"scope": SHARED, "said": SHARED, "scopes": scopes}
        merged = merge(statements[scope].value for scope in scopes)
    return {
        **merged,
        **own,
        "valid_from": min(record.valid_from for record in statements.values()),
        "recorded_from": min(record.recorded_from for record in statements.values()),
    }


def merge(values: Iterable[str]) -> dict[str, Property]:
    """Properties of several sources together; the first that says one decides."""
    merged: dict[str, Property] = {}
    for value in values:
        for name, one in parsed(value).items():
            merged.setdefault(name, one)
    return merged


def said_id(of: str, scope: str) -> str:
    """What names the statement of one source about a fact that several say."""
    return blake2b(f"{of}\0{scope}".encode(), digest_size=16).hexdigest()


def said_row(fact: Fact, of: str, scope: str, record: Record, said: str) -> dict[str, Any]:
    """The columns of what one of several sources says of a fact."""
    return {
        **_fact_columns(fact, of),
        "id": said_id(of, scope),
        "scope": scope,
        "said": said,
        "value": record.value,
        "valid_from": record.valid_from,
        "recorded_from": record.recorded_from,
    }


def past_row(fact: Fact, of: str, scope: str, record: Record) -> dict[str, Any]:
    """The columns of a record that is believed no longer, or holds no longer."""
    name = f"{of}\0{scope}\0{record.valid_from}\0{record.recorded_from}"
    return {
        **_fact_columns(fact, of),
        "id": blake2b(name.encode(), digest_size=16).hexdigest(),
        "scope": scope,
        "value": record.value,
        "valid_from": record.valid_from,
        "valid_to": record.valid_to,
        "recorded_from": record.recorded_from,
        "recorded_to": record.recorded_to,
    }


def statement(columns: Mapping[str, Any]) -> Statement:
    """What a past record, or one of several sources, says."""
    record = Record(
        columns["value"],
        columns["valid_from"],
        columns["recorded_from"],
        columns.get("valid_to", FOREVER),
        columns.get("recorded_to", FOREVER),
    )
    return Statement(fact_of(columns), columns["scope"], record)


def fact_of(columns: Mapping[str, Any]) -> Fact:
    """Which fact the columns of a past record, or of one of several sources, are about."""
    if "type" not in columns:
        return Ref(Label(columns["label"]), columns["key"])
    start = Ref(Label(columns["start_label"]), columns["start_key"])
    return Type(columns["type"]), start, Ref(Label(columns["end_label"]), columns["end_key"])


def _fact_columns(fact: Fact, of: str) -> dict[str, Any]:
    if isinstance(fact, Ref):
        return {"of": of, "label": fact.label.value, "key": fact.key}
    type_, start, end = fact
    return {
        "of": of,
        "type": type_.value,
        "start": hash_of(start),
        "start_label": start.label.value,
        "start_key": start.key,
        "end": hash_of(end),
        "end_label": end.label.value,
        "end_key": end.key,
    }


def live_node(label: Label, columns: Mapping[str, Any]) -> Node:
    """A node as it is now."""
    return Node(
        Ref(label, columns["key"]),
        properties_of(columns),
        tuple(columns.get("scopes", (columns["scope"],))),
        moment(columns["valid_from"]),
        moment(columns["recorded_from"]),
    )


def live_edge(fact: Triple, columns: Mapping[str, Any]) -> Edge:
    """A relationship as it is now."""
    return Edge(
        *fact,
        properties_of(columns),
        tuple(columns.get("scopes", (columns["scope"],))),
        moment(columns["valid_from"]),
        moment(columns["recorded_from"]),
    )


def shown(fact: Fact, statements: Iterable[Statement]) -> Node | Edge:
    """A fact as these statements, at most one of each source, say it together."""
    by_scope = {one.scope: one.record for one in statements}
    scopes = tuple(sorted(by_scope))
    records = by_scope.values()
    valid_to = max(one.valid_to for one in records)
    recorded_to = max(one.recorded_to for one in records)
    rest: tuple[Any, ...] = (
        merge(by_scope[scope].value for scope in scopes),
        scopes,
        moment(min(one.valid_from for one in records)),
        moment(min(one.recorded_from for one in records)),
        None if valid_to == FOREVER else moment(valid_to),
        None if recorded_to == FOREVER else moment(recorded_to),
    )
    return Node(fact, *rest) if isinstance(fact, Ref) else Edge(*fact, *rest)
