"""What a source says no longer: found by counting first, so that the facts which are still said are not listed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

from models.graph import Label, Ref, Type
from tasks.graph import cypher
from tasks.graph.columns import Fact, fact_of
from tasks.graph.transactions import Transactions

if TYPE_CHECKING:
    from neo4j import Record

Says = Callable[[str, Fact], bool]


async def gone(
    transactions: Transactions,
    scopes: Collection[str],
    how_many: dict[tuple[bool, str, str], int],
    says: Says,
) -> list[tuple[str, Fact]]:
    """The facts that `scopes` say in the graph and not here, each with its source.

    Args:
        transactions: where the graph is.
        scopes: the sources.
        how_many: the number of facts that they say here, all of which are in the graph by now; by whether they are
            nodes, the label of the node or of the relationship's start, and the source.
        says: whether a source says a fact here.
    """
    names = list(scopes)
    there: dict[tuple[bool, str, str], int] = defaultdict(int)
    for node, text in ((True, cypher.count_by_scope()), (False, cypher.count_edges_by_scope())):
        for record in await transactions.read(text, scopes=names):
            there[node, record["label"], record["scope"]] += record["many"]
    found: list[tuple[str, Fact]] = []
    starts: list[tuple[str, Ref]] = []
    for record in await transactions.read(cypher.SAID_BY, scopes=names):
        columns = record["columns"]
        fact, scope = fact_of(columns), columns["scope"]
        found.append((scope, fact))
        if isinstance(fact, Ref):
            there[True, fact.label.value, scope] += 1
            starts.append((scope, fact))
        else:
            there[False, fact[1].label.value, scope] += 1
    # What a source says alone of a node that others say as well starts at a node that bears no single source.
    for label, refs in _by_label(starts).items():
        rows = [{"scope": scope, "key": ref.key} for scope, ref in refs]
        for record in await transactions.read(cypher.edges_by_start(label), rows=rows):
            found.append((record["scope"], _edge(label, record)))
            there[False, label.value, record["scope"]] += 1
    more: dict[tuple[bool, str], list[str]] = defaultdict(list)
    for (node, name, scope), many in there.items():
        if many != how_many.get((node, name, scope), 0):
            more[node, name].append(scope)
    for (node, name), some in more.items():
        label = Label(name)
        if node:
            records = await transactions.read(cypher.keys_by_scope(label), scopes=some)
            found += [(record["scope"], Ref(label, record["key"])) for record in records]
        else:
            records = await transactions.read(cypher.edges_by_scope(label), scopes=some)
            found += [(record["scope"], _edge(label, record)) for record in records]
    return [(scope, fact) for scope, fact in found if not says(scope, fact)]


def _edge(label: Label, record: Record) -> Fact:
    return Type(record["type"]), Ref(label, record["start"]), Ref(Label(record["label"]), record["end"])


def _by_label(refs: Iterable[tuple[str, Ref]]) -> dict[Label, list[tuple[str, Ref]]]:
    labels: dict[Label, list[tuple[str, Ref]]] = defaultdict(list)
    for scope, ref in refs:
        labels[ref.label].append((scope, ref))
    return labels
