"""Schemas of an OpenAPI document as JSON Schema 2020-12, for what is sent.

What an operation refers to stands once below `$defs`, so a schema may lead back to itself, and its size is bounded
whatever refers to what. https://spec.openapis.org/oas/v3.1.1.html#schema-object, and v3.0.4 for what was different.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from tasks.handoffs.formats import CHECKER

_MOST_NODES = 8_000
_DEEPEST = 60
_LONGEST_CHAIN = 20
_SCHEMA = frozenset(
    {"not", "if", "then", "else", "items", "contains", "additionalProperties", "propertyNames", "unevaluatedItems",
     "unevaluatedProperties"}
)  # fmt: skip
_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_NAMED = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"})
_LEFT_OUT = frozenset(
    {"$schema", "$id", "$anchor", "$dynamicAnchor", "$comment", "$vocabulary", "xml", "externalDocs", "discriminator",
     "nullable", "readOnly", "writeOnly", "example", "examples", "deprecated"}
)  # fmt: skip
_KNOWN = frozenset(
    {"type", "enum", "const", "default", "title", "description", "format", "pattern", "minimum", "maximum",
     "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "minItems", "maxItems",
     "uniqueItems", "minContains", "maxContains", "minProperties", "maxProperties", "required", "dependentRequired"}
)  # fmt: skip


class OpenApiError(Exception):
    """The document cannot be used, or one of its operations cannot be offered; the message says what and where."""


class Pointers:
    """Follows references within one document; nothing is fetched."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def resolved(self, node: Any) -> Any:
        """`node`, or what it refers to.

        Raises:
            OpenApiError: a reference leads outside, nowhere, or back to itself.
        """
        for _ in range(_LONGEST_CHAIN):
            if not (isinstance(node, Mapping) and "$ref" in node):
                return node
            node = self.at(node["$ref"])
        raise OpenApiError("a reference leads back to itself")

    def at(self, reference: Any) -> Any:
        """What a reference of the form `#/...` leads to.

        Raises:
            OpenApiError: it leads outside, or nowhere.
        """
        if not isinstance(reference, str) or not reference.startswith("#/"):
            raise OpenApiError(
                f"the reference {str(reference)[:100]!r} leads out of the document; only #/... is followed"
            )
        node: Any = self._document
        for part in unquote(reference[2:]).split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(node, list) and name.isdecimal() and int(name[:9]) < len(node):
                node = node[int(name[:9])]
            elif isinstance(node, Mapping) and name in node:
                node = node[name]
            else:
                raise OpenApiError(f"the reference {reference[:100]!r} leads nowhere")
        return node


class Schemas:
    """The schemas of one operation.

    Args:
        pointers: where the references of the document lead.
        old: whether the document is of version 3.0, whose schemas are a dialect of their own.
    """

    def __init__(self, pointers: Pointers, *, old: bool) -> None:
        self._pointers = pointers
        self._old = old
        self._names: dict[str, str] = {}
        self._nodes = 0
        self.definitions: dict[str, Any] = {}
        """What belongs below `$defs` of the schema that uses what `converted` gave."""

    def converted(self, schema: Any) -> Any:
        """`schema` in JSON Schema 2020-12.

        Raises:
            OpenApiError: it is none, is too large, or asks for what cannot be checked.
        """
        return self._converted(schema, 0)

    def _converted(self, schema: Any, depth: int) -> Any:
        self._nodes += 1
        if self._nodes > _MOST_NODES or depth > _DEEPEST:
            raise OpenApiError(
                f"its schema has more than {_MOST_NODES} parts, or more than {_DEEPEST} within each other"
            )
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, Mapping):
            raise OpenApiError("a schema is neither an object nor true or false")
        if "$dynamicRef" in schema:
            raise OpenApiError("its schema has $dynamicRef, which cannot be followed")
        result = {} if self._old and "$ref" in schema else self._keywords(schema, depth)
        if "$ref" in schema:
            result["$ref"] = f"#/$defs/{self._defined(schema['$ref'], depth)}"
        elif self._old and schema.get("nullable") is True:
            _allow_null(result)
        return result

    def _keywords(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        hidden = self._hidden(schema)
        for keyword, value in schema.items():
            if keyword in _LEFT_OUT or keyword == "$ref" or not isinstance(keyword, str):
                continue
            if keyword in _SCHEMA:
                result[keyword] = self._converted(value, depth + 1)
            elif keyword in _LISTS and isinstance(value, list):
                result[keyword] = [self._converted(one, depth + 1) for one in value]
            elif keyword in _NAMED and isinstance(value, Mapping):
                result[keyword] = {
                    str(name): self._converted(one, depth + 1) for name, one in value.items() if name not in hidden
                }
            elif keyword == "required" and isinstance(value, list):
                result[keyword] = [name for name in value if name not in hidden]
            elif keyword == "format":
                if value in CHECKER.checkers:  # int64, password and the like say nothing that could be checked
                    result[keyword] = value
            elif keyword in _KNOWN:
                result[keyword] = value
        if self._old:
            _newer_bounds(result)
        return result

    def _hidden(self, schema: Mapping[str, Any]) -> set[Any]:
        """Properties that only answers have."""
        properties = schema.get("properties")
        if not isinstance(properties, Mapping):
            return set()
        return {name for name, one in properties.items() if isinstance(one, Mapping) and one.get("readOnly") is True}

    def _defined(self, reference: Any, depth: int) -> str:
        found = self._pointers.at(reference)
        if reference not in self._names:
            wanted = re.sub(r"[^A-Za-z0-9_]", "_", str(reference).rpartition("/")[2])[:60] or "schema"
            name, place = wanted, 1
            while name in self._names.values():
                place += 1
                name = f"{wanted}_{place}"
            self._names[reference] = name
            self.definitions[name] = self._converted(found, depth + 1)
        return self._names[reference]


def _allow_null(schema: dict[str, Any]) -> None:
    if isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
        if isinstance(schema.get("enum"), list) and None not in schema["enum"]:
            schema["enum"] = [*schema["enum"], None]


def _newer_bounds(schema: dict[str, Any]) -> None:
    """In 3.0 `exclusiveMinimum` says of `minimum` whether it is excluded itself."""
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(schema.get(exclusive), bool) and schema.pop(exclusive) and bound in schema:
            schema[exclusive] = schema.pop(bound)
