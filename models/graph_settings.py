"""`[graph]` of `lama.toml`: the embedded server's memory, what a question may cost, and who may see what."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from models.graph import Label
from models.report import Value

LONGEST_RANGE = 10_000
"""Numbers of one `range()`: the embedded server does not look at its clock inside of an expression."""


class GraphRole(Value):
    """What those who have a role see of the graph. Whatever is not named is not there for them."""

    labels: tuple[Label, ...] | None = Field(
        default=None, description="Labels whose nodes are seen; without it, all of them."
    )
    hidden_properties: tuple[str, ...] = Field(
        default=(),
        description="Properties that are not seen, as `name` of every label or as `Label.name`.",
    )

    @field_validator("hidden_properties", mode="after")
    @classmethod
    def _named(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        known = {label.value for label in Label}
        for name in names:
            label, dot, own = name.rpartition(".")
            if not own or (dot and label not in known):
                raise ValueError(
                    f"{name!r} is neither a property nor Label.property; labels: {', '.join(sorted(known))}"
                )
        return names

    @property
    def unrestricted(self) -> bool:
        """Whether everything is seen."""
        return self.labels is None and not self.hidden_properties


class GraphSettings(Value):
    """The knowledge graph of a node."""

    embedded: bool = Field(
        default=True,
        description="Whether the embedded server is run, where it is installed and `LAMA_GRAPH_URI` names no other.",
    )
    heap_mb: int = Field(
        default=512,
        ge=192,
        le=262_144,
        description="MiB of memory that the embedded server keeps data in; with its own it takes some 200 more. "
        "Raise it for more than some 100,000 nodes, or when it says that it ran out of memory.",
    )
    query_s: float = Field(default=10.0, ge=0.1, le=3600, description="Seconds that a question in Cypher may take.")
    query_rows: int = Field(
        default=10_000, ge=1, le=10_000_000, description="Rows that are returned at most; what is more is cut off."
    )
    query_mb: float = Field(default=32.0, ge=0.01, le=4096, description="MiB that an answer may take.")
    roles: dict[str, GraphRole] = Field(
        default_factory=dict,
        description="`[graph.roles.NAME]`: what those who have the role see.",
    )
    callers: dict[Literal["gateway"], str] = Field(
        default_factory=dict,
        description="Which role callers have: those of the `gateway`, who have its key; otherwise they see everything.",
    )
