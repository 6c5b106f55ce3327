"""The model of the knowledge graph: what kinds of things are in it, how they hang together, and how a fact is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """Since when it is true in the world; None: since it is recorded. It cannot lie in the future."""
    valid_to: datetime | None = None
    """Until when it was; None: it still is, whatever was known before of the time since `valid_from`."""


@dataclass(frozen=True, slots=True)
class RelationshipFact:
    """That two things hang together."""

    type: Type
    start: Ref
    end: Ref
    properties: Mapping[str, Property] = field(default_factory=dict)
    valid_from: datetime | None = None
    valid_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """All that one source says: what it said before, and is not here, holds no longer."""

    scope: str
    """The source, such as `code:shop/orders.prices`."""
    nodes: Sequence[NodeFact] = ()
    relationships: Sequence[RelationshipFact] = ()
    mark: str = ""
    """Kept beside the source when all of it is written, such as the hash of its content."""


@dataclass(frozen=True, slots=True)
class AsOf:
    """A point in both times: what was true at `valid`, by what was known at `recorded`; None means now."""

    valid: datetime | None = None
    recorded: datetime | None = None


class Direction(StrEnum):
    """Which relationships of a node: those that start at it, those that end at it, or both."""

    out = "out"
    in_ = "in"
    both = "both"


@dataclass(frozen=True, slots=True)
class Node:
    """What is said of one thing at a point in time, by all sources that say it."""

    ref: Ref
    properties: Mapping[str, Property]
    scopes: tuple[str, ...]
    """The sources that say it, sorted."""
    valid_from: datetime
    recorded_from: datetime
    valid_to: datetime | None = None
    recorded_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class Edge:
    """What is said of how two things hang together at a point in time."""

    type: Type
    start: Ref
    end: Ref
    properties: Mapping[str, Property] = field(default_factory=dict)
    scopes: tuple[str, ...] = ()
    valid_from: datetime | None = None
    recorded_from: datetime | None = None
    valid_to: datetime | None = None
    recorded_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """What became of the facts of one call."""

    created: int = 0
    """Facts that this source had not said before, or not any more."""
    changed: int = 0
    same: int = 0
    closed: int = 0
    """Facts that hold no longer, those included that hung on a node that is gone."""

    def __add__(self, other: Written) -> Written:
        """Both together."""
        return Written(
            self.created + other.created,
            self.changed + other.changed,
            self.same + other.same,
            self.closed + other.closed,
        )


@dataclass(frozen=True, slots=True)
class Counts:
    """How much is in the graph."""

    nodes: Mapping[Label, int]
    relationships: Mapping[Type, int]
    past: int
    """Records of what is believed no longer, or holds no longer."""
