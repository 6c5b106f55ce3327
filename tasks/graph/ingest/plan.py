"""What of one source has to be sent to the graph, and what has gone. Pure.

A scope is the smallest thing that can be unread by itself: a module, a page, an audit of one checkout. What it says is
kept and closed as a whole, and its mark tells what it said last, so that what has not changed is not sent again, and
what could not be read today still stands as it was read before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from models.graph import Part
from tasks.graph.ingest.facts import MOST_KEY, Facts, sound

_SEPARATOR = "/"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done about one source."""

    send: tuple[Part, ...] = ()
    """Scopes that say something new."""
    gone: tuple[str, ...] = ()
    """Scopes that say nothing any more."""
    same: int = 0
    """Scopes that need nothing."""
    kept: int = 0
    """Scopes that could not be read now, and stand as they were."""

    @property
    def is_nothing(self) -> bool:
        """Whether the graph says it all already."""
        return not self.send and not self.gone


def scope(node: str, source: str, *parts: str) -> str:
    """The scope of a part of a source, as a node sees it. No part can be taken for several."""
    return _SEPARATOR.join(quote(sound(part)[:MOST_KEY], safe="") for part in (node, source, *parts))


def below(*parts: str) -> str:
    """What the scopes inside of `scope(*parts)` begin with."""
    return scope(*parts) + _SEPARATOR


def last_part(name: str) -> str:
    """The last part of a scope, as it was given."""
    return unquote(name.rpartition(_SEPARATOR)[2])


def checkout_of(name: str) -> str:
    """The checkout that a scope is about: the third part of it."""
    return unquote(name.split(_SEPARATOR)[2])


def part(name: str, facts: Facts, mark: str | None = None) -> Part:
    """What `name` says; its mark, where it is not given, is the digest of the facts."""
    return Part(name, facts.nodes, facts.relationships, facts.digest() if mark is None else mark)


def plan(
    said: Iterable[Part], marks: Mapping[str, str], *, known: Collection[str] = (), kept: Collection[str] = ()
) -> Plan:
    """What is to be done.

    Args:
        said: what the source says now, of scopes that were looked at.
        marks: of every scope of the source in the graph: those that are neither said, known nor kept have gone.
        known: scopes that are known to say what they said before.
        kept: scopes that could not be looked at.
    """
    parts = {one.scope: one for one in said}
    send = tuple(one for one in parts.values() if marks.get(one.scope) != one.mark or not one.mark)
    stays = {*parts, *known, *kept}
    return Plan(
        send=send,
        gone=tuple(sorted(marks.keys() - stays)),
        same=len(parts) - len(send) + len(set(known) - parts.keys()),
        kept=len({one for one in kept if one in marks and one not in parts}),
    )
