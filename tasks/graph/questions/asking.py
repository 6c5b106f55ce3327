"""Questions put to the store: nodes found by what people call them, and one level of relationships at any time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from blocks.errors import LamaError
from models.graph import AsOf, Direction, Edge, Label, Node, Ref, Type
from tasks.graph.questions.names import Asked, asked, meant, spelled
from tasks.graph.questions.walk import Level
from tasks.graph.store import NOW

_MOST_NAMED = 1_000
_SHOWN = 12


class AmbiguousError(LamaError):
    """A name that several nodes may be meant by."""

    def __init__(self, text: str, candidates: Sequence[Ref]) -> None:
        shown = ", ".join(spelled(ref) for ref in candidates[:_SHOWN])
        more = f" and {len(candidates) - _SHOWN} more" if len(candidates) > _SHOWN else ""
        super().__init__(f"{text[:200]!r} may be any of {shown}{more}.", remedy="Write more of its name, or its label.")
        self.candidates = tuple(candidates)


class UnknownNodeError(LamaError):
    """A name that no node has."""


class Reads(Protocol):
    """What questions ask: the store, or the view that one caller has of it."""

    async def edges(
        self,
        refs: Collection[Ref],
        types: Collection[Type] | None = None,
        direction: Direction = Direction.out,
        as_of: AsOf = NOW,
        *,
        limit: int | None = None,
    ) -> Sequence[Edge]:
        """See `Store.edges`."""

    async def named(
        self,
        names: Collection[str],
        *,
        labels: Collection[Label] | None = None,
        as_of: AsOf = NOW,
        ending: str = "",
        limit: int = 1_000,
    ) -> Sequence[Ref]:
        """See `Store.named`."""

    async def ever_named(
        self, ending: str, *, labels: Collection[Label] | None = None, limit: int = 1_000
    ) -> Sequence[Ref]:
        """See `Store.ever_named`."""

    async def get(self, refs: Collection[Ref], as_of: AsOf = NOW) -> Mapping[Ref, Node]:
        """See `Store.get`."""

    async def history(self, ref: Ref) -> Sequence[Node]:
        """See `Store.history`."""


def level_of(reads: Reads, as_of: AsOf = NOW) -> Level:
    """One level of relationships as of a point in both times."""

    async def level(
        refs: Collection[Ref], types: Collection[Type] | None, direction: Direction, limit: int
    ) -> Sequence[Edge]:
        return await reads.edges(refs, types, direction, as_of, limit=limit)

    return level


async def find(reads: Reads, text: str, *, label: Label | None = None, as_of: AsOf = NOW) -> list[Ref]:
    """The nodes that `text` may mean, the likeliest first; a thousand of each label at most.

    Raises:
        UnknownNodeError: it is no name of a node.
    """
    wanted = _wanted(text)
    labels = [one for one in (wanted.label, label) if one is not None]
    if len(set(labels)) > 1:
        return []
    if labels and (there := await reads.get([Ref(labels[0], wanted.text)], as_of)):
        return list(there)
    found = await reads.named(wanted.names, labels=labels or None, as_of=as_of, ending=wanted.text, limit=_MOST_NAMED)
    return meant(wanted, found)


async def find_ever(reads: Reads, text: str) -> Ref:
    """The node that `text` means; where none that is there does, one that has gone.

    Raises:
        AmbiguousError: several may be meant.
        UnknownNodeError: none is or was called so.
    """
    try:
        return await find_one(reads, text)
    except UnknownNodeError:
        wanted = _wanted(text)
        labels = None if wanted.label is None else [wanted.label]
        found = meant(wanted, await reads.ever_named(wanted.text, labels=labels, limit=_MOST_NAMED))
        if not found:
            raise
        return _only(text, found)


def _wanted(text: str) -> Asked:
    try:
        return asked(text)
    except ValueError as error:
        raise UnknownNodeError(f"{error}.") from error


async def find_one(reads: Reads, text: str, *, as_of: AsOf = NOW) -> Ref:
    """The node that `text` means.

    Raises:
        AmbiguousError: several may be meant.
        UnknownNodeError: none is called so.
    """
    found = await find(reads, text, as_of=as_of)
    if not found:
        raise UnknownNodeError(
            f"the graph has nothing that is called {text[:200]!r}.",
            remedy="`lama graph find` looks for names; `lama graph ingest` brings the graph up to date.",
        )
    return _only(text, found)


def _only(text: str, found: Sequence[Ref]) -> Ref:
    close = [ref for ref in found if _is_all_of(ref, text)]
    if len(close) == 1 or len(found) == 1:
        return (close or found)[0]
    raise AmbiguousError(text, found)


def _is_all_of(ref: Ref, text: str) -> bool:
    """Whether nothing but the checkout or host is missing from what was written: then nothing longer was meant."""
    wanted = asked(text)
    return ref.key == wanted.text or ref.key.partition(":")[2] == wanted.text
