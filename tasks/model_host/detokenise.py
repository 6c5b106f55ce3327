"""From tokens to text while they come: never half a character, never a part of a stop string."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_MOST_HELD = 64
"""Tokens that are held back at most for a character that never becomes whole."""
_BROKEN = "\ufffd"


class Detokeniser:
    """Text of a growing list of tokens, in pieces whose concatenation is the text of the whole list.

    What a token means depends on what stands before it (the space before a SentencePiece word is dropped at the very
    start; bytes of one character come in several tokens). So the text of a new token is the difference between two
    decodings of a short window that begins where a piece ended earlier. While the window ends in U+FFFD a character
    may be incomplete, and the text is held back.

    One difference to decoding everything at once is meant: a tokenizer with byte fallback turns a whole run of bytes
    into U+FFFD if one of them is wrong; here the characters of the run that were whole stay whole.

    Args:
        decode: text of tokens, without special tokens and without any tidying of spaces.
        before: tokens after which the text begins; empty: it begins by itself.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], before: Sequence[int] = ()) -> None:
        self._decode = decode
        self._window = list(before)
        self._told = len(self._window)
        """Tokens at the start of the window whose text was told."""
        self._text = decode(self._window) if self._window else ""
        """Text of these tokens, as the window's start."""

    def push(self, token: int) -> str:
        """The text that has become certain with `token`."""
        self._window.append(token)
        text = self._decode(self._window)
        patient = len(self._window) - self._told < _MOST_HELD
        if len(text) <= len(self._text):
            if not patient:
                self._window.pop()  # special tokens, one after the other: they will not become text
            return ""
        if text.endswith(_BROKEN) and patient:
            return ""
        return self._tell(text)

    def finish(self) -> str:
        """What was held back; nothing comes after it."""
        return self._tell(self._decode(self._window))

    def _tell(self, text: str) -> str:
        new = text[len(self._text) :]
        self._window = self._window[self._told :]
        self._told = len(self._window)
        self._text = self._decode(self._window) if self._window else ""
        return new


class StopStrings:
    """Text up to the first stop string that becomes complete; of several that end together, the longest.

    Args:
        stops: none of them empty.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """What of the text is certainly before any stop string."""
        if not self._stops:
            return text
        self._held += text
        found = [(at + len(stop), at) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            _, start = min(found)
            certain, self._held = self._held[:start], ""
            return certain
        keep = max(self._overlap(stop) for stop in self._stops)
        certain = self._held[: len(self._held) - keep]
        self._held = self._held[len(certain) :]
        return certain

    def finish(self) -> str:
        """What was held back; nothing comes after it."""
        held, self._held = self._held, ""
        return held

    def _overlap(self, stop: str) -> int:
        """Length of the longest start of `stop`, but not all of it, that the text ends in."""
        for length in range(min(len(stop) - 1, len(self._held)), 0, -1):
            if self._held.endswith(stop[:length]):
                return length
        return 0
