"""A route as a form says it, such as a block of Prefect: what was left empty was not said; the form has the name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from models.handoff_route import Route

_EMPTY: tuple[Any, ...] = (None, "")


def route_of_form(name: str, said: Mapping[str, Any]) -> Route:
    """The route called `name` of which a form says `said`; its rules are those of `[[handoffs.routes]]`.

    Raises:
        ValueError: it is none; says why, key by key.
    """
    if said.get("name", name) != name:
        raise ValueError("name: the route is called like its block")
    filled = {key: value for key, value in said.items() if value not in _EMPTY and key != "block_type_slug"}
    try:
        return Route.model_validate(filled | {"name": name})
    except ValidationError as error:
        raise ValueError("; ".join(_sentence(problem) for problem in error.errors())) from error


def _sentence(problem: Any) -> str:
    """What is wrong, and where; what was written there is not repeated."""
    cause = problem.get("ctx", {}).get("error")
    told = str(cause) if cause is not None else str(problem["msg"])
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {told}" if place else told
