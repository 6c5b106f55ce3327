"""How values of a webhook's payload are named and put into parameters: dotted paths, no code.

`$.repository` is the value itself, `{repository.full_name}` is text within text. A value that comes from a payload is
never read as a template again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from pydantic import JsonValue

RESERVED_KEY = "__prefect_kind"
"""Prefect renders objects with this key as templates and variables; a payload must not get that far."""

_SEGMENT = r"[^\s.{}$]+"
_PATH = re.compile(rf"{_SEGMENT}(?:\.{_SEGMENT})*")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)
_PART = re.compile(r"\{\{|\}\}|\{(?P<path>[^{}]*)\}|[{}]")
_WHOLE = "$."
_NUL = "\x00"


class PayloadError(ValueError):
    """A payload does not hold what a template asks for."""


def parse_path(text: str) -> tuple[str, ...]:
    """`repository.owner.login` or `commits.0.id` as its segments.

    Raises:
        ValueError: it is not a path.
    """
    if not _PATH.fullmatch(text):
        raise ValueError(f"{text!r} is not a dotted path such as 'repository.full_name'")
    return tuple(text.split("."))


def lookup(payload: JsonValue, path: str) -> JsonValue:
    """The value at `path`.

    Raises:
        PayloadError: there is none.
    """
    value = payload
    for segment in parse_path(path):
        if isinstance(value, dict) and segment in value:
            value = value[segment]
        elif isinstance(value, list) and _INDEX.fullmatch(segment) and int(segment) < len(value):
            value = value[int(segment)]
        else:
            raise PayloadError(f"the payload has no {path!r}")
    return value


def check_template(template: JsonValue) -> None:
    """Whether `template` can be read at all, whatever the payload.

    Raises:
        ValueError: a brace or a path is malformed.
    """
    if isinstance(template, str):
        if _NUL in template:
            raise ValueError(f"{template!r} holds a NUL character, which cannot be stored")
        if template.startswith(_WHOLE):
            parse_path(template.removeprefix(_WHOLE))
            return
        for part in _PART.finditer(template):
            if part["path"] is not None:
                parse_path(part["path"])
            elif part[0] in {"{", "}"}:
                raise ValueError(f"{template!r} has a single {part[0]!r}; write it twice to mean the character itself")
    elif isinstance(template, Mapping):
        if RESERVED_KEY in template:
            raise ValueError(f"{RESERVED_KEY!r} is reserved by Prefect")
        for value in template.values():
            check_template(value)
    elif isinstance(template, Sequence):
        for value in template:
            check_template(value)


def resolve(template: JsonValue, payload: JsonValue) -> JsonValue:
    """`template` with the payload's values put in.

    Raises:
        PayloadError: a value is missing, is not text-like where text is wanted, or holds a key reserved by Prefect, or
            a NUL character, which PostgreSQL cannot store.
    """
    if isinstance(template, str):
        if template.startswith(_WHOLE):
            return _harmless(lookup(payload, template.removeprefix(_WHOLE)))
        return _PART.sub(lambda part: _text_of(part, payload), template)
    if isinstance(template, dict):
        return {name: resolve(value, payload) for name, value in template.items()}
    if isinstance(template, list):
        return [resolve(value, payload) for value in template]
    return template


def matches(where: Mapping[str, JsonValue], payload: JsonValue) -> bool:
    """Whether every path of `where` holds its value; texts are globs (`*`, `?`, `[...]`), all else must be equal."""
    for path, wanted in where.items():
        try:
            value = lookup(payload, path)
        except PayloadError:
            return False
        if isinstance(wanted, str):
            if not isinstance(value, str) or not fnmatchcase(value, wanted):
                return False
        elif isinstance(wanted, bool) is not isinstance(value, bool) or value != wanted:  # 1 == True in Python only
            return False
    return True


def _text_of(part: re.Match[str], payload: JsonValue) -> str:
    path = part["path"]
    if path is None:
        return part[0][0]
    value = lookup(payload, path)
    if isinstance(value, str):
        return _storable(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise PayloadError(f"{path!r} of the payload is {_kind(value)}, not a text or a number; '$.{path}' takes it whole")


def _kind(value: JsonValue) -> str:
    return "null" if value is None else "a list" if isinstance(value, list) else "an object"


def _harmless(value: JsonValue) -> JsonValue:
    waiting: list[JsonValue] = [value]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, str):
            _storable(inner)
        elif isinstance(inner, dict):
            if RESERVED_KEY in inner:
                raise PayloadError(f"the payload uses the key {RESERVED_KEY!r}, which is reserved by Prefect")
            waiting.extend((*inner, *inner.values()))
        elif isinstance(inner, list):
            waiting.extend(inner)
    return value


def _storable(text: str) -> str:
    if _NUL in text:
        raise PayloadError("a parameter would hold a NUL character, which cannot be stored")
    return text
