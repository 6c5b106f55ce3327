"""Divides shell text into pipelines of simple commands: enough to see what is run, not enough to run it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_WRAPPERS = frozenset(
    {"sudo", "env", "exec", "command", "nohup", "time", "nice", "doas", "xargs", "then", "do", "else", "if", "!"}
)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


@dataclass(frozen=True, slots=True)
class Command:
    """A simple command."""

    words: tuple[str, ...]
    """Without quotes; assignments before the command are among them."""
    line: int
    """Line breaks before its first word."""

    @property
    def program(self) -> str:
        """The name of what is run, without its folder, assignments and wrappers such as `sudo` and `env`."""
        return next(self._programs(), "")

    @property
    def arguments(self) -> tuple[str, ...]:
        """What stands behind the program."""
        for at, word in enumerate(self.words):
            if _name(word) == self.program:
                return self.words[at + 1 :]
        return ()

    def runs(self, *names: str) -> bool:
        """Whether one of `names` is run, also as a wrapper."""
        return self.program in names or any(_name(word) in names for word in self.words[: self._wrappers()])

    def _wrappers(self) -> int:
        return next((at for at, word in enumerate(self.words) if _name(word) == self.program), 0)

    def _programs(self) -> Iterator[str]:
        wrapped = False
        for word in self.words:
            name = _name(word)
            if name in _WRAPPERS:
                wrapped = True
            elif not _ASSIGNMENT.match(word) and not (wrapped and word.startswith("-")):
                yield name


def pipelines(text: str, *, breaks: bool) -> list[tuple[Command, ...]]:
    """The pipelines in `text`, each of one command or more. With `breaks`, a line break ends a command.

    What stands in `$(...)`, `(...)`, backquotes or `{...}` counts as commands of their own.
    """
    reading = _Reading(text, breaks=breaks)
    for at in range(len(reading.text)):
        reading.take(at)
    reading.end_pipeline()
    return reading.found


class _Reading:
    """How far the text is read: one letter after the other, so that time is linear in its length."""

    def __init__(self, text: str, *, breaks: bool) -> None:
        self.text = text
        self.breaks = breaks
        self.found: list[tuple[Command, ...]] = []
        self._pipeline: list[Command] = []
        self._words: list[str] = []
        self._word: list[str] | None = None
        self._line = self._begun = 0
        self._quote = ""
        self._escaped = self._comment = False

    def take(self, at: int) -> None:
        letter = self.text[at]
        self._line += letter == "\n"
        self._comment = self._comment and letter != "\n"
        if self._comment:
            return
        if self._escaped:
            self._escaped = False
            self._add(letter if letter != "\n" else "")
        elif self._quote:
            self._quoted(letter)
        elif letter == "\\":
            self._escaped = True
        elif letter in "\"'":
            self._quote = letter
            self._add("")
        elif letter == "#" and self._word is None:
            self._comment = True
        elif letter in " \t\r" or (letter == "\n" and not self.breaks):
            self._end_word()
        elif letter in ";|&()`{}\n" and not self._within(letter, self.text[at + 1 : at + 2]):
            self._end_command()
            if not self._piped(letter, at):
                self.end_pipeline()
        else:
            self._add(letter)

    def end_pipeline(self) -> None:
        self._end_command()
        if self._pipeline:
            self.found.append(tuple(self._pipeline))
            self._pipeline = []

    def _quoted(self, letter: str) -> None:
        if letter == self._quote:
            self._quote = ""
        elif letter == "\\" and self._quote == '"':
            self._escaped = True
        else:
            self._add(letter)

    def _add(self, letter: str) -> None:
        if self._word is None:
            self._word = []
            if not self._words:
                self._begun = self._line
        self._word.append(letter)

    def _end_word(self) -> None:
        if self._word is not None:
            self._words.append("".join(self._word))
            self._word = None

    def _end_command(self) -> None:
        self._end_word()
        if self._words:
            self._pipeline.append(Command(tuple(self._words), self._begun))
            self._words = []

    def _within(self, letter: str, following: str) -> bool:
        """Whether a brace or an ampersand belongs to a word: `${NAME}`, `2>&1`."""
        if letter == "{":
            return self._word is not None or not following.isspace()
        if letter == "}":
            return self._word is not None
        return letter == "&" and ((self._word is not None and self._word[-1:] == [">"]) or following == ">")

    def _piped(self, letter: str, at: int) -> bool:
        """Whether what follows gets the output of what stands before."""
        if letter == "|":
            return "|" not in (self.text[at - 1 : at], self.text[at + 1 : at + 2])
        after = self.text[at + 1 : at + 40].lstrip(" \t")
        return letter in ")}" and after.startswith("|") and not after.startswith("||")


def _name(word: str) -> str:
    return word.rpartition("/")[2]
