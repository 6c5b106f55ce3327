"""What the graph can be told from, and the report of having told it."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from models.report import Grid, Report, Value


class Source(StrEnum):
    """Where facts of the knowledge graph come from."""

    code = "code"
    flows = "flows"
    tables = "tables"
    documents = "documents"
    architecture = "architecture"
    audit = "audit"


class SourceFigures(Value):
    """What became of one source."""

    source: Source = Field(description="Which one.")
    told: bool = Field(default=True, description="Whether what could be read of it is in the graph now.")
    sent: int = Field(default=0, ge=0, description="Parts (modules, pages, audits) that said something new.")
    same: int = Field(default=0, ge=0, description="Parts that the graph knew as they are.")
    gone: int = Field(default=0, ge=0, description="Parts that are no more.")
    kept: int = Field(default=0, ge=0, description="Parts that could not be read, and stand as they were read before.")
    created: int = Field(default=0, ge=0, description="Facts that are new.")
    changed: int = Field(default=0, ge=0, description="Facts that differ from before.")
    confirmed: int = Field(default=0, ge=0, description="Facts that were sent and known already.")
    closed: int = Field(default=0, ge=0, description="Facts that hold no longer.")


class GraphReport(Report):
    """The report of an ingest."""

    dry_run: bool = Field(default=False, description="Whether it only says what it would send.")
    checkouts: tuple[str, ...] = Field(default=(), description="Names of the checkouts that were told of.")
    sources: tuple[SourceFigures, ...] = Field(default=(), description="What became of each source.")

    @property
    def grids(self) -> tuple[Grid, ...]:
        """A line a source."""
        names = ("sent", "same", "gone", "kept", "created", "changed", "confirmed", "closed")
        rows = tuple((one.source.value, *(f"{getattr(one, name):,}" for name in names)) for one in self.sources)
        note = "Nothing was written: this is what a run would send." if self.dry_run else ""
        return (Grid("Sources", ("Source", *(name.capitalize() for name in names)), rows, note),) if rows else ()
