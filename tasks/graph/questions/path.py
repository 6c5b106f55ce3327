"""How two things hang together: a shortest path between them, looked for from both ends at once. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from models.graph import Direction, Ref, Type
from tasks.graph.questions.walk import Bounds, Hop, Level, by_node, other_end, spelt


class Way(StrEnum):
    """Which way the relationships of a path point."""

    along = "along"
    """All from the first to the second: it uses it, in the end."""
    any = "any"


@dataclass(frozen=True, slots=True)
class Found:
    """What the search came to."""

    path: tuple[Hop, ...] | None
    """Its relationships in order; empty for one and the same node, None when none was found."""
    cut: str = ""
    """Why there may be one all the same; empty: there is none, or none that is shorter."""


@dataclass(slots=True)
class _Side:
    """What is known from one end."""

    came: dict[Ref, tuple[Ref, Hop] | None]
    frontier: list[Ref]
    direction: Direction
    depth: int = 0


async def shortest(
    first: Ref,
    second: Ref,
    level: Level,
    *,
    way: Way = Way.along,
    types: Collection[Type] | None = None,
    bounds: Bounds | None = None,
) -> Found:
    """A shortest path from `first` to `second`; which one, where there are several, depends on their names alone.

    Args:
        first: where it begins.
        second: where it ends.
        level: asks for relationships.
        way: whether all relationships have to point from the first to the second.
        types: only by these.
        bounds: `depth` bounds the length of the path, `nodes` how many may be looked at from each end.
    """
    bounds = bounds or Bounds(depth=24, nodes=20_000, edges=100_000)
    if first == second:
        return Found(())
    back, forth = (Direction.in_, Direction.out) if way is Way.along else (Direction.both, Direction.both)
    sides = (_Side({first: None}, [first], forth), _Side({second: None}, [second], back))
    chosen = None if types is None else tuple(sorted(types))
    cut = ""
    while sides[0].depth + sides[1].depth < bounds.depth:
        if not (sides[0].frontier and sides[1].frontier):
            return Found(None, cut)  # all that one end reaches is known, and the other is not among it
        side = min(sides, key=lambda one: len(one.frontier))
        edges = await level(side.frontier, chosen, side.direction, bounds.edges + 1)
        if len(edges) > bounds.edges:
            cut = f"of more than {bounds.edges:,} relationships at once not all were looked at"
        _advance(side, by_node(side.frontier, edges, side.direction))
        # Both ends know all of their levels: where they meet first, nothing is shorter.
        met = [ref for ref in side.frontier if ref in sides[0].came and ref in sides[1].came]
        if met:
            paths = [_joined(ref, *sides) for ref in met]
            return Found(min(paths, key=lambda path: [spelt(hop) for hop in path]), cut)
        if max(len(one.came) for one in sides) > bounds.nodes:
            return Found(None, f"more than {bounds.nodes:,} nodes would have to be looked at")
    return Found(None, cut or f"paths longer than {bounds.depth} steps were not looked for")


def _advance(side: _Side, hops: dict[Ref, list[Hop]]) -> None:
    following: dict[Ref, None] = {}
    for ref in side.frontier:
        for hop in hops[ref]:
            after = other_end(hop, ref)
            if after not in side.came:
                side.came[after] = (ref, hop)
                following[after] = None
    side.frontier = list(following)
    side.depth += 1


def _joined(meeting: Ref, begin: _Side, end: _Side) -> tuple[Hop, ...]:
    return (*reversed(_to_root(meeting, begin)), *_to_root(meeting, end))


def _to_root(ref: Ref, side: _Side) -> list[Hop]:
    hops = []
    while (came := side.came[ref]) is not None:
        ref, hop = came
        hops.append(hop)
    return hops
