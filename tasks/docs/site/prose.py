"""What people wrote in docstrings, as HTML and as Markdown in which nothing of theirs does anything.

It is parsed once, as CommonMark without HTML of its own. Both forms are written from that: whatever would be a tag, an
attribute, a template or an image from elsewhere is shown as the characters that it is made of.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING, Any

from tasks.docs.site.plain_markup import as_commonmark

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.renderer import RendererHTML
    from markdown_it.token import Token
    from markdown_it.utils import OptionsDict

Where = Callable[[str], str | None]
"""The address that a name in the text leads to, if any."""

LONGEST = 200_000
"""Characters of one docstring that are shown."""
_PLAIN = re.compile(r"[\w ,.;:()'\"/?!%=+-]*")
_LEADING = re.compile(r"[\d+=:#-]|\s{4}")
_MARKDOWN = re.compile(r"[\\`*_\[\]{}|~^$@<>&!]|^[#+=-]|(?<=^\d)[.)]|(?<=^\d\d)[.)]|=(?==)|://|www\.")
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
_DEEPEST_HEADING = 6
_HEADING_SHIFT = 3


class Prose:
    """One docstring, parsed."""

    __slots__ = ("_plain", "_targets", "_tokens")

    def __init__(self, text: str) -> None:
        text = text[:LONGEST].replace("\0", "\N{REPLACEMENT CHARACTER}")
        # Most docstrings are a sentence or two without any markup.
        self._plain = text.strip() if _PLAIN.fullmatch(text.replace("\n", " ")) and _unmarked(text) else None
        self._targets: Mapping[str, str] = {}
        self._tokens: Sequence[Token] = ()
        if self._plain is None:
            try:
                common, self._targets = as_commonmark(text)
                self._tokens = _parser().parse(common)
            except RecursionError:  # deeper than anybody reads: as it was written, then
                self._tokens = _parser().parse(fenced(text))

    def html(self, where: Where) -> str:
        """As HTML; names in code lead to what `where` says."""
        if self._plain is not None:
            return f"<p>{escape(self._plain)}</p>\n" if self._plain else ""
        parser = _parser()
        rendered: str = parser.renderer.render(self._tokens, parser.options, {"where": self._leading(where)})
        return rendered

    def markdown(self, where: Where) -> str:
        """As Markdown that shows the same under CommonMark and Python-Markdown."""
        if self._plain is not None:
            return escaped(self._plain)
        return _Writer(self._leading(where)).blocks(self._tokens)

    def _leading(self, where: Where) -> Where:
        targets = self._targets
        return lambda text: where(targets.get(text, text))


def _unmarked(text: str) -> bool:
    return "::" not in text and "\n\n" not in text and not any(_LEADING.match(line) for line in text.split("\n"))


def escaped(text: str) -> str:
    """`text` as inline Markdown that shows exactly it, also where templates or attributes are looked for in it."""
    return _MARKDOWN.sub(_escape, " ".join(text.split()) if "\n" in text else text)


def _escape(match: re.Match[str]) -> str:
    part = match[0]
    if part in _ENTITIES:
        return _ENTITIES[part]
    if part == "://":
        return r"\://"
    return r"www\." if part == "www." else f"&#{ord(part)};" if part in "~^$=@|{}" else f"\\{part}"


def code_span(text: str) -> str:
    """`text` as code within a line of Markdown; in it nothing has a meaning, so it must not be able to end."""
    text = " ".join(text.split())
    if not text:
        return ""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    mark = "`" * (longest + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{mark}{pad}{text}{pad}{mark}"


def fenced(code: str, language: str = "") -> str:
    """`code` in a fence that nothing in it can close."""
    longest = max((len(run) for run in re.findall(r"`+", code)), default=0)
    mark = "`" * max(3, longest + 1)
    return f"{mark}{language}\n{code.rstrip()}\n{mark}"


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt  # noqa: PLC0415 - a build that finds nothing changed needs none

    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": 20}).enable("table").disable("image")
    parser.add_render_rule("code_inline", _code_inline)
    parser.add_render_rule("link_open", _link_open)
    parser.add_render_rule("fence", _fence)
    parser.add_render_rule("heading_open", _heading)
    parser.add_render_rule("heading_close", _heading)
    return parser


# The rules are methods of the renderer: that is what they are given first.


def _code_inline(
    _self: RendererHTML, tokens: Sequence[Token], at: int, _options: OptionsDict, env: MutableMapping[str, Any]
) -> str:
    content = tokens[at].content
    address = env["where"](_called(content))
    code = f"<code>{escape(content)}</code>"
    return f'<a href="{escape(address)}">{code}</a>' if address else code


def _link_open(
    _self: RendererHTML, tokens: Sequence[Token], at: int, _options: OptionsDict, env: MutableMapping[str, Any]
) -> str:
    target = str(tokens[at].attrGet("href") or "")
    if (address := _linked(target, env["where"])) is None:
        return "<a>"
    return f'<a href="{escape(address)}" rel="nofollow noopener noreferrer">'


def _fence(
    _self: RendererHTML, tokens: Sequence[Token], at: int, _options: OptionsDict, _env: MutableMapping[str, Any]
) -> str:
    return f"<pre><code>{escape(tokens[at].content)}</code></pre>\n"


def _heading(
    _self: RendererHTML, tokens: Sequence[Token], at: int, _options: OptionsDict, _env: MutableMapping[str, Any]
) -> str:
    token = tokens[at]
    level = min(_DEEPEST_HEADING, int(token.tag[1:]) + _HEADING_SHIFT)
    return f"<h{level}>" if token.nesting == 1 else f"</h{level}>\n"


def _called(text: str) -> str:
    """The name in a code span: `name()` is about `name`."""
    return text[:-2] if text.endswith("()") else text


def _linked(target: str, where: Where) -> str | None:
    """Where a link leads: to the web, or to what it names; relative ones were written for another place."""
    if target.startswith(("http://", "https://", "mailto:")):
        return target
    return where(target)


class _Writer:
    """Writes tokens as Markdown again, every character of the text escaped."""

    def __init__(self, where: Where) -> None:
        self._where = where

    def blocks(self, tokens: Sequence[Token]) -> str:
        """The tokens of whole blocks."""
        lines, _ = self._until(tokens, 0, "")
        return "\n".join(lines).strip("\n")

    def _until(self, tokens: Sequence[Token], at: int, closing: str) -> tuple[list[str], int]:
        """The lines of the blocks from `at` to the token `closing`, and where that is."""
        lines: list[str] = []
        while at < len(tokens) and tokens[at].type != closing:
            block, at = self._block(tokens, at)
            if block:
                lines += [*([""] if lines else []), *block]
            at += 1
        return lines, at

    def _block(self, tokens: Sequence[Token], at: int) -> tuple[list[str], int]:
        """The lines of the block that begins at `at`, and where it ends."""
        token = tokens[at]
        if token.type in {"paragraph_open", "heading_open"}:
            text = self._inline(tokens[at + 1].children or ())
            return [f"**{text}**" if token.type == "heading_open" and text else text], at + 2
        if token.type in {"fence", "code_block"}:
            return fenced(token.content).split("\n"), at
        if token.type == "table_open":
            return self._table(tokens, at)
        if token.type == "blockquote_open":
            inner, end = self._until(tokens, at + 1, "blockquote_close")
            return [f"> {line}".rstrip() for line in inner], end
        if token.type in {"bullet_list_open", "ordered_list_open"}:
            return self._list(tokens, at)
        return ["* * *"] if token.type == "hr" else [], at

    def _list(self, tokens: Sequence[Token], at: int) -> tuple[list[str], int]:
        ordered = tokens[at].type == "ordered_list_open"
        closing = tokens[at].type.replace("_open", "_close")
        number = int(tokens[at].attrGet("start") or 1) if ordered else 0
        lines: list[str] = []
        at += 1
        while tokens[at].type != closing:
            inner, at = self._until(tokens, at + 1, "list_item_close")
            mark = f"{number}." if ordered else "-"
            # Four columns: Python-Markdown wants as many, CommonMark takes them.
            first = [f"{mark:<4}{inner[0]}".rstrip()] if inner else [mark]
            lines += [*first, *(f"    {line}".rstrip() for line in inner[1:])]
            number += 1
            at += 1
        return lines, at

    def _table(self, tokens: Sequence[Token], at: int) -> tuple[list[str], int]:
        rows: list[list[str]] = []
        while tokens[at].type != "table_close":
            if tokens[at].type == "tr_open":
                rows.append([])
            elif tokens[at].type == "inline":
                rows[-1].append(self._inline(tokens[at].children or ()).replace("|", "&#124;"))
            at += 1
        lines = [f"| {' | '.join(row)} |" for row in rows]
        return [*lines[:1], f"|{' --- |' * len(rows[0])}", *lines[1:]], at

    def _inline(self, tokens: Sequence[Token]) -> str:
        text = ""
        ends: list[str] = []
        for token in tokens:
            if token.type == "text":
                text += escaped(token.content)
            elif token.type == "code_inline":
                span = code_span(token.content)
                address = self._where(_called(token.content))
                text += f"[{span}]({address})" if address and not ends else span
            elif token.type in {"softbreak", "hardbreak"}:
                text += " "
            elif token.type in {"strong_open", "strong_close"}:
                text += "**"
            elif token.type in {"em_open", "em_close"}:
                text += "*"
            elif token.type == "link_open":
                address = _linked(str(token.attrGet("href") or ""), self._where)
                text += "[" if address else ""
                ends.append(f"](<{_quoted(address)}>)" if address else "")
            elif token.type == "link_close":
                text += ends.pop()
        return text.strip()


def _quoted(address: str) -> str:
    return address.replace("<", "%3C").replace(">", "%3E").replace("\\", "%5C").replace("{", "%7B").replace("}", "%7D")
