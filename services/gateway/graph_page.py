"""`/graph`: a neighbourhood of the knowledge graph as a drawing. It needs no script and nothing from another site.

On the left is what hangs on a node, on the right what the node hangs on. Every node is a link that opens its neighbours
as well; a list below the drawing says the same in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from urllib.parse import urlencode

from models.graph import Label, Ref
from tasks.diagrams import Diagram, Edge, Node, svg
from tasks.graph.questions.names import spelled
from tasks.graph.questions.neighbourhood import Neighbourhood
from tasks.graph.questions.walk import Hop
from tasks.graph.questions.words import VERBS, sentence

MOST_OPENED = 30
MOST_NODES = 60
"""That are drawn: nobody could read more."""
_MOST_ARROWS = 120
_LONGEST = 40
_COLOURS = {
    Label.checkout: "#555555", Label.module: "#4477aa", Label.class_: "#228833", Label.function: "#66aabb",
    Label.flow: "#aa3377", Label.deployment: "#cc6688", Label.table: "#997700", Label.component: "#222255",
    Label.dependency: "#ee8866", Label.advisory: "#cc3311", Label.document: "#999933",
}  # fmt: skip
_STYLE = """
:root { color-scheme: light dark; --text: #222; --soft: #666; --paper: #fff; --panel: #f5f6f8; --line: #ccc;
  --note: #a40 }
@media (prefers-color-scheme: dark) { :root { --text: #e4e7ec; --soft: #9aa4b2; --paper: #14171c; --panel: #1c2027;
  --line: #3f4550; --note: #f0b26b } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 1.5rem auto; max-width: 100rem; padding: 0 1rem;
  color: var(--text); background: var(--paper) }
form { margin: .5rem 0 1rem } a { color: inherit }
input[name=node] { width: min(40rem, 60vw); font: inherit; color: inherit; background: var(--panel) }
figure { margin: 0; padding: .5rem; overflow: auto; max-height: 85vh; border: 1px solid var(--line) }
svg text { font: 12px ui-monospace, Menlo, Consolas, monospace; fill: var(--text); direction: ltr }
svg .on { fill: var(--soft); paint-order: stroke; stroke: var(--paper); stroke-width: 4px; stroke-linejoin: round }
svg path { fill: none; stroke: var(--soft) } svg .head { fill: var(--soft); stroke: none }
svg rect { fill: var(--panel); stroke: var(--soft); stroke-width: 1.5 } svg .open { stroke-width: 3 }
svg a:focus rect, svg a:hover rect { fill: var(--line) }
svg g:hover > path { stroke-width: 2.5 } .key { border-bottom: 3px solid; white-space: nowrap }
.note { color: var(--note) } li { overflow-wrap: anywhere } bdi { unicode-bidi: isolate }
""" + "".join(
    f"rect.{label.value} {{ stroke: {colour} }} .key.{label.value} {{ border-color: {colour} }}\n"
    for label, colour in _COLOURS.items()
)


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
    opened = frozenset(around.opened)
    key = {ref: str(at) for at, (ref, _) in enumerate(around.nodes)}
    link = {key[ref]: _link(around.opened[0], (*around.opened, ref)) for ref in key}
    nodes = tuple(
        Node(
            key[ref],
            _printable(_short(ref)),
            name=key[ref],
            kind=f"{ref.label.value} open" if ref in opened else ref.label.value,
            hint=_printable(f"{spelled(ref)}: show its neighbours"),
        )
        for ref in key
    )
    arrows: dict[tuple[Ref, Ref], list[Hop]] = {}
    for hop in around.hops:
        # What hangs on what among the neighbours is in the list below: drawn, it would hide the rest.
        if hop[1] != hop[2] and not opened.isdisjoint(hop[1:]):
            arrows.setdefault(hop[1:], []).append(hop)
    edges = tuple(
        Edge(
            key[start],
            key[end],
            label=", ".join(VERBS[hop[0]] for hop in hops),
            hint=_printable("; ".join(map(sentence, hops))),
            is_labelled_at_start=end in opened,
        )
        for (start, end), hops in list(arrows.items())[:_MOST_ARROWS]
    )
    return f"<figure>{svg(Diagram(nodes, edges), link.get)}</figure>"


def _words(around: Neighbourhood) -> str:
    nodes = "".join(f"<li><a href={_attribute(_link(ref, ()))}>{_text(spelled(ref))}</a>" for ref, _ in around.nodes)
    hops = "".join(f"<li>{_text(sentence(hop))}" for hop in around.hops)
    labels = sorted({ref.label.value for ref, _ in around.nodes})
    legend = " ".join(f'<span class="key {label}">{label}</span>' for label in labels)
    return (
        f"<p>{legend}</p><p>On the left of a node is what hangs on it, on the right what it hangs on. A node of the "
        "drawing opens its neighbours; one of this list is put in the middle.</p>"
        f"<h2>{len(around.nodes)} nodes</h2><ul>{nodes}</ul>"
        f"<details><summary>{len(around.hops)} relationships</summary><ul>{hops}</ul></details>"
    )


def _link(middle: Ref, opened: Sequence[Ref]) -> str:
    more = [spelled(ref) for ref in dict.fromkeys(opened) if ref != middle][-MOST_OPENED:]
    return "?" + urlencode([("node", spelled(middle)), *(("open", one) for one in more)], errors="replace")


def _short(ref: Ref) -> str:
    name = ref.key.rpartition(":")[2] if ref.label is not Label.advisory else ref.key
    return name if len(name) <= _LONGEST else f"…{name[1 - _LONGEST :]}"


def _text(text: str) -> str:
    """`text` as HTML; what it says about the direction of writing ends with it."""
    return f"<bdi>{escape(_printable(text))}</bdi>"


def _attribute(text: str) -> str:
    return f'"{escape(_printable(text), quote=True)}"'


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
