"""Text of somebody else's files as messages and diffs may quote it: without what may be a secret.

Quoting is a convenience and a leak is for good, so this takes more for a secret than a search for secrets would: known
forms, what a name says to be one, and every longer run in which letters and digits are mixed without order.
"""

from __future__ import annotations

import re

MASK = "***"

_FORMS = (
    r"(?:gh[pousr]_|github_pat_|glpat-|gldt-|sk-|sk_live_|rk_live_|xox[abeoprs]-|npm_|pypi-A|hf_|ntn_|secret_|tskdp_"
    r"|pn[ub]_|pat-[a-z]{2}[0-9]-|SG\.|sq0[a-z]{3}-|AGE-SECRET-KEY-|dop_v1_|shpat_)[A-Za-z0-9._+/=-]{10,}"
    r"|(?:AKIA|ASIA|A3T[A-Z0-9])[A-Z0-9]{12,}|AIza[0-9A-Za-z_-]{20,}|AQ\.[0-9A-Za-z_-]{20,}|EAA[0-9A-Za-z]{30,}"
    r"|hooks\.slack\.com/services/\S+|eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){1,2}|[0-9]{8,10}:AA[0-9A-Za-z_-]{30,}"
)
_FORM = re.compile(rf"(?<![A-Za-z0-9])(?:{_FORMS})")
_ADDRESS = re.compile(r"//[^/@\s:]{0,500}:[^/@\s]{1,500}@|(?<=http:)//[^/@\s]{1,500}@|(?<=https:)//[^/@\s]{1,500}@")
_KEY = re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY.*", re.DOTALL)
_BEHIND = re.compile(
    r"((?i:\b(?:bearer|basic|password|passwd|passphrase)|--?[\w-]{0,40}(?:password|secret|token|key)[\w-]{0,20})[ \t]+)"
    r"([^\s\"']{6,})"
)
_NAMED = (
    r"(?i:passw(?:or)?d|passphrase|passwort|secret|token|credentials?|(?:api|access|secret|private|auth|master"
    r"|signing|encryption|account|storage|service)[_-]?key|[_-]pwd|_auth)"
)
"""What a name says that stands for a secret."""
_ASSIGNED = re.compile(
    rf"((?:{_NAMED})"
    r"[\w-]{0,20}[\"'`]?\]?\s{0,4}(?:=>|:=|=|:)(?!=)"
    r"\s{0,4}[\"'`]?)([^\s\"'`,]{3,})"
)
_WORKED_OUT = re.compile(
    rf"((?:{_NAMED})"
    r"[\w-]{0,20}[\"'`]?\]?[ \t]{0,4}"
    r"(?::[ \t\w.|]{0,40})?=(?!=)[ \t]{0,4})(?=[A-Za-z_(\[{]|\"\"|'')([^\n]{0,1000})"
)
"""`TOKEN = get("NAME", "the secret")`: an expression, of which every text may be the secret."""
_QUOTED = re.compile(r"([\"'])((?:\\.|(?!\1)[^\\\n])*)(?:\1|\Z)")
_VARIABLE = re.compile(r"(?:environ\[|environ\.get\(|getenv\()\Z")
_RANGE = re.compile(r"[\^~<>=!]|v?\d+(?:\.[\dx*]+)+|\*\Z")
"""What a version or a range begins with: a package may be called `token`."""
_RUN = re.compile(r"(sha(?:1|224|256|384|512)[:=-][A-Za-z0-9+/=]+|(?<=@)[0-9a-f]{40}(?![0-9A-Za-z]))|[A-Za-z0-9]{16,}")
"""Hashes and commits, which are none, and runs that may be one."""


def masked(text: str) -> str:
    """`text` with `***` in place of everything that may be a secret, as far as its form or its name says so."""
    text = _KEY.sub(MASK, _ADDRESS.sub(f"//{MASK}@", text))
    text = _FORM.sub(MASK, text)
    text = _WORKED_OUT.sub(lambda found: found[1] + _QUOTED.sub(_without, found[2]), text)
    text = _ASSIGNED.sub(lambda found: found[0] if _RANGE.match(found[2]) else f"{found[1]}{MASK}", text)
    text = _BEHIND.sub(rf"\1{MASK}", text)
    return _RUN.sub(lambda found: found[0] if found[1] or not _is_mixed(found[0]) else MASK, text)


def is_secret(word: str) -> bool:
    """Whether a word has the form of a secret that cannot be mistaken."""
    return _FORM.fullmatch(word) is not None


def _without(quoted: re.Match[str]) -> str:
    """A text of an expression: short ones separate, and the name of a variable is none."""
    harmless = (
        len(quoted[2]) < 3
        or _RANGE.match(quoted[2])
        or _VARIABLE.search(quoted.string, max(0, quoted.start() - 20), quoted.start())
    )
    return quoted[0] if harmless else f"{quoted[1]}{MASK}{quoted[1]}"


def _is_mixed(run: str) -> bool:
    digits = sum(letter.isdigit() for letter in run)
    return digits >= 3 and len(run) - digits >= 3
