"""What a lock file's graph says of each package: when it is needed, and the shortest path that brings it in."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tasks.audit.component import Scope

RANKS = {Scope.runtime: 0, Scope.optional: 1, Scope.dev: 2, Scope.build: 3}
"""The most needed first."""
_LONGEST = 40


@dataclass(frozen=True, slots=True)
class Reached:
    """How the project comes to need something."""

    scope: Scope
    via: tuple[str, ...]
    """Names from a direct requirement to the parent; empty for what is direct. Very long ones are cut short."""


Edges = Mapping[str, Sequence[tuple[str, bool]]]
"""What each node brings in, and whether it can do without."""


def reach(roots: Iterable[tuple[str, Scope]], edges: Edges, names: Mapping[str, str]) -> dict[str, Reached]:
    """Everything that `roots` lead to.

    Args:
        roots: nodes that the project itself asks for, each with when it does.
        edges: what each node brings in; nodes that are not in it bring in nothing.
        names: what paths call each node.
    """
    asked = list(roots)
    scopes = _scopes(asked, edges)
    via: dict[str, tuple[str, ...]] = {node: () for node, _ in asked}
    todo = deque(via)
    while todo:
        node = todo.popleft()
        # Without a limit, a chain of n packages would hold n * n / 2 names.
        path = (*via[node][: _LONGEST - 2], *(("...",) if len(via[node]) >= _LONGEST - 1 else ()), names[node])
        for child, _ in edges.get(node, ()):
            if child not in via:
                via[child] = path
                todo.append(child)
    return {node: Reached(scopes[node], path) for node, path in via.items()}


def _scopes(roots: Sequence[tuple[str, Scope]], edges: Edges) -> dict[str, Scope]:
    """The most needed scope that leads to each node; what an optional edge of something needed leads to is optional."""
    scopes: dict[str, Scope] = {}
    waiting: dict[Scope, list[str]] = {scope: [] for scope in sorted(RANKS, key=RANKS.__getitem__)}
    for node, scope in roots:
        waiting[scope].append(node)
    for scope, todo in waiting.items():
        while todo:
            node = todo.pop()
            if node in scopes:
                continue
            scopes[node] = scope
            for child, is_optional in edges.get(node, ()):
                if child not in scopes:
                    (waiting[Scope.optional] if is_optional and scope is Scope.runtime else todo).append(child)
    return scopes
