"""How many days from now a person needs something, from how they say it. Pure.

`models.crm.Lead.timeline` is what the rules of the handoffs found: `within 3 months`, `asap`, `by May 2027`.
"""

from __future__ import annotations

import re
from datetime import datetime

_NOW = re.compile(r"\b(?:asap|as soon as possible|immediately|right away|urgent(?:ly)?)\b", re.IGNORECASE)
_SPAN = re.compile(
    r"(?:(?P<low>\d{1,3})(?:\s*(?:-|to)\s*(?P<high>\d{1,3}))?|(?P<word>a few|an?|two|three|six|next|this))?\s*"
    r"(?P<unit>day|week|month|quarter|year)s?\b",
    re.IGNORECASE,
)
_DAYS = {"day": 1.0, "week": 7.0, "month": 30.4, "quarter": 91.3, "year": 365.25}
_COUNTS = {"a": 1.0, "an": 1.0, "a few": 3.0, "two": 2.0, "three": 3.0, "six": 6.0, "next": 1.5, "this": 0.5}
_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
_SEASONS = {"spring": 4, "summer": 7, "autumn": 10, "fall": 10, "winter": 1}
"""The middle month of each, on the northern half of the earth."""
_QUARTERS = {"q1": 2, "q2": 5, "q3": 8, "q4": 11}
_MONTH = re.compile(
    rf"\b(?P<month>{'|'.join((*_MONTHS, *_SEASONS, *_QUARTERS))})\b(?:\s+(?P<year>\d{{4}}))?", re.IGNORECASE
)


def horizon_days(timeline: str, said_at: datetime) -> float | None:
    """Days from `said_at` to when it is needed, never negative; None: the words do not say.

    Of a range the further end counts. Of a month or season, its middle; without a year, the next one that comes.
    """
    text = timeline[:200]
    if _NOW.search(text):
        return 0.0
    named = _MONTH.search(text)
    if named is not None:
        return _to_month(named["month"].lower(), named["year"], said_at)
    span = _SPAN.search(text)
    if span is None:
        return None
    told = span["high"] or span["low"]
    count = float(told) if told else _COUNTS.get((span["word"] or "a").lower(), 1.0)
    return count * _DAYS[span["unit"].lower()]


def _to_month(name: str, year: str | None, said_at: datetime) -> float:
    known = {month: number for number, month in enumerate(_MONTHS, start=1)} | _SEASONS | _QUARTERS
    month = known[name]
    wanted = int(year) if year else said_at.year + (month < said_at.month)
    months = (wanted - said_at.year) * 12 + month - said_at.month
    return max(0.0, months * _DAYS["month"] + 15.0 - said_at.day) if months else 0.0
