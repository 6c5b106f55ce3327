"""Drafts to clients: templates of `[draft]`, the facts that a draft may tell, and where drafts are kept."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field, model_validator
from sqlalchemy import BigInteger, Column, DateTime, ForeignKey, Identity, Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field as ColumnField
from sqlmodel import SQLModel

from models.place import PlaceError, second_of_a_name
from models.report import Report, Value

SOURCE = "lama:draft"
"""The source of routes that send approved drafts."""

Channel = Literal["whatsapp", "email"]
Language = Literal["en", "de"]
FactKind = Literal["money", "number", "percent", "area", "date", "period", "text"]
State = Literal["refused", "waiting", "approved", "rejected"]

_NAME = r"^[a-z0-9][a-z0-9-]{0,62}$"


class DraftTemplate(Value):
    """`[[draft.templates]]`: what is said on an occasion."""

    name: str = Field(pattern=_NAME, description="What it is called.")
    channel: Channel = Field(default="email", description="`email` or `whatsapp`.")
    language: Language = Field(default="en", description="How figures are written and read: `en` or `de`.")
    subject: str = Field(default="", max_length=200, description="Of an e-mail; a template, too.")
    text: str = Field(
        min_length=1, max_length=10_000, description="Jinja2: `{{ contact.name }}`, `{{ valuation.value | money }}`."
    )
    prose: bool = Field(
        default=False,
        description="Whether `text` is what a model is asked to write, instead of the draft itself.",
    )


_TEMPLATES = (
    DraftTemplate(
        name="valuation",
        subject="Your valuation of {{ valuation.address }}",
        text="Dear {{ contact.name }},\n\nthe value of {{ valuation.address }} as of {{ valuation.as_of | day }} is "
        "{{ valuation.value | money }}. It lies between {{ valuation.low | money }} and {{ valuation.high | money }} "
        "with a chance of {{ valuation.coverage | percent }}.\n\nKind regards",
    ),
    DraftTemplate(
        name="market",
        subject="Prices in {{ market.market }}",
        text="Dear {{ contact.name }},\n\nprices in {{ market.market }} moved by {{ market.change | percent }} from "
        "{{ market.first_period }} to {{ market.last_period }}. That rests on {{ market.sales | number }} sales.\n\n"
        "Kind regards",
    ),
    DraftTemplate(
        name="answer",
        channel="whatsapp",
        text="Hello {{ contact.name }}, thank you for your message. We are looking for it and come back to you.",
    ),
)


class DraftSettings(Value):
    """`[draft]`."""

    templates: tuple[DraftTemplate, ...] = Field(default=_TEMPLATES, description="What can be drafted.")
    allowed: tuple[str, ...] = Field(
        default=(), max_length=200, description="Figures, names and addresses of yours that every draft may hold."
    )
    rounding: float = Field(
        default=0.01, ge=0, lt=0.2, description="Largest share by which a rounded figure may differ from the record."
    )
    model: str | None = Field(default=None, description="Name of the `Lama Model` block that writes prose.")
    attempts: int = Field(default=2, ge=1, le=5, description="Times that a model may write; then the draft is refused.")
    approval_days: float = Field(default=7.0, gt=0, le=90, description="Days after which a suspended run gives up.")

    @model_validator(mode="after")
    def _names_identify(self) -> DraftSettings:
        names = [one.name for one in self.templates]
        if (again := second_of_a_name(names)) is not None:
            raise PlaceError(f"two templates are called {names[again]!r}", "templates", again, "name")
        return self


class Fact(Value):
    """Something that the record says, and so a draft may."""

    name: str = Field(description="Such as `valuation.value`.")
    kind: FactKind
    value: float | str = Field(description="A number, a day in ISO 8601, a period such as `2014-05`, or words.")
    unit: str = Field(default="", description="Currency of money, unit of an area.")


class Problem(Value):
    """Something that a draft says and the record does not."""

    quote: str = Field(description="The words.")
    start: int = Field(ge=0, description="Where they stand.")
    why: str


class Draft(Value):
    """What is to be said to a client."""

    id: int
    contact: int
    channel: Channel
    template: str
    subject: str
    text: str
    state: State
    digest: str = Field(description="SHA-256 of subject and text: what is approved is this, and nothing else.")
    facts: tuple[Fact, ...]
    problems: tuple[Problem, ...] = ()


class DraftReport(Report):
    """A draft, and whether it may be approved. Of the client, it holds the contact's id alone."""

    contact: int
    draft: int | None = Field(default=None, description="Id of the draft; `lama draft show` has its text.")
    state: State | None = None
    problems: int = 0


class DraftRecord(SQLModel, table=True):
    """A draft. It goes with its contact."""

    __tablename__ = "client_draft"
    __table_args__ = (Index("client_draft_state", "state", "id"),)

    id: int | None = ColumnField(default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    run_id: str = ColumnField(unique=True, description="A run that is resumed finds the draft that it made before.")
    contact_id: int = ColumnField(
        sa_column=Column(BigInteger, ForeignKey("crm_contact.id", ondelete="CASCADE"), nullable=False, index=True)
    )
    channel: str
    template: str
    language: str
    subject: str
    text: str
    digest: str
    facts: list[dict[str, Any]] = ColumnField(sa_column=Column(JSONB, nullable=False))
    problems: list[dict[str, Any]] = ColumnField(sa_column=Column(JSONB, nullable=False))
    state: str
    written_by: str = ColumnField(description="`template`, or the model.")
    created_at: datetime = ColumnField(sa_column=Column(DateTime(timezone=True), nullable=False))
    decided_at: datetime | None = ColumnField(default=None, sa_column=Column(DateTime(timezone=True)))
    decided_by: str | None = None
