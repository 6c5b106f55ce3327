"""Which names say that what they stand for is a secret, and which texts under such a name are none."""

from __future__ import annotations

import re
from enum import IntEnum


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NAMED = re.compile(
    r"pass_?w(?:or)?d|passphrase|passcode|passwort|kennwort|secret(?!ar)|token(?!i[sz])|credential"
    r"|(?:api|access|secret|private|auth|master|signing|encryption|decryption|account|storage|service|ssh|fernet|hmac"
    r"|jwt|shared|license|webhook)_?key"
    r"|(?:^|_)(?:pwd|creds)(?:_|$)"
    r"|(?:^|_)(?:db|database|smtp|imap|mail|user|admin|root|login|mysql|postgres|pg|redis|ftp|proxy|sudo|my)_?pass$"
    r"|^(?:(?:proxy|http|x)_)*authorization$|_auth(?:_|$)"
)
_ABOUT = _set(
    """
    age algorithm backend class count description detail dir endpoint error expires expiry factory field file
    filename folder form format handler hasher header help kind label len length level lifetime limit location
    manager max min model name page parser path pattern permission policy prefix provider regex role schema scheme
    scope separator size status suffix template timeout ttl type validator var variable view widget
    """
)
"""Words behind a secret's name that make it the name of something about secrets: `PASSWORD_HASHERS`."""
_OF_TEXTS = _set(
    """
    added bos cached candidate cls completion control end eos input mask max min n num number output pad prompt
    response reserved sep special start stop total unk usage
    """
)
"""Words before `token` that make it one of a text: `special_tokens`."""
_SPOKEN = _set(
    """
    a access account admin alg api app auth authorization base basic bearer block client config cookie credential
    credentials database db default document dsn email encryption fernet header host hostname id in is issuer key
    keys kind language login master method mode name new of old one or pass passphrase passwd password passwords
    path port prefix private project public pwd realm ref refresh region role root schema scheme scope secret
    secrets server service session signing size smtp ssh storage tenant the timeout to token tokens type uri url
    user username value version webhook x
    """
)
"""Words that keys of dictionaries are made of; a key of other words may be the secret itself."""
_FILLING = _set(
    """
    change changeme dummy enter example fill goes here insert me my none null paste placeholder put redacted replace
    replaceme set tbd this todo unset with your yours
    """
)
_TELLING = _FILLING - frozenset({"me", "my", "set", "this", "with"})
_PLAIN = frozenset({"utf-8", "utf8", "utf_8", "UTF-8", "ascii", "latin-1", "latin1"})
_TEMPLATE = re.compile(r"(?:[$%]?\{\{?|%\(|<)\s*([A-Za-z][\w -]*?)\s*(?:\}\}?|\)s?|>)|\$([A-Za-z_]\w*)")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,200}")


class Says(IntEnum):
    """What a name says of what it stands for."""

    nothing = 0
    about = 1
    """It is about secrets. One text under it is hidden; what a call or a list is given is shown."""
    secret = 2


def says(name: str) -> Says:
    """What `name` says: a variable, a parameter, a key of a dictionary, a header, an option of a command."""
    plain = _words(name)
    found = _NAMED.search(plain)
    if found is None:
        return Says.nothing
    behind = (word.removesuffix("s") for word in plain[found.end() :].split("_"))
    if any(word in _ABOUT or f"{word}s" in _ABOUT for word in behind if word):
        return Says.about
    before = plain[: found.start()].rstrip("_").rpartition("_")[2]
    return Says.about if found[0] == "token" and before in _OF_TEXTS else Says.secret


def is_spoken(text: str) -> bool:
    """Whether `text` is made of the words that names of fields are made of."""
    words = [word for word in _words(text).split("_") if word]
    return bool(words) and all(word in _SPOKEN or word in _FILLING for word in words)


def is_variable(text: str) -> bool:
    """Whether `text` has the form of the name of a variable."""
    return _VARIABLE.fullmatch(text) is not None


def is_harmless(text: str) -> bool:
    """Whether `text` is no secret although it stands under the name of one: nothing, or a placeholder."""
    if text in _PLAIN or not any(letter.isalnum() for letter in text):
        return len(text) < 3 or len(set(text.strip())) < 3 or text in _PLAIN
    if (found := _TEMPLATE.fullmatch(text)) is not None:
        return is_spoken(found[1] or found[2])
    if len(text) > 3 and not text.lower().strip("x"):
        return True
    words = [word for word in _words(text).split("_") if word]
    return any(word in _TELLING for word in words) and all(word in _SPOKEN or word in _FILLING for word in words)


def _words(name: str) -> str:
    """In lower case, with one `_` between words."""
    return re.sub(r"[\W_]+", "_", _CAMEL.sub("_", name)).strip("_").lower()
