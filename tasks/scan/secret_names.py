"""Names that say that their value is a secret, and values that are none."""

from __future__ import annotations

import re

_NAME = re.compile(
    r"(?:.*[_.-])?(?:passw(?:or)?d|pass(?:phrase|wort)?|secret|token|credentials?|secret_key_base"
    r"|(?:api|access|secret|private|encryption|signing|auth|master|account|storage|service)_?key)",
    re.IGNORECASE,
)
_PWD = re.compile(r".+_pwd", re.IGNORECASE)  # PWD alone is the working directory
_MADE_UP = re.compile(
    r"|<.*>|\{\{.*\}\}|\*+|x+|\.+|true|false|yes|no|on|off|none|null|-|\d{1,3}|your[_ -].*|.*[_ -]here"
    r"|(?:/[\w.-]+)+",  # the path of a file that holds it
    re.IGNORECASE | re.DOTALL,
)
_LONGEST = 200


def names_a_secret(name: str) -> bool:
    """Whether a variable of this name is meant for a secret, such as `DB_PASSWORD` or `openai_api_key`."""
    return len(name) <= _LONGEST and (_NAME.fullmatch(name) is not None or _PWD.fullmatch(name) is not None)


def is_made_up(value: str) -> bool:
    """Whether a value stands for none: empty, a mark to be replaced, a switch, the path of a file."""
    return len(value) <= _LONGEST and _MADE_UP.fullmatch(value.strip()) is not None
