"""The files that tell of all modules at once: indexes, overviews, what the search looks in, the inventory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import orjson

from models.code import Kind
from models.docs import Form
from tasks.diagrams import mermaid, svg
from tasks.docs.site import inventory
from tasks.docs.site.dress import Dress, HtmlDress, MarkdownDress
from tasks.docs.site.facts import Facts
from tasks.docs.site.names import Names, file_name, fragment
from tasks.docs.site.overviews import Cell, Overview, Section
from tasks.docs.site.prose import code_span, escaped, fenced
from tasks.docs.site.render import REFERENCE, folder, json_bytes, place, quoted
from tasks.docs.site.theme import Theme
from tasks.plural import plural


class Site(Protocol):
    """What of the wish for a site is needed here."""

    @property
    def title(self) -> str:
        """What it is called."""

    @property
    def forms(self) -> tuple[Form, ...]:
        """In which forms it is wanted."""


Head = tuple[str, str, str]
"""Title, file name and summary of an overview, as indexes name it."""


def overview_files(one: Overview, theme: Theme, site: Site, names: Names) -> Iterator[tuple[str, bytes]]:
    """Place and content of the files of one overview."""
    told = {"title": site.title}
    if Form.html in site.forms:
        from markupsafe import Markup  # noqa: PLC0415 - comes with Jinja2, which only pages need

        shown = _dressed(one, HtmlDress(names, f"{REFERENCE}/"), Markup)
        page = theme.render("html/overview.html", overview=shown, site=told, title=one.title, up="")
        yield place(Form.html, one.key), page.encode("utf-8", "replace")
    if Form.markdown in site.forms:
        shown = _dressed(one, MarkdownDress(names, f"{REFERENCE}/"), str)
        page = theme.render("markdown/overview.md", overview=shown, site=told)
        yield place(Form.markdown, one.key), page.encode("utf-8", "replace")


def index_files(
    facts: Mapping[str, Facts], heads: Sequence[Head], theme: Theme, site: Site, names: Names
) -> Iterator[tuple[str, bytes]]:
    """Place and content of the files that list everything."""
    pages = sorted((path, one) for path, one in facts.items() if one.has_page)
    counts = _counts(pages)
    if Form.html in site.forms:
        yield from _html(pages, heads, theme, site, names, counts)
    if Form.markdown in site.forms:
        yield from _markdown(pages, heads, theme, site, names, counts)
    if Form.json in site.forms:
        yield place(Form.json, "index"), json_bytes(_document(pages, site.title))
    if Form.inventory in site.forms:
        yield f"{folder(Form.inventory)}/objects.inv", inventory.written(site.title, "", _lines(pages))


def _counts(pages: Sequence[tuple[str, Facts]]) -> str:
    kinds = [kind for _, one in pages for _, kind, _ in one.entries]
    classes, functions = kinds.count(Kind.class_.value), kinds.count(Kind.function.value)
    return f"{plural(len(pages), 'module')}, {plural(classes, 'class', 'classes')}, {functions} functions and methods."


def _html(
    pages: Sequence[tuple[str, Facts]], heads: Sequence[Head], theme: Theme, site: Site, names: Names, counts: str
) -> Iterator[tuple[str, bytes]]:
    from markupsafe import Markup  # noqa: PLC0415 - comes with Jinja2, which only pages need

    told = {"title": site.title}
    dress = HtmlDress(names, f"{REFERENCE}/")
    index = {
        "counts": counts,
        "overviews": heads,
        "modules": [
            (path, dress.page(path), Markup(dress.cell(one.summary, None, code=False)), min(path.count("."), 3))  # noqa: S704
            for path, one in pages
        ],
    }
    page = theme.render("html/index.html", index=index, site=told, title="Index", up="")
    yield place(Form.html, "index"), page.encode("utf-8", "replace")
    for name, content in theme.assets.items():
        yield f"{folder(Form.html)}/{name}", content
    modules = [(path, dress.page(path)) for path, _ in pages]
    links = [(title, f"{key}.html") for title, key, _ in heads]
    tree = {"overviews": [("Index", "index.html"), *links], "modules": modules}
    yield f"{folder(Form.html)}/assets/modules.js", b"globalThis.LAMA_MODULES = " + _js(tree)
    entries = [
        (number, anchor, kind, summary)
        for number, (path, one) in enumerate(pages)
        for anchor, kind, summary in ((path, "module", one.summary), *one.entries)
    ]
    yield (
        f"{folder(Form.html)}/assets/names.js",
        b"globalThis.LAMA_NAMES = " + _js({"pages": modules, "names": entries}),
    )


def _markdown(
    pages: Sequence[tuple[str, Facts]], heads: Sequence[Head], theme: Theme, site: Site, names: Names, counts: str
) -> Iterator[tuple[str, bytes]]:
    dress = MarkdownDress(names, f"{REFERENCE}/")
    told = {"title": site.title}
    index = {
        "front": quoted(site.title),
        "title": escaped(site.title),
        "counts": counts,
        "overviews": [(title, key, escaped(summary)) for title, key, summary in heads],
        "modules": [
            (code_span(path), dress.page(path), dress.cell(one.summary, None, code=False), 0) for path, one in pages
        ],
    }
    page = theme.render("markdown/index.md", index=index, site=told)
    yield place(Form.markdown, "index"), page.encode("utf-8", "replace")
    yield "markdown/mkdocs.yml", _mkdocs(pages, heads, site).encode("utf-8", "replace")


def _mkdocs(pages: Sequence[tuple[str, Facts]], heads: Sequence[Head], site: Site) -> str:
    """A configuration that MkDocs takes as it is, or whose `nav` goes into one of your own."""
    lines = [f"site_name: {quoted(site.title)}", "docs_dir: docs", "use_directory_urls: false", "nav:", "  - index.md"]
    lines += [f"  - {quoted(title)}: {key}.md" for title, key, _ in heads]
    lines.append("  - Reference:")
    lines += [f"      - {quoted(path)}: {quoted(f'{REFERENCE}/{file_name(path)}.md')}" for path, _ in pages]
    return "\n".join(lines) + "\n"


def _dressed(one: Overview, dress: HtmlDress | MarkdownDress, ready: Any) -> dict[str, Any]:
    """An overview as the templates see it."""
    is_html = isinstance(dress, HtmlDress)

    def section(part: Section) -> dict[str, Any]:
        return {
            "title": part.title if is_html else escaped(part.title),
            "anchor": fragment(part.name or part.title),
            "address": _address(dress, part.name),
            "prose": ready(dress.prose(part.text, part.name)) if part.text else "",
            "diagram": ready(_drawn(part.diagram, dress)) if part.diagram is not None else "",
            "tables": [
                {"columns": table.columns, "rows": [[_cell(cell, dress, ready) for cell in row] for row in table.rows]}
                for table in part.tables
            ],
        }

    return {
        "front": quoted(one.title),
        "title": one.title if is_html else escaped(one.title),
        "summary": one.summary if is_html else escaped(one.summary),
        "sections": [section(part) for part in one.sections],
    }


def _drawn(diagram: Any, dress: HtmlDress | MarkdownDress) -> str:
    if isinstance(dress, HtmlDress):
        return svg(diagram, lambda name: _address(dress, name))
    return fenced(mermaid(diagram), "mermaid")


def _address(dress: Dress, name: str) -> str | None:
    return dress.named(name) if name else None


def _cell(cell: Cell, dress: HtmlDress | MarkdownDress, ready: Any) -> Any:
    return ready(dress.cell(cell.text, _address(dress, cell.name), code=cell.code or bool(cell.name)))


def _js(value: Any) -> bytes:
    try:
        return orjson.dumps(value) + b";\n"
    except TypeError:  # a lone surrogate
        return json_bytes(value)


def _document(pages: Sequence[tuple[str, Facts]], title: str) -> dict[str, Any]:
    return {
        "title": title,
        "modules": [
            {
                "path": path,
                "document": f"{REFERENCE}/{file_name(path)}.json",
                "summary": one.summary,
                "objects": one.objects,
                "documented": one.documented,
            }
            for path, one in pages
        ],
    }


def _lines(pages: Sequence[tuple[str, Facts]]) -> Iterator[str]:
    """The lines of the inventory."""
    for path, one in pages:
        address = f"{REFERENCE}/{fragment(file_name(path)).replace('%7E', '~')}.html"
        yield inventory.line(path, "py:module", address)
        classes = {anchor for anchor, kind, _ in one.entries if kind == Kind.class_.value}
        for anchor, kind, _ in one.entries:
            role = inventory.role_of(Kind(kind), in_class=anchor.rpartition(".")[0] in classes)
            yield inventory.line(anchor, role, f"{address}#{fragment(anchor)}")
