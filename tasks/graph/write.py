"""How the facts of several sources get into the graph: many at once where nothing stands against them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from blocks.errors import ConfigurationError
from models.graph import Label, Part, Ref, Type, Written
from tasks.collector import collector_paused
from tasks.graph import checked, cypher
from tasks.graph.batches import batched
from tasks.graph.checked import Said, hash_of
from tasks.graph.columns import Fact, edge_rows, names_of, node_row, node_rows
from tasks.graph.correct import Group, correct
from tasks.graph.transactions import Transaction, Transactions

MANY = 5_000
"""Facts of one transaction: measured as the best for both servers' and driver's time."""


@dataclass(slots=True)
class Facts:
    """Facts that were checked, by group; nothing of them is written yet."""

    now: int
    whole: bool
    """Whether these are all the facts of their sources: what is only implied then says all of a node."""
    nodes: dict[Label, dict[tuple[str, str], Said]] = field(default_factory=lambda: defaultdict(dict))
    """By label, then by key and source."""
    edges: dict[Group, dict[tuple[str, str, str], Said]] = field(default_factory=lambda: defaultdict(dict))
    """By group, then by the keys of both ends and source."""
    ended: dict[Group, list[Said]] = field(default_factory=lambda: defaultdict(list))
    """What held once, and holds no longer."""
    scopes: set[str] = field(default_factory=set)
    _known: dict[Label, set[str]] = field(default_factory=dict)

    def add(self, part: Part) -> None:
        """Check and take in what one source says.

        Raises:
            ConfigurationError: a fact that cannot be kept, or one that contradicts another of the same source.
        """
        scope, now = checked.checked_scope(part.scope), self.now
        self.scopes.add(scope)
        for node in part.nodes:
            said = checked.node(node, scope, now)
            ref: Ref = node.ref
            if said.open:
                _put(self.nodes[ref.label], (ref.key, scope), said)
            else:
                self.ended[Group.of(ref)].append(said)
        for one in part.relationships:
            said = checked.relationship(one, scope, now)
            start, end = one.start, one.end
            group = _group(one.type, start.label, end.label)
            if said.open:
                _put(self.edges[group], (start.key, end.key, scope), said)
                if (start.key, scope) not in (there := self.nodes[start.label]):
                    there[start.key, scope] = checked.start(start, scope, now, implied=not self.whole)
            else:
                self.ended[group].append(said)

    def keys(self, label: Label) -> set[str]:
        """The keys of the nodes of this label that are said here, by whomever."""
        known = self._known.get(label)
        if known is None:
            known = self._known[label] = {key for key, _ in self.nodes.get(label, ())}
        return known

    def says(self, scope: str, fact: Fact) -> bool:
        """Whether `scope` says that `fact` holds now."""
        if isinstance(fact, Ref):
            return (fact.key, scope) in self.nodes.get(fact.label, ())
        type_, start, end = fact
        return (start.key, end.key, scope) in self.edges.get(_group(type_, start.label, end.label), ())

    def how_many(self) -> dict[tuple[bool, str, str], int]:
        """How many facts there are, by whether they are nodes, the label of node or start, and the source."""
        many: dict[tuple[bool, str, str], int] = defaultdict(int)
        for label, nodes in self.nodes.items():
            for _, scope in nodes:
                many[True, label.value, scope] += 1
        for group, edges in self.edges.items():
            start = group.triple[1].value  # type: ignore[index]
            for _, _, scope in edges:
                many[False, start, scope] += 1
        return many


_GROUPS: dict[tuple[Type, Label, Label], Group] = {}


def _group(type_: Type, start: Label, end: Label) -> Group:
    known = _GROUPS.get((type_, start, end))
    return known or _GROUPS.setdefault((type_, start, end), Group(None, (type_, start, end)))


def _size(said: Said) -> int:
    return said.size


def _put(known: dict[Any, Said], key: Any, said: Said) -> None:
    other = known.setdefault(key, said)
    if other is said:
        return
    if other.implied:
        known[key] = said
    elif other.said != said.said or other.valid_from != said.valid_from:
        shown = " ".join(str(part)[:200] for part in key[:-1])
        raise ConfigurationError(f"{said.scope} says two things of {shown} at once.", component="graph")


async def write(transactions: Transactions, facts: Facts, *, known: bool) -> Written:
    """Write what was checked: nodes first, then relationships.

    Args:
        transactions: where.
        facts: what.
        known: whether any of it may be there already, which is then looked up first: that is four times as fast as
            to merge what is the same.
    """
    written = Written()
    past = bool(await transactions.read(cypher.ANY_PAST))
    for label, nodes in facts.nodes.items():
        for batch in batched(nodes.values(), MANY, _size):
            written += await _nodes(transactions, label, batch, facts.now, known=known, past=past)
    for group, edges in facts.edges.items():
        for batch in batched(edges.values(), MANY, _size):
            written += await _edges(transactions, group, batch, facts, known=known, past=past)
    for ended in facts.ended.values():
        for batch in batched(ended, MANY, _size):
            written += await transactions.write(lambda tx, batch=batch: correct(tx, batch, facts.now))  # type: ignore[misc]
    return written


async def _nodes(
    transactions: Transactions, label: Label, batch: Sequence[Said], now: int, *, known: bool, past: bool
) -> Written:
    same = 0
    if known:
        rows = [[one.fact.key, one.said, one.valid_from, at] for at, one in enumerate(batch)]  # type: ignore[union-attr]
        differing = await transactions.read(cypher.differing_nodes(label), rows=rows)
        batch, everything = [batch[record["number"]] for record in differing], len(batch)
        same = everything - len(batch)
        if not batch:
            return Written(same=same)

    async def work(tx: Transaction) -> Written:
        late, prompt = await _late(tx, batch) if past else ([], batch)
        created = 0
        for implied in (False, True):
            some = [one for one in prompt if one.implied is implied]
            if some:
                new, otherwise = await _merge(tx, label, some, now, implied=implied)
                created += new
                late += otherwise
        return Written(created=created, same=same + len(batch) - created - len(late)) + await correct(tx, late, now)

    return await transactions.write(work)


async def _merge(
    tx: Transaction, label: Label, some: Sequence[Said], now: int, *, implied: bool
) -> tuple[int, list[Said]]:
    """How many nodes nobody had said before, and those of which something else is said."""
    names = names_of(some)
    text = cypher.merge_implied(label, names) if implied else cypher.merge_nodes(label, names)
    with collector_paused():
        rows = node_rows(some, names)
    found, created, _ = await tx.run(text, rows=rows, now=now)
    if not found:
        return created, []
    otherwise = {(record["key"], record["said"]) for record in found}
    empty = {record["key"]: (record["key"], record["said"]) for record in found if not record["scope"]}
    if empty:
        wanted = set(empty.values())
        whole = [node_row(one, now) for one in some if (one.fact.key, one.said) in wanted]  # type: ignore[union-attr]
        adopted = await tx.rows(cypher.adopt_nodes(label), rows=whole)
        otherwise -= {empty[record["key"]] for record in adopted}
        created += len(adopted)
    return created, [one for one in some if (one.fact.key, one.said) in otherwise]  # type: ignore[union-attr]


async def _edges(
    transactions: Transactions, group: Group, batch: Sequence[Said], facts: Facts, *, known: bool, past: bool
) -> Written:
    assert group.triple is not None  # noqa: S101 - it is a group of relationships
    same, now = 0, facts.now
    starts, ends = map(facts.keys, group.triple[1:])
    if known:
        everything = len(batch)
        batch = await _differing(transactions, group, batch)
        same = everything - len(batch)
        if not batch:
            return Written(same=same)

    async def work(tx: Transaction) -> Written:
        late, prompt = await _late(tx, batch) if past else ([], batch)
        whole, loose = _by_ends(prompt, starts, ends)
        created = 0
        # Ends that this call has said are there: to look for them is a quarter faster than to merge them.
        for there, some in ((True, whole), (False, loose)):
            if some:
                new, otherwise = await _merge_edges(tx, group, some, now, there=there)
                created += new
                late += otherwise
        return Written(created=created, same=same + len(batch) - created - len(late)) + await correct(tx, late, now)

    return await transactions.write(work)


def _by_ends(batch: Sequence[Said], starts: set[str], ends: set[str]) -> tuple[list[Said], list[Said]]:
    """Those relationships of which both ends are among these, and the others."""
    whole: list[Said] = []
    loose: list[Said] = []
    for one in batch:
        _, start, end = one.fact  # type: ignore[misc]
        (whole if start.key in starts and end.key in ends else loose).append(one)
    return whole, loose


async def _merge_edges(
    tx: Transaction, group: Group, some: Sequence[Said], now: int, *, there: bool
) -> tuple[int, list[Said]]:
    """How many relationships nobody had said before, and those of which something else is said."""
    assert group.triple is not None  # noqa: S101 - it is a group of relationships
    names = names_of(some)
    with collector_paused():
        rows = edge_rows(some, names)
    found, _, created = await tx.run(cypher.merge_edges(*group.triple, names, there=there), rows=rows, now=now)
    if there and created + len(found) < len(rows):
        # They are the same by now, or somebody has taken away an end in between.
        found, _, more = await tx.run(cypher.merge_edges(*group.triple, names), rows=rows, now=now)
        created += more
    otherwise = {(record["uid"], record["said"]) for record in found}
    return created, [one for one in some if (one.uid, one.said) in otherwise] if otherwise else []


async def _differing(transactions: Transactions, group: Group, batch: Sequence[Said]) -> list[Said]:
    """Those of which not the same is there."""
    assert group.triple is not None  # noqa: S101 - it is a group of relationships
    by_start: dict[str, list[Said]] = defaultdict(list)
    for one in batch:
        by_start[one.fact[1].key].append(one)  # type: ignore[index]
    of_start = list(by_start.values())
    records = await transactions.read(
        cypher.differing_starts(*group.triple[:2]),
        starts=list(by_start),
        said=[[one.said for one in some] for some in of_start],
        since=[min(one.valid_from for one in some) for some in of_start],
    )
    return [one for record in records for one in of_start[record["number"]]]


async def _late(tx: Transaction, batch: Sequence[Said]) -> tuple[list[Said], list[Said]]:
    """Those of which more is said of a time that is past, and the others."""
    hashes = [hash_of(one.fact) for one in batch]
    rows = [{"of": of, "scope": one.scope, "valid_from": one.valid_from} for of, one in zip(hashes, batch, strict=True)]
    after = {record["of"] for record in await tx.rows(cypher.PAST_AFTER, rows=rows)}
    late = [one for of, one in zip(hashes, batch, strict=True) if of in after]
    return late, [one for of, one in zip(hashes, batch, strict=True) if of not in after] if after else list(batch)


def by_group(facts: Iterable[Said]) -> Mapping[Group, list[Said]]:
    """Facts by their group, relationships before nodes: so a node that goes leaves no empty one behind."""
    groups: dict[Group, list[Said]] = defaultdict(list)
    for one in facts:
        groups[Group.of(one.fact)].append(one)
    return dict(sorted(groups.items(), key=lambda item: item[0].label is not None))
