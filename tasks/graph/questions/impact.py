"""What may break if something changes: who uses it, directly and through others, each by its shortest path. Pure.

A change travels against the arrows: from what is called to its caller, from what is described to the page. Two things
are kept apart. What hangs on the change itself, by a chain of calls, bases, imports by name, is *sure*. What hangs
only on a module of which something changes, because the syntax does not say which part of the module it uses, is
*through a module*: it may break, and most of it will not. A module that takes only named members of another one (it
`DEPENDS_ON` it) does not hang on the rest of it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from models.graph import Direction, Label, Ref, Type
from tasks.graph.questions.walk import Bounds, Hop, Level, by_node

_BESIDE = (Label.component, Label.deployment, Label.flow, Label.table, Label.checkout, Label.document)
"""What people ask for comes before modules and functions of the same distance."""
_HOLDS = frozenset({Label.module, Label.class_, Label.component})
"""Labels whose parts change with them."""

_SURE, _THROUGH, _PART = 0, 1, 2
"""How a node is reached: for sure; through a module; as the module of which only a part is reached."""

State = tuple[Ref, int]
"""A node, and how it is reached; less is more."""


@dataclass(frozen=True, slots=True)
class Hit:
    """Something that may break."""

    ref: Ref
    distance: int
    """Steps from what changes; into its own parts there is none."""
    sure: bool
    """Whether no step of the path goes through a module as a whole."""
    path: tuple[Hop, ...]
    """A shortest path, beginning at what changes."""


@dataclass(frozen=True, slots=True)
class Impact:
    """All that may break if `of` changes."""

    of: Ref
    parts: int
    """How much it consists of, itself included."""
    hits: tuple[Hit, ...]
    """Sure ones first, then the nearest."""
    cut: tuple[str, ...] = ()
    """Why there may be more; empty: that is all."""


async def impact(
    of: Ref, level: Level, *, bounds: Bounds | None = None, types: Collection[Type] | None = None
) -> Impact:
    """What may break if `of` changes.

    Args:
        of: what changes; a module, a class or a component changes with its parts.
        level: asks for relationships.
        bounds: how far to look; `nodes` counts for what is sure and for the rest, each.
        types: only travel by these; what consists of what is always known.
    """
    return await _Walk(of, level, bounds or Bounds(), frozenset(types or Type)).run()


class _Walk:
    def __init__(self, of: Ref, level: Level, bounds: Bounds, types: frozenset[Type]) -> None:
        self._of = of
        self._level = level
        self._bounds = bounds
        self._types = types
        self._parts: dict[Ref, Hop | None] = {of: None}
        self._reached: dict[State, tuple[int, State, Hop] | None] = {}
        self._incoming: dict[Ref, list[Hop]] = {}
        self._count = {True: 0, False: 0}
        self._full: set[bool] = set()
        self._cut: dict[str, None] = {}

    async def run(self) -> Impact:
        await self._take_apart()
        self._reached = {(part, _SURE): None for part in self._parts}
        frontier: list[State] = list(self._reached)
        distance = 0
        while frontier and not self._is_full():
            distance += 1
            await self._ask([ref for ref, _ in frontier])
            if distance > self._bounds.depth:
                if any(self._is_new(after) for state in frontier for after, _ in self._onward(state)):
                    self._cut[f"deeper than {self._bounds.depth} steps was not looked"] = None
                break
            following: list[State] = []
            # Sure ones first: a node that is reached both ways at once is sure, and uses up no room of the others.
            for state in sorted(frontier, key=lambda one: one[1]):
                for after, hop in self._onward(state):
                    if self._is_new(after) and self._has_room(after):
                        self._reached[after] = (distance, state, hop)
                        following.append(after)
            frontier = [state for state in following if not self._is_outdone(state)]
        return Impact(self._of, len(self._parts), self._hits(), tuple(self._cut))

    async def _take_apart(self) -> None:
        """Find what `of` consists of."""
        frontier = [self._of] if self._of.label in _HOLDS else []
        while frontier:
            room = self._bounds.edges
            edges = await self._level(frontier, (Type.contains,), Direction.out, room + 1)
            if len(edges) > room:
                self._cut[f"of more than {room:,} parts at once not all were looked at"] = None
            hops = by_node(frontier, edges, Direction.out)
            frontier = []
            for found in hops.values():
                for hop in found:
                    if hop[2] not in self._parts and len(self._parts) <= self._bounds.edges:
                        self._parts[hop[2]] = hop
                        frontier.append(hop[2])
            frontier = [ref for ref in frontier if ref.label in _HOLDS]

    async def _ask(self, refs: list[Ref]) -> None:
        unknown = list(dict.fromkeys(ref for ref in refs if ref not in self._incoming))
        if not unknown:
            return
        room = self._bounds.edges
        edges = await self._level(unknown, tuple(sorted(self._types | {Type.contains})), Direction.in_, room + 1)
        if len(edges) > room:
            self._cut[f"of more than {room:,} relationships at once not all were looked at"] = None
        self._incoming |= by_node(unknown, edges, Direction.in_)

    def _onward(self, state: State) -> list[tuple[State, Hop]]:
        """Where a change of this node travels next."""
        ref, grade = state
        found = []
        for hop in self._incoming.get(ref, ()):
            start = hop[1]
            if start not in self._parts and start != ref and (after := self._passed(hop, grade)) is not None:
                found.append(((start, after), hop))
        return found

    def _passed(self, hop: Hop, grade: int) -> int | None:
        """How the start of `hop` is reached from its end, which is reached by `grade`; None: not by this."""
        kind, start, end = hop
        if kind is Type.contains:
            return _held(start, end, grade)
        if kind not in self._types or (kind is Type.depends_on and grade == _PART):
            return None
        if end.label is not Label.module or end in self._parts:
            return grade
        return _THROUGH if kind in {Type.imports, Type.depends_on} else min(grade, _THROUGH)

    def _is_new(self, state: State) -> bool:
        return state not in self._reached and not self._is_outdone(state)

    def _is_outdone(self, state: State) -> bool:
        """Whether the node is reached in a better way, so that this one tells nothing."""
        ref, grade = state
        return any((ref, better) in self._reached for better in range(grade))

    def _has_room(self, state: State) -> bool:
        sure = state[1] == _SURE
        if self._count[sure] >= self._bounds.nodes:
            sort = "sure" if sure else "through a module"
            self._full.add(sure)
            self._cut[f"only the nearest {self._bounds.nodes:,} that are {sort} are told"] = None
            return False
        self._count[sure] += 1
        return True

    def _is_full(self) -> bool:
        """Whether the bound was met on both sorts, so that nothing more can be told."""
        return len(self._full) == 2

    def _hits(self) -> tuple[Hit, ...]:
        hits = [
            Hit(state[0], came[0], state[1] == _SURE, self._path(state))
            for state, came in self._reached.items()
            if came is not None and not self._is_outdone(state)
        ]
        return tuple(sorted(hits, key=_rank))

    def _path(self, state: State) -> tuple[Hop, ...]:
        hops: list[Hop] = []
        while (came := self._reached[state]) is not None:
            hops.append(came[2])
            state = came[1]
        part = self._parts[state[0]]
        while part is not None:
            hops.append(part)
            part = self._parts[part[1]]
        return tuple(reversed(hops))


def _held(holder: Ref, part: Ref, grade: int) -> int | None:
    """How `holder` is reached from a part of it that is reached by `grade`."""
    if holder.label is Label.class_:
        return grade  # a class behaves as its methods do
    if holder.label is Label.component:
        return None  # a machine is what it was, whatever becomes of its services
    if holder.label is not Label.module:
        return _THROUGH
    # Whoever imports a package has not for that imported its modules.
    return None if part.label is Label.module else _PART


def _rank(hit: Hit) -> tuple[bool, int, int, str, str]:
    order = _BESIDE.index(hit.ref.label) if hit.ref.label in _BESIDE else len(_BESIDE)
    return not hit.sure, hit.distance, order, hit.ref.label.value, hit.ref.key
