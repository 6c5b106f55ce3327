"""Cron expressions: which texts are none, said without the scheduler that reads them. Pure."""

from __future__ import annotations

import re

_ALIASES = frozenset({"@hourly", "@midnight", "@daily", "@weekly", "@monthly", "@yearly", "@annually"})
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ("l",)),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),
)
_ITEM = re.compile(r"(?:\*|\?|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d+))?", re.ASCII)
_NTH = re.compile(r"(?:l(?P<last>[0-7])|(?P<day>\w+)#[1-5])", re.ASCII)


def cron_problem(expression: str) -> str | None:
    """What is wrong with `expression`, as a part of a sentence; None for all that Prefect's scheduler reads."""
    text = expression.strip().lower()
    if text in _ALIASES:
        return None
    fields = text.split()
    if not 5 <= len(fields) <= 7:
        return "a cron expression has five fields, such as `30 5 * * *`"
    for value, (name, low, high, words) in zip(fields, _FIELDS, strict=False):
        for item in value.split(","):
            if not _is_item(item, low, high, words, days=name == "day of the week"):
                return f"{item!r} is no {name}"
    return None


def _is_item(item: str, low: int, high: int, words: tuple[str, ...], *, days: bool) -> bool:
    nth = _NTH.fullmatch(item) if days else None
    if nth is not None:
        return nth["day"] is None or _is_value(nth["day"], low, high, words)
    parts = _ITEM.fullmatch(item)
    if parts is None or (parts["step"] is not None and int(parts["step"]) == 0):
        return False
    return all(_is_value(part, low, high, words) for part in (parts["first"], parts["last"]) if part is not None)


def _is_value(text: str, low: int, high: int, words: tuple[str, ...]) -> bool:
    return text in words or (text.isdecimal() and low <= int(text) <= high)
