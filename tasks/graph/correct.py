"""The slow way of saying something, for facts of which something else is said already: by the rules of both times."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from models.graph import Label, Ref, Type, Written
from tasks.graph import batches, cypher
from tasks.graph.batches import batched
from tasks.graph.checked import SHARED, Said, digest, hash_of
from tasks.graph.columns import Fact, alone, past_row, said_id, said_row, statement, together
from tasks.graph.temporal import Record, state
from tasks.graph.transactions import Transaction

SOME = 1_000
"""Facts that are looked at in one round."""


@dataclass(frozen=True, slots=True)
class Group:
    """Facts that one text of Cypher speaks of: nodes of a label, or relationships of a type between two labels."""

    label: Label | None = None
    triple: tuple[Type, Label, Label] | None = None

    @classmethod
    def of(cls, fact: Fact) -> Group:
        """The group of a fact."""
        return cls(fact.label) if isinstance(fact, Ref) else cls(None, (fact[0], fact[1].label, fact[2].label))

    @property
    def take(self) -> str:
        """Cypher that takes facts for the transaction."""
        return cypher.take_nodes(self.label) if self.label else cypher.take_edges(*self.triple)  # type: ignore[misc]

    @property
    def put(self) -> str:
        """Cypher that makes facts what they are now."""
        return cypher.put_nodes(self.label) if self.label else cypher.put_edges(*self.triple)  # type: ignore[misc]


@dataclass(slots=True)
class _Known:
    """What is said of one fact, by source, and how that changes."""

    fact: Fact
    there: bool = False
    """Whether the live graph has it, if only as an empty node."""
    live: dict[str, Record] = field(default_factory=dict)
    several: bool = False
    past: dict[str, list[Record]] = field(default_factory=lambda: defaultdict(list))
    moved: list[tuple[str, Record]] = field(default_factory=list)
    """Records that go to the past, or have an end there now."""

    def say(self, said: Said, value: str | None, now: int) -> Written:
        scope = said.scope
        before = self.live.get(scope)
        if said.implied and before is not None:
            return Written(same=1)
        records = [*self.past[scope], *([before] if before is not None else ())]
        change = state(records, value, said.valid_from, now, valid_to=said.valid_to)
        if not change:
            return Written(same=1) if value is not None else Written()
        for old, ended in change.closed:
            if old is before:
                del self.live[scope]
            else:
                self.past[scope].remove(old)
            self.moved.append((scope, ended))
        for one in change.added:
            if one.live:
                self.live[scope] = one
            else:
                self.past[scope].append(one)
                self.moved.append((scope, one))
        after = self.live.get(scope)
        if before is None and (after is not None or value is not None):
            return Written(created=1)
        return Written(closed=1) if after is None else Written(changed=1)


async def correct(tx: Transaction, given: Sequence[Said], now: int, *, retract: bool = False) -> Written:
    """Say what differs from what is said already, or with `retract` that it holds no longer.

    Args:
        tx: the transaction in which all of it happens.
        given: facts of one group, in the order in which they are said.
        now: when, in microseconds.
        retract: whether they hold no longer since their `valid_from`.
    """
    written = Written()
    for some in batched(given, SOME, lambda one: one.size):
        written += await _some(tx, some, now, retract=retract)
    return written


async def _some(tx: Transaction, given: Sequence[Said], now: int, *, retract: bool) -> Written:
    written = Written()
    group = Group.of(given[0].fact)
    hashes = [hash_of(one.fact) for one in given]
    if not retract:
        rows = [
            {"id": said_id(of, one.scope), "said": one.said, "valid_from": one.valid_from, "implied": one.implied}
            for of, one in zip(hashes, given, strict=True)
            if one.open
        ]
        same = {record["id"] for record in await tx.rows(cypher.SAID_SAME, rows=rows)} if rows else set()
        kept = [
            (of, one)
            for of, one in zip(hashes, given, strict=True)
            if not (one.open and said_id(of, one.scope) in same)
        ]
        written += Written(same=len(given) - len(kept))
        hashes, given = [of for of, _ in kept], [one for _, one in kept]
    known = await _known(tx, group, dict(zip(hashes, (one.fact for one in given), strict=True)))
    for of, one in zip(hashes, given, strict=True):
        written += known[of].say(one, None if retract else one.value, now)
    await _keep(tx, group, known)
    return written


async def _known(tx: Transaction, group: Group, facts: dict[str, Fact]) -> dict[str, _Known]:
    known = {of: _Known(fact) for of, fact in facts.items()}
    if not known:
        return known
    rows = [_place(of, fact) for of, fact in facts.items()]
    for record in await tx.rows(group.take, rows=rows):
        one, columns = known[record["of"]], record["columns"]
        one.there = True
        one.several = columns["scope"] == SHARED
        if columns["scope"] and not one.several:
            one.live[columns["scope"]] = alone(columns)
    several = [of for of, one in known.items() if one.several]
    if several:
        for record in await tx.rows(cypher.SAID_OF, ofs=several):
            said = statement(record["columns"])
            known[record["columns"]["of"]].live[said.scope] = said.record
    for record in await tx.rows(cypher.BELIEVED_PAST, ofs=list(known)):
        past = statement(record["columns"])
        known[record["columns"]["of"]].past[past.scope].append(past.record)
    return known


async def _keep(tx: Transaction, group: Group, known: dict[str, _Known]) -> None:
    past = [past_row(one.fact, of, scope, record) for of, one in known.items() for scope, record in one.moved]
    for some in batches.rows(past, SOME):
        await tx.rows(cypher.PUT_PAST, rows=some)
    stale = [said_id(of, scope) for of, one in known.items() if one.several for scope in (*one.live, *one.past)]
    several = {of: one for of, one in known.items() if len(one.live) > 1}
    rows = [
        said_row(one.fact, of, scope, record, digest(one.fact, record.value, scope))
        for of, one in several.items()
        for scope, record in one.live.items()
    ]
    kept = {row["id"] for row in rows}
    gone = [id_ for id_ in stale if id_ not in kept]
    if gone:
        await tx.rows(cypher.DROP_SAID, ids=gone)
    for some in batches.rows(rows, SOME):
        await tx.rows(cypher.PUT_SAID, rows=some)
    put = [_row(of, one) for of, one in known.items() if one.live]
    for some in batches.rows(put, SOME):
        await tx.rows(group.put, rows=some)
    dropped = {of: one.fact for of, one in known.items() if one.there and not one.live}
    if dropped:
        await _drop(tx, group, dropped)


async def _drop(tx: Transaction, group: Group, dropped: dict[str, Fact]) -> None:
    if group.label is not None:
        keys = [fact.key for fact in dropped.values()]  # type: ignore[union-attr]
        await tx.rows(group.put, rows=[{"key": key, "scope": "", "said": ""} for key in keys])
        await tx.rows(cypher.sweep(group.label), keys=keys)
        return
    assert group.triple is not None  # noqa: S101 - one of the two is there
    await tx.rows(cypher.drop_edges(*group.triple), rows=[_place(of, fact) for of, fact in dropped.items()])
    _, start, end = group.triple
    for label, at in ((start, 1), (end, 2)):
        keys = sorted({fact[at].key for fact in dropped.values()})  # type: ignore[index, union-attr]
        await tx.rows(cypher.sweep(label), keys=keys)


def _place(of: str, fact: Fact) -> dict[str, Any]:
    if isinstance(fact, Ref):
        return {"of": of, "key": fact.key}
    return {"of": of, "start": fact[1].key, "end": fact[2].key}


def _row(of: str, one: _Known) -> dict[str, Any]:
    columns = together(one.live, {scope: digest(one.fact, record.value, scope) for scope, record in one.live.items()})
    if isinstance(one.fact, Ref):
        return {**columns, "key": one.fact.key}
    return {"start": one.fact[1].key, "end": one.fact[2].key, "columns": {**columns, "uid": of}}
