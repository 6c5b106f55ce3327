"""Finds the few lines of a text in which a detector could find anything, without asking the detectors.

detect-secrets asks each of its detectors and filters about every line, a second for a thousand lines. Here a text is
searched as a whole for letters that every match of a detector's pattern must hold, such as `AIza`; only lines with
them are matched, and only lines that match go through detect-secrets itself. Loaded by path in the engines' processes.
"""

from __future__ import annotations

import bisect
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

_ODD = frozenset("\u0130\u0131\u017f\u212a")
"""What `re` takes for an i, an s or a k when it ignores case, and `str.lower` leaves as it is."""


class LineSearch:
    """Searches for the lines that any of `patterns` matches; None among them stands for what matches every line."""

    def __init__(self, patterns: Iterable[re.Pattern[str] | None]) -> None:
        patterns = list(patterns)
        self._all = None in patterns
        self._patterns = [
            (pattern, _needles_of(pattern), bool(pattern.flags & re.IGNORECASE))
            for pattern in patterns
            if pattern is not None
        ]

    def lines(self, lines: Sequence[str]) -> set[int]:
        """The indices of the `lines` that one of the patterns matches, less white space at their ends."""
        if self._all:
            return set(range(len(lines)))
        text = "".join(lines)
        lower = text.lower()
        # Lower case of some letters is longer: then positions in it say nothing about lines.
        exact = len(lower) == len(text) and not (_ODD & set(text) if not text.isascii() else set())
        begins = list(itertools.accumulate(map(len, lines), initial=0))
        found: set[int] = set()
        for pattern, needles, any_case in self._patterns:
            if needles is None or not exact:
                numbers: Iterable[int] = range(len(lines))
            else:
                where = lower if any_case else text
                numbers = {number for needle in needles for number in _holding(needle, where, begins)}
            found.update(number for number in numbers if number not in found and pattern.search(lines[number].rstrip()))
        return found


def _holding(needle: str, text: str, begins: Sequence[int]) -> Iterator[int]:
    position = text.find(needle)
    while position >= 0:
        number = bisect.bisect_right(begins, position) - 1
        yield number
        position = text.find(needle, begins[number + 1])


def _needles_of(pattern: re.Pattern[str]) -> frozenset[str] | None:
    needles = _needles(parser.parse(pattern.pattern, pattern.flags))
    if needles is not None and pattern.flags & re.IGNORECASE:
        return frozenset(needle.lower() for needle in needles)
    return needles


def _needles(parsed: Any) -> frozenset[str] | None:
    """Texts of which every match of a parsed pattern holds at least one; None when there is none such.

    The longest: of several parts that must be there, the one whose shortest text is the longest.
    """
    best: frozenset[str] | None = None
    run = ""
    for operation, argument in [*parsed, (None, None)]:
        if operation is codes.LITERAL:
            run += chr(argument)
            continue
        best = _longer(best, frozenset({run}) if run else None)
        run = ""
        if operation is codes.SUBPATTERN and not argument[1] and not argument[2]:  # flags of its own change the meaning
            best = _longer(best, _needles(argument[3]))
        elif operation is codes.BRANCH:
            parts = [_needles(part) for part in argument[1]]
            if None not in parts:
                best = _longer(best, frozenset().union(*(part for part in parts if part)))
        elif operation in {codes.MAX_REPEAT, codes.MIN_REPEAT} and argument[0] >= 1:
            best = _longer(best, _needles(argument[2]))
    return best


def _longer(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    if not one or not other:
        return one or other
    return other if min(map(len, other)) > min(map(len, one)) else one
