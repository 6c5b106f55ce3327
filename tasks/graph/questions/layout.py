"""Where the nodes of a neighbourhood are drawn: in rings around the first of them, what hangs together beside each
other. Pure, and the same for the same neighbourhood.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from models.graph import Ref
from tasks.graph.questions.neighbourhood import Neighbourhood
from tasks.graph.questions.walk import other_end

_RING = 150.0
_ROOM = 34.0
"""Length of a ring that a node takes, so that names do not lie upon each other."""
_MARGIN = 130.0


def layout(around: Neighbourhood) -> tuple[dict[Ref, tuple[float, float]], tuple[float, float]]:
    """The place (x, y) of every node, and the width and height of the drawing, which begins at 0, 0."""
    order = _ordered(around)
    rings: dict[int, list[Ref]] = {}
    for ref in order:
        rings.setdefault(dict(around.nodes)[ref], []).append(ref)
    places: dict[Ref, tuple[float, float]] = {}
    radius = 0.0
    for distance in sorted(rings):
        ring = rings[distance]
        if distance == 0 and len(ring) == 1:
            places[ring[0]] = (0.0, 0.0)
            continue
        radius = max(radius + _RING, len(ring) * _ROOM / math.tau)
        for number, ref in enumerate(ring):
            angle = math.tau * number / len(ring) - math.pi / 2
            places[ref] = (radius * math.cos(angle), radius * math.sin(angle))
    side = radius + _MARGIN
    shifted = {ref: (round(x + side, 1), round(y + side, 1)) for ref, (x, y) in places.items()}
    return shifted, (2 * side, 2 * side)


def _ordered(around: Neighbourhood) -> list[Ref]:
    """The nodes, each behind the one through which it hangs on the middle."""
    distance: Mapping[Ref, int] = dict(around.nodes)
    beside: dict[Ref, set[Ref]] = {ref: set() for ref in distance}
    for hop in around.hops:
        beside[hop[1]].add(other_end(hop, hop[1]))
        beside[hop[2]].add(other_end(hop, hop[2]))
    below: dict[Ref, list[Ref]] = {ref: [] for ref in distance}
    roots = []
    for ref, far in around.nodes:
        above = [one for one in beside[ref] if distance[one] == far - 1]
        if above:
            below[min(above, key=lambda one: (one.label.value, one.key))].append(ref)
        else:
            roots.append(ref)
    ordered: list[Ref] = []
    stack = list(reversed(roots))
    while stack:
        ref = stack.pop()
        ordered.append(ref)
        stack += sorted(below[ref], key=lambda one: (one.label.value, one.key), reverse=True)
    return ordered
