"""Whether a route can be used: what is wrong with its expressions, and what it needs of Prefect. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from blocks.errors import ConfigurationError
from models.handoff_route import ApiTarget, CrmTarget, FlowTarget, HttpTarget, Route, WhatsAppTarget
from tasks.handoffs.expressions import ExpressionError, compiled
from tasks.handoffs.routes import transformation_of


@dataclass(frozen=True)
class Need:
    """Something of Prefect that a route cannot do without."""

    kind: Literal["block", "deployment"]
    name: str
    """As people call it."""
    slug: str = ""
    """Of a block: its type's."""


def needs_of(route: Route) -> tuple[Need, ...]:
    """What `route` needs of Prefect."""
    target = route.target
    needs = []
    if isinstance(target, CrmTarget) and target.system != "embedded":
        needs.append(Need("block", target.block, f"lama-{target.system}"))
    elif isinstance(target, HttpTarget | ApiTarget) and target.block is not None:
        needs.append(Need("block", target.block, "lama-http-api"))
    elif isinstance(target, WhatsAppTarget):
        needs.append(Need("block", target.block, "lama-whatsapp"))
    elif isinstance(target, FlowTarget):
        needs.append(Need("deployment", target.deployment))
    if route.model is not None:
        needs.append(Need("block", route.model, "lama-model"))
    if route.media is not None:
        needs.append(Need("block", route.media, "lama-whatsapp"))
    return tuple(dict.fromkeys(needs))


def faults(route: Route) -> list[str]:
    """What is wrong with the expressions and the schema of `route`, in sentences that say where."""
    found = []
    for place, text in _expressions(route):
        try:
            compiled(text)
        except ExpressionError as error:
            found.append(f"{place}: {error}")
    if not found:
        try:
            transformation_of(route)
        except ConfigurationError as error:
            found.append(str(error.__cause__ or error))
    return found


def _expressions(route: Route) -> Iterator[tuple[str, str]]:
    if route.when is not None:
        yield "when", route.when
    if route.conversation is not None:
        yield "conversation", route.conversation
    for name, text in route.fields.items():
        yield f"fields.{name}", text
    for place, rule in enumerate(route.rules):
        yield f"rules[{place}]", rule.holds
    if isinstance(route.target, ApiTarget):
        for name, text in route.target.answers.items():
            yield f"target.answers.{name}", text
