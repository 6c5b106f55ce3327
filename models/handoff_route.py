"""`[handoffs]` of `lama.toml`: routes, which say what becomes of a message that arrives."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from models.place import PlaceError, second_of_a_name
from models.report import Value

NAME = r"^[a-z0-9][a-z0-9-]{0,62}$"
_SOURCE = re.compile(r"^(?:(?:whatsapp|webhook|email|mcp):[a-z0-9][a-z0-9-]{0,62}|lama:(?:qualify|draft))$")
_LONGEST_EXPRESSION = 2_000
_MOST_FIELDS = 200

Expression = Annotated[str, Field(min_length=1, max_length=_LONGEST_EXPRESSION)]


class CrmTarget(Value):
    """Contacts and what they look for: in our own database, opportunities of a Tryton, or contacts of a HubSpot."""

    kind: Literal["crm"] = Field(description="What sort of target.")
    system: Literal["embedded", "tryton", "hubspot"] = Field(
        default="embedded", description="`embedded`, `tryton` or `hubspot`."
    )
    block: str = Field(default="crm", description="Of the others: name of the `Lama Tryton` or `Lama HubSpot` block.")


class FlowTarget(Value):
    """A flow run."""

    kind: Literal["flow"] = Field(description="What sort of target.")
    deployment: str = Field(pattern=r"^[^/]+/[^/]+$", description="`flow/deployment` to start a run of.")


class HttpTarget(Value):
    """A JSON document, posted with an `Idempotency-Key`."""

    kind: Literal["http"] = Field(description="What sort of target.")
    url: str = Field(pattern=r"^https?://", description="Where to; credentials belong into a block, not here.")
    block: str | None = Field(default=None, description="Name of the `Lama HTTP API` block with the credentials.")
    allow_private: tuple[str, ...] = Field(
        default=(), description="Hosts that may have private addresses; otherwise only public ones are spoken to."
    )


class WhatsAppTarget(Value):
    """A message of WhatsApp: the payload has `to`, `text` or `template`, and perhaps `reply_to`."""

    kind: Literal["whatsapp"] = Field(description="What sort of target.")
    block: str = Field(default="whatsapp", description="Name of the `Lama WhatsApp` block that sends.")
    heard_within_s: float = Field(
        default=600.0,
        gt=0,
        le=86_400,
        description="Seconds in which a status may still tell of a message whose sending nobody confirmed.",
    )


class BoardTarget(Value):
    """A task of the board; what follows in its conversation is said about that task."""

    kind: Literal["board"] = Field(description="What sort of target.")


class ApiTarget(Value):
    """Operations of an HTTP API that an OpenAPI document describes."""

    kind: Literal["api"] = Field(description="What sort of target.")
    document: str = Field(
        min_length=1, description="OpenAPI 3.0 or 3.1 document, JSON or YAML; relative to the folder of `lama.toml`."
    )
    operations: tuple[str, ...] = Field(
        min_length=1, max_length=200, description="`operationId` of each operation that may be called; no other is."
    )
    url: str | None = Field(
        default=None, pattern=r"^https?://", description="Where the API is, instead of the document's `servers`."
    )
    block: str | None = Field(default=None, description="Name of the `Lama HTTP API` block with the credentials.")
    allow_private: tuple[str, ...] = Field(
        default=(), description="Hosts that may have private addresses; otherwise only public ones are spoken to."
    )
    answers: dict[str, Expression] = Field(
        default_factory=dict, description="By operation: expression about an answer's body for what is given back."
    )
    largest_request: int = Field(
        default=100_000, ge=100, le=4_000_000, description="Characters of JSON that arguments may have."
    )
    largest_answer: int = Field(
        default=1_000_000, ge=100, le=50_000_000, description="Bytes of an answer that are read."
    )
    answer_s: float = Field(
        default=30.0, gt=0, le=600, description="Seconds that a caller waits before it is told to ask again."
    )


Target = Annotated[
    CrmTarget | FlowTarget | HttpTarget | BoardTarget | ApiTarget | WhatsAppTarget, Field(discriminator="kind")
]


class Rule(Value):
    """What must hold of a payload beyond its schema."""

    holds: Expression = Field(description="Expression about the payload that must be true.")
    message: str = Field(min_length=1, max_length=500, description="What is wrong when it is not.")


class Retry(Value):
    """When a failed try is repeated, and when it is given up."""

    tries: int = Field(default=8, ge=1, le=1000, description="Tries before it becomes a dead letter.")
    first_s: float = Field(default=1.0, gt=0, description="Seconds before the second try; doubled for each further.")
    longest_s: float = Field(default=300.0, gt=0, description="Longest wait between two tries, in seconds.")
    timeout_s: float = Field(default=10.0, gt=0, le=300, description="Seconds for one try.")

    def wait_s(self, attempt: int, jitter: float) -> float:
        """Seconds to wait after try number `attempt`; `jitter` between 0 and 1 spreads it over half of that."""
        doubled = self.first_s * 2.0 ** min(attempt - 1, 40)
        return min(self.longest_s, doubled) * (0.5 + jitter / 2)


class Success(Value):
    """What a route has to achieve."""

    share: float = Field(default=0.9, gt=0, le=1, description="Least share of messages that are delivered.")
    accuracy: float = Field(default=0.9, ge=0, le=1, description="Least share of given fields that are valid.")
    completeness: float = Field(default=0.9, ge=0, le=1, description="Least share of required fields that are filled.")
    timely_s: float = Field(default=60.0, gt=0, description="Seconds from arrival to delivery that are in time.")
    timeliness: float = Field(default=0.9, ge=0, le=1, description="Least share of messages delivered in time.")


class Route(Value):
    """`[[handoffs.routes]]`: where messages come from, what is made of them, and where that goes."""

    name: str = Field(pattern=NAME, description="What tells it apart, also in commands and metrics.")
    source: str = Field(
        description="Where messages come from: `whatsapp:` or `webhook:` and the name of a source of `[webhooks]`, or "
        "`email:` and the name of a receiver or mailbox of `[mail]`, or `mcp:` and a name of your own; `lama:qualify`: "
        "changed grades of leads, `lama:draft`: drafts that somebody has approved."
    )
    when: Expression | None = Field(default=None, description="Expression that lets a message through when it is true.")
    conversation: Expression | None = Field(
        default=None, description="Expression for what orders messages; otherwise what the source says."
    )
    fields: dict[str, Expression] = Field(
        default_factory=dict,
        description="Fields of the payload and the expression for each; none: the message's document as it is.",
    )
    extract: Literal["lead", "task"] | None = Field(
        default=None,
        description="`lead`: name, phone, interest, budget and timeline are looked for in the text; "
        "`task`: title, description, priority, tags and due date.",
    )
    model: str | None = Field(
        default=None,
        description="With `extract` = `lead`: name of the `Lama Model` block that is asked for what the rules leave "
        "open; only what it quotes from the message counts.",
    )
    media: str | None = Field(
        default=None, description="Of WhatsApp: name of the `Lama WhatsApp` block by which files are fetched."
    )
    required: tuple[str, ...] = Field(default=(), description="Fields that must be there.")
    payload_schema: dict[str, JsonValue] = Field(
        default_factory=dict, alias="schema", description="JSON Schema (2020-12) that the payload must satisfy."
    )
    rules: tuple[Rule, ...] = Field(default=(), description="What must hold beyond the schema.")
    target: Target = Field(description="Where it goes.")
    region: str = Field(
        default="US", pattern=r"^[A-Z]{2}$", description="Country of phone numbers that are written without one."
    )
    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$", description="Currency of amounts without one.")
    retry: Retry = Field(default=Retry(), description="When a failed delivery is tried again.")
    on_dead: Literal["continue", "block"] = Field(
        default="continue", description="Whether a conversation goes on past a dead letter, or waits for a person."
    )
    success: Success = Field(default=Success(), description="What counts as success.")
    retention_days: float = Field(
        default=90.0, gt=0, description="Days after which what is done is emptied; only ids stay."
    )

    @field_validator("source", mode="after")
    @classmethod
    def _known_source(cls, source: str) -> str:
        if not _SOURCE.fullmatch(source):
            raise ValueError(
                "write whatsapp:NAME or webhook:NAME, with the name of a source of [webhooks], "
                "or email:NAME, with the name of a receiver or mailbox of [mail], or mcp:NAME, or lama:qualify, "
                "or lama:draft"
            )
        return source

    @field_validator("fields", mode="after")
    @classmethod
    def _not_too_many(cls, fields: dict[str, Any]) -> dict[str, Any]:
        if len(fields) > _MOST_FIELDS:
            raise ValueError(f"more than {_MOST_FIELDS} fields")
        return fields

    @model_validator(mode="after")
    def _fits(self) -> Route:
        unknown = [name for name in self.required if self.fields and not self.extract and name not in self.fields]
        if unknown:
            raise ValueError(f"required names {unknown[0]!r}, which is not among the fields")
        if self.source.startswith("mcp:") and not isinstance(self.target, ApiTarget):
            raise ValueError("what comes by MCP are calls of an API: the target of a source mcp: is of the kind api")
        if self.model is not None and self.extract != "lead":
            raise ValueError('model is for routes with extract = "lead"')
        if self.model is not None and self.source.startswith("mcp:"):
            raise ValueError("a call by MCP is answered at once: its route cannot ask a model")
        if self.media is not None and not self.source.startswith("whatsapp:"):
            raise ValueError("media is for routes whose source is whatsapp:NAME")
        return self

    @property
    def lease_s(self) -> float:
        """Seconds after which whoever took an effect and did not say what became of it is taken for dead."""
        return self.retry.timeout_s * 2 + 5.0


class HandoffsSettings(Value):
    """`[handoffs]`."""

    routes: tuple[Route, ...] = Field(default=(), description="Where messages come from, and where they go.")
    batch: int = Field(default=500, ge=1, le=10_000, description="Messages that are taken at a time.")
    at_once: int = Field(default=16, ge=1, le=256, description="Conversations that are handed on side by side.")
    linger_s: float = Field(default=5.0, ge=0, le=600, description="Seconds that a run waits for more before it ends.")
    longest_run_s: float = Field(default=300.0, gt=0, description="Seconds after which a run makes room for the next.")
    window_hours: float = Field(default=24.0, gt=0, description="Hours that success is measured over.")
    refresh_s: float = Field(
        default=30.0, ge=0.2, le=3600, description="Seconds after which routes that are blocks are read again."
    )

    @model_validator(mode="after")
    def _names_identify(self) -> HandoffsSettings:
        names = [route.name for route in self.routes]
        if (again := second_of_a_name(names)) is not None:
            raise PlaceError(f"two routes are called {names[again]!r}; names identify them", "routes", again, "name")
        return self

    def of_source(self, source: str) -> tuple[Route, ...]:
        """The routes that take messages of `source`."""
        return tuple(route for route in self.routes if route.source == source)

    def route(self, name: str) -> Route | None:
        """The route called `name`."""
        return next((route for route in self.routes if route.name == name), None)
