"""Whether what looks like a secret is made up: a placeholder, an example of documentation, a name, a sentence.

Of the standard library alone: the engines' processes load it by path.
"""

from __future__ import annotations

import base64
import binascii
import re

_NAME = re.compile(r"[A-Za-z]+(?:[-_. /:@#]+[A-Za-z]+)*[?!.:]?")
"""Letters, and what joins words: `X-API-Key`, `web-tls`, `Forgot your password?`."""
_COMPOUND = re.compile(r"(?:[a-z]+|v?\d{1,3})(?:[-_./](?:[a-z]+\d?|v?\d{1,3})){2,}|(?:[A-Z][a-z]{2,}\d{0,2}){3,}")
"""Names with numbers in them: `registry-credentials-2`, `AbstractSyntaxTree2Visitor`."""
_RUN = re.compile(r"([A-Za-z0-9*._#-])\1{5}")
_STANDS_FOR = re.compile(
    r"example|placeholder|redacted|change.?me|dummy|(?:^|[^a-z])(?:your|my|insert|replace|todo|fixme|sample)[-_ .]"
    r"|(?:^|[^a-z])(?:0?123456789|1234567890|abcdefgh)",
    re.IGNORECASE,
)
_REFERENCE = re.compile(r"\$\{?\w|\$\(|\{\{|%\(|^<.*>$|^\{.*\}$|^env[.:]|^vault[:/]|^file:")
_HEX = re.compile(r"[0-9a-fA-F]{32,128}")
_PERIODIC = re.compile(r"(.{1,32}?)\1+")
_DIGITS_AT_LEAST = 8
"""Different digits in 32 hexadecimal ones: of those drawn by chance, one in a hundred thousand has fewer."""
_NUMBER = re.compile(r"[\d\s.,:+-]*")


def is_made_up(kind: str, value: str) -> bool:
    """Whether a value that a detector of this `kind` found is one that guards nothing, by all appearances."""
    if kind == "JSON Web Token":
        return _is_sample_token(value)
    value = value.strip(" \t=:\"'")  # some patterns take with them what stands around it
    return (
        _NAME.fullmatch(value) is not None
        or len(value) < 4
        or _COMPOUND.fullmatch(value) is not None
        or _NUMBER.fullmatch(value) is not None
        or _RUN.search(value) is not None
        or _STANDS_FOR.search(value) is not None
        or _REFERENCE.search(value) is not None
        or _is_sentence(value)
        or _is_orderly_hex(value)
    )


def _is_orderly_hex(value: str) -> bool:
    """Whether hexadecimal digits are few or repeat themselves, as in `deadbeefdeadbeef...`."""
    if _HEX.fullmatch(value) is None:
        return False
    return len(set(value.lower())) < _DIGITS_AT_LEAST or _PERIODIC.fullmatch(value) is not None


def _is_sentence(value: str) -> bool:
    words = value.split()
    return len(words) > 2 and sum(word.strip(".,:;!?()'\"`").isalpha() for word in words) > len(words) / 2


def _is_sample_token(value: str) -> bool:
    """Whether it is the token that every introduction shows, or a variation of it."""
    try:
        payload = value.split(".")[1]
        claims = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    except (IndexError, binascii.Error, ValueError):
        return True
    return b"1234567890" in claims or b"example" in claims.lower() or b"John Doe" in claims
