"""How signatures and descriptions are written in HTML and in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from html import escape

from models.code import Kind, Parameter, Symbol
from tasks.docs.site.described import Part, described
from tasks.docs.site.names import Link, Names, file_name, fragment
from tasks.docs.site.prose import Prose, code_span, escaped, fenced

_WORD = re.compile(r"[^\W\d][\w.]*")
_SPAN = re.compile(r"`+([^`]+)`+")
_WIDEST = 88
_LONGEST_VALUE = 400
_MARKS = {"variadic positional": "*", "variadic keyword": "**"}


class Dress:
    """What both forms have in common: how names become addresses, seen from the page of one module."""

    suffix = ""

    def __init__(self, names: Names, up: str = "") -> None:
        """`up` leads from the page to the folder of the modules' pages."""
        self._names = names
        self._up = up
        self._pages: dict[str, str] = {}

    def address(self, link: Link | None) -> str | None:
        """The address of `link`, relative to the page."""
        if link is None:
            return None
        if not link.page:
            return link.anchor
        page = self._pages.get(link.page)
        if page is None:
            page = self._pages[link.page] = self.page(link.page)
        return f"{page}#{fragment(link.anchor)}" if link.anchor else page

    def page(self, module: str) -> str:
        """The address of the page of `module`."""
        return f"{self._up}{fragment(file_name(module)).replace('%7E', '~')}{self.suffix}"

    def named(self, path: str) -> str | None:
        """The address of the dotted `path`."""
        return self.address(self._names.find(path))

    def where(self, text: str, scope: str) -> str | None:
        """The address that `text`, written at `scope`, leads to."""
        return self.address(self._names.find_in(text, scope))


class HtmlDress(Dress):
    """In HTML."""

    suffix = ".html"

    def prose(self, text: str, scope: str) -> str:
        """A docstring, whole."""
        return "".join(self._part(part, scope) for part in described(text))

    def signature(self, symbol: Symbol, name: str, scope: str) -> str:
        """What one writes to define or to call it; names of types lead to their pages."""
        if symbol.kind is Kind.attribute:
            return self._attribute(symbol, name, scope)
        parameters = [self._parameter(one, scope) for one in _listed(symbol)]
        head = f'{_prefix(symbol)}<span class="name">{escape(name)}</span>'
        if symbol.kind is Kind.class_:
            bases = ", ".join(self.typed(base, scope) for base in symbol.bases)
            return f"{head}({bases})" if bases else head
        arrow = f" -&gt; {self.typed(symbol.returns, scope)}" if symbol.returns else ""
        if _is_wide(symbol, name) and parameters:
            return f"{head}(\n" + "".join(f"    {one},\n" for one in parameters) + f"){arrow}"
        return f"{head}({', '.join(parameters)}){arrow}"

    def cell(self, text: str, address: str | None, *, code: bool) -> str:
        """A cell of a table; in its text, what stands between backquotes is code."""
        if code or address:
            shown = f"<code>{escape(text)}</code>"
            return f'<a href="{escape(address)}">{shown}</a>' if address else shown if text else ""
        return _SPAN.sub(r"<code>\1</code>", escape(text))

    def typed(self, text: str, scope: str) -> str:
        """The source of an annotation, with its names as links."""
        done, at = [], 0
        for match in _WORD.finditer(text):
            word = match[0]
            address = self.where(word.rstrip("."), scope)
            done.append(escape(text[at : match.start()]))
            done.append(f'<a href="{escape(address)}">{escape(word)}</a>' if address else escape(word))
            at = match.end()
        done.append(escape(text[at:]))
        return "".join(done)

    def _parameter(self, one: Parameter, scope: str) -> str:
        if not one.kind:
            return one.name
        text = f'{_MARKS.get(one.kind, "")}<span class="parameter">{escape(one.name)}</span>'
        if one.annotation:
            text += f": {self.typed(one.annotation, scope)}"
        if one.default is not None:
            text += f"{' = ' if one.annotation else '='}{escape(_shortened(one.default))}"
        return text

    def _attribute(self, symbol: Symbol, name: str, scope: str) -> str:
        text = f'<span class="name">{escape(name)}</span>'
        if symbol.annotation:
            text += f": {self.typed(symbol.annotation, scope)}"
        if symbol.value is not None:
            text += f" = {escape(_shortened(symbol.value))}"
        return text

    def _part(self, part: Part, scope: str) -> str:
        head = f'<p class="part">{escape(part.title)}</p>\n' if part.title else ""
        if not part.rows:
            return head + _parsed(part.text).html(lambda text: self.where(text, scope))
        rows = []
        for row in part.rows:
            term = f"<code>{escape(row.name)}</code>" if row.name else ""
            kind = f"<code>{self.typed(row.annotation, scope)}</code>" if row.annotation else ""
            text = _parsed(row.text).html(lambda text: self.where(text, scope)) if row.text else ""
            rows.append(f"<dt>{' '.join(one for one in (term, kind) if one)}</dt><dd>{text}</dd>\n")
        return f"{head}<dl>\n{''.join(rows)}</dl>\n"


class MarkdownDress(Dress):
    """In Markdown."""

    suffix = ".md"

    def prose(self, text: str, scope: str) -> str:
        """A docstring, whole."""
        return "\n\n".join(found for part in described(text) if (found := self._part(part, scope)))

    def cell(self, text: str, address: str | None, *, code: bool) -> str:
        """A cell of a table; in its text, what stands between backquotes is code."""
        if code or address:
            shown = code_span(text)
            done = f"[{shown}]({address})" if address else shown
        else:
            parts = _SPAN.split(text)
            done = "".join(code_span(part) if at % 2 else escaped(part) for at, part in enumerate(parts))
        return done.replace("|", "\\|")

    def signature(self, symbol: Symbol, name: str, _scope: str) -> str:
        """What one writes to define or to call it, as a fence."""
        return fenced(_plain_signature(symbol, name), "python")

    def _part(self, part: Part, scope: str) -> str:
        head = f"**{escaped(part.title)}**\n\n" if part.title else ""
        if not part.rows:
            return head + _parsed(part.text).markdown(lambda text: self.where(text, scope))
        rows = []
        for row in part.rows:
            words = [code_span(word) for word in (row.name, row.annotation) if word]
            text = _parsed(row.text).markdown(lambda text: self.where(text, scope)) if row.text else ""
            first, *others = text.split("\n")
            lines = [f"-   {' '.join(words)}{': ' if words and first else ''}{first}"]
            rows.append("\n".join([*lines, *(f"    {line}".rstrip() for line in others)]))
        return head + "\n".join(rows)


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Prose:
    """Each text is parsed once for both forms, and for everything that says the same."""
    return Prose(text)


def _plain_signature(symbol: Symbol, name: str) -> str:
    if symbol.kind is Kind.attribute:
        text = f"{name}: {symbol.annotation}" if symbol.annotation else name
        return text if symbol.value is None else f"{text} = {_shortened(symbol.value)}"
    head = f"{_prefix(symbol)}{name}"
    if symbol.kind is Kind.class_:
        return f"{head}({', '.join(symbol.bases)})" if symbol.bases else head
    arrow = f" -> {symbol.returns}" if symbol.returns else ""
    parameters = [_plain_parameter(one) for one in _listed(symbol)]
    if _is_wide(symbol, name) and parameters:
        return f"{head}(\n" + "".join(f"    {one},\n" for one in parameters) + f"){arrow}"
    return f"{head}({', '.join(parameters)}){arrow}"


def _plain_parameter(one: Parameter) -> str:
    if not one.kind:
        return one.name
    text = f"{_MARKS.get(one.kind, '')}{one.name}"
    if one.annotation:
        text += f": {one.annotation}"
    if one.default is not None:
        text += f"{' = ' if one.annotation else '='}{_shortened(one.default)}"
    return text


def _prefix(symbol: Symbol) -> str:
    if symbol.kind is Kind.class_:
        return "class "
    return "async def " if "async" in symbol.labels else "def "


def _listed(symbol: Symbol) -> Iterator[Parameter]:
    """Parameters with the marks `/` and `*` between them, as parameters without a kind."""
    before = ""
    starred = False
    for one in symbol.parameters:
        if before == "positional-only" and one.kind != "positional-only":
            yield Parameter("/", "")
        if one.kind == "variadic positional":
            starred = True
        if one.kind == "keyword-only" and not starred:
            starred = True
            yield Parameter("*", "")
        yield one
        before = one.kind
    if before == "positional-only":
        yield Parameter("/", "")


def _is_wide(symbol: Symbol, name: str) -> bool:
    width = len(name) + len(symbol.returns or "") + 10
    for one in symbol.parameters:
        width += len(one.name) + len(one.annotation or "") + min(len(one.default or ""), _LONGEST_VALUE) + 5
    return width > _WIDEST


def _shortened(source: str) -> str:
    return source if len(source) <= _LONGEST_VALUE else f"{source[:_LONGEST_VALUE]} …"
