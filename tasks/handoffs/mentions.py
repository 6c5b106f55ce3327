"""Where the number or the address of a person stands within texts and ids, however it is written there. Pure.

PostgreSQL looks for what may be one, by regular expressions that it reads in one pass; here it is looked at exactly.
"""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Sequence

_NUMBER = re.compile(r"\+[1-9]\d{6,14}")
_SEPARATORS = r"[ \t\u00a0\u202f()./\u2010-\u2015-]{0,4}"
_BEFORE, _AFTER = 25, 15
"""Characters around a number that may belong to it."""


class Mentions:
    """What tells of a person, by their keys: numbers in E.164 and addresses; other keys are in no text."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._numbers = [key for key in keys if _NUMBER.fullmatch(key)]
        self._addresses = [key.lower() for key in keys if "@" in key]
        self._may_be = [(number, re.compile(_spread(_national(number), "[^0-9]{0,4}"))) for number in self._numbers]
        self._international = {
            number: re.compile(rf"(?<!\d)(?:00)?{_spread(number[1:], _SEPARATORS)}(?!\d)") for number in self._numbers
        }
        self._address_in_text = [
            re.compile(rf"(?<![\w.+-]){re.escape(address)}(?![\w-]|\.\w)") for address in self._addresses
        ]

    @property
    def patterns(self) -> list[str]:
        """POSIX regular expressions for texts in which one of the numbers may be."""
        return [pattern.pattern for _, pattern in self._may_be]

    @property
    def likes(self) -> list[str]:
        """Patterns of LIKE for texts, in small letters, in which one of the addresses may be."""
        return [f"%{like(address)}%" for address in self._addresses]

    @property
    def plain(self) -> list[bytes]:
        """The keys as they stand in bytes that are too many to look at more closely."""
        return [number[1:].encode() for number in self._numbers] + [one.encode() for one in self._addresses]

    @property
    def in_ids(self) -> list[str]:
        """Patterns of LIKE for ids that hold one of them; WhatsApp's hold the number in base64."""
        return [
            *self.likes,
            *(f"%{number[1:]}%" for number in self._numbers),
            *(f"%{like(piece)}%" for number in self._numbers for piece in _in_base64(number[1:].encode())),
        ]

    def found_in(self, text: str) -> bool:
        """Whether `text` tells one of the numbers or addresses."""
        small = text.lower()
        if any(pattern.search(small) for pattern in self._address_in_text):
            return True
        return any(self._number_in(text, number, may_be) for number, may_be in self._may_be)

    def _number_in(self, text: str, number: str, may_be: re.Pattern[str]) -> bool:
        for found in may_be.finditer(text):
            around = text[max(0, found.start() - _BEFORE) : found.end() + _AFTER]
            if self._international[number].search(around) or number in _numbers_in(around, _region(number)):
                return True
        return False


def like(text: str) -> str:
    """`text` as a pattern of LIKE that stands for itself."""
    return text.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")


def _spread(digits: str, between: str) -> str:
    return between.join(digits)


def _in_base64(content: bytes) -> list[str]:
    """What `content` looks like within base64, for each of the three ways in which it can lie there."""
    pieces = []
    for offset, first in ((0, 0), (1, 2), (2, 3)):
        whole = (offset + len(content)) // 3 * 4
        rest = (0, 1, 2)[(offset + len(content)) % 3]  # letters of the last group that no later byte changes
        pieces.append(base64.b64encode(bytes(offset) + content).decode()[first : whole + rest])
    return pieces


def _national(number: str) -> str:
    import phonenumbers  # noqa: PLC0415 - 30 ms and its tables

    return str(phonenumbers.national_significant_number(phonenumbers.parse(number)))


@functools.lru_cache(maxsize=64)
def _region(number: str) -> str | None:
    import phonenumbers  # noqa: PLC0415

    region = phonenumbers.region_code_for_number(phonenumbers.parse(number))
    return None if region is None else str(region)


def _numbers_in(text: str, region: str | None) -> set[str]:
    import phonenumbers  # noqa: PLC0415

    found = phonenumbers.PhoneNumberMatcher(text, region, leniency=phonenumbers.Leniency.POSSIBLE)
    return {phonenumbers.format_number(one.number, phonenumbers.PhoneNumberFormat.E164) for one in found}
