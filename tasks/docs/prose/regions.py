"""Regions of a document that a machine writes. Pure; what stands outside of them is never touched.

A person asks for a region by its two marks, each on a line of its own:

    <!-- lama:prose acme.store.Store -->
    <!-- /lama:prose -->

Filled, the first mark carries two hashes: of the source that was described, and of the text. A text that is not what
its hash says was changed by a person: from then on it is that person's.
"""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

_OPEN = re.compile(
    r"^ {0,3}<!--[ \t]*lama:prose[ \t]+([A-Za-z_][\w.]{0,300})(?:[ \t]+([0-9a-f]{12})-([0-9a-f]{12}))?[ \t]*-->[ \t]*$",
    re.ASCII,
)
_CLOSE = re.compile(r"^ {0,3}<!--[ \t]*/lama:prose[ \t]*-->[ \t]*$")
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_LENGTH = 12
_LONGEST = 2_000
SIGN = "*(machine-written)*"
"""What stands behind every text of a machine."""


class State(StrEnum):
    """How a region stands."""

    empty = "empty"
    """It is asked for, and was never written."""
    fresh = "fresh"
    """It tells of the source as it is."""
    stale = "stale"
    """The source has changed since."""
    edited = "edited"
    """A person has changed it, or wrote it: it is left alone."""
    broken = "broken"
    """It has no end, or begins within another one."""


@dataclass(frozen=True, slots=True)
class Region:
    """One region."""

    name: str
    """What it describes."""
    line: int
    """Of its first mark, from 1 on."""
    end: int
    """Of its last mark; that of the first where there is none."""
    source: str
    """Hash of the source that was described; empty before it was written."""
    written: bool
    """Whether its text is the one that was written by a machine."""
    blank: bool
    broken: bool = False

    def state(self, source: str) -> State:
        """How it stands, when the source's hash is `source`."""
        if self.broken:
            return State.broken
        if not self.source:
            return State.empty if self.blank else State.edited
        if not self.written:
            return State.edited
        return State.fresh if self.source == short(source) else State.stale


def short(text: str) -> str:
    """The hash of a text as the marks carry it."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_LENGTH]


def regions_of(text: str) -> tuple[Region, ...]:
    """The regions of a Markdown text; marks within blocks of code are only shown there."""
    return tuple(_regions(_lines(text)))


def filled(text: str, answers: Mapping[int, tuple[str, str]]) -> str:
    """`text` with regions filled.

    Args:
        text: a Markdown text.
        answers: by the line of the region's first mark, the source that was described, and what is to stand there.

    Regions that are broken, or that a person has changed, stay as they are, whatever `answers` say.
    """
    lines = _lines(text)
    for region in reversed(regions_of(text)):
        if region.line not in answers or region.broken or region.state("") is State.edited:
            continue
        source, answer = answers[region.line]
        first = lines[region.line - 1]
        ending = first[len(first.rstrip("\r\n")) :] or "\n"
        content = [f"{one}{ending}" for one in _plain(answer).split("\n")]
        mark = f"<!-- lama:prose {region.name} {short(source)}-{short(_folded(content))} -->{ending}"
        indent = first[: len(first) - len(first.lstrip(" "))]
        lines[region.line - 1 : region.end - 1] = [f"{indent}{mark}", *content]
    return "".join(lines)


def _plain(answer: str) -> str:
    """What a model wrote as paragraphs of plain Markdown: no HTML, no marks, no headings, no links of its own."""
    text = re.sub(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+", " ", answer).strip()[:_LONGEST]
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n", text):
        words = " ".join(paragraph.split())
        words = re.sub(r"!?\[([^\[\]]*)\](?:\([^()]*\)|\[[^\[\]]*\])", r"\1", words)
        words = html.escape(words, quote=False).replace("`&lt;", "`<").replace("&gt;`", ">`")
        words = re.sub(r"<|>", lambda found: html.escape(found[0]), words)
        words = re.sub(r"^(?=[#>|~=+*-]|\d+[.)]|`{3})", "\u200b", words)
        if words:
            paragraphs.append(words)
    return "\n\n".join([*paragraphs[:-1], f"{paragraphs[-1]} {SIGN}"]) if paragraphs else SIGN


def _regions(lines: Sequence[str]) -> Iterator[Region]:
    fence = ""
    opened: tuple[int, re.Match[str]] | None = None
    for number, line in enumerate(lines, start=1):
        bare = line.rstrip("\r\n")
        marks = _FENCE.match(bare)
        if fence:
            closes = marks is not None and marks[1].startswith(fence) and not bare.strip().strip(fence[0])
            fence = "" if closes else fence
            continue
        if marks is not None and opened is None:
            fence = marks[1]
            continue
        found = _OPEN.match(bare)
        if found is not None:
            if opened is not None:
                yield _region(opened, opened[0], (), broken=True)
            opened = number, found
        elif opened is not None and _CLOSE.match(bare):
            yield _region(opened, number, lines[opened[0] : number - 1], broken=False)
            opened = None
    if opened is not None:
        yield _region(opened, opened[0], (), broken=True)


def _region(opened: tuple[int, re.Match[str]], end: int, content: Sequence[str], *, broken: bool) -> Region:
    line, found = opened
    text = _folded(content)
    return Region(
        name=found[1],
        line=line,
        end=end,
        source=found[2] or "",
        written=bool(found[3]) and short(text) == found[3],
        blank=not text.strip(),
        broken=broken,
    )


def _folded(content: Sequence[str]) -> str:
    """The lines of a region, whatever ends them."""
    return "\n".join(line.rstrip("\r\n") for line in content)


def _lines(text: str) -> list[str]:
    return _LINE.findall(text)
