"""How arguments become the parts of an HTTP request. What is written into one part never reaches into another.

Styles: https://spec.openapis.org/oas/v3.1.1.html#style-values
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from pydantic import JsonValue

from tasks.handoffs.validate import Validator

_TEMPLATE = re.compile(r"\{([^{}]*)\}")
_DELIMITERS = {"form": ",", "spaceDelimited": "%20", "pipeDelimited": "%7C"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class ArgumentsError(Exception):
    """The arguments do not fit the operation; the message says which, and does not repeat what was given."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of an operation."""

    argument: str
    """What the argument is called."""
    name: str
    place: str
    """`path`, `query` or `header`."""
    style: str
    explode: bool
    as_json: bool = False
    """Whether its value is written as JSON, whatever the style."""


@dataclass(frozen=True)
class Request:
    """What is sent to the API, without its address and credentials."""

    method: str
    target: str
    """Path and query, percent-encoded."""
    headers: Mapping[str, str]
    content: bytes | None


@dataclass(frozen=True)
class Operation:
    """An operation that can be called."""

    operation_id: str
    tool: str
    """What callers know it by."""
    description: str
    method: str
    server: str
    """Where it is: an http or https URL without query."""
    path: str
    parameters: Sequence[Parameter]
    body: str | None
    """The argument that is the body; None: it has none."""
    content_type: str
    schema: Mapping[str, Any]
    """JSON Schema of all arguments."""
    validator: Validator

    @property
    def safe(self) -> bool:
        """Whether it only reads (RFC 9110, section 9.2.1)."""
        return self.method in {"GET", "HEAD"}

    @property
    def idempotent(self) -> bool:
        """Whether doing it twice is as good as once, by its method alone (RFC 9110, section 9.2.2)."""
        return self.safe or self.method in {"PUT", "DELETE"}

    def request(self, arguments: Mapping[str, JsonValue]) -> Request:
        """The request that `arguments` make.

        Raises:
            ArgumentsError: they do not fit.
        """
        _, problems = self.validator.check(arguments)
        if problems:
            raise ArgumentsError("; ".join(problems))
        given = [
            (one, arguments[one.argument])
            for one in self.parameters
            if one.argument in arguments and not (arguments[one.argument] is None and one.place != "path")
        ]
        path = _path(self.path, {one.name: _in_path(one, value) for one, value in given if one.place == "path"})
        query = _query([(one, value) for one, value in given if one.place == "query"], self.parameters)
        headers = {one.name: _in_header(one, value) for one, value in given if one.place == "header"}
        content = None
        if self.body is not None and self.body in arguments:
            content = json_text(arguments[self.body]).encode("utf-8", "replace")
            headers["Content-Type"] = self.content_type
        return Request(self.method, f"{path}?{query}" if query else path, headers, content)


def json_text(value: JsonValue) -> str:
    """`value` as JSON without blanks, keys in their order; numbers of any size.

    Raises:
        ValueError: it holds a number that JSON does not have.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def template_names(path: str) -> list[str]:
    """The names in the braces of a path."""
    return [str(name) for name in _TEMPLATE.findall(path)]


def _path(template: str, values: Mapping[str, str]) -> str:
    path = quote(_TEMPLATE.sub("\x00", template), safe="/:@!$&'()*+,;=~%\x00")
    names = iter(template_names(template))
    path = re.sub("\x00", lambda _: values[next(names)], path)
    for segment in path.split("/"):
        # Servers decode before they look: what is a step up or down only then, is one.
        if any(part in {".", ".."} for part in re.split(r"[/\\]", unquote(segment))):
            raise ArgumentsError("an argument of the path leads to another path")
    return path


def _in_path(parameter: Parameter, value: JsonValue) -> str:
    told = _simple(parameter, value, _percent)
    if not told or _CONTROL.search(unquote(told)):
        raise ArgumentsError(f"{parameter.argument} is empty, or holds what no path can")
    return told


def _in_header(parameter: Parameter, value: JsonValue) -> str:
    told = _simple(parameter, value, str)
    if _CONTROL.search(told) or not told.isascii() or told != told.strip():
        raise ArgumentsError(
            f"{parameter.argument} holds what no header can: line breaks, blanks around it, or not ASCII"
        )
    return told


def _query(given: Sequence[tuple[Parameter, JsonValue]], declared: Sequence[Parameter]) -> str:
    reserved = {one.name for one in declared if one.place == "query"}
    pairs: list[tuple[str, str]] = []
    for one, value in given:
        if one.as_json:
            pairs.append((one.name, _percent(json_text(value))))
        elif isinstance(value, list):
            told = [_percent(_text(one, item)) for item in value]
            if one.explode:
                pairs += [(one.name, item) for item in told]
            elif told:
                pairs.append((one.name, _DELIMITERS[one.style].join(told)))
        elif isinstance(value, dict):
            pairs += _object_pairs(one, value, reserved)
        else:
            pairs.append((one.name, _percent(_text(one, value))))
    return "&".join(f"{quote(name, safe='[]')}={value}" for name, value in pairs)


def _object_pairs(parameter: Parameter, value: Mapping[str, JsonValue], reserved: set[str]) -> list[tuple[str, str]]:
    told = {name: _percent(_text(parameter, item)) for name, item in value.items()}
    if parameter.style == "deepObject":
        if any(set(name) & set("[]") for name in told):
            raise ArgumentsError(f"{parameter.argument} has a field with brackets in its name")
        return [(f"{parameter.name}[{name}]", item) for name, item in told.items()]
    if not parameter.explode:
        parts = [part for name, item in told.items() for part in (_percent(name), item)]
        return [(parameter.name, _DELIMITERS[parameter.style].join(parts))] if parts else []
    if set(told) & reserved:
        raise ArgumentsError(f"{parameter.argument} has a field that is called like another parameter")
    return list(told.items())


def _simple(parameter: Parameter, value: JsonValue, encode: Any) -> str:
    """The style `simple`: parts with commas between them."""
    if parameter.as_json:
        return str(encode(json_text(value)))
    if isinstance(value, list):
        return ",".join(encode(_text(parameter, item)) for item in value)
    if isinstance(value, dict):
        between = "=" if parameter.explode else ","
        return ",".join(f"{encode(name)}{between}{encode(_text(parameter, item))}" for name, item in value.items())
    return str(encode(_text(parameter, value)))


def _text(parameter: Parameter, value: JsonValue) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return ""
    if isinstance(value, dict | list):
        raise ArgumentsError(f"{parameter.argument} holds a list or an object within another, which cannot be written")
    return value if isinstance(value, str) else json_text(value)


def _percent(text: str) -> str:
    return quote(text, safe="", errors="replace")
