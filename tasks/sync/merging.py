"""Two changes of one file, joined where they do not touch each other. Pure, the same whichever of the two comes first.

What cannot be joined without a guess is None, and both are kept.
"""

from __future__ import annotations

import json
import re
from array import array
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

_LARGEST = 4 * 1024 * 1024
"""Bytes; what is larger is no note and no settings file, and is not worth the time."""
_MOST_CHANGED = 1500
"""Lines that one side may have taken out and put in; the time grows with the square of it."""
_DEEPEST = 200
_INDENT = re.compile(r"[{\[]\r?\n([ \t]+)\S")


def merge_contents(path: str, base: bytes, one: bytes, other: bytes) -> bytes | None:
    """The join of two changes of the file `path`: of `.json` key by key, of anything else that is text line by line."""
    merge = merge_json if path.lower().endswith(".json") else merge_text
    return merge(base, one, other)


def merge_text(base: bytes, one: bytes, other: bytes) -> bytes | None:
    """`one` and `other`, two changes of `base`, joined line by line.

    Returns:
        None when they change the same or neighbouring lines differently, when one of them is no UTF-8 or has zero
        bytes, and when they are too large or too different to be compared in time.
    """
    if (only := _only_change(base, one, other)) is not None:
        return only
    texts = (base, *sorted((one, other)))
    if not all(_is_text(text) for text in texts):
        return None
    before, left, right = (text.splitlines(keepends=True) for text in texts)
    try:
        merged = _joined_lines(before, left, right)
    except _TooDifferentError:
        return None
    return None if merged is None else b"".join(merged)


def _only_change(base: bytes, one: bytes, other: bytes) -> bytes | None:
    """What there is no question about: the one that was changed, or what both were changed to."""
    if one in (base, other):
        return other
    return one if other == base else None


def _is_text(content: bytes) -> bool:
    if len(content) > _LARGEST or b"\x00" in content:
        return False
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


class _TooDifferentError(Exception):
    """Two texts have more lines that differ than are compared."""


def _joined_lines(base: list[bytes], one: list[bytes], other: list[bytes]) -> list[bytes] | None:
    """Both edits of `base` in one; None where they touch (Khanna et al. 2007, "A Formal Investigation of Diff3").

    Lines that neither edit changed divide the three into stretches. In each, the side that changed it says what is
    there; both may, when they say the same.
    """
    merged: list[bytes] = []
    at = here = there = 0
    for begins, one_at, other_at, length in _kept_by_both(base, one, other):
        was, left, right = base[at:begins], one[here:one_at], other[there:other_at]
        if right in (left, was):
            merged += left
        elif left == was:
            merged += right
        else:
            return None
        merged += base[begins : begins + length]
        at, here, there = begins + length, one_at + length, other_at + length
    return merged


def _kept_by_both(base: list[bytes], one: list[bytes], other: list[bytes]) -> Iterator[tuple[int, int, int, int]]:
    """The runs of lines of `base` that both edits keep: where they begin in the three, and their length; then the end.

    Raises:
        _TooDifferentError: they are too different to be compared in time.
    """
    lefts, rights = _matching(base, one), _matching(base, other)
    left = right = 0
    while left < len(lefts) and right < len(rights):
        (left_at, one_at, left_length), (right_at, other_at, right_length) = lefts[left], rights[right]
        begins = max(left_at, right_at)
        ends = min(left_at + left_length, right_at + right_length)
        if begins < ends:
            yield begins, one_at + begins - left_at, other_at + begins - right_at, ends - begins
        if left_at + left_length < right_at + right_length:
            left += 1
        else:
            right += 1
    yield len(base), len(one), len(other), 0


def _matching(one: list[bytes], other: list[bytes]) -> list[tuple[int, int, int]]:
    """Where runs of equal lines begin in the one and in the other, and their lengths.

    By the shortest edit from one to the other (Myers 1986, "An O(ND) Difference Algorithm"). The standard library's
    takes cubic time on lines that repeat, or ignores them.
    """
    begins = 0
    shorter = min(len(one), len(other))
    while begins < shorter and one[begins] == other[begins]:
        begins += 1
    ends = 0
    while ends < shorter - begins and one[-1 - ends] == other[-1 - ends]:
        ends += 1
    numbers: dict[bytes, int] = {}
    middles = [
        [numbers.setdefault(line, len(numbers)) for line in lines[begins : len(lines) - ends]] for lines in (one, other)
    ]
    blocks = [(0, 0, begins)]
    blocks += [(at + begins, there + begins, length) for at, there, length in _snakes(*middles)]
    blocks.append((len(one) - ends, len(other) - ends, ends))
    return [block for block in blocks if block[2]]


def _snakes(one: list[int], other: list[int]) -> list[tuple[int, int, int]]:
    """The runs of equal numbers that a shortest edit keeps."""
    # By diagonal (place in `one` less place in `other`, every second one), the furthest place in `one`.
    furthest = array("q", [0])
    history: list[array[int]] = []
    for edits in range(_MOST_CHANGED + 1):
        history.append(furthest)
        reached = array("q", [0]) * (edits + 1)
        for step in range(edits + 1):
            diagonal = 2 * step - edits
            at, _ = _arrived(furthest, step, edits)
            while at < len(one) and at - diagonal < len(other) and one[at] == other[at - diagonal]:
                at += 1
            if at >= len(one) and at - diagonal >= len(other):
                return _traced(history, step, at)
            reached[step] = at
        furthest = reached
    raise _TooDifferentError


def _arrived(furthest: array[int], step: int, edits: int) -> tuple[int, bool]:
    """Where a diagonal is entered, and whether by a line that is put in, rather than one that is taken out."""
    if step == 0 or (step != edits and furthest[step - 1] < furthest[step]):
        return furthest[step], True
    return furthest[step - 1] + 1, False


def _traced(history: list[array[int]], step: int, at: int) -> list[tuple[int, int, int]]:
    snakes = []
    for edits in range(len(history) - 1, -1, -1):
        begins, put_in = _arrived(history[edits], step, edits)
        if at > begins:
            snakes.append((begins, begins - (2 * step - edits), at - begins))
        at, step = (begins, step) if put_in else (begins - 1, step - 1)
    return snakes[::-1]


def merge_json(base: bytes, one: bytes, other: bytes) -> bytes | None:
    """`one` and `other`, two changes of the JSON document `base`, joined key by key, objects in objects.

    Arrays are joined as a whole, as numbers are, which stay as they are written. Where lines can be joined to the same
    values, they are, so that the layout stays; otherwise it is that of one of the two.

    Returns:
        None when both change a value differently, or one changes what the other deletes; when one is no JSON, has a
        key twice in an object, or `NaN`; and when they are too large or too deep.
    """
    if (only := _only_change(base, one, other)) is not None:
        return only
    if not all(_is_text(text) for text in (base, one, other)):
        return None
    try:
        return _joined(base, *sorted((one, other)))
    except (ValueError, RecursionError):
        return None


def _joined(base: bytes, one: bytes, other: bytes) -> bytes | None:
    was, left, right = (_parsed(text) for text in (base, one, other))
    merged = _merged(was, left, right, 0)
    if isinstance(merged, _Mark):
        return None
    for text, value in ((one, left), (other, right)):
        if merged == value and (was != value or left == right):
            return text  # the other differs in nothing but its layout
    by_lines = merge_text(base, one, other)
    if by_lines is not None and _says(by_lines, merged):
        return by_lines
    return _written(merged, one.decode(), ascii_only=one.isascii() and other.isascii()).encode()


@dataclass(frozen=True, slots=True)
class _Number:
    """A number as it is written: none is rounded, and 1 is another than 1.0."""

    text: str


class _Mark:
    """What is no value of a document."""


_ABSENT: Final = _Mark()
_CONFLICT: Final = _Mark()


def _parsed(text: bytes) -> Any:
    return json.loads(
        text.decode(),
        parse_float=_Number,
        parse_int=_Number,
        parse_constant=_refused,
        object_pairs_hook=_object,
    )


def _refused(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _says(text: bytes, value: object) -> bool:
    try:
        return bool(_parsed(text) == value)
    except (ValueError, RecursionError):
        return False


def _merged(base: Any, one: Any, other: Any, depth: int) -> Any:
    """The value that both changes lead to, `_ABSENT` or `_CONFLICT`."""
    if depth > _DEEPEST:
        return _CONFLICT
    if other in (one, base):
        return one
    if one == base:
        return other
    if not (isinstance(one, dict) and isinstance(other, dict) and (base is _ABSENT or isinstance(base, dict))):
        return _CONFLICT
    merged = {}
    for key in _keys(one, other):
        was = base.get(key, _ABSENT) if isinstance(base, dict) else _ABSENT
        value = _merged(was, one.get(key, _ABSENT), other.get(key, _ABSENT), depth + 1)
        if value is _CONFLICT:
            return _CONFLICT
        if value is not _ABSENT:
            merged[key] = value
    return merged


def _keys(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The keys of both, in the order of `one`; what only `other` has comes after what it follows there."""
    following: defaultdict[str | None, list[str]] = defaultdict(list)
    before: str | None = None
    for key in other:
        if key in one:
            before = key
        else:
            following[before].append(key)
    keys = following[None]
    for key in one:
        keys += [key, *following.get(key, ())]
    return keys


def _written(value: Any, like: str, *, ascii_only: bool) -> str:
    """`value` as text, laid out like `like`."""
    indent = match[1] if (match := _INDENT.search(like)) else None
    newline = "\r\n" if "\r\n" in like else "\n"
    end = like[len(like.rstrip(" \t\r\n")) :]
    colon = ":" if indent is None and '": ' not in like else ": "
    comma = "," if indent is not None or colon == ":" else ", "

    def write(value: Any, depth: int) -> str:
        if isinstance(value, _Number):
            return value.text
        if isinstance(value, str):
            return _quoted(value, ascii_only=ascii_only)
        if isinstance(value, dict):
            parts = [
                f"{_quoted(key, ascii_only=ascii_only)}{colon}{write(below, depth + 1)}" for key, below in value.items()
            ]
            return _enclosed("{", parts, "}", depth)
        if isinstance(value, list):
            return _enclosed("[", [write(below, depth + 1) for below in value], "]", depth)
        return json.dumps(value)

    def _enclosed(begin: str, parts: list[str], close: str, depth: int) -> str:
        if indent is None or not parts:
            return begin + comma.join(parts) + close
        within = newline + indent * (depth + 1)
        return begin + within + f"{comma}{within}".join(parts) + newline + indent * depth + close

    return write(value, 0) + end


def _quoted(text: str, *, ascii_only: bool) -> str:
    # Half a pair of surrogates can be written in JSON, but is no UTF-8.
    halves = any("\ud800" <= char <= "\udfff" for char in text)
    return json.dumps(text, ensure_ascii=ascii_only or halves)
