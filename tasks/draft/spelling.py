"""How figures and days are written, for drafts, and read again. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

from models.draft import Language
from tasks.numerals import plain_number

_SYMBOLS = {"$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR"}
_CODES = "EUR|USD|GBP|CHF|CAD|AUD|NZD|JPY|INR|SEK|NOK|DKK|PLN|CZK|HUF|CNY|ZAR|AED|BRL|MXN|TRY"
_CURRENCY_WORDS = {
    "euro": "EUR", "euros": "EUR", "dollar": "USD", "dollars": "USD", "pound": "GBP", "pounds": "GBP", "franken": "CHF",
    "francs": "CHF",
}  # fmt: skip
_SCALES = {
    "k": 3, "thousand": 3, "tausend": 3, "tsd": 3, "tsd.": 3, "m": 6, "mn": 6, "mio": 6, "mio.": 6, "million": 6,
    "millions": 6, "millionen": 6, "bn": 9, "billion": 9, "mrd": 9, "mrd.": 9, "milliarden": 9,
}  # fmt: skip
_AREAS = {
    "m²": "m2", "m2": "m2", "sqm": "m2", "qm": "m2", "square metres": "m2", "square meters": "m2", "quadratmeter": "m2",
    "sq ft": "sqft", "sq. ft.": "sqft", "sqft": "sqft", "square feet": "sqft", "ft²": "sqft", "acres": "acre",
    "acre": "acre", "ha": "ha", "hectares": "ha", "hektar": "ha",
}  # fmt: skip
_BLANK = "[ \u00a0\u202f\u2009]"


def _any(words: dict[str, object] | dict[str, int] | dict[str, str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


_FIGURE = re.compile(
    rf"(?P<before>[{''.join(map(re.escape, _SYMBOLS))}]|\b(?:{_CODES})\b)?{_BLANK}?"
    rf"(?P<sign>[-+\u2212](?=\d))?(?P<number>\d+(?:[.,'\u2019\u00a0\u202f\u2009]\d+|{_BLANK}\d{{3}}(?!\d))*)"
    rf"(?:{_BLANK}?(?P<scale>{_any(_SCALES)})(?![\w.]|\w))?"
    rf"(?:{_BLANK}?(?P<after>[{''.join(map(re.escape, _SYMBOLS))}%‰]|(?:{_CODES}|{_any(_CURRENCY_WORDS)}|percent|"
    rf"per cent|prozent|{_any(_AREAS)})(?!\w)))?",
    re.IGNORECASE,
)
_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            ("january", "jan", "januar"), ("february", "feb", "februar"), ("march", "mar", "märz"), ("april", "apr"),
            ("may", "mai"), ("june", "jun", "juni"), ("july", "jul", "juli"), ("august", "aug"),
            ("september", "sep", "sept"), ("october", "oct", "oktober", "okt"), ("november", "nov"),
            ("december", "dec", "dezember", "dez"),
        ),
        start=1,
    )
    for name in names
}  # fmt: skip
_MONTH = _any({name: str(number) for name, number in _MONTHS.items()})
_DAY = re.compile(
    rf"\b(?P<y1>\d{{4}})-(?P<m1>\d{{2}})-(?P<d1>\d{{2}})\b|"
    rf"\b(?P<a>\d{{1,2}})(?P<by>[./])(?P<b>\d{{1,2}})(?P=by)(?P<y2>\d{{4}})\b|"
    rf"\b(?P<d3>\d{{1,2}})(?:st|nd|rd|th|\.)?\s+(?:of\s+)?(?P<m3>{_MONTH})\b\.?,?(?:\s+(?P<y3>\d{{4}})\b)?|"
    rf"\b(?P<m4>{_MONTH})\.?\s+(?P<d4>\d{{1,2}})(?:st|nd|rd|th)?\b(?!\d)(?:,?\s+(?P<y4>\d{{4}})\b)?|"
    rf"\b(?P<m5>{_MONTH})\.?\s+(?P<y5>\d{{4}})\b",
    re.IGNORECASE,
)

_UNITS = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
_TENS = {
    word: 10 * number
    for number, word in enumerate(
        ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"), start=2
    )
}
_LARGE = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
_SPELT = re.compile(
    rf"(?<!\w)(?:{_any(_UNITS | _TENS)})(?:[ -]+(?:and )?(?:{_any(_UNITS | _TENS | _LARGE)}))*(?!\w)|"
    rf"(?<!\w)a (?:{_any(_LARGE)})(?!\w)",
    re.IGNORECASE,
)
_GERMAN = {
    "zwei": 2, "drei": 3, "vier": 4, "fünf": 5, "sechs": 6, "sieben": 7, "acht": 8, "neun": 9, "zehn": 10, "elf": 11,
    "zwölf": 12,
}  # fmt: skip
_GERMAN_SPELT = re.compile(rf"(?<!\w)(?:{_any(_GERMAN)})(?!\w)", re.IGNORECASE)
_UNREADABLE = re.compile(
    r"(?<!\w)(?:dozens?|half|halves|twice|double[ds]?|triple[ds]?|thirds?|quarters? of|hundreds|thousands|millions|"
    r"tens of|couple of|dutzende?|halb\w*|doppelt\w*|verdoppel\w*|dreifach\w*|drittel|viertel|hunderte|tausende|"
    r"\w*(?:hundert|tausend|million|milliarde|zehn|zig|ßig)\w*)(?!\w)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Figure:
    """A number, an amount, a share or an area, as it is written."""

    start: int
    end: int
    value: Decimal
    """What it means."""
    step: Decimal
    """The step that it is rounded to: 1,000 for 352,000 and for 352 thousand."""
    kind: Literal["money", "percent", "area", "number"]
    unit: str = ""


@dataclass(frozen=True)
class Day:
    """A day, or a month (without a day), or a day of any year (without a year)."""

    start: int
    end: int
    readings: tuple[tuple[int | None, int, int | None], ...]
    """Year, month and day; `03/04/2026` can be read in two ways."""


@dataclass(frozen=True)
class Unreadable:
    """A figure that cannot be compared with a record as it is written."""

    start: int
    end: int


def written(value: float, *, decimals: int, language: Language) -> str:
    """`value` with separators of thousands, as `language` has them."""
    told = f"{value:,.{decimals}f}"
    return told if language == "en" else told.translate(str.maketrans(",.", ".,"))


def written_day(day: date, language: Language) -> str:
    """A day in words in English, in figures in German."""
    return f"{day.day} {day:%B} {day.year}" if language == "en" else f"{day.day}.{day.month}.{day.year}"


def read(text: str, language: Language) -> Iterator[Figure | Day | Unreadable]:
    """Every figure and day of `text`, in order; `language` decides what `1.234` is."""
    taken: list[tuple[int, int]] = []

    def free(start: int, end: int) -> bool:
        return all(end <= a or start >= b for a, b in taken)

    found: list[Figure | Day | Unreadable] = []
    for place, letter in enumerate(text):  # figures of other scripts, fractions, figures in circles
        if letter.isnumeric() and not letter.isascii() and letter not in "²³":
            found.append(Unreadable(place, place + 1))
    for one in found:
        text = f"{text[: one.start]} {text[one.end :]}"
    for match in _DAY.finditer(text):
        found.append(_day(match))
        taken.append(match.span())
    for match in _FIGURE.finditer(text):
        start = (
            match.start("before")
            if match["before"]
            else match.start("sign")
            if match["sign"]
            else match.start("number")
        )
        if free(start, match.end()):
            found.append(_figure(match, start, language))
            taken.append((start, match.end()))
    for pattern, value in ((_SPELT, _spelt), (_GERMAN_SPELT, lambda word: _GERMAN[word.lower()])):
        for match in pattern.finditer(text):
            if free(*match.span()) and match[0].lower() not in {"one"}:
                number = Decimal(value(match[0]))
                found.append(Figure(*match.span(), number, _step_of(str(number)), "number"))
                taken.append(match.span())
    for match in _UNREADABLE.finditer(text):
        if free(*match.span()):
            found.append(Unreadable(*match.span()))
            taken.append(match.span())
    yield from sorted(found, key=lambda one: one.start)


def _figure(match: re.Match[str], start: int, language: Language) -> Figure:
    scale = Decimal(10) ** _SCALES.get((match["scale"] or "").lower(), 0)
    after, before = (match["after"] or "").lower(), match["before"] or ""
    currency = _SYMBOLS.get(before) or (before.upper() if before else "")
    currency = (
        currency
        or _SYMBOLS.get(after)
        or _CURRENCY_WORDS.get(after)
        or (after.upper() if re.fullmatch(_CODES, after, re.IGNORECASE) else "")
    )
    kind: Literal["money", "percent", "area", "number"] = "number"
    unit = ""
    if after in {"%", "percent", "per cent", "prozent"}:
        kind = "percent"
    elif after in _AREAS:
        kind, unit = "area", _AREAS[after]
    elif currency:
        kind, unit = "money", currency
    sign = -1 if (match["sign"] or "") in {"-", "\u2212"} else 1
    # money has no thousandths, and before a scale nobody writes thousands: `1.234 million`
    lone: Literal["decimal", "thousands"] | None = (
        "decimal" if match["scale"] else "thousands" if kind == "money" else None
    )
    told = plain_number(match["number"], "." if language == "en" else ",", lone=lone)
    return Figure(start, match.end(), sign * Decimal(told) * scale, _step_of(told) * scale, kind, unit)


def _step_of(number: str) -> Decimal:
    """The step that a number as written is rounded to."""
    _, mark, part = number.partition(".")
    if mark and part.strip("0"):
        return Decimal(1).scaleb(-len(part))
    whole = number.partition(".")[0].lstrip("0") or "0"
    return Decimal(10) ** (len(whole) - len(whole.rstrip("0") or "0")) if whole != "0" else Decimal(1)


def _spelt(words: str) -> int:
    """An English number in words: `three hundred and fifty thousand`."""
    total, group = 0, 0
    for word in re.findall(r"[a-z]+", words.lower()):
        if word in {"and", "a"}:
            group = group or (1 if word == "a" else 0)
        elif word in _UNITS or word in _TENS:
            group += _UNITS.get(word, 0) + _TENS.get(word, 0)
        elif word == "hundred":
            group = max(1, group) * 100
        else:
            total += max(1, group) * _LARGE[word]
            group = 0
    return total + group


def _day(match: re.Match[str]) -> Day:
    told = match.groupdict()
    if told["y1"]:
        readings = [(int(told["y1"]), int(told["m1"]), int(told["d1"]))]
    elif told["y2"]:
        one, two, year = int(told["a"]), int(told["b"]), int(told["y2"])
        # with points the day comes first everywhere; with strokes it depends on the country
        readings = [(year, two, one)] if told["by"] == "." else [(year, one, two), (year, two, one)]
    elif told["m3"]:
        year3 = int(told["y3"]) if told["y3"] else None
        return Day(*match.span(), ((year3, _MONTHS[told["m3"].lower()], int(told["d3"])),))
    elif told["m4"]:
        year4 = int(told["y4"]) if told["y4"] else None
        return Day(*match.span(), ((year4, _MONTHS[told["m4"].lower()], int(told["d4"])),))
    else:
        return Day(*match.span(), ((int(told["y5"]), _MONTHS[told["m5"].lower()], None),))
    return Day(*match.span(), tuple(readings))
