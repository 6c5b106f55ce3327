"""Single facts and questions as steps of a flow; whole sources are written by `Store.replace_all`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from blocks.graph import Graph
from blocks.settings import Settings
from models.graph import Label, NodeFact, Property, Ref, RelationshipFact, Type, Written
from tasks.graph.reading import Answer, Limits, query
from tasks.graph.sealing import Seal
from tasks.graph.store import Store
from tasks.step import step

BY_HAND = "by hand"
"""The source of what no ingest says."""


@step("create a node")
async def create_node(
    settings: Settings, label: Label, key: str, properties: Mapping[str, Property], *, scope: str = BY_HAND
) -> Written:
    """Say that a thing is there, and what is true of it; what is sensitive of it is encrypted.

    Raises:
        ConfigurationError: it cannot be in the graph; nothing was written.
        UnavailableError: the graph's server does not answer.
    """
    fact = NodeFact(Ref(label, key), properties)
    async with Store.open(Graph.of(settings)) as store:
        return await store.write([Seal.of(settings).node(fact)], scope=scope)


@step("create a relationship")
async def create_relationship(
    settings: Settings,
    type_: Type,
    start: Ref,
    end: Ref,
    properties: Mapping[str, Property] | None = None,
    *,
    scope: str = BY_HAND,
) -> Written:
    """Say that two things hang together; ends that nobody says are empty nodes until somebody does.

    Raises:
        ConfigurationError: it cannot be in the graph; nothing was written.
        UnavailableError: the graph's server does not answer.
    """
    fact = RelationshipFact(type_, start, end, properties or {})
    async with Store.open(Graph.of(settings)) as store:
        return await store.write([], [fact], scope=scope)


@step("query the graph")
async def query_graph(
    settings: Settings, cypher: str, parameters: Mapping[str, Any] | None = None, *, limits: Limits | None = None
) -> Answer:
    """The answer to a question in Cypher that only reads; see `tasks.graph.reading.query`."""
    return await query(Graph.of(settings, reader=True), cypher, parameters, limits=limits or Limits())
