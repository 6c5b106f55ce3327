"""Webhooks: who may send them, and what they start. The table of those that came is in `models.delivery`."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from models.place import PlaceError, second_of_a_name
from models.report import Value
from models.webhook_template import check_template, parse_path

_HEADER = r"^[A-Za-z0-9][A-Za-z0-9-]*$"
_PLACEHOLDER = re.compile(r"\{(id|timestamp|body)\}")

_PRESETS: dict[str, dict[str, Any]] = {
    # https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries
    "github": {
        "signature_header": "X-Hub-Signature-256",
        "prefix": "sha256=",
        "id_header": "X-GitHub-Delivery",
        "event_header": "X-GitHub-Event",
    },
    # https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    "standard-webhooks": {
        "signature_header": "webhook-signature",
        "encoding": "base64",
        "prefix": "v1,",
        "several": True,
        "id_header": "webhook-id",
        "timestamp_header": "webhook-timestamp",
        "signed": "{id}.{timestamp}.{body}",
        "event_path": "type",
        "key_encoding": "base64",
    },
    # https://developers.facebook.com/docs/graph-api/webhooks/getting-started: signed with the app's secret, and without
    # an id of the delivery; the messages in it have their own.
    "whatsapp": {
        "signature_header": "X-Hub-Signature-256",
        "prefix": "sha256=",
        "id_header": None,
        "event_path": "object",
    },
    "hmac": {},
}


class DeliveryStatus(StrEnum):
    """What became of a delivery."""

    stored = "stored"
    started = "started"
    ignored = "ignored"
    failed = "failed"
    handed_on = "handed_on"
    """Its messages are in the inbox of the handoffs; it starts nothing by itself."""


class Source(Value):
    """`[[webhooks.sources]]`: a sender, and how it signs. A preset fills in what is not said.

    Its secrets are in the file `secrets/webhooks/<name>` of the home, one a line, all of them valid.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="Its place in the address, `/webhooks/<name>`.")
    kind: Literal["github", "standard-webhooks", "whatsapp", "hmac"] = Field(
        description="How it signs: a preset, or `hmac` with everything said here."
    )
    signature_header: str = Field(pattern=_HEADER, description="Header with the signature.")
    algorithm: Literal["sha256", "sha512"] = Field(default="sha256", description="Hash of the HMAC.")
    encoding: Literal["hex", "base64"] = Field(default="hex", description="How the signature is written.")
    prefix: str = Field(default="", description="What stands before each signature, such as `sha256=`.")
    several: bool = Field(default=False, description="Whether the header may hold several, with spaces between them.")
    signed: str = Field(
        default="{body}",
        description="What is signed, of `{id}`, `{timestamp}` and `{body}`, such as `{timestamp}.{body}`.",
    )
    id_header: str | None = Field(
        pattern=_HEADER,
        description="Header with the delivery's id, the same when it is resent; none: the body's digest is its id.",
    )
    timestamp_header: str | None = Field(
        default=None, pattern=_HEADER, description="Header with the signed time, in seconds since 1970."
    )
    tolerance_s: float = Field(
        default=300.0, gt=0, le=86_400, description="Seconds that a signed time may be away from ours."
    )
    event_header: str | None = Field(default=None, pattern=_HEADER, description="Header with the event's name.")
    event_path: str | None = Field(
        default=None, description="Where in the payload the event's name is, when no header has it."
    )
    key_encoding: Literal["text", "base64"] = Field(
        default="text", description="How secrets are written; a `whsec_` before base64 is left out."
    )
    once_per_signature: bool = Field(
        default=True,
        description="Whether one signature counts once, even with another id; off only for a sender that repeats "
        "the same body and signs neither id nor time.",
    )
    body_limit_bytes: int | None = Field(
        default=None, gt=0, le=100_000_000, description="Largest body, instead of that of `[webhooks]`."
    )

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("kind"), str):
            return _PRESETS.get(data["kind"], {}) | data
        return data

    @model_validator(mode="after")
    def _signs_what_it_uses(self) -> Source:
        parts = _PLACEHOLDER.split(self.signed)
        names = parts[1::2]
        if names.count("body") != 1 or len(set(names)) != len(names):
            raise ValueError("signed must hold {body} once, and {id} and {timestamp} at most once")
        if self.id_header is None and self.kind != "whatsapp":
            raise ValueError("id_header is needed: without an id a delivery that is sent again counts twice")
        if any("{" in literal or "}" in literal for literal in parts[::2]):
            raise ValueError("signed knows {id}, {timestamp} and {body} only")
        if any(not literal for literal in parts[2:-1:2]):
            raise ValueError("signed needs a character between its parts, or one could pass for the other")
        if ("timestamp" in names) != (self.timestamp_header is not None):
            raise ValueError("timestamp_header and {timestamp} in signed go together: an unsigned time proves nothing")
        if self.event_path is not None:
            parse_path(self.event_path)
        return self

    @property
    def signed_parts(self) -> tuple[str, ...]:
        """`signed` in pieces: text, name, text, name, ... text."""
        return tuple(_PLACEHOLDER.split(self.signed))

    @property
    def signs_id(self) -> bool:
        """Whether the signature covers the delivery's id, so that nobody can give it another one."""
        return "{id}" in self.signed


class Route(Value):
    """`[[webhooks.routes]]`: which deliveries start which deployment, with which parameters."""

    source: str = Field(description="Name of the source.")
    event: str = Field(default="*", min_length=1, description="Glob that the event's name must match.")
    where: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="Dotted paths of the payload and what they must hold; texts are globs.",
    )
    deployment: str = Field(pattern=r"^[^/]+/[^/]+$", description="`flow/deployment` to start a run of.")
    parameters: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="Parameters of the run: values, `$.path` for one of the payload, `{path}` within text.",
    )
    name: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9._/-]{0,100}$",
        description="What tells two routes of one source to the same deployment apart.",
    )

    @field_validator("where", mode="after")
    @classmethod
    def _paths(cls, where: dict[str, JsonValue]) -> dict[str, JsonValue]:
        for path, wanted in where.items():
            parse_path(path)
            if isinstance(wanted, dict | list):
                raise ValueError(f"{path!r} must be a text, a number or a truth value")  # noqa: TRY004 - pydantic's way
        return where

    @field_validator("parameters", mode="after")
    @classmethod
    def _templates(cls, parameters: dict[str, JsonValue]) -> dict[str, JsonValue]:
        check_template(parameters)
        return parameters

    @property
    def identity(self) -> str:
        """Stable within its source; part of the idempotency key of the runs that it starts."""
        return self.name or self.deployment


def _preset_sources() -> dict[str, Source]:
    return {
        name: Source.model_validate({"name": name, "kind": name})
        for name in ("github", "standard-webhooks", "whatsapp")
    }


_OF_A_PUSH: dict[str, dict[str, JsonValue]] = {
    "health-check": {},
    "audit": {"commit": "$.after"},
    "scan": {"commit": "$.after"},
    "docs": {"commit": "$.after"},
    "graph-ingest": {"commit": "$.after"},
}
"""What a push starts unlisted: a report about another commit than the pushed one says so."""


class WebhooksSettings(Value):
    """`[webhooks]`. The sources `github`, `standard-webhooks` and `whatsapp` are there unlisted."""

    sources: tuple[Source, ...] = Field(default=(), description="Senders beside the presets, or instead of them.")
    routes: tuple[Route, ...] = Field(
        default=tuple(
            Route(source="github", event="push", deployment=f"{name}/{name}", parameters=parameters)
            for name, parameters in _OF_A_PUSH.items()
        ),
        description="What deliveries start; every route that matches starts a run.",
    )
    hosts: tuple[str, ...] = Field(
        default=(), description="Names that this gateway is called by, beside this machine's own: that of a proxy."
    )
    body_limit_bytes: int = Field(default=5_000_000, gt=0, le=100_000_000, description="Largest body of a delivery.")
    body_timeout_s: float = Field(default=30.0, gt=0, description="Seconds that a sender has for a body.")
    retention_days: float = Field(
        default=30.0, gt=0, description="Days after which a delivery that is done is deleted, and its id forgotten."
    )
    give_up_hours: float = Field(
        default=24.0, gt=0, description="Hours after which a delivery whose deployment does not exist has failed."
    )

    @model_validator(mode="after")
    def _names_identify(self) -> WebhooksSettings:
        names = [source.name for source in self.sources]
        if (again := second_of_a_name(names)) is not None:
            raise PlaceError(f"two sources are called {names[again]!r}; names identify them", "sources", again, "name")
        known = self.registry
        seen: set[tuple[str, str]] = set()
        for place, route in enumerate(self.routes):
            if route.source not in known:
                raise PlaceError(
                    f"a route names the source {route.source!r}; there are {', '.join(sorted(known))}",
                    *("routes", place, "source"),
                )
            if (route.source, route.identity) in seen:
                raise PlaceError(
                    f"two routes lead from {route.source!r} to {route.identity!r}; give each a name of its own",
                    *("routes", place),
                )
            seen.add((route.source, route.identity))
        return self

    @property
    def registry(self) -> dict[str, Source]:
        """Every source by name."""
        return _preset_sources() | {source.name: source for source in self.sources}
