"""Property documents: what `[documents]` says, what is read from them, and where that is kept."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, JsonValue, field_validator
from sqlalchemy import Column, DateTime
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field as ColumnField
from sqlmodel import SQLModel

from models.report import Grid, Report, Value

FieldName = Literal[
    "address", "parcel", "price", "rent", "deposit", "fee", "area", "lot", "signed_on", "starts_on", "ends_on",
    "closing_on", "notice", "term", "seller", "buyer", "landlord", "tenant",
]  # fmt: skip
Kind = Literal["money", "date", "area", "span", "words"]

KINDS: dict[FieldName, Kind] = {
    "address": "words",
    "parcel": "words",
    "price": "money",
    "rent": "money",
    "deposit": "money",
    "fee": "money",
    "area": "area",
    "lot": "area",
    "signed_on": "date",
    "starts_on": "date",
    "ends_on": "date",
    "closing_on": "date",
    "notice": "span",
    "term": "span",
    "seller": "words",
    "buyer": "words",
    "landlord": "words",
    "tenant": "words",
}
"""What each field is: `money` an amount and its currency, `area` square metres and what was written, `span` a time."""


class DocumentsSettings(Value):
    """`[documents]`."""

    folders: tuple[Path, ...] = Field(
        default=(), description="Folders whose documents are read when none are named; `~` is expanded."
    )
    region: str = Field(
        default="US",
        pattern=r"^[A-Z]{2}$",
        description="Country whose order of day and month dates in figures have, and whose decimal mark areas.",
    )
    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$", description="Currency of amounts without one.")
    model: str | None = Field(
        default=None,
        description="Name of the `Lama Model` block that is asked for what the rules leave open; only what it quotes "
        "from the document counts.",
    )
    languages: str = Field(
        default="eng", pattern=r"^[a-z_A-Z]{3,20}(\+[a-z_A-Z]{3,20})*$", description="Tesseract's, such as `eng+deu`."
    )
    tesseract: str = Field(default="tesseract", min_length=1, description="The program that reads pictures of text.")
    most_files: int = Field(default=500, ge=1, le=100_000, description="Documents of one run.")
    most_pages: int = Field(default=200, ge=1, le=5000, description="Pages of one document that are read.")
    largest_mib: float = Field(default=50.0, gt=0, le=1000, description="Largest document, in MiB.")
    memory_mib: int = Field(
        default=1024, ge=256, description="Memory that the reader of one document may take, in MiB."
    )
    page_s: float = Field(default=10.0, gt=0, le=600, description="Seconds for one page.")
    document_s: float = Field(default=120.0, gt=0, le=3600, description="Seconds for one document.")

    @field_validator("folders", mode="after")
    @classmethod
    def _expanded(cls, folders: tuple[Path, ...]) -> tuple[Path, ...]:
        return tuple(folder.expanduser() for folder in folders)


class Box(Value):
    """Where words stand on a page, in points (1/72 inch) from its upper left corner."""

    left: float
    top: float
    right: float
    bottom: float


class Evidence(Value):
    """Where in a document something is said."""

    page: int = Field(ge=1, description="Counted from 1.")
    quote: str = Field(description="The words, as they stand there.")
    boxes: tuple[Box, ...] = Field(description="One for each line that they take.")
    confidence: float | None = Field(
        default=None, ge=0, le=100, description="Of the word that Tesseract was least sure of; None: it was text."
    )


class DocumentField(Value):
    """Something that a document says."""

    name: FieldName
    value: JsonValue = Field(description="Of its kind: an amount and a currency, a day, square metres, or words.")
    by: Literal["rules", "model"] = Field(description="Who found it. Either way it stands in the text.")
    evidence: Evidence


class DocumentRead(Value):
    """One document, and what it says."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Digest of its content.")
    name: str = Field(description="What the file is called.")
    pages: int = Field(ge=0, description="Pages that it has, as far as is known.")
    read: tuple[int, ...] = Field(description="Pages that were read.")
    fields: tuple[DocumentField, ...] = ()
    same_as: str | None = Field(default=None, description="Name under which the same content was read before.")
    warnings: tuple[str, ...] = Field(default=(), description="What is odd about it, such as a script in it.")


class DocumentsReport(Report):
    """What documents say."""

    documents: tuple[DocumentRead, ...] = ()

    @property
    def grids(self) -> tuple[Grid, ...]:
        """A table for each document, with the page of everything."""
        return tuple(
            Grid(
                one.name if one.same_as is None else f"{one.name} (the same as {one.same_as})",
                ("Field", "Value", "Page", "Words", "By"),
                tuple((f.name, shown(f.value), str(f.evidence.page), f.evidence.quote, f.by) for f in one.fields),
                f"{len(one.read)} of {one.pages} pages read.",
            )
            for one in self.documents[:50]
        )


def shown(value: JsonValue) -> str:
    """A field's value for a person."""
    if isinstance(value, dict):
        if "currency" in value:
            return f"{value['amount']:,.2f} {value['currency']}"
        if "square_metres" in value:
            return f"{value['square_metres']:,.2f} m2"
    return str(value)


class DocumentRecord(SQLModel, table=True):
    """What was read from one content."""

    __tablename__ = "property_document"

    sha256: str = ColumnField(primary_key=True)
    name: str
    reader: str = ColumnField(description="What it was read by: with another reader it is read again.")
    complete: bool = ColumnField(description="Whether every page was read.")
    document: dict[str, Any] = ColumnField(sa_column=Column(JSONB, nullable=False))
    read_at: datetime = ColumnField(sa_column=Column(DateTime(timezone=True), nullable=False))
