"""A route of the handoffs as a block, so that it can be made and edited in the Prefect UI.

The form is made of the fields of `Route` itself: what the model learns, the form knows. It leads to no outside system,
so it has no client; and it holds no secret, as a route only names the blocks that do.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, ClassVar, Self, get_args, get_origin

from prefect.blocks.core import Block
from pydantic import BaseModel, Field, create_model, model_validator
from pydantic.fields import FieldInfo

from blocks.prefect_api import ROUTE_BLOCKS
from models.handoff_form import route_of_form
from models.handoff_route import Route

_ANY_NAME = "route"
"""A block learns its name when it is saved; what is wrong with that is said by whoever loads it."""


def _tables(annotation: Any) -> list[type[BaseModel]]:
    """The tables that a field may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [table for part in get_args(annotation) for table in _tables(part)]


def _input(field: FieldInfo) -> tuple[Any, FieldInfo]:
    """A field of `Route` as an input of the form: tables are JSON, all else is as it is there."""
    kind = field.annotation
    many = get_origin(kind) is tuple
    if tables := _tables(kind):
        keys = ", ".join(dict.fromkeys(key for table in tables for key in table.model_fields))
        told = f"{field.description} {'A list of JSON objects' if many else 'A JSON object'}, of {keys}."
        shape: Any = list[dict[str, Any]] if many else dict[str, Any]
        return shape, _described(field, told, list if many else dict)
    if many:
        return list[str], _described(field, field.description, list)
    if get_origin(kind) is dict:
        return dict[str, Any], _described(field, field.description, dict)
    return kind, copy.copy(field)


def _described(field: FieldInfo, told: str | None, empty: Callable[[], Any]) -> FieldInfo:
    default: Any = ... if field.is_required() else empty()
    made: FieldInfo = Field(default, alias=field.alias, description=told)
    return made


_INPUTS: Any = {name: _input(field) for name, field in Route.model_fields.items() if name != "name"}
_FORM: Any = create_model("_Form", **_INPUTS)


class HandoffRoute(Block, _FORM):
    """A route of the handoffs: where messages come from, what is made of them, and where that goes.

    The block's name is the route's. Every key is that of `[[handoffs.routes]]` in `lama.toml`.
    """

    _block_type_name: ClassVar[str] = "Lama Handoff Route"
    _block_type_slug: ClassVar[str] = ROUTE_BLOCKS
    _documentation_url: ClassVar[Any] = "https://jmespath.org/specification.html"

    @model_validator(mode="after")
    def _is_a_route(self) -> Self:
        said = {field.alias or name: getattr(self, name) for name, field in _FORM.model_fields.items()}
        route_of_form(_ANY_NAME, said | (self.model_extra or {}))
        return self
