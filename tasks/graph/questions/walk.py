"""What every question walks on: one level of relationships, asked for many nodes at once.

Questions are pure: where the relationships come from (the live graph, an earlier point in time, what one role may see,
a list in a test) is the callable that they are given. A walk goes level by level, so that it costs as many round trips
as it is deep, however wide it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from models.graph import Direction, Edge, Ref, Type

Hop = tuple[Type, Ref, Ref]
"""A relationship: what it says, its start, its end."""


class Level(Protocol):
    """One level of relationships."""

    async def __call__(
        self, refs: Collection[Ref], types: Collection[Type] | None, direction: Direction, limit: int
    ) -> Sequence[Edge]:
        """The relationships of `refs` that have one of `types` (None: any), at most `limit` of them."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far a walk goes."""

    depth: int = 6
    """Steps from where it begins."""
    nodes: int = 200
    """Nodes that it tells of; of each sort, where there are sorts."""
    edges: int = 5_000
    """Relationships that one level may have."""

    def __post_init__(self) -> None:
        for name, most in (("depth", 64), ("nodes", 100_000), ("edges", 1_000_000)):
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name} is {getattr(self, name)}; it has to be from 1 to {most:,}")


def hop_of(edge: Edge) -> Hop:
    """`edge` without what is said of it."""
    return edge.type, edge.start, edge.end


def other_end(hop: Hop, ref: Ref) -> Ref:
    """The end of `hop` that is not `ref`; `ref` itself when both are."""
    return hop[2] if hop[1] == ref else hop[1]


def by_node(refs: Iterable[Ref], edges: Iterable[Edge], direction: Direction) -> dict[Ref, list[Hop]]:
    """The relationships of each of `refs`, sorted, so that a walk does not depend on the order of an answer."""
    found: dict[Ref, set[Hop]] = {ref: set() for ref in refs}
    for edge in edges:
        hop = hop_of(edge)
        if direction is not Direction.in_ and edge.start in found:
            found[edge.start].add(hop)
        if direction is not Direction.out and edge.end in found:
            found[edge.end].add(hop)
    return {ref: sorted(hops, key=spelt) for ref, hops in found.items()}


def spelt(hop: Hop) -> tuple[str, ...]:
    """A key to sort by; comparing its words is several times faster than comparing what they are fields of."""
    kind, start, end = hop
    return kind.value, start.label.value, start.key, end.label.value, end.key
