"""What ingest reads of a checkout: its code, who brings what it imports, and what cannot be read just now."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from blocks.errors import ConfigurationError
from blocks.home import Home
from models.code import Codebase, Kind
from models.graph import Direction, Label, Ref, Type
from models.health_check import Checkout
from models.report import Skip
from tasks.code.places import is_package_itself
from tasks.code.read import read
from tasks.graph.ingest.brought import brought_by
from tasks.graph.ingest.facts import ref
from tasks.graph.ingest.names import Names, is_unread
from tasks.graph.store import Store

AREA = "graph"
_SHOWN = 5
_KINDS = {Label.class_: Kind.class_, Label.function: Kind.function}


class RefusedError(ConfigurationError):
    """What is asked for would take something out of the graph that nobody spoke of: nothing is told at all."""


class Reading:
    """One checkout as it was read. No dataclass: Prefect looks into those that it is handed, name by name."""

    def __init__(self, checkout: Checkout, codebase: Codebase, names: Names, kept: Collection[str]) -> None:
        self.checkout = checkout
        self.codebase = codebase
        self.names = names
        self.kept = frozenset(kept)
        """Modules that the graph knows and whose files cannot be read now."""
        self.blind = any(not any(is_unread(path, [one]) for path in self.kept) for one in codebase.unread)
        """Whether there is a file that cannot be read and of which the graph does not know what it defines."""


async def read_checkout(checkout: Checkout, home: Home, store: Store, known: Collection[str]) -> Reading | Skip:
    """What `checkout` says, from its syntax alone; nothing of it is imported or run.

    Args:
        checkout: what to read.
        home: where what was read before is kept.
        store: the graph, which knows what files define that cannot be read.
        known: the modules of it that the graph knows.
    """
    if not await asyncio.to_thread(checkout.path.is_dir):
        return Skip(
            area=AREA,
            component=checkout.name,
            reason=f"{checkout.path} is not a folder, so what the graph knows of {checkout.name} stands as it was. "
            "Correct its path, or check it out there.",
        )
    if not checkout.packages and await asyncio.to_thread(is_package_itself, checkout.path):
        return Skip(
            area=AREA,
            component=checkout.name,
            reason=f"{checkout.path} is a package itself: its names would lack {checkout.path.name!r}. Name the folder "
            f'that it lies in as the checkout, with packages = ["{checkout.path.name}"] in lama.toml.',
        )
    # A cache of its own: what it says has changed is meant since the last ingest, whoever else reads in between.
    cache = home.cache / "graph-code.sqlite"
    try:
        codebase = await asyncio.to_thread(
            read, checkout.path, checkout.packages or None, exclude=checkout.exclude, cache=cache
        )
    except OSError as error:
        reason = f"{checkout.path} cannot be read ({error.strerror}), so what the graph knows of it stands as it was."
        return Skip(area=AREA, component=checkout.name, reason=reason)
    brought = await asyncio.to_thread(brought_by, checkout)
    kept = {path for path in known if path not in codebase.files and is_unread(path, codebase.unread)}
    unread = await _known_before(store, checkout.name, kept)
    return Reading(checkout, codebase, Names(checkout.name, codebase, brought, unread), kept)


def skips_of(reading: Reading) -> list[Skip]:
    """What of a checkout could not be read."""
    unread = reading.codebase.unread
    if not unread:
        return []
    places = ", ".join(f"{one.place} ({one.reason})" for one in unread[:_SHOWN])
    more = f" and {len(unread) - _SHOWN} more" if len(unread) > _SHOWN else ""
    reason = f"{places}{more} could not be read: what the graph knows of that stands as it was."
    return [Skip(area=AREA, component=reading.checkout.name, reason=reason)]


async def _known_before(store: Store, checkout: str, modules: Collection[str]) -> dict[str, Kind]:
    """What `modules` define, by what the graph knows; others speak of it still."""
    known = dict.fromkeys(modules, Kind.module)
    prefix = ref(Label.module, checkout, "").key
    frontier: list[Ref] = [ref(Label.module, checkout, path) for path in sorted(modules)]
    while frontier:
        edges = await store.edges(frontier, (Type.contains,), Direction.out)
        frontier = []
        for edge in edges:
            path = edge.end.key.removeprefix(prefix)
            if edge.end.label in _KINDS and path not in known:
                known[path] = _KINDS[edge.end.label]
                frontier.append(edge.end)
    return known
