"""What is around some nodes, in a size that can be drawn. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.graph import Direction, Ref
from tasks.graph.questions.walk import Hop, Level, by_node, hop_of, other_end, spelt


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """Some nodes, all that hangs on them, and the relationships among it."""

    opened: tuple[Ref, ...]
    """Those that were asked for."""
    nodes: tuple[tuple[Ref, int], ...]
    """Each with its distance from the first of them, the nearest first."""
    hops: tuple[Hop, ...]
    cut: str = ""
    """Why there may be more; empty: that is all."""


async def neighbourhood(opened: Sequence[Ref], level: Level, *, nodes: int = 150, edges: int = 2_000) -> Neighbourhood:
    """The neighbours of `opened`, at most `nodes` in all.

    Args:
        opened: the nodes whose neighbours are shown; the first is the one in the middle.
        level: asks for relationships.
        nodes: the most that are shown, `opened` included.
        edges: the most relationships that are asked for at once.

    Raises:
        ValueError: `opened` is empty.
    """
    if not opened:
        raise ValueError("it needs a node to begin with")
    chosen = tuple(dict.fromkeys(opened))[:nodes]
    found = await level(chosen, None, Direction.both, edges + 1)
    cut = f"more than {edges:,} relationships" if len(found) > edges else ""
    around = by_node(chosen, found, Direction.both)
    shown: dict[Ref, None] = dict.fromkeys(chosen)
    # In turns, so that a node with very many neighbours leaves room for those of the others.
    queues = [[other_end(hop, ref) for hop in around[ref]] for ref in chosen]
    for turn in range(max(map(len, queues), default=0)):
        for queue in queues:
            if turn < len(queue) and queue[turn] not in shown:
                if len(shown) >= nodes:
                    cut = f"more than {nodes:,} nodes"
                    break
                shown[queue[turn]] = None
    hops = {hop for each in around.values() for hop in each if hop[1] in shown and hop[2] in shown}
    rest = [ref for ref in shown if ref not in around]
    if rest:  # among the neighbours themselves
        between = await level(rest, None, Direction.out, edges + 1)
        if len(between) > edges and not cut:
            cut = f"more than {edges:,} relationships among the neighbours"
        hops |= {hop_of(edge) for edge in between if edge.start in shown and edge.end in shown}
    distances = _distances(chosen[0], hops)
    far = max(distances.values(), default=0) + 1
    ordered = sorted(
        ((ref, distances.get(ref, far)) for ref in shown), key=lambda one: (one[1], one[0].label.value, one[0].key)
    )
    return Neighbourhood(chosen, tuple(ordered), tuple(sorted(hops, key=spelt)), cut)


def _distances(middle: Ref, hops: set[Hop]) -> dict[Ref, int]:
    beside: dict[Ref, set[Ref]] = {}
    for _, start, end in hops:
        beside.setdefault(start, set()).add(end)
        beside.setdefault(end, set()).add(start)
    known, frontier = {middle: 0}, [middle]
    while frontier:
        following = []
        for ref in frontier:
            for after in beside.get(ref, ()):
                if after not in known:
                    known[after] = known[ref] + 1
                    following.append(after)
        frontier = following
    return known
