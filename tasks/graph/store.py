"""The knowledge graph's store: facts in, facts out, at any point of both times.

async with Store.open(block) as store:
    await store.prepare()
    written = await store.replace("code:shop", nodes, relationships)
    edges = await store.edges([ref], direction=Direction.in_)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from blocks.graph import Graph
from models.graph import AsOf, Counts, Direction, Edge, Node, NodeFact, Ref, RelationshipFact, Type, Written

if TYPE_CHECKING:
    from neo4j import AsyncDriver

NOW = AsOf()


class Store:
    """The facts of one graph database; safe to share between tasks of one event loop."""

    def __init__(self, driver: AsyncDriver, *, database: str | None, clock: Callable[[], datetime]) -> None:
        self._driver = driver
        self._database = database
        self._clock = clock

    @classmethod
    @asynccontextmanager
    async def open(
        cls, graph: Graph, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> AsyncIterator[Store]:
        """A store over a pool of connections, closed at the end.

        Raises:
            UnavailableError: nobody answers at `graph.uri`, or sign-in is refused.
        """
        async with graph.get_client() as driver:
            yield cls(driver, database=graph.database, clock=clock)

    async def prepare(self) -> None:
        """Create the constraints and indexes that the store relies on, where they are missing."""
        raise NotImplementedError

    async def write(
        self, nodes: Iterable[NodeFact], relationships: Iterable[RelationshipFact] = (), *, scope: str
    ) -> Written:
        """Say these facts for `scope`; what it said of the same things before and differs, is closed.

        Raises:
            ConfigurationError: a fact that cannot be kept (see `tasks.graph.checked`); nothing was written.
            UnavailableError: the server is not there, or a conflict did not pass after several tries.
        """
        raise NotImplementedError

    async def replace(
        self, scope: str, nodes: Iterable[NodeFact], relationships: Iterable[RelationshipFact] = ()
    ) -> Written:
        """Say that these are all the facts of `scope`: what it says no longer is closed."""
        raise NotImplementedError

    async def retract(
        self,
        scope: str,
        nodes: Iterable[Ref] = (),
        relationships: Iterable[tuple[Type, Ref, Ref]] = (),
        *,
        valid_to: datetime | None = None,
    ) -> Written:
        """Close what `scope` says of these, as of `valid_to` (now, when not given)."""
        raise NotImplementedError

    async def get(self, refs: Collection[Ref], as_of: AsOf = NOW) -> dict[Ref, Node]:
        """Those of `refs` that are in the graph."""
        raise NotImplementedError

    async def edges(
        self,
        refs: Collection[Ref],
        types: Collection[Type] | None = None,
        direction: Direction = Direction.out,
        as_of: AsOf = NOW,
        *,
        limit: int | None = None,
        properties: bool = False,
    ) -> list[Edge]:
        """One level: the relationships of `refs`, at most `limit`; without `properties`, only which ones."""
        raise NotImplementedError

    async def history(self, ref: Ref) -> list[Node]:
        """Every record of one thing, of each source its own, ordered by when it was recorded."""
        raise NotImplementedError

    async def count(self) -> Counts:
        """How much is in the graph."""
        raise NotImplementedError

    def all_nodes(self) -> AsyncIterator[Node]:
        """Every live node, streamed, ordered by label and key."""
        raise NotImplementedError

    def all_edges(self) -> AsyncIterator[Edge]:
        """Every live relationship with its properties, streamed."""
        raise NotImplementedError

    async def canonical_hash(self, *, history: bool = False) -> str:
        """SHA-256 (hexadecimal) over the sorted live facts; with `history`, over all that was ever said."""
        raise NotImplementedError

    async def scopes(self) -> Sequence[str]:
        """The sources that say anything now, sorted."""
        raise NotImplementedError
