"""A graph in a list, asked as the store is asked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from models.graph import Direction, Edge, Ref, Type
from tasks.graph.questions.walk import Hop


class Listed:
    """Relationships in a list; counts how often it is asked."""

    def __init__(self, hops: Iterable[Hop]) -> None:
        self.edges = [Edge(*hop) for hop in hops]
        self.asked = 0

    async def __call__(
        self, refs: Collection[Ref], types: Collection[Type] | None, direction: Direction, limit: int
    ) -> Sequence[Edge]:
        self.asked += 1
        wanted = set(refs)
        found = [
            edge
            for edge in self.edges
            if (types is None or edge.type in types)
            and (
                (direction is not Direction.in_ and edge.start in wanted)
                or (direction is not Direction.out and edge.end in wanted)
            )
        ]
        return found[:limit]
