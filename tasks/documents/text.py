"""The words of a page as a text in which every letter knows where it stands. Pure."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

from models.documents import Box, Evidence

_GAP = 2.5
"""Heights of a word between two words from which on they belong to different columns."""


@dataclass(frozen=True)
class Word:
    """A word where it stands."""

    text: str
    box: Box
    confidence: float | None = None
    """Tesseract's, out of 100; None: it was text."""


@dataclass(frozen=True)
class Page:
    """A page that was read."""

    number: int
    text: str
    """Its words line by line, with single blanks between them; two between columns."""
    words: tuple[Word, ...]
    starts: tuple[int, ...]
    """Where in `text` each word begins."""

    def evidence(self, start: int, end: int) -> Evidence:
        """What stands at `start` to `end` of the text, and where that is on the page."""
        first = max(0, bisect.bisect_right(self.starts, start) - 1)
        last = bisect.bisect_left(self.starts, end)
        chosen = self.words[first:last]
        sure = [word.confidence for word in chosen if word.confidence is not None]
        return Evidence(
            page=self.number,
            quote=self.text[start:end],
            boxes=tuple(_around(line) for line in _lines(chosen)),
            confidence=min(sure) if sure else None,
        )


def page_of(number: int, words: Sequence[Word]) -> Page:
    """The page of `words`, in any order."""
    parts: list[str] = []
    starts: list[int] = []
    ordered: list[Word] = []
    length = 0
    for line in _lines(sorted(words, key=lambda word: (word.box.top, word.box.left))):
        before: Word | None = None
        for word in sorted(line, key=lambda one: one.box.left):
            between = "" if not ordered else "\n"
            if before is not None:
                height = max(1.0, before.box.bottom - before.box.top)
                between = "  " if word.box.left - before.box.right > _GAP * height else " "
            parts += [between, word.text]
            starts.append(length + len(between))
            ordered.append(word)
            length += len(between) + len(word.text)
            before = word
    return Page(number, "".join(parts), tuple(ordered), tuple(starts))


def _lines(words: Sequence[Word]) -> list[list[Word]]:
    """`words`, from top to bottom, as lines: what overlaps by half of its height is on one."""
    lines: list[list[Word]] = []
    for word in words:
        middle = (word.box.top + word.box.bottom) / 2
        if lines and lines[-1][0].box.top <= middle <= lines[-1][0].box.bottom:
            lines[-1].append(word)
        else:
            lines.append([word])
    return lines


def _around(words: Sequence[Word]) -> Box:
    return Box(
        left=min(word.box.left for word in words),
        top=min(word.box.top for word in words),
        right=max(word.box.right for word in words),
        bottom=max(word.box.bottom for word in words),
    )
