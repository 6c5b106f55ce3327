"""The model of the knowledge graph: what kinds of things are in it, how they hang together, and how a fact is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Label(StrEnum):
    """What a node is."""

    checkout = "Checkout"
    module = "Module"
    class_ = "Class"
    function = "Function"
    flow = "Flow"
    deployment = "Deployment"
    table = "Table"
    component = "Component"
    dependency = "Dependency"
    advisory = "Advisory"
    document = "Document"
    agent = "Agent"
    memory = "Memory"


class Type(StrEnum):
    """What a relationship says; it is read from its start to its end, and a change travels from end to start."""

    contains = "CONTAINS"
    imports = "IMPORTS"
    calls = "CALLS"
    inherits = "INHERITS"
    runs = "RUNS"
    uses = "USES"
    depends_on = "DEPENDS_ON"
    affected_by = "AFFECTED_BY"
    describes = "DESCRIBES"


Scalar = str | int | float | bool
Property = Scalar | tuple[Scalar, ...]


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """Which node: its label, and the key that is unique under it."""

    label: Label
    key: str


@dataclass(frozen=True, slots=True)
class NodeFact:
    """That something is, and what is true of it."""

    ref: Ref
    properties: Mapping[str, Property] = field(default_factory=dict)
    valid_from: datetime | None = None
    """Since when it is true in the world; None: since it is recorded."""


@dataclass(frozen=True, slots=True)
class RelationshipFact:
    """That two things hang together."""

    type: Type
    start: Ref
    end: Ref
    properties: Mapping[str, Property] = field(default_factory=dict)
    valid_from: datetime | None = None


@dataclass(frozen=True, slots=True)
class AsOf:
    """A point in both times: what was true at `valid`, by what was known at `recorded`; None means now."""

    valid: datetime | None = None
    recorded: datetime | None = None
