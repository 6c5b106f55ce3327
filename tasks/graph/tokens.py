r"""Cypher's text as tokens, as far as a guard needs them; what servers may read in two ways is refused.

The lexical rules are those of the Cypher manual (syntax, sections "Naming rules" and "Expressions"): strings in single
or double quotes with backslash escapes, names in backticks (doubled inside), `//` and `/* */` comments. Neo4j replaces
`\uXXXX` in the whole text before it looks for quotes, other servers inside of strings only.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import Enum, auto

from blocks.errors import ConfigurationError

MOST_CHARACTERS = 100_000


class QueryRefusedError(ConfigurationError):
    """A query that is not answered: it is none, or not known to be harmless."""

    def __init__(self, what: str, *, remedy: str = "") -> None:
        super().__init__(what, component="cypher", remedy=remedy)


class Kind(Enum):
    """What a token is."""

    word = auto()
    """A name or a keyword, not in backticks."""
    quoted = auto()
    """A name in backticks."""
    string = auto()
    number = auto()
    parameter = auto()
    sign = auto()


@dataclass(frozen=True, slots=True)
class Token:
    """One token."""

    kind: Kind
    text: str
    """As it is written; of a name in backticks, the name."""

    @property
    def upper(self) -> str:
        """A word in capitals, however a server takes letters of other alphabets for ours."""
        return _folded(self.text) if self.kind is Kind.word else ""

    def is_sign(self, *texts: str) -> bool:
        """Whether it is one of these signs."""
        return self.kind is Kind.sign and self.text in texts


_WORD = re.compile(r"[^\W\d]\w*")
_NUMBER = re.compile(r"0x[0-9a-fA-F]+|0o[0-7]+|[0-9][0-9_]*(?:\.[0-9][0-9_]*)?(?:[eE][+-]?[0-9]+)?")
_PLAIN = re.compile(r"\w+")
_STRING = {quote: re.compile(rf"{quote}(?:[^\\{quote}]|\\.)*+{quote}", re.DOTALL) for quote in "'\""}
_NAME = re.compile(r"`((?:[^`\\]|``)*+)`(?!`)")
_LINE_COMMENT = re.compile(r"//[^\r\n]*")
_BLOCK_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_ESCAPE = re.compile(r"\\+u+([0-9a-fA-F]{4})")
_STRAY_NEWLINES = re.compile("[\x0b\x0c\x1c-\x1f\x85\u2028\u2029]|\r(?!\n)")
_TWO_SIGNS = ("..", "->", "<-", "<=", ">=", "<>", "=~", "+=", "||", "::")
_SIGNS = frozenset("()[]{}<>=+-*/%^.,:;|&!?$")
_UNSAFE_ESCAPES = frozenset("'\"`\\/*\r\n\x85\u2028\u2029")


def _folded(word: str) -> str:
    """`word` as the widest reading of a keyword has it: a long s is an S then, a dotless i an I."""
    return unicodedata.normalize("NFKC", word).casefold().upper().replace("\u0131", "I").upper()


def tokens(text: str) -> tuple[list[Token], str]:
    """The tokens of `text`, and `text` with a blank for each of its comments.

    Raises:
        QueryRefusedError: it is no such text, or could be read in two ways.
    """
    if len(text) > MOST_CHARACTERS:
        raise QueryRefusedError(f"it is longer than {MOST_CHARACTERS} characters.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise QueryRefusedError("it holds half of a character (a surrogate).") from error
    found: list[Token] = []
    plain: list[str] = []
    place = 0
    while place < len(text):
        letter = text[place]
        if letter in " \t\n" or (letter == "\r" and text[place : place + 2] == "\r\n"):
            plain.append(letter)
            place += 1
            continue
        token, end = _next(text, place)
        if token is not None:
            found.append(token)
        plain.append(" " if token is None else text[place:end])
        place = end
    return found, "".join(plain)


def _next(text: str, place: int) -> tuple[Token | None, int]:  # noqa: PLR0911 - one line for each kind of token
    letter = text[place]
    if letter in "'\"":
        return _string(text, place, letter)
    if letter == "`":
        match = _matched(_NAME, text, place, "a name in backticks that does not end, or holds a backslash")
        return Token(Kind.quoted, match[1].replace("``", "`")), match.end()
    if text.startswith(("//", "/*"), place):
        return None, _comment(text, place)
    if letter == "$":
        return _parameter(text, place)
    if (word := _WORD.match(text, place)) is not None:
        return Token(Kind.word, word[0]), word.end()
    if (number := _NUMBER.match(text, place)) is not None:
        return Token(Kind.number, number[0]), number.end()
    if (two := text[place : place + 2]) in _TWO_SIGNS:
        return Token(Kind.sign, two), place + 2
    if letter in _SIGNS:
        return Token(Kind.sign, letter), place + 1
    if letter == "\\":
        raise QueryRefusedError("it has a backslash outside of strings: some servers read letters out of it.")
    raise QueryRefusedError(f"it holds U+{ord(letter):04X} outside of strings.", remedy="Write a plain blank, or none.")


def _string(text: str, place: int, quote: str) -> tuple[Token, int]:
    match = _matched(_STRING[quote], text, place, "a string that does not end")
    for escape in _ESCAPE.finditer(match[0]):
        if (meant := chr(int(escape[1], 16))) in _UNSAFE_ESCAPES or meant < " ":
            raise QueryRefusedError(
                f"a string holds {escape[0]}, with which it ends for some servers and not for others.",
                remedy="Hand the text in as a parameter.",
            )
    return Token(Kind.string, match[0]), match.end()


def _parameter(text: str, place: int) -> tuple[Token, int]:
    after = place + 1
    if text.startswith("`", after):
        name = _matched(_NAME, text, after, "a name in backticks that does not end")
        return Token(Kind.parameter, name[1]), name.end()
    match = _PLAIN.match(text, after)
    if match is None:
        raise QueryRefusedError("a $ is followed by no name of a parameter.")
    return Token(Kind.parameter, match[0]), match.end()


def _comment(text: str, place: int) -> int:
    if text.startswith("//", place):
        end = _matched(_LINE_COMMENT, text, place, "").end()
    else:
        end = _matched(_BLOCK_COMMENT, text, place, "a comment that does not end").end()
    if _STRAY_NEWLINES.search(text, place, end) or "\\u" in text[place:end]:
        raise QueryRefusedError("a comment ends elsewhere for some servers: it holds odd line breaks or `\\u`.")
    return end


def _matched(pattern: re.Pattern[str], text: str, place: int, problem: str) -> re.Match[str]:
    match = pattern.match(text, place)
    if match is None:
        raise QueryRefusedError(f"there is {problem}.")
    return match
