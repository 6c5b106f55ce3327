"""Source text that was cut off, made whole again as far as it goes."""

from __future__ import annotations

import ast

from tasks.code.literals import parsed

_CLOSING = {"(": ")", "[": "]", "{": "}"}
_MOST_TRIES = 12
_LONGEST_ESCAPE = 10


def completed(text: str) -> tuple[ast.expr | None, str]:
    """The expression that the beginning of one spells, and how much of `text` is in it; None when it spells none.

    What is open at the end is closed, and what makes no sense behind the last commas is left out.
    """
    closers, quote, commas = _open(text)
    ends = [(text + _closing_quote(text, quote), closers, text)]
    if quote and (escape := text.rfind("\\", len(text) - _LONGEST_ESCAPE)) > 0:
        ends.append((text[:escape] + _closing_quote(text[:escape], quote), closers, text[:escape]))
    ends += [(text[:at], still, text[:at]) for at, still in reversed(commas[-_MOST_TRIES:])]
    for start, still, kept in ends:
        node = parsed(start + still)
        if node is not None:
            return node, kept
    return None, ""


def _open(text: str) -> tuple[str, str, list[tuple[int, str]]]:
    """What closes the brackets that are open at the end, the quotes of a string that is, and where commas are.

    For each comma: its place, and what closes the brackets around it.
    """
    stack: list[str] = []
    commas: list[tuple[int, str]] = []
    quote = ""
    at = 0
    while at < len(text):
        letter = text[at]
        if quote:
            if letter == "\\":
                at += 1
            elif text.startswith(quote, at):
                at += len(quote) - 1
                quote = ""
        elif letter in "\"'":
            quote = letter * 3 if text.startswith(letter * 3, at) else letter
            at += len(quote) - 1
        elif letter in _CLOSING:
            stack.append(_CLOSING[letter])
        elif letter in ")]}" and stack:
            stack.pop()
        elif letter == ",":
            commas.append((at, "".join(reversed(stack))))
        elif letter == "#":
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
        at += 1
    return "".join(reversed(stack)), quote, commas


def _closing_quote(text: str, quote: str) -> str:
    if not quote:
        return ""
    slashes = len(text) - len(text.rstrip("\\"))
    return ("\\" if slashes % 2 else "") + quote
