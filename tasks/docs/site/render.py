"""The page of one module, in each form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from models.docs import Form
from tasks.docs.site.dress import Dress, HtmlDress, MarkdownDress
from tasks.docs.site.names import Names, file_name, fragment
from tasks.docs.site.prose import code_span, escaped
from tasks.docs.site.theme import Theme
from tasks.docs.site.view import Item, View, flattened

REFERENCE = "reference"
"""Folder of the modules' pages, below that of a form."""
_FOLDERS = {Form.html: "html", Form.markdown: "markdown/docs", Form.json: "json", Form.inventory: "html"}
_SUFFIXES = {Form.html: "html", Form.markdown: "md", Form.json: "json"}


def place(form: Form, name: str) -> str:
    """Where a page called `name` (`reference/pkg.mod`, `index`) is in the folder of the site."""
    return f"{_FOLDERS[form]}/{name}.{_SUFFIXES[form]}"


def folder(form: Form) -> str:
    """The folder of a form, inside of that of the site."""
    return _FOLDERS[form]


def module_place(form: Form, module: str) -> str:
    """Where the page of `module` is in the folder of the site."""
    return place(form, f"{REFERENCE}/{file_name(module)}")


@dataclass(slots=True)
class Shown:
    """An item as the templates see it: every text is ready for its form."""

    anchor: str
    fragment: str
    name: str
    title: str
    word: str
    notes: tuple[str, ...]
    signatures: list[str]
    prose: str
    members: list[Shown] = field(default_factory=list)


def pages_of(
    view: View, names: Names, theme: Theme, forms: Iterable[Form], site: Mapping[str, Any]
) -> dict[str, bytes]:
    """The files that tell of one module, by their place in the folder of the site."""
    pages: dict[str, bytes] = {}
    for form in forms:
        if form in _WRITERS:
            pages[module_place(form, view.module.path)] = _WRITERS[form](view, names, theme, site)
    return pages


def _html(view: View, names: Names, theme: Theme, site: Mapping[str, Any]) -> bytes:
    from markupsafe import Markup, escape  # noqa: PLC0415 - comes with Jinja2, which only pages need

    dress = HtmlDress(names)
    path = view.module.path
    page = {
        "path": path,
        "file": view.module.file,
        "crumbs": _crumbs(dress, names, path),
        "prose": Markup(dress.prose(view.module.docstring or "", path)),  # noqa: S704 - escaped by the dress
        "children": [(child, dress.page(child), summary) for child, summary in view.children],
        "items": _shown(view.items, dress, Markup, escape),
    }
    return theme.render("html/module.html", page=page, site=site, title=path, up="../").encode("utf-8", "replace")


def _markdown(view: View, names: Names, theme: Theme, site: Mapping[str, Any]) -> bytes:
    dress = MarkdownDress(names)
    path = view.module.path
    page = {
        "front": quoted(path),
        "title": escaped(path),
        "file": code_span(view.module.file),
        "prose": dress.prose(view.module.docstring or "", path),
        "children": [(code_span(child), dress.page(child), escaped(summary)) for child, summary in view.children],
        "items": _shown(view.items, dress, str, escaped),
    }
    return theme.render("markdown/module.md", page=page, site=site).encode("utf-8", "replace")


def _json(view: View, _names: Names, _theme: Theme, _site: Mapping[str, Any]) -> bytes:
    module = view.module
    document = {
        "module": module.path,
        "file": module.file,
        "public": module.public,
        "docstring": module.docstring,
        "modules": [{"path": path, "summary": summary} for path, summary in view.children],
        "objects": [
            {"anchor": item.anchor, "notes": item.notes, "overloads": item.overloads, "object": item.symbol}
            for item in flattened(view.items)
        ],
    }
    return json_bytes(document)


_WRITERS: Mapping[Form, Callable[[View, Names, Theme, Mapping[str, Any]], bytes]] = {
    Form.html: _html,
    Form.markdown: _markdown,
    Form.json: _json,
}


def json_bytes(document: Any) -> bytes:
    """`document` as JSON with two spaces of indentation; what is no Unicode in it is replaced."""
    try:
        return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    except (TypeError, ValueError):  # a lone surrogate, out of an escape in the source
        return orjson.dumps(_sound(document), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _sound(value: Any) -> Any:
    """`value` with only such text as UTF-8 can hold."""
    if isinstance(value, str):
        return str(value).encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_sound(key): _sound(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_sound(inner) for inner in value]
    if hasattr(value, "__dataclass_fields__"):
        return {name: _sound(getattr(value, name)) for name in value.__dataclass_fields__}
    return value


def quoted(text: str) -> str:
    """`text` as a YAML scalar on one line: JSON is YAML."""
    return orjson.dumps(_sound(" ".join(text.split()))).decode()


def _crumbs(dress: Dress, names: Names, path: str) -> list[tuple[str, str | None]]:
    parts = path.split(".")
    above = [".".join(parts[:length]) for length in range(1, len(parts) + 1)]
    found: list[tuple[str, str | None]] = []
    for part, whole in zip(parts, above, strict=True):
        link = names.find(whole) if whole != path else None
        found.append((part, dress.address(link)))
    return found


def _shown(
    items: list[Item],
    dress: HtmlDress | MarkdownDress,
    ready: Callable[[str], str],
    title: Callable[[str], str],
) -> list[Shown]:
    """`items` as the templates see them; `ready` marks text that needs no escaping any more."""
    found = []
    for item in items:
        symbol = item.symbol
        scope = symbol.path
        signatures = [dress.signature(one, item.name, scope) for one in item.overloads or (symbol,)]
        found.append(
            Shown(
                anchor=item.anchor,
                fragment=fragment(item.anchor),
                name=item.name,
                title=title(item.name),
                word=item.word,
                notes=item.notes,
                signatures=[ready(one) for one in signatures if one],
                prose=ready(dress.prose(symbol.docstring, scope)) if symbol.docstring else "",
                members=_shown(item.members, dress, ready, title),
            )
        )
    return found
