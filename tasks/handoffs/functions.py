"""The functions that expressions of routes have beside JMESPath's own. None reads a file, a clock or the network."""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, TypeVar, cast

from jmespath.functions import Functions
from jmespath.functions import signature as _untyped_signature

_LONGEST = 10_000
"""Characters of a text that is looked into; what is longer is no phone number, date or amount."""
_LONGEST_DATE = 60
_MOST_PIECES = 50_000
_WORK = 10
"""Times the largest value: characters that the functions of one expression may look at, all together."""
_EMAIL = re.compile(r"[^\s@<>\"(),:;\[\]\\]{1,64}@(?:[^\s@.,<>\"]{1,63}\.)+[^\s@.,<>\"]{2,63}")
_SYMBOLS = {"$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR", "₽": "RUB", "₺": "TRY", "₪": "ILS", "R$": "BRL"}
_SCALES = {"k": 1_000, "thousand": 1_000, "m": 1_000_000, "mio": 1_000_000, "mn": 1_000_000, "million": 1_000_000}
# A number stands by itself: neither a piece of a longer one nor of a date such as 10.12.2027.
_AMOUNT = re.compile(
    r"(?P<before>R\$|[$€£¥₹₽₺₪]|\b[A-Z]{3})?\s?(?<!\d)(?<!\d[.,'])"
    r"(?P<number>\d{1,3}(?:[ \u00a0\u202f'.,]\d{3}){1,4}(?:[.,]\d{1,2})?|\d{1,15}(?:[.,]\d{1,2})?)(?!\d|[.,']\d)"
    r"\s?(?P<scale>k|thousand|mio|mn|million|m)?(?![A-Za-z])\s?(?P<after>[$€£¥₹₽₺₪]|[A-Z]{3}\b)?",
    re.IGNORECASE,
)
_ONE_NUMBER = re.compile(
    r"[-+]?(?<!\d)(?<!\d[.,'])(?<!\de)(?<!\de[-+])"
    r"(?:\d{1,3}(?:[ \u00a0\u202f'.,]\d{3}){1,4}(?:[.,]\d{1,9})?|\d{1,15}(?:[.,]\d{1,9})?)"
    r"(?!\d|[.,']\d|e[-+]?\d)",
    re.IGNORECASE,
)
# How dates in figures are ordered, by country; elsewhere the day comes first. Unicode CLDR, short date formats.
_MONTH_FIRST = frozenset({"US", "FM", "MH", "PH", "PW"})
_YEAR_FIRST = frozenset({"BT", "CA", "CN", "HU", "IR", "JP", "KP", "KR", "LT", "MN", "SE", "TW", "ZA"})

_F = TypeVar("_F", bound=Callable[..., Any])

_TEXT: dict[str, list[str]] = {"types": ["string"]}
_TEXT_OR_NULL: dict[str, list[str]] = {"types": ["string", "null"]}
_SCALAR_OR_NULL: dict[str, list[str]] = {"types": ["string", "number", "null"]}
_ANY: dict[str, list[str]] = {"types": []}


class FieldError(ValueError):
    """A value is there, and is not what it should be. The message does not repeat it: it may be a person's."""


class TooLargeError(Exception):
    """What a function would build is larger than what may be built."""


@dataclass(frozen=True)
class Context:
    """What a route says about the messages that it takes."""

    region: str = "US"
    """Country of phone numbers that are written without one, ISO 3166-1."""
    currency: str = "USD"
    """Currency of amounts that are written without one, ISO 4217."""


def phone(text: str, region: str) -> str:
    """`text` in E.164, `+491711234567`.

    Raises:
        FieldError: it is no phone number that could be called.
    """
    import phonenumbers  # noqa: PLC0415 - 30 ms and its tables

    try:
        number = phonenumbers.parse(text[:100], region)
    except phonenumbers.NumberParseException:
        raise FieldError("is no phone number") from None
    if not phonenumbers.is_possible_number(number):
        raise FieldError("is too long or too short for a phone number")
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def moment(value: str | float) -> datetime:
    """A time from ISO 8601, RFC 2822 or seconds since 1970; without a zone it is UTC.

    Raises:
        FieldError: it is none of them, or not one that a person could mean.
    """
    from email.utils import parsedate_to_datetime  # noqa: PLC0415

    text = str(value).strip()[:100]
    try:
        if re.fullmatch(r"-?\d{9,13}(\.\d+)?", text):
            seconds = float(text)
            return datetime.fromtimestamp(seconds / 1000 if abs(seconds) > 1e11 else seconds, tz=UTC)
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        try:
            found = parsedate_to_datetime(text)
        except (ValueError, TypeError, OverflowError, IndexError):
            raise FieldError("is no date or time") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def day(value: str | float, region: str) -> date:
    """A date: as `moment`, and as people of `region` write them, in figures or words of any language.

    `tomorrow` is none: what it means depends on when it is read, and the same message must always give the same.

    Raises:
        FieldError: no date is meant.
    """
    try:
        return moment(value).date()
    except FieldError:
        text = " ".join(str(value).split())
        # A date in words has a year in figures; what has only points or is very long costs time and is none.
        if isinstance(value, int | float) or len(text) > _LONGEST_DATE or not any(c.isdigit() for c in text):
            raise
        import dateparser  # noqa: PLC0415 - half a second, and only for what people wrote

        order = "MDY" if region in _MONTH_FIRST else "YMD" if region in _YEAR_FIRST else "DMY"
        settings = {
            "REQUIRE_PARTS": ["day", "month", "year"],
            "PARSERS": ["absolute-time"],
            "DATE_ORDER": order,
            "PREFER_LOCALE_DATE_ORDER": False,
        }
        try:
            found = dateparser.parse(text, settings=settings)
        except (ValueError, OverflowError, RecursionError):
            raise FieldError("is no date or time") from None
        if found is None:
            raise
        told: date = found.date()
        return told


def amount(value: str | float, currency: str) -> dict[str, Any]:
    """The amount of money in `value`: `{"amount": 350000.0, "currency": "EUR"}`.

    The first with a currency; otherwise the first with a scale, such as `350k`; otherwise the first number.

    Raises:
        FieldError: there is none.
    """
    if isinstance(value, int | float):
        return {"amount": _finite(value), "currency": currency}
    found = amounts(value, currency)
    if not found:
        raise FieldError("holds no amount")
    best = max(found, key=lambda one: (one.has_currency, one.has_scale))
    return {"amount": best.amount, "currency": best.currency}


@dataclass(frozen=True)
class Amount:
    """An amount of money where it was found."""

    amount: float
    currency: str
    has_currency: bool
    has_scale: bool
    start: int
    end: int


def amounts(text: str, currency: str) -> list[Amount]:
    """Every number in `text` that may be an amount of money, in order; `currency` where none is written."""
    found = []
    for match in _AMOUNT.finditer(text[:_LONGEST]):
        named = (match["before"] or match["after"] or "").upper()
        code = _SYMBOLS.get(named, named)
        known = bool(code) and _is_currency(code)
        scale = (match["scale"] or "").lower()
        number = _number(match["number"], decimal=scale.startswith("m")) * _SCALES.get(scale, 1)
        told = match[0]
        start = match.start() + len(told) - len(told.lstrip())
        found.append(
            Amount(
                amount=float(number),
                currency=code if known else currency,
                has_currency=known,
                has_scale=bool(scale),
                start=start,
                end=start + len(told.strip()),
            )
        )
    return found


def _is_currency(code: str) -> bool:
    return code in {*_SYMBOLS.values(), "CHF", "CAD", "AUD", "NZD", "SEK", "NOK", "DKK", "PLN", "CZK", "HUF", "CNY",
                    "HKD", "SGD", "ZAR", "MXN", "AED", "SAR", "THB", "KRW", "IDR", "MYR", "PHP", "VND", "EGP", "NGN",
                    "KES", "ARS", "CLP", "COP", "PEN", "UAH", "RON", "BGN", "ISK"}  # fmt: skip


def _number(text: str, *, decimal: bool = False) -> Decimal:
    """A number with whatever separators. The last one is the decimal point, unless exactly three digits follow it:
    `1.500` is 1500. But `0.125` is less than one, and the only one of a `decimal` is a point, as in `2.125 million`.
    """
    digits = re.sub(r"[ \u00a0\u202f']", "", text)
    last = max(digits.rfind("."), digits.rfind(","))
    fraction = len(digits) - last - 1 != 3 or digits[:last].lstrip("+-") == "0"
    if last >= 0 and (fraction or (decimal and len(re.findall(r"[.,]", digits)) == 1)):
        return Decimal(re.sub(r"[.,]", "", digits[:last]) + "." + digits[last + 1 :])
    return Decimal(re.sub(r"[.,]", "", digits))


def number(value: str | float) -> float:
    """The one number in `value`.

    Raises:
        FieldError: there is none, or more than one.
    """
    if isinstance(value, int | float):
        return _finite(value)
    found = list(_ONE_NUMBER.finditer(value[:_LONGEST]))
    if not found:
        raise FieldError("is no number")
    if len(found) > 1:
        raise FieldError("holds more than one number")
    return float(_number(found[0][0]))


def _finite(value: float) -> float:
    try:
        told = float(value)
    except OverflowError:
        raise FieldError("is too large for a number") from None
    if not math.isfinite(told):
        raise FieldError("is no number")
    return told


def is_email(text: str) -> bool:
    """Whether `text` is an address for e-mail, and nothing else."""
    return _EMAIL.fullmatch(text) is not None


def tidy(text: str) -> str:
    """`text` in NFC, without control characters, with single blanks."""
    plain = "".join(c for c in unicodedata.normalize("NFC", text) if c in "\n\t" or unicodedata.category(c)[0] != "C")
    return " ".join(plain.split())


def signature(*arguments: dict[str, list[str]]) -> Callable[[_F], _F]:
    """The library's decorator, which is not typed."""
    return cast("Callable[[_F], _F]", _untyped_signature(*arguments))


class HandoffFunctions(Functions):  # type: ignore[misc]
    """JMESPath's functions and ours; every one of ours gives null for null."""

    def __init__(self, context: Context, *, largest: int) -> None:
        self._context = context
        self._largest = largest
        self._left = largest * _WORK

    def call_function(self, function_name: str, resolved_args: list[Any]) -> Any:
        """As the library does, within what may be looked at.

        Raises:
            TooLargeError: more than that.
        """
        for one in resolved_args:
            size = len(one) if isinstance(one, str) else 8 * len(one) if isinstance(one, dict | list) else 8
            self._left -= size
            if size > self._largest or self._left < 0:
                raise TooLargeError
        return super().call_function(function_name, resolved_args)

    @signature(_TEXT, {"types": ["array-string"]})
    def _func_join(self, separator: str, parts: list[str]) -> str:
        if sum(map(len, parts)) + len(separator) * len(parts) > self._largest:
            raise TooLargeError
        return separator.join(parts)

    @signature(_SCALAR_OR_NULL)
    def _func_phone(self, value: str | float | None) -> str | None:
        return None if value in {None, ""} else phone(str(value), self._context.region)

    @signature(_TEXT_OR_NULL)
    def _func_email(self, value: str | None) -> str | None:
        if not value:
            return None
        found = _EMAIL.search(value[:_LONGEST])
        if found is None:
            raise FieldError("holds no e-mail address")
        local, _, domain = found[0].rpartition("@")
        return f"{local}@{domain.lower()}"

    @signature(_SCALAR_OR_NULL)
    def _func_date(self, value: str | float | None) -> str | None:
        return None if value in {None, ""} else day(value, self._context.region).isoformat()

    @signature(_SCALAR_OR_NULL)
    def _func_datetime(self, value: str | float | None) -> str | None:
        return None if value in {None, ""} else moment(value).astimezone(UTC).isoformat()

    @signature(_SCALAR_OR_NULL)
    def _func_money(self, value: str | float | None) -> dict[str, Any] | None:
        return None if value in {None, ""} else amount(value, self._context.currency)

    @signature(_SCALAR_OR_NULL)
    def _func_number(self, value: str | float | None) -> float | None:
        return None if value in {None, ""} else number(value)

    @signature(_TEXT_OR_NULL)
    def _func_tidy(self, value: str | None) -> str | None:
        return None if value is None else tidy(value)

    @signature(_TEXT_OR_NULL)
    def _func_name(self, value: str | None) -> str | None:
        """A person's name, tidied; `SMITH, john` becomes `John Smith`."""
        if not value or not (told := tidy(value)):
            return None
        if told.count(",") == 1:
            last, first = (part.strip() for part in told.split(","))
            told = f"{first} {last}".strip()
        if not any(c.isalpha() for c in told):
            raise FieldError("is no name")
        return " ".join(word.capitalize() if word.isupper() or word.islower() else word for word in told.split())[:200]

    @signature(_TEXT_OR_NULL)
    def _func_lower(self, value: str | None) -> str | None:
        return None if value is None else value.lower()

    @signature(_TEXT_OR_NULL)
    def _func_upper(self, value: str | None) -> str | None:
        return None if value is None else value.upper()

    @signature(_TEXT_OR_NULL)
    def _func_slug(self, value: str | None) -> str | None:
        if value is None:
            return None
        plain = unicodedata.normalize("NFKD", value).encode("ascii", "ignore").decode().lower()
        return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")

    @signature(_TEXT_OR_NULL)
    def _func_digest(self, value: str | None) -> str | None:
        """SHA-256 in hexadecimal digits."""
        return None if value is None else hashlib.sha256(value.encode()).hexdigest()

    @signature(_TEXT_OR_NULL, {"types": ["number"]})
    def _func_shorten(self, value: str | None, length: float) -> str | None:
        return None if value is None else value[: max(0, int(length))]

    @signature(_TEXT_OR_NULL, _TEXT)
    def _func_split(self, value: str | None, separator: str) -> list[str] | None:
        if value is None:
            return None
        if not separator:
            raise FieldError("cannot be split at nothing")
        if value.count(separator) > _MOST_PIECES:
            raise TooLargeError
        return [part.strip() for part in value.split(separator)]

    @signature(_TEXT_OR_NULL)
    def _func_words(self, value: str | None) -> list[str] | None:
        if value is None:
            return None
        found = value.split(maxsplit=_MOST_PIECES)
        if len(found) > _MOST_PIECES:
            raise TooLargeError
        return found

    @signature(_ANY, _ANY)
    def _func_default(self, value: Any, otherwise: Any) -> Any:
        return otherwise if value is None else value
