"""A payload against its JSON Schema (2020-12). Nothing is fetched: a reference that leads elsewhere is refused.

What is not checked cannot be asked for, and whatever the payload, an answer comes within a time (see `formats`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema
import referencing
import referencing.exceptions
import regex
from pydantic import JsonValue

from tasks.handoffs.expressions import ExpressionError
from tasks.handoffs.formats import CHECKER, Keywords, TooSlowError

_MOST_PROBLEMS = 20
_MOST_NODES = 10_000
_DATA = frozenset({"const", "enum", "default", "examples"})
"""Keywords whose values are data, not schemas."""
_NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
"""Keywords whose values are schemas by name."""


class Validator:
    """A schema that was read.

    Raises:
        ExpressionError: it is no JSON Schema, refers to something outside of itself, or asks for a format or a pattern
            that cannot be checked.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        _refuse(schema)
        try:
            jsonschema.Draft202012Validator.check_schema(dict(schema))
        except (jsonschema.SchemaError, RecursionError) as error:
            raise ExpressionError(f"schema: {str(error).splitlines()[0][:200]}") from None
        self._keywords = Keywords()
        kind = jsonschema.validators.extend(jsonschema.Draft202012Validator, self._keywords.keywords())
        self._validator = kind(dict(schema), registry=referencing.Registry(), format_checker=CHECKER)

    def check(self, payload: Mapping[str, JsonValue]) -> tuple[set[str], list[str]]:
        """The fields that are wrong, and what is wrong in sentences, which do not repeat values."""
        wrong: set[str] = set()
        problems: list[str] = []
        self._keywords.begin()
        try:
            for error in self._validator.iter_errors(dict(payload)):
                wrong |= {str(error.absolute_path[0])} if error.absolute_path else set()
                problems.append(_sentence(error))
                if len(problems) == _MOST_PROBLEMS:
                    break
        except (referencing.exceptions.Unresolvable, RecursionError) as error:
            problems.append(f"the schema cannot be followed: {type(error).__name__}")
        except TooSlowError:
            problems.append("the schema takes too long for this payload")
        return wrong, problems


def filled(value: JsonValue) -> bool:
    """Whether there is anything in `value`: nothing, blanks and empty lists are not."""
    return not (value is None or value in ([], {}) or (isinstance(value, str) and not value.strip()))


def _sentence(error: jsonschema.ValidationError) -> str:
    place = ".".join(str(part) for part in error.absolute_path) or "the payload"
    limit = error.validator_value
    said = {
        "type": f"must be of type {limit}",
        "required": f"lacks {_lacking(error)}",
        "enum": f"must be one of {str(limit)[:200]}",
        "const": "must be a certain value",
        "format": f"is no {limit}",
        "pattern": "does not have the form that is asked for",
        "minimum": f"must be at least {limit}",
        "maximum": f"must be at most {limit}",
        "minLength": f"must have at least {limit} characters",
        "maxLength": f"must have at most {limit} characters",
        "additionalProperties": "has fields that are not in the schema",
        "uniqueItems": "has an item twice",
    }
    return f"{place} {said.get(str(error.validator), f'does not satisfy {error.validator}')}"


def _lacking(error: jsonschema.ValidationError) -> str:
    asked = error.validator_value if isinstance(error.validator_value, list) else []
    there = error.instance if isinstance(error.instance, Mapping) else {}
    return ", ".join(str(name) for name in asked if name not in there) or "a field"


def _refuse(schema: Any) -> None:
    pending = [schema]
    seen = 0
    keywords: set[str] = set()
    while pending:
        node = pending.pop()
        seen += 1
        if seen > _MOST_NODES:
            raise ExpressionError(f"schema: larger than {_MOST_NODES} values")
        if isinstance(node, list):
            pending.extend(node)
        elif isinstance(node, Mapping):
            keywords |= set(node)
            _refuse_keywords(node)
            for keyword, value in node.items():
                if keyword in _NAMED and isinstance(value, Mapping):
                    pending.extend(value.values())  # their names are no keywords
                elif keyword not in _DATA:
                    pending.append(value)
    if {"patternProperties", "unevaluatedProperties"} <= keywords:
        raise ExpressionError("schema: patternProperties and unevaluatedProperties cannot be used together")


def _refuse_keywords(node: Mapping[str, Any]) -> None:
    for keyword in ("$ref", "$dynamicRef"):
        if keyword in node and not str(node[keyword]).startswith("#"):
            raise ExpressionError(f"schema: {keyword} may only refer to the schema itself, with '#/...'")
    told = node.get("format")
    if isinstance(told, str) and told not in CHECKER.checkers:
        known = ", ".join(sorted(CHECKER.checkers))
        raise ExpressionError(f"schema: there is no format {told[:50]!r}; there are {known}")
    by_name = node.get("patternProperties")
    for pattern in (node.get("pattern"), *(by_name if isinstance(by_name, Mapping) else ())):
        if isinstance(pattern, str):
            try:
                regex.compile(pattern)
            except (regex.error, RecursionError):
                raise ExpressionError(f"schema: {pattern[:50]!r} is no pattern") from None
