"""Payloads as they may be shown: that something is there and what kind, but not what."""

from __future__ import annotations

from pydantic import JsonValue


def masked_value(value: JsonValue) -> JsonValue:
    """`value` with every text cut down to its first letter; numbers, names of fields and truth values stay."""
    if isinstance(value, str):
        return f"{value[:1]}*** ({len(value)} characters)" if value else ""
    if isinstance(value, list):
        return [masked_value(one) for one in value]
    if isinstance(value, dict):
        return {key: masked_value(one) for key, one in value.items()}
    return value
