"""What a route makes of a message: filter, fields, validation. Pure: the same message gives the same payload."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from models.handoff_route import Route
from tasks.handoffs.expressions import Compiled, ExpressionError, compiled
from tasks.handoffs.functions import Context, FieldError
from tasks.handoffs.validate import Validator, filled

_MOST_PROBLEMS = 20

Extract = Callable[[Mapping[str, JsonValue]], Mapping[str, JsonValue]]
"""Finds fields in the text of a message's document."""


@dataclass(frozen=True)
class Quality:
    """What a message gave against what its route needs; the numbers behind accuracy and completeness."""

    given: int = 0
    valid: int = 0
    required: int = 0
    filled: int = 0


@dataclass(frozen=True)
class Transformed:
    """What became of one message."""

    passed: bool
    """Whether the filter let it through."""
    payload: dict[str, JsonValue]
    problems: tuple[str, ...]
    """What is wrong; with any, it cannot be delivered. Values of the message are not repeated."""
    quality: Quality
    conversation: str | None = None
    """What orders it, when the route says so itself."""
    fields: Mapping[str, JsonValue] = field(default_factory=dict)
    """Each field as its expression gave it, for a person who tries a route."""


class Transformation:
    """A route that was read, ready for any number of messages.

    Raises:
        ExpressionError: an expression or the schema cannot be used; the message names it.
    """

    def __init__(self, route: Route, schema: Mapping[str, Any] | None = None, extract: Extract | None = None) -> None:
        self._route = route
        self._context = Context(region=route.region, currency=route.currency)
        self._when = _read("when", route.when) if route.when else None
        self._conversation = _read("conversation", route.conversation) if route.conversation else None
        self._fields = {name: _read(f"fields.{name}", text) for name, text in route.fields.items()}
        self._rules = [(_read(f"rules[{i}]", rule.holds), rule.message) for i, rule in enumerate(route.rules)]
        self._validator = Validator(route.payload_schema or schema or {})
        self._extract = extract

    def apply(self, document: Mapping[str, JsonValue]) -> Transformed:
        """What `document` becomes."""
        known = dict(document)
        try:
            passed = self._when is None or _is_true(self._when.search(known, self._context))
        except (ExpressionError, FieldError) as error:
            return Transformed(passed=True, payload={}, problems=(f"when: {error}",), quality=Quality())
        if not passed:
            return Transformed(passed=False, payload={}, problems=(), quality=Quality())
        if self._extract is not None:
            known["extracted"] = dict(self._extract(document))
        values, broken, problems = self._evaluate(known)
        payload: dict[str, JsonValue] = {name: value for name, value in values.items() if value is not None}
        wrong, sentences = self._validator.check(payload)
        problems += [f"{name} is required and not there" for name in self._required(payload, broken)]
        problems += sentences
        if not problems:
            problems += self._broken_rules(payload)
        given = {*payload, *broken}
        quality = Quality(
            given=len(given),
            valid=len(given - broken - wrong),
            required=len(self._route.required),
            filled=sum(filled(payload.get(name)) for name in self._route.required),
        )
        conversation = None
        if self._conversation is not None:
            try:
                conversation = _named(self._conversation.search(known, self._context))
            except (ExpressionError, FieldError) as error:
                problems.append(f"conversation: {error}")
        return Transformed(
            passed=True,
            payload=payload,
            problems=tuple(problems[:_MOST_PROBLEMS]),
            quality=quality,
            conversation=conversation,
            fields=values,
        )

    def passes(self, document: Mapping[str, JsonValue]) -> bool:
        """Whether the filter lets `document` through; also where it cannot be told, which `apply` says."""
        try:
            return self._when is None or _is_true(self._when.search(dict(document), self._context))
        except (ExpressionError, FieldError):
            return True

    def check(self, payload: dict[str, JsonValue]) -> list[str]:
        """What is wrong with a payload that somebody wrote by hand."""
        _, sentences = self._validator.check(payload)
        missing = [f"{name} is required and not there" for name in self._required(payload, set())]
        return [*missing, *sentences] or self._broken_rules(payload)

    def _evaluate(self, document: dict[str, JsonValue]) -> tuple[dict[str, JsonValue], set[str], list[str]]:
        if not self._fields:
            values = document["extracted"] if self._extract is not None else document
            return dict(values) if isinstance(values, dict) else {}, set(), []
        values = {}
        broken: set[str] = set()
        problems: list[str] = []
        for name, expression in self._fields.items():
            try:
                values[name] = expression.search(document, self._context)
            except (ExpressionError, FieldError) as error:
                broken.add(name)
                values[name] = None
                if name in self._route.required:
                    problems.append(f"{name}: {error}")
        return values, broken, problems

    def _required(self, payload: Mapping[str, JsonValue], broken: set[str]) -> list[str]:
        return [name for name in self._route.required if name not in broken and not filled(payload.get(name))]

    def _broken_rules(self, payload: dict[str, JsonValue]) -> list[str]:
        broken = []
        for rule, message in self._rules:
            try:
                holds = _is_true(rule.search(payload, self._context))
            except (ExpressionError, FieldError) as error:
                broken.append(f"{message} ({error})")
                continue
            if not holds:
                broken.append(message)
        return broken


def idempotency_key(route: str, message_id: str) -> str:
    """What the far side knows a repetition by: 32 hexadecimal digits that tell nothing about the message."""
    return hashlib.blake2b(f"{route}\0{message_id}".encode(), digest_size=16, person=b"lama.handoff").hexdigest()


def _read(place: str, text: str) -> Compiled:
    try:
        return compiled(text)
    except ExpressionError as error:
        raise ExpressionError(f"{place}: {error}") from None


def _is_true(value: JsonValue) -> bool:
    return not (value is None or value is False or value in ("", [], {}))


def _named(value: JsonValue) -> str | None:
    return None if value is None else str(value)[:500]
