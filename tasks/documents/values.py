"""What a piece of a document's text means: amounts, days, areas, spans of time, names. Pure."""

from __future__ import annotations

import re

from pydantic import JsonValue

from models.documents import Kind
from tasks.handoffs.functions import Context, FieldError, amounts, day, tidy
from tasks.numerals import decimal_mark, plain_number

_LONGEST = 200
_UNITS = {
    "m2": 1.0, "m²": 1.0, "sqm": 1.0, "qm": 1.0, "square metres": 1.0, "square meters": 1.0, "quadratmeter": 1.0,
    "sq ft": 0.09290304, "sq. ft.": 0.09290304, "sqft": 0.09290304, "square feet": 0.09290304,
    "acres": 4046.8564224, "acre": 4046.8564224, "hectares": 10_000.0, "hectare": 10_000.0, "ha": 10_000.0,
}  # fmt: skip
"""Square metres in one; the international foot and acre."""
_NUMBER = r"\d{1,3}(?:[.,' \u00a0\u202f]\d{3})+(?:[.,]\d{1,2})?|\d{1,9}(?:[.,]\d{1,2})?"
_MEASURE = _NUMBER.replace(r"\d{1,2}", r"\d{1,4}")
"""The same with the decimals that areas have: land of 0.1725 acres."""
_ANY_UNIT = "|".join(re.escape(unit) for unit in sorted(_UNITS, key=len, reverse=True))
AREA = re.compile(
    rf"(?<![\d.,])(?P<number>{_MEASURE})\s?(?P<unit>{_ANY_UNIT})"
    r"(?!\w)",
    re.IGNORECASE,
)
MONEY = re.compile(
    rf"(?:[$€£]|\b(?:EUR|USD|GBP|CHF|CAD|AUD)\b)\s?(?:{_NUMBER})(?:,-+|\.-+)?|"
    rf"(?<![\d.,])(?:{_NUMBER})(?:,-+|\.-+)?\s?(?:[$€£]|(?:EUR|USD|GBP|CHF|CAD|AUD|euros?|dollars?)\b)",
    re.IGNORECASE,
)
_MONTHS = (
    r"Jan(?:uary|uar)?|Feb(?:ruary|ruar)?|Mar(?:ch)?|März|Apr(?:il)?|May|Mai|Jun[ei]?|Jul[yi]?|Aug(?:ust)?|"
    r"Sep(?:t(?:ember)?)?|Oct(?:ober)?|Okt(?:ober)?|Nov(?:ember)?|De[cz](?:ember)?"
)
DATE = re.compile(
    rf"\b\d{{4}}-\d{{2}}-\d{{2}}\b|\b\d{{1,2}}[./]\d{{1,2}}[./]\d{{4}}\b|"
    rf"\b\d{{1,2}}(?:st|nd|rd|th|\.)?\s+(?:day of\s+)?(?:{_MONTHS})\.?,?\s+\d{{4}}\b|"
    rf"\b(?:{_MONTHS})\.?\s+\d{{1,2}}(?:st|nd|rd|th)?,?\s+\d{{4}}\b",
    re.IGNORECASE,
)
SPAN = re.compile(
    r"\b(?:\d{1,3}|one|two|three|six|twelve|ein|zwei|drei|sechs|zwölf)\s*(?:\(\d{1,3}\)\s*)?"
    r"(?:days?|weeks?|months?|years?|tagen?|wochen?|monate?n?|jahre?n?)\b",
    re.IGNORECASE,
)
WORDS = re.compile(r"[^\n]{2,200}?(?=\s{2,}|\n|;|$)")

PATTERNS: dict[Kind, re.Pattern[str]] = {"money": MONEY, "date": DATE, "area": AREA, "span": SPAN, "words": WORDS}


def value_of(kind: Kind, quote: str, context: Context) -> JsonValue:
    """What `quote` says.

    Raises:
        FieldError: it is none of its kind.
    """
    if len(quote) > _LONGEST:
        raise FieldError("is too long")
    if kind == "money":
        return _money(quote, context)
    if kind == "date":
        return day(
            re.sub(r"(?<=\d)(?:st|nd|rd|th)\b|\bday of\b", "", quote, flags=re.IGNORECASE), context.region
        ).isoformat()
    if kind == "area":
        return _area(quote, context)
    told = tidy(quote).strip(" ,.;:-")
    if kind == "span":
        if SPAN.search(told) is None:
            raise FieldError("is no span of time")
        return told
    if not re.search(r"\w", told):
        raise FieldError("holds no word")
    return told


def _money(quote: str, context: Context) -> JsonValue:
    plain = re.sub(r"[,.]-+", "", quote)
    plain = re.sub(r"\beuros?\b", "EUR", plain, flags=re.IGNORECASE)
    plain = re.sub(r"\bdollars?\b", "USD", plain, flags=re.IGNORECASE)
    found = [one for one in amounts(plain, context.currency) if one.has_currency]
    if len(found) != 1:
        raise FieldError("is not one amount with a currency")
    return {"amount": found[0].amount, "currency": found[0].currency}


def _area(quote: str, context: Context) -> JsonValue:
    match = AREA.search(quote)
    if match is None:
        raise FieldError("is no area")
    number = float(plain_number(match["number"], decimal_mark(context.region)))
    unit = match["unit"].lower()
    if not 0 < number < 1e9:
        raise FieldError("is no area that land could have")
    return {"square_metres": round(number * _UNITS[unit], 4), "written": number, "unit": unit}
