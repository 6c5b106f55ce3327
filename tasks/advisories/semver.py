"""SemVer 2.0: what a version compares as (section 11 of the specification)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

Key = tuple[Any, ...]
"""Major, minor, patch, then 1 for a release, or 0 and the identifiers of a pre-release. Build metadata do not count."""

LONGEST = 256
"""Characters of a version; what is longer is none."""

# Possessive, here and below: nothing is read a second time, however long it is.
_IDENTIFIER = r"(?:[0-9]*+[a-zA-Z-][a-zA-Z0-9-]*+|[0-9]++)"
PRERELEASE = rf"-?({_IDENTIFIER}(?:\.{_IDENTIFIER})*)"
"""As npm reads it: `1.0.0beta` has one too."""
BUILD = r"\+[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)*"

_VERSION = re.compile(rf"\s*+=?\s*+v?([0-9]++)(?:\.([0-9]++)(?:\.([0-9]++)(?:{PRERELEASE})?)?)?(?:{BUILD})?\s*")
_GENERATION = re.compile(r"\s*v?([0-9]+)(?:\.([0-9]+))?(?:\.[xX*])?\s*")


@lru_cache(maxsize=262_144)
def parse(version: str) -> Key | None:
    """What a version compares as; None for what is none. Read as npm does: a leading `v` or `=` is no part of it.
    Absent parts are 0: advisories also write `2.0`.
    """
    if len(version) > LONGEST or (found := _VERSION.fullmatch(version)) is None:
        return None
    major, minor, patch, identifiers = found.groups()
    return key(int(major), int(minor or 0), int(patch or 0), identifiers)


def key(major: int, minor: int, patch: int, identifiers: str | None = None) -> Key:
    """The key of a version that is already taken apart; `identifiers` are those of a pre-release, such as `rc.1`."""
    if identifiers is None:
        return major, minor, patch, 1
    # Numbers come before texts and by their size; of two that begin alike the shorter comes first.
    ranked = ((0, int(part), "") if part.isdigit() else (1, 0, part) for part in identifiers.split("."))
    return major, minor, patch, 0, *ranked


def is_release(of: Key) -> bool:
    """Whether a key is that of a release, not of a pre-release."""
    return bool(of[3])


def generation(tag: str) -> tuple[Key, Key] | None:
    """The versions that a tag with absent parts may stand for: `v4` is from 4.0.0 to before any 5. None for others."""
    if len(tag) > LONGEST or (found := _GENERATION.fullmatch(tag)) is None:
        return None
    major = int(found[1])
    if found[2] is None:
        return key(major, 0, 0), (major + 1, 0, 0, 0)
    minor = int(found[2])
    return key(major, minor, 0), (major, minor + 1, 0, 0)


def written(of: Key) -> str:
    """The shortest spelling of the version that a key stands for."""
    version = f"{of[0]}.{of[1]}.{of[2]}"
    if is_release(of):
        return version
    return f"{version}-{'.'.join(str(number) if kind == 0 else text for kind, number, text in of[4:])}"
