"""The graph as one caller sees it: by role, and with sensitive properties decrypted for those who may see them.

The rules are pure functions over nodes and edges; the view asks the store and applies them. What a role does not see is
not there for it: no edge leads to it, no path goes through it, and no number counts it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from models.graph import AsOf, Counts, Direction, Edge, Label, Node, Part, Property, Ref, Type, Written
from models.graph_settings import GraphRole, GraphSettings
from tasks.graph.sealing import Seal
from tasks.graph.store import NOW, Store

EVERYTHING = GraphRole()


def sees(role: GraphRole, ref: Ref) -> bool:
    """Whether `role` sees that node."""
    return role.labels is None or ref.label in role.labels


def sees_edge(role: GraphRole, edge: Edge) -> bool:
    """Whether it sees that relationship: it has to see both ends."""
    return sees(role, edge.start) and sees(role, edge.end)


def sees_property(role: GraphRole, label: Label | None, name: str) -> bool:
    """Whether it sees that property of such nodes, or of relationships (None)."""
    if name in role.hidden_properties:
        return False
    return label is None or f"{label.value}.{name}" not in role.hidden_properties


def seen_nodes(role: GraphRole, nodes: Iterable[Node]) -> list[Node]:
    """What it sees of `nodes`."""
    return [_node(role, node) for node in nodes if sees(role, node.ref)]


def seen_edges(role: GraphRole, edges: Iterable[Edge]) -> list[Edge]:
    """What it sees of `edges`."""
    return [_edge(role, edge) for edge in edges if sees_edge(role, edge)]


def _node(role: GraphRole, node: Node) -> Node:
    if not role.hidden_properties:
        return node
    return replace(node, properties=_properties(role, node.ref.label, node.properties.items()))


def _edge(role: GraphRole, edge: Edge) -> Edge:
    if not role.hidden_properties or not edge.properties:
        return edge
    return replace(edge, properties=_properties(role, None, edge.properties.items()))


def _properties(
    role: GraphRole, label: Label | None, properties: Iterable[tuple[str, Property]]
) -> dict[str, Property]:
    return {name: value for name, value in properties if sees_property(role, label, name)}


@dataclass(frozen=True)
class View:
    """A store as one caller sees it; what it writes has its sensitive properties encrypted.

    Every method is the store's own of that name.
    """

    store: Store
    seal: Seal
    role: GraphRole = EVERYTHING

    async def replace_all(self, parts: Collection[Part]) -> Written:
        """See `Store.replace_all`."""
        return await self.store.replace_all([self.seal.part(part) for part in parts])

    async def get(self, refs: Collection[Ref], as_of: AsOf = NOW) -> dict[Ref, Node]:
        """See `Store.get`."""
        found = await self.store.get([ref for ref in refs if sees(self.role, ref)], as_of)
        return {node.ref: node for node in self._opened(found.values())}

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
        """See `Store.edges`; the limit is on what is seen, or its being reached would tell of what is not."""
        asked = [ref for ref in refs if sees(self.role, ref)]
        if not asked:
            return []
        many = limit
        while True:
            found = await self.store.edges(asked, types, direction, as_of, limit=many, properties=properties)
            seen = seen_edges(self.role, found)
            if limit is None or many is None:
                return seen
            if len(seen) >= limit or len(found) < many:
                return seen[:limit]
            many *= 4

    async def named(
        self,
        names: Collection[str],
        *,
        labels: Collection[Label] | None = None,
        as_of: AsOf = NOW,
        ending: str = "",
        limit: int = 1_000,
    ) -> list[Ref]:
        """See `Store.named`."""
        asked = self._named_labels(labels)
        return await self.store.named(names, labels=asked, as_of=as_of, ending=ending, limit=limit) if asked else []

    async def ever_named(
        self, ending: str, *, labels: Collection[Label] | None = None, limit: int = 1_000
    ) -> list[Ref]:
        """See `Store.ever_named`."""
        asked = self._named_labels(labels)
        return await self.store.ever_named(ending, labels=asked, limit=limit) if asked else []

    def _named_labels(self, labels: Collection[Label] | None) -> list[Label]:
        return [
            label
            for label in (Label if labels is None else labels)
            if (self.role.labels is None or label in self.role.labels) and sees_property(self.role, label, "name")
        ]

    async def history(self, ref: Ref) -> list[Node]:
        """See `Store.history`."""
        return self._opened(await self.store.history(ref)) if sees(self.role, ref) else []

    async def count(self) -> Counts:
        """See `Store.count`; who does not see everything gets no number of the past."""
        counts = await self.store.count()
        if self.role.labels is None:
            return counts
        relationships = dict.fromkeys(Type, 0)
        async for edge in self.all_edges():
            relationships[edge.type] += 1
        nodes = {label: many for label, many in counts.nodes.items() if label in self.role.labels}
        return Counts(nodes, relationships, 0)

    async def marks(self, prefix: str = "") -> dict[str, str]:
        """See `Store.marks`; who does not see everything sees no sources."""
        return await self.store.marks(prefix) if self.role.unrestricted else {}

    async def all_nodes(self) -> AsyncIterator[Node]:
        """See `Store.all_nodes`."""
        async for node in self.store.all_nodes():
            for seen in self._opened([node]):
                yield seen

    async def all_edges(self) -> AsyncIterator[Edge]:
        """See `Store.all_edges`."""
        async for edge in self.store.all_edges():
            for seen in seen_edges(self.role, [edge]):
                yield seen

    def _opened(self, nodes: Iterable[Node]) -> list[Node]:
        return [
            replace(node, properties=self.seal.opened(node.ref, node.properties))
            for node in seen_nodes(self.role, nodes)
        ]


def role_of(configured: GraphSettings, caller: Literal["gateway"] | None) -> GraphRole:
    """The role of who asks: None is whoever has the command line, and sees everything.

    Args:
        configured: `[graph]`.
        caller: `gateway`, whose key was checked where the question came in.
    """
    name = configured.callers.get(caller) if caller is not None else None
    return EVERYTHING if name is None else configured.roles[name]
