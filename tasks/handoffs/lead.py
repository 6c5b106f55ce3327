"""Finds a lead in what a person wrote: name, phone, e-mail, interest, budget, timeline, each with where it stands.

Rules, not a model: they say nothing that is not written, and the same text gives the same lead.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import phonenumbers
from pydantic import JsonValue

from tasks.handoffs.functions import Amount, Context, FieldError, amounts, phone, tidy

_LONGEST = 20_000

_EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{2,63}){1,5}")
_UPPER = r"(?-i:[A-ZÀ-ÖØ-Þ])"
_LETTERS = r"[\w'\u2019-]"
_NAME = re.compile(
    r"(?:\bmy name is|\bmy name's|\bthis is|\bi am|\bi'm|\bmein name ist|\bich hei(?:ss|ß)e|\bme llamo|\bje m'appelle)"
    rf"\s+(?P<name>{_UPPER}{_LETTERS}{{1,40}}"
    rf"(?:\s+(?:{_UPPER}(?:\.|{_LETTERS}{{1,40}})|van|von|de|der|la|bin)){{0,3}})",
    re.IGNORECASE,
)
_PROPERTY = (
    r"single[- ]family(?: home| house)?|apartments?|flats?|condos?|condominiums?|townhouses?|houses?|homes?|villas?|"
    r"duplex(?:es)?|studios?|lofts?|penthouses?|offices?|warehouses?|land|plots?|propert(?:y|ies)|bungalows?"
)
_PLACE = rf"{_UPPER}{_LETTERS}{{1,30}}"
_INTEREST = re.compile(
    r"(?P<interest>(?:\d{1,2}[- ]?(?:bed(?:room)?s?|br|rooms?)[, ]+(?:and \d{1,2}[- ]?bath(?:room)?s?[, ]+)?)?"
    rf"\b(?:{_PROPERTY})\b(?:\s+(?:in|near|at|around)\s+{_PLACE}(?:\s+{_PLACE}){{0,2}})?)",
    re.IGNORECASE,
)
_TIMELINE = re.compile(
    r"\b(?P<timeline>asap|as soon as possible|immediately|right away|urgent(?:ly)?|"
    r"(?:by|before|until|in|within|after|from|next|this|end of|start of|early|late)\s+"
    r"(?:the\s+)?(?:next\s+|end of\s+|\d{1,3}(?:\s*(?:-|to)\s*\d{1,3})?\s+|a few\s+|a\s+|two\s+|three\s+|six\s+)?"
    r"(?:days?|weeks?|months?|quarters?|years?|spring|summer|autumn|fall|winter|january|february|march|april|may|june|"
    r"july|august|september|october|november|december|q[1-4])(?:\s+\d{4})?)\b",
    re.IGNORECASE,
)
_BUDGET_WORDS = re.compile(r"budget|afford|spend|up to|max(?:imum)?|around|price|below|under|pay", re.IGNORECASE)
_NEAR = 40
_IN_NUMBERS = "+.,'"


@dataclass(frozen=True)
class Span:
    """Where in the text something stands."""

    start: int
    end: int


def is_part(text: str, span: Span) -> bool:
    """Whether what stands at `span` is only a piece of a word or number of `text`."""
    return _joined(text, span.start) or _joined(text, span.end)


def _joined(text: str, place: int) -> bool:
    """Whether what is before `place` and what is after it belong together."""
    before, after = text[:place][-2:], text[place : place + 2]
    if not before or not after:
        return False
    if before[-1].isalnum() and after[0].isalnum():
        return True
    # 1.350 or +49: a sign or a separator of a number is cut off from it
    return (before[-1] in _IN_NUMBERS and after[0].isdigit() and (before[-1] == "+" or before[:1].isdigit())) or (
        before[-1].isdigit() and after[0] in _IN_NUMBERS and after[1:].isdigit()
    )


Note = Callable[[str, JsonValue, "Span | str"], None]


def find_lead(document: Mapping[str, JsonValue], context: Context) -> dict[str, JsonValue]:
    """The lead of a message.

    Args:
        document: a message's, with `text`, and where the source knows them `from`, `name`, `occurred_at`.
        context: the country and currency of what is written without.

    Returns:
        The fields of `models.crm.Lead` that were found. `evidence` holds for each where it stands: a span of `text`, or
        the field of the message that says so.
    """
    text = str(document.get("text") or "")[:_LONGEST]
    found: dict[str, JsonValue] = {"text": text or None, "occurred_at": document.get("occurred_at")}
    evidence: dict[str, JsonValue] = {}

    def note(field: str, value: JsonValue, source: Span | str) -> None:
        found[field] = value
        evidence[field] = source if isinstance(source, str) else {"start": source.start, "end": source.end}

    money = amounts(text, context.currency)
    phones = phones_in(text, context, money)
    _who(document, text, context, phones, note)
    budget = _budget(text, money, phones)
    if budget is not None:
        note("budget", {"amount": budget.amount, "currency": budget.currency}, Span(budget.start, budget.end))
    for field, pattern in (("interest", _INTEREST), ("timeline", _TIMELINE)):
        match = pattern.search(text)
        if match:
            note(field, tidy(match[field]), Span(match.start(field), match.end(field)))
    found["evidence"] = evidence
    return {name: value for name, value in found.items() if value is not None}


def _who(
    document: Mapping[str, JsonValue], text: str, context: Context, phones: list[tuple[str, Span]], note: Note
) -> None:
    sender = document.get("from")
    if isinstance(sender, str) and sender:
        with contextlib.suppress(FieldError):  # a sender without a number
            note("phone", phone(sender, context.region), "from")
    elif phones:
        note("phone", *phones[0])
    address = _EMAIL.search(text)
    if address:
        local, _, domain = address[0].rpartition("@")
        note("email", f"{local}@{domain.lower()}", Span(*address.span()))
    told = _NAME.search(text)
    if told:
        note("name", tidy(told["name"]), Span(told.start("name"), told.end("name")))
    elif isinstance(document.get("name"), str) and str(document["name"]).strip():
        note("name", tidy(str(document["name"]))[:200], "name")


def phones_in(text: str, context: Context, money: Sequence[Amount]) -> list[tuple[str, Span]]:
    """The phone numbers in `text`. `350.000 €` would be one in some countries, but for its sign."""
    found = []
    for match in phonenumbers.PhoneNumberMatcher(text, context.region):
        span = Span(match.start, match.end)
        if not any(one.has_currency and overlap(one, span) for one in money):
            found.append((phonenumbers.format_number(match.number, phonenumbers.PhoneNumberFormat.E164), span))
    return found


def _budget(text: str, money: Sequence[Amount], phones: Sequence[tuple[str, Span]]) -> Amount | None:
    """The amount that is most likely the budget: one with a currency, or a large one beside a word about money."""
    best: tuple[tuple[bool, bool, bool, float], Amount] | None = None
    for one in money:
        if any(overlap(one, span) for _, span in phones):
            continue
        near = bool(_BUDGET_WORDS.search(text[max(0, one.start - _NEAR) : one.start]))
        plausible = one.has_currency or (one.amount >= 1_000 and (near or one.has_scale))
        weight = (one.has_currency, near, one.has_scale, one.amount)
        if plausible and (best is None or weight > best[0]):
            best = (weight, one)
    return None if best is None else best[1]


def overlap(one: Amount | Span, span: Span) -> bool:
    """Whether they have a character in common."""
    return one.start < span.end and span.start < one.end
