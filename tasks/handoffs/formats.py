"""What JSON Schema's `format` and `pattern` mean here: every format that may be named is checked, and none runs on.

Formats: https://json-schema.org/draft/2020-12/json-schema-validation#name-defined-formats
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

import jsonschema
import orjson
import regex
from jsonschema import ValidationError

from tasks.handoffs.functions import is_email

MOST_SECONDS = 1.0
"""For one payload."""

_URI = regex.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`\x00-\x20\x7f]+")
_LABEL = regex.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_TIME = r"[0-2]\d:[0-5]\d:[0-6]\d(?:\.\d{1,9})?(?:[Zz]|[+-][0-2]\d:[0-5]\d)"
_DATE_TIME = regex.compile(rf"\d{{4}}-\d\d-\d\d[Tt]{_TIME}", regex.ASCII)

# Which of them the library checks depends on what else is installed; these it always does.
CHECKER = jsonschema.FormatChecker(formats=("date", "ipv4", "ipv6", "uuid"))
"""The formats that a schema may name."""


class _Descends(Protocol):
    def descend(self, instance: Any, schema: Any, path: Any = None, schema_path: Any = None) -> Any: ...


class TooSlowError(Exception):
    """A schema takes too long for this payload."""


class Keywords:
    """The keywords that could take for ever, for all payloads of one schema, within a time.

    `re` goes back over a text as often as a pattern asks for: `(a+)+$` takes hours for forty letters. `$ref` can lead
    back as often as a payload is deep, and the library compares all items of a list with each other.
    """

    def __init__(self) -> None:
        self._until = 0.0

    def begin(self) -> None:
        """A payload is looked at from now on."""
        self._until = time.monotonic() + MOST_SECONDS

    def keywords(self) -> dict[str, Any]:
        """By name, as the library wants them."""
        return {
            "pattern": self._pattern,
            "patternProperties": self._pattern_properties,
            "additionalProperties": self._additional_properties,
            "uniqueItems": self._unique_items,
            "$ref": self._reference("$ref"),
            "$dynamicRef": self._reference("$dynamicRef"),
        }

    def _left(self) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TooSlowError
        return left

    def _found(self, pattern: str, text: str) -> bool:
        try:
            return regex.search(pattern, text, timeout=self._left()) is not None
        except TimeoutError:
            raise TooSlowError from None

    def _pattern(self, _: object, pattern: str, instance: object, __: object) -> Iterator[ValidationError]:
        if isinstance(instance, str) and not self._found(pattern, instance):
            yield ValidationError("does not have the form that is asked for")

    def _pattern_properties(
        self, validator: _Descends, patterns: Mapping[str, object], instance: object, _: object
    ) -> Iterator[ValidationError]:
        for pattern, schema in patterns.items():
            for name, value in instance.items() if isinstance(instance, Mapping) else ():
                if self._found(pattern, name):
                    yield from validator.descend(value, schema, path=name, schema_path=pattern)

    def _additional_properties(
        self, validator: _Descends, extra: object, instance: object, schema: Mapping[str, Any]
    ) -> Iterator[ValidationError]:
        known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        for name, value in instance.items() if isinstance(instance, Mapping) else ():
            if name in known or any(self._found(pattern, name) for pattern in patterns):
                continue
            if extra is False:
                yield ValidationError("has fields that are not in the schema")
                return
            yield from validator.descend(value, extra, path=name)

    def _unique_items(self, _: object, wanted: object, instance: object, __: object) -> Iterator[ValidationError]:
        if wanted and isinstance(instance, list):
            known = {orjson.dumps(_comparable(one), option=orjson.OPT_SORT_KEYS) for one in instance}
            if len(known) < len(instance):
                yield ValidationError("has an item twice")

    def _reference(self, keyword: str) -> Any:
        follow = jsonschema.Draft202012Validator.VALIDATORS[keyword]

        def followed(validator: object, target: str, instance: object, schema: object) -> Any:
            self._left()
            return follow(validator, target, instance, schema)

        return followed


def _comparable(value: Any) -> Any:
    """JSON Schema takes 1 and 1.0 for the same."""
    if isinstance(value, dict):
        return {key: _comparable(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_comparable(one) for one in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"n{int(value)}" if value == int(value) else f"n{value!r}"
    return f"s{value}" if isinstance(value, str) else value


def _is_date_time(value: object) -> bool:
    """RFC 3339."""
    if not isinstance(value, str):
        return True
    try:
        return _DATE_TIME.fullmatch(value) is not None and bool(datetime.fromisoformat(value.upper()))
    except ValueError:
        return False


def _is_uri(value: object) -> bool:
    """RFC 3986, with a host where the scheme needs one."""
    if not isinstance(value, str):
        return True
    if not _URI.fullmatch(value):
        return False
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    return bool(host) or parts.scheme.lower() not in {"http", "https", "ftp"}


def _is_hostname(value: object) -> bool:
    """RFC 1123."""
    if not isinstance(value, str):
        return True
    labels = value.removesuffix(".").split(".")
    return len(value) <= 253 and all(_LABEL.fullmatch(label) for label in labels)


def _is_email(value: object) -> bool:
    return not isinstance(value, str) or is_email(value)


for _name, _check in (("date-time", _is_date_time), ("uri", _is_uri), ("hostname", _is_hostname), ("email", _is_email)):
    CHECKER.checks(_name)(_check)
