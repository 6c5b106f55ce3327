"""The API that a route leads to, as its OpenAPI document describes it."""

from __future__ import annotations

from pathlib import Path

from blocks.errors import ConfigurationError
from blocks.settings import Settings
from models.handoff_route import ApiTarget, Route
from tasks.handoffs.api_target import Api
from tasks.handoffs.expressions import ExpressionError, compiled
from tasks.handoffs.functions import Context
from tasks.handoffs.openapi import LARGEST, read_operations
from tasks.handoffs.openapi_schema import OpenApiError


def api_of(route: Route, target: ApiTarget, config: Settings) -> Api:
    """How the API of `route` is called.

    Raises:
        ConfigurationError: the document cannot be read, or what the route asks for is not in it.
    """
    path = config.config_path.parent / Path(target.document).expanduser()
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise _refused(route, f"{path}: {error.strerror}") from error
    try:
        tools = read_operations(content, target.operations, url=target.url)
    except OpenApiError as error:
        raise _refused(route, f"{path}: {error}") from error
    unknown = [name for name in target.answers if name not in target.operations]
    if unknown:
        raise _refused(route, f"answers names {unknown[0]!r}, which is not among the operations")
    try:
        answers = {name: compiled(text) for name, text in target.answers.items()}
    except ExpressionError as error:
        raise _refused(route, f"answers: {error}") from error
    return Api(
        operations={operation.operation_id: operation for operation in tools.values()},
        answers=answers,
        context=Context(region=route.region, currency=route.currency),
        timeout_s=route.retry.timeout_s,
        largest_answer=target.largest_answer,
        keeps_refusals=route.source.startswith("mcp:"),
    )


def refuse_header(route: Route, api: Api, header: str) -> None:
    """Refuse an API whose callers could replace `header`, which holds our credentials.

    Raises:
        ConfigurationError: one of its operations has such a parameter.
    """
    for operation in api.operations.values():
        if any(one.place == "header" and one.name.lower() == header.lower() for one in operation.parameters):
            raise _refused(route, f"{operation.operation_id} has the parameter {header}, which the block sets")


def _refused(route: Route, reason: str) -> ConfigurationError:
    return ConfigurationError(f"the route {route.name!r} cannot be used: {reason}.", component="lama.toml")
