"""What JSON schemas are taken for answers, and whether an answer follows its own.

llama.cpp lets a model say whatever it likes where it cannot use a schema, or gives it up half-way for being too large,
and tells nobody. So schemas are looked at before, and answers after.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import orjson

from tasks.model_host.errors import EngineError, RequestError

_LARGEST = 20_000
"""Bytes of a schema."""
_MOST_REPEATED = 1_000
"""Repetitions that the expressions of a schema may ask for, multiplied: each takes memory of the host."""
_LONGEST = 100_000
"""Of texts and lists."""
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties", "minContains")
_QUANTIFIER = re.compile(r"\{(\d+)(?:,(\d*))?\}")
_PARAMETER = "response_format"
_REGULAR = ("pattern", "patternProperties", "format")
"""Keywords that are not looked at afterwards: an expression of a stranger can take for ever in Python."""


def check_schema(schema: Mapping[str, Any]) -> None:
    """Refuse what is no JSON schema (draft 2020-12), or too large, or refers to something that is not in it.

    Raises:
        RequestError: it is refused.
    """
    from jsonschema.exceptions import SchemaError  # noqa: PLC0415 - few requests have a schema

    size = len(orjson.dumps(schema))
    if size > _LARGEST:
        raise RequestError(f"The schema has {size:,} bytes, more than {_LARGEST:,}.", parameter=_PARAMETER)
    try:
        _validator().check_schema(schema)
    except SchemaError as error:
        where = "/".join(map(str, error.absolute_path)) or "its top"
        raise RequestError(f"The schema is not a JSON schema, at {where[:200]}.", parameter=_PARAMETER) from error
    _limits(schema)
    _references(schema, schema)


def check_answer(schema: Mapping[str, Any], text: str) -> None:
    """Refuse an answer that does not follow its schema.

    Raises:
        EngineError: it does not.
    """
    try:
        answer = json.loads(text)
        followed = _validator()(schema).is_valid(answer)
    except (ValueError, RecursionError):
        followed = False
    if not followed:
        raise EngineError("The model's answer does not follow the schema, which is too large or too deep for it.")


@cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator  # noqa: PLC0415
    from jsonschema.validators import extend  # noqa: PLC0415

    return extend(Draft202012Validator, dict.fromkeys(_REGULAR, lambda *_: None))


def _limits(node: Any) -> None:
    if isinstance(node, list):
        for one in node:
            _limits(one)
    elif isinstance(node, Mapping):
        for key, one in node.items():
            _limits(one)
            if key in _COUNTS and isinstance(one, int) and one > _LONGEST:
                raise RequestError(f"`{key}` of the schema is above {_LONGEST:,}.", parameter=_PARAMETER)
        patterns = [node.get("pattern"), *(node.get("patternProperties") or ())]
        for pattern in patterns:
            numbers = _QUANTIFIER.findall(pattern) if isinstance(pattern, str) else ()
            if math.prod(max(int(least), int(most or 0), 1) for least, most in numbers) > _MOST_REPEATED:
                raise RequestError(
                    f"A pattern of the schema repeats more than {_MOST_REPEATED:,} times.", parameter=_PARAMETER
                )


def _references(node: Any, root: Mapping[str, Any]) -> None:
    if isinstance(node, list):
        for one in node:
            _references(one, root)
    elif isinstance(node, Mapping):
        target, seen = node, 0
        while isinstance(target, Mapping) and isinstance(target.get("$ref"), str):
            target, seen = _resolved(target["$ref"], root), seen + 1
            if target is None or seen > len(root) + 1_000:
                raise RequestError("A `$ref` of the schema leads nowhere.", parameter=_PARAMETER)
        for one in node.values():
            _references(one, root)


def _resolved(reference: str, root: Any) -> Any:
    """What `#/...` of the schema means; None: nothing."""
    head, *steps = reference.split("/")
    if head != "#":
        return None
    for step in steps:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(root, list) and key.isascii() and key.isdigit() and int(key) < len(root):
            root = root[int(key)]
        elif isinstance(root, Mapping) and key in root:
            root = root[key]
        else:
            return None
    return root
