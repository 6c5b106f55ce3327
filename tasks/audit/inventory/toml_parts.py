"""TOML that somebody else wrote, in parts: quickly, in bounded time and memory, and with the line of each part.

The fast parser (`rtoml`) takes time that grows with the square of the number of tables, and dies of deep nesting. So it
only gets parts that are too small for either. Lock files are long rows of equal tables: cutting before each of them
costs nothing, tells the line, keeps one table at a time in memory, and confines what is malformed. The cut is safe:
a line that looks like the head of a table but is inside of a string or of an array leaves a part that is not closed,
which is no TOML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any

from tasks.audit.inventory.requirement import shown

_MOST = 100_000
"""Tables of one file."""
_BRACKETS = 300
_DOTS = 600
_DOTS_OF_A_HEAD = 50
_DOTS_OF_A_LINE = 200
_WEIGHT = 4_000_000
"""Brackets and dots of one file: what the fast parser takes a microsecond for."""
_FILES = re.compile(r"(^(?:wheels|files) = \[\n[ \t]+\{[^\n]*\},?\n)(?:[ \t]+\{[^\n]*\},?\n)+\]", re.MULTILINE)
"""The files of a package, one a line, after the first: four fifths of a lock file, of which nothing is wanted."""
_SLOW = 4_000_000
"""Characters of one file for the parser that takes ten times as long; for more, it would hold up the audit."""


class InvalidTomlError(ValueError):
    """The text is no TOML, or none that can be read safely; says why."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some tables of a file."""

    line: int
    """The first line, from 1."""
    text: str
    data: dict[str, Any]
    error: str = ""
    """Why it could not be read; then `data` is empty."""

    def line_of(self, start: str) -> int:
        """The first line that begins with `start`; the part's first when none does."""
        if self.text.startswith(start):
            return self.line
        at = self.text.find("\n" + start)
        return self.line if at < 0 else self.line + self.text.count("\n", 0, at + 1)


def parse(text: str) -> dict[str, Any]:
    """The values of a whole file.

    Raises:
        InvalidTomlError: it is not valid, or too large or too deep.
    """
    if _is_small(text):
        data = _quick(text)
        if data is not None:
            return data
    if len(text) > _SLOW:
        raise InvalidTomlError("is too large to be read in one piece")
    return _thorough(text)


def parts(text: str, table: str) -> Iterator[Part]:
    """The file cut before each `[[table]]` and before each other table at its top."""
    cuts = [0, *islice(_cuts(text, table), _MOST + 1), len(text)]
    if len(cuts) > _MOST:
        yield Part(1, "", {}, f"has more than {_MOST} tables")
        return
    line, slow, weight = 1, 0, 0
    for begin, end in pairwise(cuts):
        piece = text[begin:end]
        short = _FILES.sub(r"\1]", piece)
        weight += short.count("[") + short.count("{") + short.count(".")
        if weight > _WEIGHT:
            yield Part(line, "", {}, "and all that follows is not read: it has too many values")
            return
        data = _quick(short) if _is_small(short) else None
        error = ""
        if data is None:
            slow += len(piece)
            data, error = _slowly(piece, slow)
        yield Part(line, piece, data, error)
        line += piece.count("\n")


def table_of(data: Any, key: str) -> dict[str, Any]:
    """The table at `key`; empty when there is none, or something else."""
    value = data.get(key) if isinstance(data, dict) else None
    return value if isinstance(value, dict) else {}


def tables_of(data: Any, key: str) -> list[dict[str, Any]]:
    """The tables in the list at `key`, without what is no table."""
    value = data.get(key) if isinstance(data, dict) else None
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text_of(data: Any, key: str) -> str:
    """The text at `key`; empty when there is none, or something else."""
    value = data.get(key) if isinstance(data, dict) else None
    return value if isinstance(value, str) else ""


def _cuts(text: str, table: str) -> Iterator[int]:
    """Where a line begins that is the head of `[[table]]`, or of another table that is not below it."""
    ours = (f"[{table}.", f"[[{table}.")
    at = text.find("\n[")
    while at >= 0:
        if not text.startswith(ours, at + 1):
            yield at + 1
        at = text.find("\n[", at + 1)


def _slowly(text: str, slow: int) -> tuple[dict[str, Any], str]:
    if slow > _SLOW:
        return {}, "is too large to be read in one piece"
    try:
        return _thorough(text), ""
    except InvalidTomlError as error:
        return {}, str(error)


def _is_small(text: str) -> bool:
    """Whether the fast parser takes little time for it, and little of the stack."""
    dots = text.count(".")
    if text.count("[") + text.count("{") > _BRACKETS or dots > _DOTS:
        return False
    return dots <= _DOTS_OF_A_HEAD or all(
        line.count(".") <= _DOTS_OF_A_HEAD for line in text.splitlines() if line.lstrip().startswith("[")
    )


def _quick(text: str) -> dict[str, Any] | None:
    """None for what the fast parser refuses: it knows an older TOML, so the other one has the last word."""
    import rtoml  # noqa: PLC0415 - where nothing is TOML, it is not needed

    try:
        return rtoml.loads(text)
    except ValueError:
        return None


def _thorough(text: str) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 - needed for the rare

    # Keys with thousands of parts take it time that grows with their square.
    if text.count(".") > _DOTS_OF_A_LINE and any(line.count(".") > _DOTS_OF_A_LINE for line in text.splitlines()):
        raise InvalidTomlError("has lines that are too long to be read safely")
    try:
        return tomllib.loads(text)
    except ValueError as error:  # also of numbers too long to be converted
        raise InvalidTomlError(f"is not valid TOML: {shown(str(error))}") from None
    except RecursionError:
        raise InvalidTomlError("is not valid TOML: nested too deep") from None
