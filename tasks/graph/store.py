"""The knowledge graph's store: facts in, facts out, at any point of both times.

    async with Store.open(block) as store:
        await store.prepare()
        written = await store.replace("code:shop/orders", nodes, relationships)
        edges = await store.edges([ref], direction=Direction.in_)

The live graph holds what is believed now and has no end, so a traversal needs no condition on times. Everything else is
in records beside it: `Past`, what is believed no longer or holds no longer, and `Said`, what each source says of a
fact that several of them say. A source's statements contradict only its own: a fact is there while one source says it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from blocks.errors import ConfigurationError
from blocks.graph_access import GraphAccess
from models.graph import (
    AsOf,
    Counts,
    Direction,
    Edge,
    Label,
    Node,
    NodeFact,
    Part,
    Ref,
    RelationshipFact,
    Type,
    Written,
)
from tasks.collector import collector_paused
from tasks.graph import checked, cypher, reads
from tasks.graph.batches import batched
from tasks.graph.checked import Said, micros
from tasks.graph.columns import Fact
from tasks.graph.correct import correct
from tasks.graph.gone import gone
from tasks.graph.temporal import FOREVER
from tasks.graph.transactions import Transactions
from tasks.graph.write import MANY, Facts, by_group, write

if TYPE_CHECKING:
    from neo4j import AsyncDriver

NOW = AsOf()

_SCOPES = 500
"""Sources that one query asks for."""


class Store:
    """The facts of one graph database; safe to share between tasks of one event loop.

    Every method raises `UnavailableError` when the server is not there, refuses, or met other writers in every one of
    several tries; what was committed until then stays, and the same call again completes it.
    """

    def __init__(self, driver: AsyncDriver, *, database: str | None, clock: Callable[[], datetime]) -> None:
        self._transactions = Transactions(driver, database)
        self._clock = clock

    @classmethod
    @asynccontextmanager
    async def open(
        cls, graph: GraphAccess, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> AsyncIterator[Store]:
        """A store over a pool of connections, closed at the end; the first call is the first to ask the server.

        Args:
            graph: which database.
            clock: says what time it is, with a time zone.
        """
        async with graph.get_client() as driver:
            yield cls(driver, database=graph.database, clock=clock)

    async def prepare(self) -> None:
        """Create the constraints and indexes that the store relies on, where they are missing."""
        records = await self._transactions.read("SHOW INDEXES")
        there = {(record["labelsOrTypes"][0], record["properties"][0]) for record in records if record["labelsOrTypes"]}
        for place, text in cypher.schema().items():
            if place not in there:
                await self._transactions.alone(text)

    async def write(
        self, nodes: Iterable[NodeFact], relationships: Iterable[RelationshipFact] = (), *, scope: str
    ) -> Written:
        """Say these facts for `scope`; what it said of the same things before and differs, is closed.

        Who says a relationship also says that its start is there. An end that nobody says gets an empty node.

        Raises:
            ConfigurationError: a fact that cannot be kept, or that lies in the future; nothing was written.
        """
        facts = self._checked([Part(scope, tuple(nodes), tuple(relationships))], whole=False)
        known = set(await self._known([scope]))
        await self._open([scope])
        return await write(self._transactions, facts, known=bool(known))

    async def replace(
        self,
        scope: str,
        nodes: Iterable[NodeFact],
        relationships: Iterable[RelationshipFact] = (),
        *,
        mark: str = "",
    ) -> Written:
        """Say that these are all the facts of `scope`: `replace_all` of one source."""
        return await self.replace_all([Part(scope, tuple(nodes), tuple(relationships), mark)])

    async def replace_all(self, parts: Sequence[Part]) -> Written:
        """Say that these are all the facts of these sources: what they say no longer is closed.

        In several transactions: nodes, relationships, what is gone, marks. A source whose mark is there was written
        whole; after a crash the same call completes what is missing.

        Raises:
            ConfigurationError: a fact that cannot be kept, or a source that is there twice; nothing was written.
        """
        facts = self._checked(parts, whole=True)
        scopes = sorted(facts.scopes)
        if len(scopes) < len(parts):
            raise ConfigurationError("One source is there twice.", component="graph")
        for part in parts:
            checked.checked_mark(part.mark)
        known = await self._known(scopes)
        await self._open(scopes)
        written = await write(self._transactions, facts, known=bool(known))
        how_many = facts.how_many()
        for some in batched(known, _SCOPES):
            found = await gone(self._transactions, some, how_many, facts.says)
            written += await self._close(found, facts.now)
        marks = [{"name": part.scope, "mark": part.mark} for part in parts if part.mark]
        for rows in batched(marks, _SCOPES):
            await self._run(cypher.MARK_SCOPES, rows=rows)
        return written

    async def forget(self, scopes: Iterable[str]) -> Written:
        """Close all that these sources say, and their marks."""
        written = Written()
        now = micros(self._clock())
        for some in batched(sorted({checked.checked_scope(scope) for scope in scopes}), _SCOPES):
            found = await gone(self._transactions, some, {}, lambda _scope, _fact: False)
            written += await self._close(found, now)
            await self._run(cypher.DROP_SCOPES, scopes=some)
        return written

    async def retract(
        self,
        scope: str,
        nodes: Iterable[Ref] = (),
        relationships: Iterable[tuple[Type, Ref, Ref]] = (),
        *,
        valid_to: datetime | None = None,
    ) -> Written:
        """Close what `scope` says of these, and of the relationships that start at these nodes.

        Args:
            scope: the source.
            nodes: things that are no longer.
            relationships: what no longer holds between things.
            valid_to: since when not; now, when not given.

        Raises:
            ConfigurationError: what cannot be in the graph, or a time in the future; nothing was written.
        """
        checked.checked_scope(scope)
        now = micros(self._clock())
        since = now if valid_to is None else micros(valid_to)
        if since > now:
            raise ConfigurationError("It is said to end in the future.", component="graph")
        facts: dict[Fact, None] = {checked.checked_ref(ref): None for ref in nodes}
        starts = [ref for ref in facts if isinstance(ref, Ref)]
        for type_, start, end in relationships:
            facts[checked.checked_type(type_), checked.checked_ref(start), checked.checked_ref(end)] = None
        for edge in await self.edges(starts, properties=True):
            if scope in edge.scopes:
                facts[edge.type, edge.start, edge.end] = None
        return await self._close([(scope, fact) for fact in facts], now, since=since)

    async def get(self, refs: Collection[Ref], as_of: AsOf = NOW) -> dict[Ref, Node]:
        """Those of `refs` that somebody says."""
        return await reads.get(self._transactions, refs, as_of)

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
        """One level: the relationships of `refs`, of these types or all, at most `limit`.

        Without `properties` only which ones they are; with it, all that is said of them.
        """
        return await reads.edges(self._transactions, refs, types, direction, as_of, limit=limit, properties=properties)

    async def named(
        self,
        names: Collection[str],
        *,
        labels: Collection[Label] | None = None,
        as_of: AsOf = NOW,
        ending: str = "",
        limit: int = 1_000,
    ) -> list[Ref]:
        """The nodes whose property `name` is one of these, and whose key ends so; at most `limit`, by label and key."""
        return await reads.named(self._transactions, names, labels, as_of, ending=ending, limit=limit)

    async def ever_named(
        self, ending: str, *, labels: Collection[Label] | None = None, limit: int = 1_000
    ) -> list[Ref]:
        """The nodes of which there is a record of the past, and whose key ends so; at most `limit`."""
        return await reads.ever_named(self._transactions, labels, ending=ending, limit=limit)

    async def history(self, ref: Ref) -> list[Node]:
        """Every record of one thing, of each source its own, in the order in which they were recorded."""
        return await reads.history(self._transactions, ref)

    async def count(self) -> Counts:
        """How much is in the graph."""
        return await reads.count(self._transactions)

    async def marks(self, prefix: str = "") -> dict[str, str]:
        """The mark of each source whose name begins with `prefix`; empty while it is not written whole."""
        records = await self._transactions.read(cypher.MARKS, prefix=prefix)
        return {record["name"]: record["mark"] for record in records}

    def all_nodes(self) -> AsyncIterator[Node]:
        """Every live node, streamed, in no order."""
        return reads.all_nodes(self._transactions)

    def all_edges(self) -> AsyncIterator[Edge]:
        """Every live relationship with its properties, streamed, in no order."""
        return reads.all_edges(self._transactions)

    async def canonical_hash(self, *, history: bool = False) -> str:
        """SHA-256 over the live facts, in hexadecimal; with `history`, over every record of every source.

        Of each fact (label, key, properties; or type, both ends, properties) the SHA-256 of its canonical JSON is
        taken, and over all of these, sorted, it is taken once more: so it depends on no server's order of texts.
        """
        return await reads.canonical_hash(self._transactions, history=history)

    def _checked(self, parts: Sequence[Part], *, whole: bool) -> Facts:
        facts = Facts(micros(self._clock()), whole)
        with collector_paused():
            for part in parts:
                facts.add(part)
        return facts

    async def _known(self, scopes: Sequence[str]) -> list[str]:
        """Those of the sources that have said something before."""
        known: list[str] = []
        for some in batched(scopes, _SCOPES):
            known += [record["name"] for record in await self._transactions.read(cypher.KNOWN_SCOPES, scopes=some)]
        return known

    async def _open(self, scopes: Sequence[str]) -> None:
        """Say that these sources are being written: they bear no mark until that is done."""
        for some in batched(scopes, _SCOPES):
            await self._run(cypher.OPEN_SCOPES, scopes=some)

    async def _run(self, text: str, **parameters: object) -> None:
        await self._transactions.write(lambda tx: tx.rows(text, **parameters))

    async def _close(self, found: Iterable[tuple[str, Fact]], now: int, *, since: int | None = None) -> Written:
        since = now if since is None else since
        written = Written()
        # What began after `since` never was, by what is known now: so it is closed for all time since then.
        said = [Said(fact, scope, "", {}, since, FOREVER, _size(fact)) for scope, fact in found]
        for group in by_group(said).values():
            for batch in batched(group, MANY, lambda one: one.size):
                written += await self._transactions.write(
                    lambda tx, batch=batch: correct(tx, batch, now, retract=True)  # type: ignore[misc]
                )
        return written


def _size(fact: Fact) -> int:
    return 4 * (len(fact.key) if isinstance(fact, Ref) else len(fact[1].key) + len(fact[2].key))
