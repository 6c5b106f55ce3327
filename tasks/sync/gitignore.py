"""Patterns as git reads them (gitignore(5); its `dir.c` and `wildmatch.c`), made one regular expression. Pure.

Not by the library `pathspec`: it differs from git in POSIX classes, in brackets beside `/` and where `!` meets folders,
fails on ranges that are none, and asks its patterns one by one. What is asked here is one name at a time, from the top
down, as git does; so no pattern has to know what lies below.

Two things are other than in git: `?` and brackets stand for a character, not for a byte; and `**` beside other
characters is always `*`, as the manual says, where git takes `foo**/bar` for more.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

_CLASSES = {
    "alnum": "a-zA-Z0-9", "alpha": "a-zA-Z", "blank": r" \t", "cntrl": r"\x00-\x1f\x7f", "digit": "0-9",
    "graph": r"!-~", "lower": "a-z", "print": r" -~", "punct": r"!-/:-@\[-`{-~", "space": r" \t\n\v\f\r",
    "upper": "A-Z", "xdigit": "0-9a-fA-F",
}  # fmt: skip
_NEVER = "(?!)"
_ANY_DEPTH = "**"
"""Stands for any number of folders among the segments of a pattern."""


@dataclass(frozen=True, slots=True)
class _Pattern:
    segments: tuple[str, ...]
    """A regular expression for each name, or `_ANY_DEPTH`."""
    anchored: bool
    """Whether it stands for a path, not for a name at any depth."""
    for_directories: bool
    negated: bool


class Rules:
    """The patterns of one file, or of one setting."""

    __slots__ = ("_directories", "_files", "_reach", "lines")

    def __init__(self, lines: tuple[str, ...]) -> None:
        self.lines = lines
        """The patterns that count, in their order."""
        patterns = [pattern for line in lines if (pattern := _parsed(line)) is not None]
        self._directories = _compiled(patterns)
        self._files = _compiled([one for one in patterns if not one.for_directories])
        reach = [_reach(one) for one in patterns if not one.negated]
        self._reach = re.compile("|".join(reach) or _NEVER, re.DOTALL)

    def __bool__(self) -> bool:
        return bool(self.lines)

    def verdict(self, path: str, start: int, *, is_directory: bool) -> bool | None:
        """What the last pattern that fits says: True, or False where it begins with `!`. None: none fits.

        Args:
            path: a path whose folders have been asked for before.
            start: where in `path` that part begins which is relative to the folder that the patterns are of.
            is_directory: whether a directory is there; a link to one is none.
        """
        expression, signs = self._directories if is_directory else self._files
        if expression is None:
            return None
        match = expression.fullmatch(path, start)
        if match is None:
            return None
        return signs[(match.lastindex or 1) - 1]

    def reaches(self, path: str) -> bool:
        """Whether something below the directory `path` could fit one of the patterns."""
        return self._reach.fullmatch(path) is not None


@lru_cache(maxsize=4096)
def rules(lines: tuple[str, ...]) -> Rules:
    """The rules of `lines`, compiled once."""
    return Rules(lines)


def lines_of(text: str) -> tuple[str, ...]:
    """The patterns of the text of a `.gitignore`: without comments, empty lines, and blanks at their ends."""
    lines = text.removeprefix("\ufeff").split("\n")
    return effective(line.removesuffix("\r") for line in lines)


def effective(lines: Iterable[str]) -> tuple[str, ...]:
    """Those of `lines` that are patterns, in the normal form that our paths have (NFC)."""
    trimmed = (_trimmed(line.partition("\0")[0]) for line in lines if not line.startswith("#"))
    return tuple(unicodedata.normalize("NFC", line) for line in trimmed if line)


def _trimmed(line: str) -> str:
    """`line` without the blanks at its end, but with one that a backslash is before."""
    bare = line.rstrip(" ")
    slashes = len(bare) - len(bare.rstrip("\\"))
    return line[: len(bare) + slashes % 2]


def _parsed(line: str) -> _Pattern | None:
    """The pattern of a line; None when it can never fit."""
    negated = line.startswith("!")
    text = line[1:] if negated else line
    for_directories = text.endswith("/")
    text = text.removesuffix("/")
    anchored = "/" in text
    segments = _segments(text.removeprefix("/"))
    if segments is None:
        return None
    if not anchored:
        segments = [_name(["", ""])] if segments == [_ANY_DEPTH] else segments
    return _Pattern(tuple(segments), anchored, for_directories, negated)


def _segments(text: str) -> list[str] | None:
    """The regular expressions of the names that `text` is made of; None when it can never fit."""
    segments: list[str] = []
    pieces = [""]  # of the name that is read: what is between its asterisks
    begins = at = 0
    while at <= len(text):
        char = text[at : at + 1]
        if char == "\\":
            at += 1
            char = "/" if text[at : at + 1] == "/" else ""
            if at >= len(text):
                return None
            if not char:
                pieces[-1] += re.escape(text[at])
        if char == "/" or at == len(text):
            if at == begins:
                return None
            segments.append(_ANY_DEPTH if set(text[begins:at]) == {"*"} and at - begins > 1 else _name(pieces))
            pieces = [""]
            begins = at + 1
        elif char == "*":
            pieces.append("")
        elif char == "?":
            pieces[-1] += "[^/]"
        elif char == "[":
            bracket = _bracket(text, at + 1)
            if bracket is None:
                return None
            expression, at = bracket
            pieces[-1] += expression
        elif char:
            pieces[-1] += re.escape(char)
        at += 1
    return segments


def _name(pieces: list[str]) -> str:
    """A name of `pieces` with anything between them.

    Each piece has a fixed length, so the first place where one fits is as good as any later: the groups are atomic, and
    the time is bounded whatever the pattern.
    """
    if len(pieces) == 1:
        return pieces[0]
    first, *middle, last = pieces
    return first + "".join(f"(?>[^/]*?{piece})" for piece in middle if piece) + f"[^/]*{last}"


def _bracket(text: str, at: int) -> tuple[str, int] | None:
    """What the bracket whose content begins at `at` stands for, and where it ends; None when it can never fit."""
    negated = text[at : at + 1] in {"!", "^"}
    at += negated
    items: list[str] = []
    before = ""  # the character that a range could begin with
    first = True
    while first or text[at : at + 1] != "]":
        first = False
        char = text[at : at + 1]
        after = text[at + 1 : at + 2]
        if char == "-" and before and after not in {"", "]"}:
            at += 2 if after == "\\" else 1
            if at >= len(text):
                return None
            if before <= text[at]:
                items.append(f"{re.escape(before)}-{re.escape(text[at])}")
            before = ""
        elif char == "[" and after == ":" and (end := text.find("]", at + 2)) > at + 2 and text[end - 1] == ":":
            named = _CLASSES.get(text[at + 2 : end - 1])
            if named is None:
                return None
            items.append(named)
            at, before = end, ""
        else:
            at += char == "\\"
            before = text[at : at + 1]
            if not before:
                return None
            items.append(re.escape(before))
        at += 1
    if not items:
        return ("[^/]" if negated else _NEVER), at
    return (f"[^/{''.join(items)}]" if negated else f"(?!/)[{''.join(items)}]"), at


def _compiled(patterns: list[_Pattern]) -> tuple[re.Pattern[str] | None, tuple[bool, ...]]:
    """One expression with a group for each run of patterns of one sign, the last first; and what each group says."""
    runs: list[str] = []
    signs: list[bool] = []
    for negated, run in groupby(reversed(patterns), key=lambda pattern: pattern.negated):
        together = list(run)
        paths = [_path(one.segments) for one in together if one.anchored]
        names = "|".join(dict.fromkeys(one.segments[0] for one in together if not one.anchored))
        if names:
            paths.insert(0, f"(?:.*/)?+(?:{names})")
        runs.append(f"({'|'.join(paths)})")
        signs.append(not negated)
    if not runs:
        return None, ()
    return re.compile("|".join(runs), re.DOTALL), tuple(signs)


def _path(segments: tuple[str, ...]) -> str:
    """A path of `segments`; atomic, as in a name, where any number of folders is before some of them."""
    blocks = _blocks(segments)
    first, *middle = blocks
    last = middle.pop() if middle else None
    expression = "/".join(first)
    if last is None:
        return expression
    expression += "/" if first else ""
    expression += "".join(f"(?>(?:[^/]+/)*?{'/'.join(block)}/)" for block in middle if block)
    return expression + (f"(?:[^/]+/)*{'/'.join(last)}" if last else ".+")


def _blocks(segments: tuple[str, ...]) -> list[list[str]]:
    blocks: list[list[str]] = [[]]
    for segment in segments:
        if segment == _ANY_DEPTH:
            blocks.append([])
        else:
            blocks[-1].append(segment)
    return blocks


def _reach(pattern: _Pattern) -> str:
    """The directories below which something could fit `pattern`."""
    if not pattern.anchored:
        return ".*"
    first, *others = _blocks(pattern.segments)
    expression = "(?:/.*)?" if others else ""
    for segment in reversed(first if others else first[:-1]):
        expression = f"(?:/{segment}{expression})?" if expression else f"(?:/{segment})?"
    # Below the category's own folder everything begins, so the outermost name is no option but what there is.
    if not first:
        return ".*"
    return expression.removeprefix("(?:/").removesuffix(")?") or _NEVER
