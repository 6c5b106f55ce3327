"""A knowledge graph behind Bolt as a block: Neo4j, or the embedded server that speaks the same protocol."""

from __future__ import annotations

from typing import Any, ClassVar

from prefect.blocks.core import Block

from blocks.graph_access import GraphAccess


class Graph(GraphAccess, Block):
    """A graph database that speaks Bolt."""

    _block_type_name: ClassVar[str] = "Lama graph"
    _block_type_slug: ClassVar[str] = "lama-graph"
    _documentation_url: ClassVar[Any] = "https://neo4j.com/docs/api/python-driver/current/"
