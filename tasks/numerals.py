"""What a number is whose separators may be of thousands or of decimals. Pure."""

from __future__ import annotations

import re
from typing import Literal

DecimalMark = Literal[".", ","]

# Countries whose decimal mark is a point, by Unicode's CLDR; the others write a comma.
_COUNTRIES = """
AU BB BD BN BS BW BZ CA CH CN DO ET FJ GB GH GT GY HK HN IE IL IN JM JP KE KR LI LK MM MO MT MW MX MY NA NG NI NP
NZ PA PE PG PH PK PR SG SL SV TH TT TW TZ UG US ZM ZW
"""
_POINT = frozenset(_COUNTRIES.split())


def decimal_mark(region: str) -> DecimalMark:
    """What stands before the decimals in `region`, a country of ISO 3166-1."""
    return "." if region in _POINT else ","


def plain_number(number: str, decimal: DecimalMark, *, lone: Literal["decimal", "thousands"] | None = None) -> str:
    """`number`, which has digits and separators alone, as Python reads it: `1.234,5` is `1234.5`.

    The last mark is the decimal one, unless it is there twice. One mark alone before three digits is what `decimal`
    says, or `lone` where what is counted decides; after a whole part of zero it is always the decimal one.
    """
    plain = re.sub(r"['\u2019\u00a0\u202f\u2009 ]", "", number)
    marks = re.findall(r"[.,]", plain)
    if not marks:
        return plain
    last = max(plain.rfind("."), plain.rfind(","))
    whole, part = re.sub(r"[.,]", "", plain[:last]), plain[last + 1 :]
    if marks.count(marks[-1]) > 1:  # a decimal mark is there once
        return whole + part
    of_thousands = lone == "thousands" or (lone is None and marks[0] != decimal)
    if len(marks) == 1 and len(part) == 3 and of_thousands and whole.lstrip("0"):
        return whole + part
    return f"{whole}.{part}"
