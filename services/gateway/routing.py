"""Which routes a delivery takes, and with which parameters. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from pydantic import JsonValue

from models.webhook import Route
from models.webhook_template import matches, resolve


def matching(routes: Iterable[Route], source: str, event: str, payload: JsonValue) -> tuple[Route, ...]:
    """The routes that a delivery takes, in their order."""
    return tuple(
        route
        for route in routes
        if route.source == source and fnmatchcase(event, route.event) and matches(route.where, payload)
    )


def parameters(route: Route, payload: JsonValue) -> dict[str, JsonValue]:
    """The parameters of the run that `route` starts.

    Raises:
        PayloadError: the payload lacks a value, or holds one that must not be passed on.
    """
    return {name: resolve(template, payload) for name, template in route.parameters.items()}


def idempotency_key(route: Route, delivery_id: str) -> str:
    """What makes Prefect start the run of one delivery by one route once."""
    return f"webhook:{route.source}:{delivery_id}:{route.identity}"
