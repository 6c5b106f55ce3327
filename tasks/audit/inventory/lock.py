"""What the readers of lock files share: packages while they are read, and when each is needed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from models.gap import Gap
from tasks.advisories.package import PYPI
from tasks.audit.component import Scope
from tasks.audit.inventory.document import Document
from tasks.audit.inventory.requirement import shown

Edge = tuple[str, str]
"""A normalised name, and the version that is meant or an empty text."""

_PROBLEMS = 3


@dataclass(slots=True)
class Problems:
    """What of one file was not understood: one gap for all of it."""

    document: Document
    told: list[str] = field(default_factory=list)

    def add(self, line: int, what: str) -> None:
        """Note that the table that begins at `line` was not understood."""
        self.told.append(f"line {line}: {shown(what)}")

    def gaps(self) -> tuple[Gap, ...]:
        """None, or one that tells the first few."""
        if not self.told:
            return ()
        more = len(self.told) - _PROBLEMS
        said = "; ".join(self.told[:_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")
        return (self.document.gap(f"has parts that are not understood: {said}.", ecosystem=PYPI),)


def version_of(value: Any) -> str | None:
    """`value` when it can be a version."""
    return value if isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable() else None


def named_part(data: Mapping[str, Any]) -> str:
    """How a message calls a package whose name is none."""
    return shown(str(data.get("name", "a package without a name"))[:80])


def needed(requires: Mapping[Edge, Iterable[Edge]], roots: Iterable[tuple[Scope, Iterable[Edge]]]) -> dict[Edge, Scope]:
    """When each package is needed: by the first of `roots` (the most needed first) that leads to it.

    `requires` has an entry for each package and version. Edges without a version lead to every version of the name.
    """
    versions: dict[str, list[Edge]] = defaultdict(list)
    for known in requires:
        versions[known[0]].append(known)
    scopes: dict[Edge, Scope] = {}
    followed: set[Edge] = set()
    for scope, edges in roots:
        todo = list(edges)
        while todo:
            edge = todo.pop()
            if edge in followed:
                continue
            followed.add(edge)
            for one in [edge] if edge in requires else versions.get(edge[0], ()):
                if one not in scopes:
                    scopes[one] = scope
                    todo += requires[one]
    return scopes
