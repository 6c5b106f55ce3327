"""What of a mail's text is new, and what its subject is without the marks of replies. Pure, line by line."""

from __future__ import annotations

import re

_REPLY = re.compile(r"\s*(?:re|aw|sv|antw|rif|res|fw|fwd|wg|tr|rv|enc)\s*(?:\[\d{1,3}\])?\s*:\s*", re.IGNORECASE)
_WROTE = re.compile(
    r"\s*(?:On|Am|Le|El|Il|Op|Em|Den)\b.{0,300}"
    r"\b(?:wrote|schrieb|écrit|escribió|ha scritto|schreef|escreveu|skrev)\b.{0,80}:\s*",
    re.IGNORECASE,
)
_ORIGINAL = re.compile(
    r"\s*(?:[-_]{2,}\s*)(?:original message|ursprüngliche nachricht|message d'origine|mensaje original|"
    r"messaggio originale|oorspronkelijk bericht)\s*(?:[-_]{2,})?\s*",
    re.IGNORECASE,
)
_SIGNATURE = re.compile(r"-- ?")


def subject_of(subject: str) -> str:
    """`subject` without `Re:`, `Fwd:` and their like in other languages."""
    at = 0
    while match := _REPLY.match(subject, at):
        at = match.end()
    return subject[at:].strip() or subject.strip()


def new_words(text: str) -> str:
    """`text` without what it quotes at its end and without a signature (RFC 3676, 4.3).

    Answers between quoted lines stay, with the lines that they answer. When nothing would be left, all of it stays.
    """
    lines = text.split("\n")
    ends = _before_quotation(lines)
    for number in range(ends - 1, -1, -1):
        if _SIGNATURE.fullmatch(lines[number]):
            ends = number
            break
    kept = "\n".join(lines[:ends]).strip()
    return kept or text.strip()


def _before_quotation(lines: list[str]) -> int:
    """The number of lines before a quotation that goes on to the end."""
    for number, line in enumerate(lines):
        if _ORIGINAL.fullmatch(line) and number:
            return number
    ends = len(lines)
    while ends and (not lines[ends - 1].strip() or lines[ends - 1].lstrip().startswith(">")):
        ends -= 1
    if not any(line.lstrip().startswith(">") for line in lines[ends:]):
        # Some write who wrote what and leave the quotation unmarked.
        return next((n for n, line in enumerate(lines) if n and _WROTE.fullmatch(line)), len(lines))
    for back in (1, 2, 3):  # the line that says who wrote it may be broken in two or three
        if ends - back >= 0 and _WROTE.fullmatch(" ".join(lines[ends - back : ends])):
            return ends - back
    return ends
