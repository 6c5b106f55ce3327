"""Questions put to the store: nodes found by what people call them, and one level of relationships at any time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from blocks.errors import LamaError
from models.graph import AsOf, Direction, Edge, Label, Ref, Type
from tasks.graph.questions.names import asked, meant, spelled
from tasks.graph.questions.walk import Level
from tasks.graph.store import NOW, Store
from tasks.graph.view import View

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


def level_of(store: Store | View, as_of: AsOf = NOW, *, seen: Callable[[Ref], bool] | None = None) -> Level:
    """One level of relationships as of a point in both times.

    Args:
        store: where they are.
        as_of: the point in time.
        seen: whether the one who asks may see a node; what hangs on others is not there for them.
    """

    async def level(
        refs: Collection[Ref], types: Collection[Type] | None, direction: Direction, limit: int
    ) -> Sequence[Edge]:
        edges = await store.edges(refs, types, direction, as_of, limit=limit)
        return edges if seen is None else [edge for edge in edges if seen(edge.start) and seen(edge.end)]

    return level


async def find(
    store: Store | View,
    text: str,
    *,
    label: Label | None = None,
    as_of: AsOf = NOW,
    seen: Callable[[Ref], bool] | None = None,
) -> list[Ref]:
    """The nodes that `text` may mean, the likeliest first.

    Raises:
        UnknownNodeError: it is no name of a node.
    """
    try:
        wanted = asked(text)
    except ValueError as error:
        raise UnknownNodeError(f"{error}.") from error
    labels = [one for one in (wanted.label, label) if one is not None]
    if len(set(labels)) > 1:
        return []
    found = await store.named(wanted.names, labels=labels or None, as_of=as_of, limit=_MOST_NAMED)
    return [ref for ref in meant(wanted, found) if seen is None or seen(ref)]


async def find_one(
    store: Store | View, text: str, *, as_of: AsOf = NOW, seen: Callable[[Ref], bool] | None = None
) -> Ref:
    """The node that `text` means.

    Raises:
        AmbiguousError: several may be meant.
        UnknownNodeError: none is called so.
    """
    found = await find(store, text, as_of=as_of, seen=seen)
    if not found:
        raise UnknownNodeError(
            f"the graph has nothing that is called {text[:200]!r}.",
            remedy="`lama graph find` looks for names; `lama graph ingest` brings the graph up to date.",
        )
    close = [ref for ref in found if _is_all_of(ref, text)]
    if len(close) == 1 or len(found) == 1:
        return (close or found)[0]
    raise AmbiguousError(text, found)


def _is_all_of(ref: Ref, text: str) -> bool:
    """Whether nothing but the checkout or host is missing from what was written: then nothing longer was meant."""
    wanted = asked(text)
    return ref.key == wanted.text or ref.key.partition(":")[2] == wanted.text
