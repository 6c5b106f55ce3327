"""The store's Cypher: every text that it sends to a server, made of words of the model and nothing else.

The same texts run on the embedded server and on Neo4j from 5.7 on. What they rely on in both: MERGE of a node is kept
single by the constraint on its key, MERGE of a relationship by the one on its `uid`; a SET takes the record for the
transaction (a lock there, a version that the commit compares here), so what is read together with it stays true.

What comes from a fact is compared by WHERE and never in the braces of MATCH: in these the embedded server takes a text
like `$rows` for the parameter of that name, and finds another node, or none.
"""

from __future__ import annotations

from functools import cache, lru_cache

from models.graph import Direction, Label, Type
from tasks.graph.temporal import FOREVER

_UNIQUE = "CREATE CONSTRAINT {0}_{1} IF NOT EXISTS FOR {2} REQUIRE x.{1} IS UNIQUE"
_INDEX = "CREATE INDEX {0}_{1} IF NOT EXISTS FOR {2} ON (x.{1})"
_NODES = {label.value: "key" for label in Label} | {"Past": "id", "Said": "id", "Scope": "name"}
_INDEXES = {label.value: ("scope", "name") for label in Label} | {
    "Past": ("of", "start", "end"),
    "Said": ("of", "scope"),
}


def schema() -> dict[tuple[str, str], str]:
    """What makes every constraint and index that the store relies on, by label or type, and property."""
    made = {(word, key): _UNIQUE.format(word, key, f"(x:{word})") for word, key in _NODES.items()}
    made |= {(word, one): _INDEX.format(word, one, f"(x:{word})") for word, all_ in _INDEXES.items() for one in all_}
    return made | {
        (type_.value, "uid"): _UNIQUE.format(type_.value, "uid", f"()-[x:{type_.value}]-()") for type_ in Type
    }


@cache
def differing_nodes(label: Label) -> str:
    """Of [key, said, valid_from, number] the numbers of those that are not there, or are otherwise."""
    return (
        f"UNWIND $rows AS row OPTIONAL MATCH (n:{label.value}) WHERE n.key = row[0] WITH row, n "
        "WHERE n IS NULL OR n.said <> row[1] OR n.valid_from > row[2] RETURN row[3] AS number"
    )


@cache
def differing_starts(type_: Type, start: Label) -> str:
    """The numbers of those of $starts at which not all of $said begins, or something since later than $since.

    One row a start and not one a relationship: a start is then found, and its relationships gone through, once.
    """
    return (
        f"UNWIND range(0, size($starts) - 1) AS number "
        f"OPTIONAL MATCH (a:{start.value}) WHERE a.key = $starts[number] OPTIONAL MATCH (a)-[r:{type_.value}]->() "
        "WITH number, collect(r.said) AS there, max(r.valid_from) AS latest "
        "WHERE any(one IN $said[number] WHERE NOT one IN there) OR latest > $since[number] RETURN number"
    )


NODE = ("key", "said", "valid_from", "scope")
EDGE = ("start", "end", "said", "valid_from", "scope", "uid")
"""The first members of the rows of nodes, and of relationships, which are lists; properties follow."""


def _set(what: str, first: int, columns: tuple[str, ...], names: tuple[str, ...]) -> str:
    """Every column and property by its place in the row, from the `first` on; what is null sets nothing."""
    places = [f"{what}.`{name}` = row[{at}]" for at, name in enumerate((*columns[first:], *names), first)]
    return ", ".join([*places, f"{what}.recorded_from = $now"])


@lru_cache(1_000)
def merge_nodes(label: Label, names: tuple[str, ...]) -> str:
    """Create what is not there, with these properties; returns key and hash of what is there and is otherwise."""
    return f"{_merged(label, names)} WHERE n.said <> row[1] OR n.valid_from > row[2] {_OTHERWISE}"


@lru_cache(1_000)
def merge_implied(label: Label, names: tuple[str, ...]) -> str:
    """The same of nodes that a source says only because a relationship of it starts there."""
    return f"{_merged(label, names)} WHERE n.scope <> row[3] {_OTHERWISE}"


def _merged(label: Label, names: tuple[str, ...]) -> str:
    return (
        f"UNWIND $rows AS row MERGE (n:{label.value} {{key: row[0]}}) ON CREATE SET {_set('n', 1, NODE, names)} "
        "WITH n, row"
    )


_OTHERWISE = "RETURN row[0] AS key, row[1] AS said, n.scope AS scope"


@cache
def adopt_nodes(label: Label) -> str:
    """Say what was empty nodes until now; returns which of them were.

    The first SET takes the node before it is looked at: nobody else can have said it in between.
    """
    return (
        f"UNWIND $rows AS row MATCH (n:{label.value}) WHERE n.key = row.key SET n.said = '-' WITH n, row "
        "WHERE n.scope = '' SET n = row RETURN row.key AS key"
    )


@lru_cache(1_000)
def merge_edges(type_: Type, start: Label, end: Label, names: tuple[str, ...], *, there: bool = False) -> str:
    """The same of relationships.

    An end that nobody says gets an empty node, unless both ends are `there`: then one that is not leaves its row out.
    """
    match = f"MATCH (a:{start.value}) WHERE a.key = row[0] MATCH (b:{end.value}) WHERE b.key = row[1]"
    return (
        f"UNWIND $rows AS row {match if there else _ends(start, end, 'row[0]', 'row[1]')} "
        f"MERGE (a)-[r:{type_.value}]->(b) ON CREATE SET {_set('r', 2, EDGE, names)} "
        "WITH r, row WHERE r.said <> row[2] OR r.valid_from > row[3] RETURN row[5] AS uid, row[2] AS said"
    )


def _ends(start: Label, end: Label, from_: str = "row.start", to: str = "row.end") -> str:
    empty = "ON CREATE SET {0}.scope = '', {0}.said = ''"
    return (
        f"MERGE (a:{start.value} {{key: {from_}}}) {empty.format('a')} "
        f"MERGE (b:{end.value} {{key: {to}}}) {empty.format('b')}"
    )


@cache
def take_nodes(label: Label) -> str:
    """Take these for the transaction; returns what they are."""
    return (
        f"UNWIND $rows AS row MATCH (n:{label.value}) WHERE n.key = row.key SET n.said = '-' "
        "RETURN row.of AS of, properties(n) AS columns"
    )


@cache
def take_edges(type_: Type, start: Label, end: Label) -> str:
    """The same of relationships."""
    return (
        f"UNWIND $rows AS row {_pair(type_, start, end)} SET r.said = '-' RETURN row.of AS of, properties(r) AS columns"
    )


def _pair(type_: Type, start: Label, end: Label) -> str:
    return (
        f"MATCH (a:{start.value}) WHERE a.key = row.start MATCH (b:{end.value}) WHERE b.key = row.end "
        f"MATCH (a)-[r:{type_.value}]->(b)"
    )


@cache
def put_nodes(label: Label) -> str:
    """Make these what they are now."""
    return f"UNWIND $rows AS row MERGE (n:{label.value} {{key: row.key}}) SET n = row"


@cache
def put_edges(type_: Type, start: Label, end: Label) -> str:
    """The same of relationships."""
    return f"UNWIND $rows AS row {_ends(start, end)} MERGE (a)-[r:{type_.value}]->(b) SET r = row.columns"


@cache
def drop_edges(type_: Type, start: Label, end: Label) -> str:
    """Take these out of the live graph."""
    return f"UNWIND $rows AS row {_pair(type_, start, end)} DELETE r"


@cache
def sweep(label: Label) -> str:
    """Take out of the live graph those that nobody says, and that no relationship holds."""
    return f"UNWIND $keys AS key MATCH (n:{label.value}) WHERE n.key = key AND n.scope = '' AND NOT (n)--() DELETE n"


SAID_SAME = (
    "UNWIND $rows AS row MATCH (s:Said {id: row.id}) "
    "WHERE row.implied OR (s.said = row.said AND s.valid_from <= row.valid_from) RETURN row.id AS id"
)
SAID_OF = "UNWIND $ofs AS of MATCH (s:Said {of: of}) RETURN properties(s) AS columns"
SAID_BY = "UNWIND $scopes AS scope MATCH (s:Said) WHERE s.scope = scope RETURN properties(s) AS columns"
PUT_SAID = "UNWIND $rows AS row MERGE (s:Said {id: row.id}) SET s = row"
DROP_SAID = "UNWIND $ids AS id MATCH (s:Said {id: id}) DELETE s"

ANY_PAST = "MATCH (p:Past) RETURN p.id AS id LIMIT 1"
BELIEVED_PAST = (
    f"UNWIND $ofs AS of MATCH (p:Past {{of: of}}) WHERE p.recorded_to = {FOREVER} RETURN properties(p) AS columns"
)
PAST_AFTER = (
    "UNWIND $rows AS row MATCH (p:Past {of: row.of}) "
    f"WHERE p.scope = row.scope AND p.recorded_to = {FOREVER} AND p.valid_to > row.valid_from "
    "RETURN DISTINCT row.of AS of"
)
PUT_PAST = "UNWIND $rows AS row MERGE (p:Past {id: row.id}) SET p = row"
PAST_OF = "UNWIND $ofs AS of MATCH (p:Past {of: of}) RETURN properties(p) AS columns"

KNOWN_SCOPES = "UNWIND $scopes AS scope MATCH (s:Scope) WHERE s.name = scope RETURN s.name AS name, s.mark AS mark"
OPEN_SCOPES = "UNWIND $scopes AS scope MERGE (s:Scope {name: scope}) SET s.mark = ''"
MARK_SCOPES = "UNWIND $rows AS row MERGE (s:Scope {name: row.name}) SET s.mark = row.mark"
DROP_SCOPES = "UNWIND $scopes AS scope MATCH (s:Scope) WHERE s.name = scope DELETE s"
MARKS = "MATCH (s:Scope) WHERE s.name STARTS WITH $prefix RETURN s.name AS name, s.mark AS mark"


def count_by_scope() -> str:
    """How many nodes of each label each source says alone."""
    return " UNION ALL ".join(
        f"UNWIND $scopes AS scope MATCH (n:{label.value}) WHERE n.scope = scope "
        f"RETURN '{label.value}' AS label, scope, count(n) AS many"
        for label in Label
    )


def count_edges_by_scope() -> str:
    """How many relationships each source says alone, by the label of their start, where it says that alone as well."""
    return " UNION ALL ".join(
        f"UNWIND $scopes AS scope MATCH (n:{label.value}) WHERE n.scope = scope "
        "MATCH (n)-[r]->() WHERE r.scope = scope "
        f"RETURN '{label.value}' AS label, scope, count(r) AS many"
        for label in Label
    )


@cache
def keys_by_scope(label: Label) -> str:
    """The nodes of a label that each source says alone."""
    return f"UNWIND $scopes AS scope MATCH (n:{label.value}) WHERE n.scope = scope RETURN scope, n.key AS key"


@cache
def edges_by_scope(label: Label) -> str:
    """The relationships of each source that start at nodes which it says alone."""
    return (
        f"UNWIND $scopes AS scope MATCH (n:{label.value}) WHERE n.scope = scope "
        "MATCH (n)-[r]->(m) WHERE r.scope = scope "
        "RETURN scope, n.key AS start, type(r) AS type, labels(m)[0] AS label, m.key AS end"
    )


@cache
def edges_by_start(label: Label) -> str:
    """The relationships of one source that start at these nodes."""
    return (
        f"UNWIND $rows AS row MATCH (n:{label.value}) WHERE n.key = row.key "
        "MATCH (n)-[r]->(m) WHERE r.scope = row.scope "
        "RETURN row.scope AS scope, n.key AS start, type(r) AS type, labels(m)[0] AS label, m.key AS end"
    )


@cache
def get_nodes(label: Label) -> str:
    """These nodes, if anybody says them."""
    return (
        f"UNWIND $keys AS key MATCH (n:{label.value}) WHERE n.key = key AND n.scope <> '' "
        "RETURN properties(n) AS columns"
    )


@cache
def level(label: Label, types: tuple[Type, ...], direction: Direction, *, properties: bool) -> str:
    """One level from nodes of a label."""
    names = "|".join(type_.value for type_ in types)
    left, right = ("<-", "-") if direction is Direction.in_ else ("-", "->")
    columns = "properties(r) AS columns" if properties else "null AS columns"
    return (
        f"UNWIND $keys AS key MATCH (n:{label.value}) WHERE n.key = key MATCH (n){left}[r:{names}]{right}(m) "
        f"RETURN key, type(r) AS type, labels(m)[0] AS label, m.key AS other, {columns}"
    )


def past_level(direction: Direction) -> str:
    """What is past of the relationships at one side of these nodes."""
    side = "end" if direction is Direction.in_ else "start"
    return (
        f"UNWIND $ofs AS of MATCH (p:Past {{{side}: of}}) WHERE p.valid_from <= $valid AND $valid < p.valid_to "
        "AND p.recorded_from <= $recorded AND $recorded < p.recorded_to RETURN properties(p) AS columns"
    )


@cache
def named(label: Label) -> str:
    """The nodes of a label that bear one of these names, and whose key ends so."""
    return (
        f"UNWIND $names AS name MATCH (n:{label.value}) "
        "WHERE n.name = name AND n.scope <> '' AND n.key ENDS WITH $ending RETURN n.key AS key LIMIT $limit"
    )


@cache
def every_node(label: Label) -> str:
    """All that is said of nodes of a label."""
    return f"MATCH (n:{label.value}) WHERE n.scope <> '' RETURN properties(n) AS columns"


@cache
def every_edge(type_: Type) -> str:
    """All that is said of relationships of a type."""
    return (
        f"MATCH (a)-[r:{type_.value}]->(b) RETURN labels(a)[0] AS start_label, a.key AS start, "
        "labels(b)[0] AS end_label, b.key AS end, properties(r) AS columns"
    )


PAST_NAMED = (
    "MATCH (p:Past) WHERE p.label IN $labels AND p.key ENDS WITH $ending "
    "RETURN DISTINCT p.label AS label, p.key AS key ORDER BY key LIMIT $limit"
)
EVERY_PAST = "MATCH (p:Past) RETURN properties(p) AS columns"
EVERY_SAID = "MATCH (s:Said) RETURN properties(s) AS columns"


def counts() -> str:
    """How many live nodes and relationships there are, empty nodes left out, and how many records are past."""
    return " UNION ALL ".join(
        [
            *(
                f"MATCH (n:{label.value}) WHERE n.scope <> '' RETURN '{label.value}' AS what, count(n) AS many"
                for label in Label
            ),
            *(f"MATCH ()-[r:{type_.value}]->() RETURN '{type_.value}' AS what, count(r) AS many" for type_ in Type),
            "MATCH (p:Past) RETURN 'Past' AS what, count(p) AS many",
        ]
    )
