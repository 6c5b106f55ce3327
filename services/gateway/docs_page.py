"""`/docs`: the OpenAPI description as a page. It needs no script and nothing from another site, so it works offline."""

from __future__ import annotations

from html import escape
from typing import Any

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h2 { font: 600 16px/1.4 ui-monospace, monospace; margin: 2rem 0 .3rem; border-top: 1px solid #ddd; padding-top: 1rem }
table { border-collapse: collapse; width: 100% } td { padding: .2rem .8rem .2rem 0; vertical-align: top }
td:first-child { font-family: ui-monospace, monospace; white-space: nowrap; width: 12rem } .key { color: #a40 }
"""


def docs_page(schema: dict[str, Any]) -> str:
    """The page for an OpenAPI 3 `schema`."""
    info = schema["info"]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>{escape(info['title'])}</title><style>{_STYLE}</style>",
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info.get('description', ''))}</p>",
        "<p>For machines: <a href='/openapi.json'>openapi.json</a></p>",
    ]
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            parts.append(_operation(f"{method.upper()} {path}", operation))
    return "".join(parts)


def _operation(title: str, operation: dict[str, Any]) -> str:
    rows = [
        (
            f"{parameter['name']}{'' if parameter.get('required') else '?'}",
            f"{parameter['in']}; {parameter.get('description', '')} {_type(parameter.get('schema', {}))}",
        )
        for parameter in operation.get("parameters", ())
    ]
    rows += [(status, answer.get("description", "")) for status, answer in operation.get("responses", {}).items()]
    table = "".join(f"<tr><td>{escape(name)}<td>{escape(text.strip())}" for name, text in rows)
    key = " <span class=key>needs the key</span>" if operation.get("security") else ""
    text = operation.get("description") or operation.get("summary", "")
    return f"<h2>{escape(title)}{key}</h2><p>{escape(text)}</p><table>{table}</table>"


def _type(schema: dict[str, Any]) -> str:
    kinds = [schema, *schema.get("anyOf", ())]
    names = [kind["type"] for kind in kinds if kind.get("type") not in {None, "null"}]
    limits = [f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema]
    default = [f"default {schema['default']}"] if schema.get("default") is not None else []
    return f"({', '.join((*names, *limits, *default))})" if names else ""
