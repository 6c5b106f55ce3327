"""From the bytes of a delivery to its payload; everything that is not clean JSON is refused."""

from __future__ import annotations

import orjson
from pydantic import JsonValue

MAX_DEPTH = 100
"""Levels of nesting; what a payload ends up in (Prefect, databases) must be able to walk it."""


class GarbageError(ValueError):
    """The body is not a JSON object or list that can be used."""


def parse(body: bytes) -> JsonValue:
    """The payload.

    Raises:
        GarbageError: not UTF-8, not JSON by RFC 8259 (`NaN` is not), neither object nor list, or nested too deeply.
    """
    try:
        payload: JsonValue = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise GarbageError(f"the body is not JSON: {error.msg} at character {error.pos}") from error
    if not isinstance(payload, dict | list):
        raise GarbageError("the body is neither an object nor a list")
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH and _deeper_than(payload, MAX_DEPTH):
        raise GarbageError(f"the body is nested more than {MAX_DEPTH} levels deep")
    return payload


def _deeper_than(payload: JsonValue, limit: int) -> bool:
    level: list[JsonValue] = [payload]
    for _ in range(limit):
        level = [
            inner
            for value in level
            for inner in (value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True
