"""Versions as Poetry writes them, in the language of PEP 440 (Poetry's documentation, "Dependency specification")."""

from __future__ import annotations

import re

_RELEASE = re.compile(r"v?([0-9]+(?:\.[0-9]+)*)(.*)", re.ASCII)
_WILDCARD = re.compile(r"(?:==|=)?\s*v?([0-9]+(?:\.[0-9]+)*)\.[*xX](?:\.[*xX])*", re.ASCII)
_PART = re.compile(r"(\^|~=|~|===|==|=|!=|<=|>=|<|>)?\s*([^\s,|^~=<>!]+)")


def translated(text: str) -> str | None:
    """`text` as a PEP 440 specifier; empty for any version, None for what cannot be said in one."""
    if len(text) > 1_000 or "|" in text:
        return None
    joined = re.sub(r"([\^~=<>!])[ \t]+", r"\1", text)
    clauses = [_clause(part) for part in re.split(r"[,\s]+", joined) if part]
    return None if None in clauses else ",".join(clause for clause in clauses if clause)


def _clause(text: str) -> str | None:
    if text in {"*", "x", "X"}:
        return ""
    if wildcard := _WILDCARD.fullmatch(text):
        return f"=={wildcard[1]}.*"
    found = _PART.fullmatch(text)
    if found is None:
        return None
    operator, version = found[1] or "==", found[2]
    if operator in {"^", "~"}:
        return _up_to(operator, version)
    return f"{'==' if operator == '=' else operator}{version}"


def _up_to(operator: str, version: str) -> str | None:
    """`^` allows what leaves the first part that is not zero alone; `~` what leaves the minor version alone."""
    found = _RELEASE.fullmatch(version)
    if found is None:
        return None
    parts = [int(part[:18]) for part in found[1].split(".")]
    if operator == "^":
        at = next((index for index, part in enumerate(parts) if part), len(parts) - 1)
    else:
        at = min(1, len(parts) - 1)
    upper = [*parts[:at], parts[at] + 1]
    return f">={version},<{'.'.join(map(str, upper))}"
