"""`/graph`: a neighbourhood of the knowledge graph as a drawing. It needs no script and nothing from another site.

Every node is a link that opens its neighbours as well, so that it works by mouse, by keyboard and without either's
script; a list below the drawing says the same in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from urllib.parse import urlencode

from models.graph import Label, Ref
from tasks.graph.questions.layout import layout
from tasks.graph.questions.names import spelled
from tasks.graph.questions.neighbourhood import Neighbourhood
from tasks.graph.questions.words import sentence

MOST_OPENED = 30
_LONGEST = 28
_COLOURS = {
    Label.checkout: "#555555", Label.module: "#4477aa", Label.class_: "#228833", Label.function: "#66aabb",
    Label.flow: "#aa3377", Label.deployment: "#cc6688", Label.table: "#997700", Label.component: "#222255",
    Label.dependency: "#ee8866", Label.advisory: "#cc3311", Label.document: "#999933",
}  # fmt: skip
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 1.5rem auto; max-width: 90rem; padding: 0 1rem; color: #222 }
form { margin: .5rem 0 1rem } input[name=node] { width: min(40rem, 60vw); font: inherit }
svg { width: 100%; height: auto; max-height: 80vh; border: 1px solid #ddd }
svg text { font: 11px system-ui, sans-serif; fill: #222 } svg line { stroke: #bbb }
svg a:focus circle, svg a:hover circle { stroke: #000; stroke-width: 3 } .open circle { stroke: #000 }
.note { color: #a40 } li { overflow-wrap: anywhere } bdi { unicode-bidi: isolate }
""" + "".join(f".{label.value} circle {{ fill: {colour} }}\n" for label, colour in _COLOURS.items())


def page(asked: str, around: Neighbourhood | None, note: str = "", candidates: Sequence[Ref] = ()) -> str:
    """The page.

    Args:
        asked: what is in the field that asks for a node.
        around: what is drawn; None: nothing.
        note: what the reader has to know.
        candidates: nodes of which one may be meant.
    """
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>Graph</title><style>{_STYLE}</style><h1>Graph</h1>",
        f"<form><label>Node <input name=node value={_attribute(asked)} placeholder='audit.run.audit'></label> ",
        "<button>Show</button></form>",
    ]
    if note:
        parts.append(f"<p class=note role=status>{_text(note)}</p>")
    if candidates:
        links = "".join(f"<li><a href={_attribute(_link(ref, ()))}>{_text(spelled(ref))}</a>" for ref in candidates)
        parts.append(f"<p>Which one?</p><ul>{links}</ul>")
    if around is not None:
        if around.cut:
            parts.append(f"<p class=note role=status>Not all of it is shown: there are {_text(around.cut)}.</p>")
        parts += [_drawing(around), _words(around)]
    return "".join(parts)


def _drawing(around: Neighbourhood) -> str:
    places, (width, height) = layout(around)
    opened = set(around.opened)
    parts = [
        f"<svg viewBox='0 0 {width:.0f} {height:.0f}' role=group aria-label='The neighbourhood as a drawing'>",
        "<defs><marker id=a viewBox='0 0 8 8' refX=16 refY=4 markerWidth=7 markerHeight=7 orient=auto>",
        "<path d='M0 0 8 4 0 8z' fill='#999'/></marker></defs>",
    ]
    for hop in around.hops:
        (x1, y1), (x2, y2) = places[hop[1]], places[hop[2]]
        parts.append(
            f"<line x1='{x1}' y1='{y1}' x2='{x2}' y2='{y2}' marker-end='url(#a)'>"
            f"<title>{_text(sentence(hop), isolate=False)}</title></line>"
        )
    for ref, _ in around.nodes:
        x, y = places[ref]
        state = " open" if ref in opened else ""
        parts.append(
            f"<a href={_attribute(_link(around.opened[0], (*around.opened, ref)))} class='{ref.label.value}{state}' "
            f"aria-label={_attribute(f'{spelled(ref)}: show its neighbours')}><title>"
            f"{_text(spelled(ref), isolate=False)}</title><circle cx='{x}' cy='{y}' r='8'/>"
            f"<text x='{x + 11}' y='{y + 4}' direction='ltr'>{_text(_short(ref), isolate=False)}</text></a>"
        )
    return "".join([*parts, "</svg>"])


def _words(around: Neighbourhood) -> str:
    nodes = "".join(f"<li><a href={_attribute(_link(ref, ()))}>{_text(spelled(ref))}</a>" for ref, _ in around.nodes)
    hops = "".join(f"<li>{_text(sentence(hop))}" for hop in around.hops)
    legend = ", ".join(sorted({ref.label.value for ref, _ in around.nodes}))
    return (
        f"<p>A node of the drawing opens its neighbours; one of this list is put in the middle. Shown: {legend}.</p>"
        f"<h2>{len(around.nodes)} nodes</h2><ul>{nodes}</ul>"
        f"<details><summary>{len(around.hops)} relationships</summary><ul>{hops}</ul></details>"
    )


def _link(middle: Ref, opened: Sequence[Ref]) -> str:
    more = [spelled(ref) for ref in dict.fromkeys(opened) if ref != middle][-MOST_OPENED:]
    return "?" + urlencode([("node", spelled(middle)), *(("open", one) for one in more)], errors="replace")


def _short(ref: Ref) -> str:
    name = ref.key.rpartition(":")[2] if ref.label is not Label.advisory else ref.key
    return name if len(name) <= _LONGEST else f"…{name[1 - _LONGEST :]}"


def _text(text: str, *, isolate: bool = True) -> str:
    """`text` as HTML; what it says about the direction of writing ends with it."""
    safe = escape("".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text))
    return f"<bdi>{safe}</bdi>" if isolate else safe


def _attribute(text: str) -> str:
    safe = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
    return f'"{escape(safe, quote=True)}"'
