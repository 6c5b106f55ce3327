"""A Markdown document as sections, each with the code spans, links and code blocks that can be checked."""

from __future__ import annotations

import bisect
import hashlib
import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from tasks.docs.truth.past import is_history, speaks_of_making, speaks_of_the_past

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_ATTRIBUTES = re.compile(r"\s*\{(?::|(?=\s*[#.]))[^{}]*\}\s*$")
_EXPLICIT_ID = re.compile(r"\{:?[^{}\n]{0,100}?#([^\s{}#]{1,200})[^{}\n]{0,100}\}")
_HTML_HEADING = re.compile(r"<h([1-6])\b[^>]{0,200}>(.{0,300}?)</h\1>", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^<>]*>")
_TAB = re.compile(r"""^[ \t]*={3}[!+]*[ \t]+["'](.+)["'][ \t]*$""", re.MULTILINE)
_SNIPPET = re.compile(r"""^[ \t]*-{1,9}8<-{1,9}[ \t]+["']([^"'\n]+)["'][ \t]*$""", re.MULTILINE)
_SNIPPETS = re.compile(r"^[ \t]*-{1,9}8<-{1,9}[ \t]*\n((?:.*\n)*?)[ \t]*-{1,9}8<-{1,9}[ \t]*$", re.MULTILINE)
_INCLUDE = re.compile(r"\{include\}\s+(\S+)")
_TAKES_IN = re.compile(
    r"""-8<- | ^[ \t]*:::[ \t]+(?!(?:note|tip|info|warning|danger|caution|important|details|example)\b)[\w.-]+[ \t]*$
    | ^[ \t]*\{%-?\s*(?:include|import|from|macro|call)\b | \{!.{1,200}?!\} | ^\{\{.*\}\}[ \t]*$ | ^[ \t]*<<<[ \t]
    | <!--\s*@?include | ^[ \t]*\.\.\ include::""",
    re.VERBOSE | re.MULTILINE | re.IGNORECASE,
)
"""Text from elsewhere, in the ways of MkDocs' extensions, Jinja, VitePress and Sphinx."""
_MAKES_TEXT = re.compile(r"\bexec\b|\{(?:include|mdinclude|eval-rst|auto|click|typer|argparse|sphinx|jinja|glossary)")
_OF_VALUES = re.compile(r"\b(?:examples?|inputs?|values?|samples?|outputs?|results?|match(?:es)?)\b|^you get$", re.I)
_HTML_ID = re.compile(r"""<[a-zA-Z][^<>]*?\b(?:id|name)\s*=\s*["']?([^"'\s>]+)""")
_LABEL = re.compile(r"^[ \t]*(?:\(([\w:. -]+)\)=|:name:[ \t]*(\S+)|\.\. _([^:\n]+):)[ \t]*\r?$", re.MULTILINE)
_SENTENCE = re.compile(r"(?<=[.!?:;])\s+(?=[A-Z`\[\"'(])|\n\s*\n")
_LETTER = re.compile(r"[A-Za-z]")
_LONGEST_HEADING = 500
_MOST_INCLUDED = 100
_LONGEST_SENTENCE = 600
_ALERT = re.compile(r"\[!(?:NOTE|TIP|IMPORTANT|WARNING|CAUTION)\]", re.IGNORECASE)
_REFERENCE = re.compile(r"(?<![\w\]\\!`])\[([^\[\]`]{1,200}|`[^`\[\]]{1,200}`)\]\[([^\[\]\n]{1,200})\]")


@dataclass(frozen=True, slots=True)
class Span:
    """Inline code."""

    line: int
    text: str
    sentence: str
    """The sentence that it stands in."""
    past: bool
    """Whether that sentence, or one above it, speaks of what was, will be, or is somebody else's."""
    made: bool = False
    """Whether a path is a value in a column of such, or something that the reader is to make."""


@dataclass(frozen=True, slots=True)
class Link:
    """A link, an image, or a reference whose label the document does not define."""

    line: int
    target: str
    kind: str
    """`link`, `image` or `reference`."""


@dataclass(frozen=True, slots=True)
class Fence:
    """A block of code."""

    line: int
    """Of its first line of code."""
    language: str
    info: str
    text: str
    past: bool
    before: str
    """The paragraph above it."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table."""

    line: int
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """Cells as Markdown."""


@dataclass(frozen=True, slots=True)
class Section:
    """What stands under one heading, without the sections below it."""

    path: tuple[str, ...]
    """Headings from the top on; empty for what stands above the first."""
    key: str
    """Identifies it within its page."""
    line: int
    text: str
    """All of its text, white space folded."""
    spans: tuple[Span, ...] = ()
    links: tuple[Link, ...] = ()
    fences: tuple[Fence, ...] = ()
    tables: tuple[Table, ...] = ()
    past: bool = False
    prose: str = ""
    """Its paragraphs without code blocks."""

    @property
    def hash(self) -> str:
        """Hash of its text; white space does not count."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Page:
    """One document."""

    file: str
    """Relative to the checkout, with slashes."""
    sections: tuple[Section, ...]
    anchors: frozenset[str]
    history: bool
    """A changelog or the like, which rightly speaks of what is no more."""
    text: str
    open: bool = False
    """Whether text is put into it that a program makes, which may have any heading and label."""
    includes: tuple[str, ...] = ()
    """Files whose text is put into it, as it names them."""


def read_page(file: str, text: str) -> Page:
    """The document `file` with the Markdown `text`."""
    from markdown_it import MarkdownIt  # noqa: PLC0415

    environment: dict[str, object] = {}
    parser = MarkdownIt("commonmark", {"store_labels": True}).enable("table")
    tokens = parser.parse(_without_front_matter(text), environment)
    whole = list(_whole(tokens, parser))
    history = is_history(PurePosixPath(file))
    sections = tuple(_Sections(text, tokens, past=history).read())
    return Page(file, sections, _anchors(text, whole), history, text, *_takes_in(whole))


def _whole(tokens: Sequence[Token], parser: MarkdownIt, depth: int = 3) -> Iterator[Token]:
    """`tokens`, and those of what is indented, which may be the body of an admonition or a tab and no code."""
    for token in tokens:
        if token.type == "code_block" and depth:
            yield from _whole(parser.parse(textwrap.dedent(token.content), {}), parser, depth - 1)
        else:
            yield token


def _without_front_matter(text: str) -> str:
    """`text` with empty lines in the place of its front matter, so that lines keep their numbers."""
    found = re.match(r"---\r?\n.*?\r?\n---[ \t]*(?:\r?\n|$)", text, re.DOTALL)
    return text if found is None else "\n" * found[0].count("\n") + text[found.end() :]


class _Sections:
    """One walk over the tokens of a page."""

    def __init__(self, text: str, tokens: Sequence[Token], *, past: bool) -> None:
        self._lines = text.splitlines()
        self._tokens = tokens
        self._past = past
        self._keys: Counter[str] = Counter()

    def read(self) -> Iterator[Section]:
        """The sections in the order of the page."""
        headings: list[tuple[int, str]] = []
        start, body = 0, 0
        for number, token in enumerate(self._tokens):
            if token.type != "heading_open" or token.level != 0:
                continue
            yield from self._section(headings, self._tokens[body:number], start, token.map[0] if token.map else start)
            start = token.map[0] if token.map else start
            body = number
            depth = int(token.tag[1:])
            headings = [one for one in headings if one[0] < depth]
            headings.append((depth, _plain(self._tokens[number + 1])))
        yield from self._section(headings, self._tokens[body:], start, len(self._lines))

    def _section(
        self, headings: Sequence[tuple[int, str]], tokens: Sequence[Token], start: int, end: int
    ) -> Iterator[Section]:
        text = " ".join("\n".join(self._lines[start:end]).split())
        if not text:
            return
        path = tuple(title for _, title in headings)
        key = " / ".join(path) or "(top)"
        self._keys[key] += 1
        if self._keys[key] > 1:
            key = f"{key} #{self._keys[key]}"
        past = self._past or any(is_history(PurePosixPath(), title) for title in path)
        spans: list[Span] = []
        links: list[Link] = []
        fences: list[Fence] = []
        prose: list[str] = []
        before, quoted = "", 0
        of_values: list[bool] = []
        column = 0
        for number, token in enumerate(tokens):
            if token.type == "table_open":
                of_values = []
            elif token.type == "th_open":
                of_values.append(_OF_VALUES.search(tokens[number + 1].content) is not None)
            elif token.type == "tr_open":
                column = -1
            elif token.type == "td_open":
                column += 1
            if token.type == "blockquote_open":
                quoted += 1
            elif token.type == "blockquote_close":
                quoted -= 1
            elif token.type == "inline":
                line = (token.map[0] if token.map else start) + 1
                told = quoted > 0 and not _ALERT.search(token.content)
                if quoted and _ALERT.search(token.content):
                    quoted = 0  # a note of the page's own, and not somebody's words
                value = tokens[number - 1].type == "td_open" and any(of_values[column : column + 1])
                spans += _spans(token, line, past or told, before, value=value)
                links += _links(token, line)
                before = token.content
                prose.append(token.content)
            elif token.type in {"fence", "code_block"}:
                line = (token.map[0] if token.map else start) + (2 if token.type == "fence" else 1)
                info = token.info.strip() if token.type == "fence" else ""
                old = past or quoted > 0 or speaks_of_the_past(before[-_LONGEST_SENTENCE:])
                language = re.split(r"[\s,{:]", info.lstrip("{. "), maxsplit=1)[0].strip("}").lower()
                fences.append(Fence(line, language, info, token.content, old, before))
        yield Section(
            path=path,
            key=key,
            line=start + 1,
            text=text,
            spans=tuple(spans),
            links=tuple(links),
            fences=tuple(fences),
            tables=tuple(_tables(tokens)),
            past=past,
            prose="\n\n".join(prose),
        )


def _spans(token: Token, line: int, past: bool, before: str, *, value: bool) -> Iterator[Span]:  # noqa: FBT001
    """The code spans of one paragraph, each with its sentence and line."""
    parts: list[tuple[str, bool]] = []
    for child in token.children or ():
        if child.type in {"softbreak", "hardbreak"}:
            parts.append(("\n", False))
        elif child.type == "code_inline":
            parts.append((child.content.strip(), True))
        elif child.content and child.type == "text":
            parts.append((child.content, False))
    whole = "".join(f"`{text}`" if code else text for text, code in parts)
    ends = [0, *(match.start() for match in _SENTENCE.finditer(whole)), len(whole)]
    inherited = before.rstrip().endswith(":") and speaks_of_the_past(before[-_LONGEST_SENTENCE:])
    position = counted = 0
    for text, code in parts:
        if code:
            place = bisect.bisect_right(ends, position)
            first = max(ends[place - 1], position - _LONGEST_SENTENCE)
            last = min(ends[min(place, len(ends) - 1)], position + len(text) + _LONGEST_SENTENCE)
            sentence = whole[first:last].strip()
            told = past or inherited or speaks_of_the_past(sentence, text)
            made = value or speaks_of_making(whole[first:position])
            yield Span(line + counted, text, sentence, told, made)
        width = len(text) + (2 if code else 0)
        counted += whole.count("\n", position, position + width)
        position += width


def _tables(tokens: Sequence[Token]) -> Iterator[Table]:
    rows: list[list[str]] = []
    start = 0
    for number, token in enumerate(tokens):
        if token.type == "table_open":
            rows, start = [], (token.map[0] if token.map else 0) + 1
        elif token.type == "tr_open":
            rows.append([])
        elif token.type in {"th_open", "td_open"} and rows:
            rows[-1].append(tokens[number + 1].content.strip())
        elif token.type == "table_close" and rows:
            yield Table(start, tuple(rows[0]), tuple(tuple(row) for row in rows[1:]))


def _links(token: Token, line: int) -> Iterator[Link]:
    offset = 0
    for child in token.children or ():
        if child.type in {"softbreak", "hardbreak"}:
            offset += 1
        elif child.type in {"link_open", "image"}:
            if str(child.meta.get("label", "")).startswith("^"):
                continue  # a footnote: CommonMark knows none, and takes its only word for where a link leads
            target = child.attrGet("href" if child.type == "link_open" else "src")
            yield Link(line + offset, str(target or ""), "link" if child.type == "link_open" else "image")
        elif child.type == "text":
            yield from (
                Link(line + offset, match[2], "reference")
                for match in _REFERENCE.finditer(child.content)
                if _LETTER.search(match[1]) and _LETTER.search(match[2]) and not match[2].startswith("^")
            )


def _anchors(text: str, tokens: Sequence[Token]) -> frozenset[str]:
    """Every anchor that a reader of the page may jump to, in the ways of GitHub and of Python-Markdown."""
    found = {match[1] for match in _HTML_ID.finditer(text)} | {
        match[match.lastindex or 0] for match in _LABEL.finditer(text)
    }
    found |= {match[1].replace("\\", "") for match in _EXPLICIT_ID.finditer(text)}
    titles = []
    for number, token in enumerate(tokens):
        if token.type == "heading_open":
            titles.append(_plain(tokens[number + 1]))
    titles += [_TAG.sub("", match[2]) for match in _HTML_HEADING.finditer(text)]
    titles += [match[1] for match in _TAB.finditer(text)]
    seen: Counter[str] = Counter()
    for title in titles:
        bare = title
        while (attributes := _ATTRIBUTES.search(bare)) is not None:
            bare = bare[: attributes.start()]
        for slug in dict.fromkeys(slug(one) for one in (bare, title) for slug in (github_slug, python_markdown_slug)):
            found.update({slug} if not seen[slug] else {f"{slug}-{seen[slug]}", f"{slug}_{seen[slug]}"})
            seen[slug] += 1
    return frozenset(found)


def _takes_in(tokens: Sequence[Token]) -> tuple[bool, tuple[str, ...]]:
    """Whether something on the page stands for text that a program makes, and the files that are put into it.

    An example of code that is taken in has no headings.
    """
    files: list[str] = []
    made = False
    for token in tokens:
        if token.type == "fence":
            named = _INCLUDE.findall(token.info)
            files += named
            made |= not named and _MAKES_TEXT.search(token.info) is not None
        elif token.type in {"inline", "html_block"}:
            files += _SNIPPET.findall(token.content)
            files += [one for lines in _SNIPPETS.findall(token.content) for one in lines.split()]
            rest = _SNIPPETS.sub("", _SNIPPET.sub("", token.content))
            made |= _TAKES_IN.search(rest) is not None
    names = [re.sub(r":[\w:,-]*$", "", one) for one in dict.fromkeys(files[:_MOST_INCLUDED])]
    return made or len(files) > _MOST_INCLUDED, tuple(names)


def github_slug(title: str) -> str:
    """The anchor that GitHub gives a heading: lower case, punctuation gone, a hyphen for each space."""
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")


def python_markdown_slug(title: str) -> str:
    """The anchor that Python-Markdown, and so MkDocs, gives a heading."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower())


def _plain(token: Token) -> str:
    """The words of a heading, without its markup."""
    return "".join(
        child.content if child.type in {"text", "code_inline"} else " " if child.type == "softbreak" else ""
        for child in token.children or ()
    )[:_LONGEST_HEADING].strip()
