"""Diagrams: as Mermaid for Markdown, and drawn as SVG for HTML, so that a page needs neither network nor a script.

Places and routes are `graphlay`'s layered layout; what is drawn of it is ours, every label escaped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

MOST_NODES = 60
MOST_EDGES = 180
"""Above which a diagram is drawn of something coarser, or not at all: nobody could read it."""

_CHARACTER = 7.3
_ROW = 17.0
_PADDING = 10.0
_MARGIN = 12.0
_LONGEST = 60


@dataclass(frozen=True, slots=True)
class Node:
    """A box: a title, rows below it, and the name whose page it leads to."""

    key: str
    title: str
    rows: tuple[str, ...] = ()
    name: str = ""
    kind: str = ""
    """Its class, for a style sheet."""
    hint: str = ""
    """What is said of it when somebody points at it."""


@dataclass(frozen=True, slots=True)
class Edge:
    """An arrow between two boxes, by their keys."""

    source: str
    target: str
    label: str = ""
    hint: str = ""
    is_labelled_at_start: bool = False
    """Whether its label stands where it begins; otherwise where it ends."""


@dataclass(frozen=True, slots=True)
class Diagram:
    """Boxes and arrows."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    tables: bool = False
    """Whether boxes are tables with columns: then Mermaid draws it as an entity-relationship diagram."""

    @property
    def is_readable(self) -> bool:
        """Whether it is worth drawing."""
        return 1 <= len(self.nodes) <= MOST_NODES and len(self.edges) <= MOST_EDGES


def mermaid(diagram: Diagram) -> str:
    """The text of the diagram, without a fence."""
    number = {node.key: f"n{at}" for at, node in enumerate(diagram.nodes)}
    if diagram.tables:
        return "\n".join(["erDiagram", *_entities(diagram, number)])
    lines = ["flowchart LR"]
    for node in diagram.nodes:
        words = "<br>".join(_label(text) for text in (node.title, *node.rows))
        lines.append(f'    {number[node.key]}["{words}"]')
    for edge in diagram.edges:
        label = f'|"{_label(edge.label)}"|' if edge.label else ""
        lines.append(f"    {number[edge.source]} -->{label} {number[edge.target]}")
    return "\n".join(lines)


def svg(diagram: Diagram, where: Callable[[str], str | None]) -> str:
    """The diagram as SVG; boxes lead to what `where` says of their names."""
    import graphlay  # noqa: PLC0415 - only where something is drawn

    sizes = [_size(node) for node in diagram.nodes]
    index = {node.key: at for at, node in enumerate(diagram.nodes)}
    request = {
        "nodes": [{"size": {"width": width, "height": height}, "shape": "box"} for width, height in sizes],
        "edges": [
            {"source": index[edge.source], "target": index[edge.target], "weight": 1.0} for edge in diagram.edges
        ],
    }
    widest = max((len(_cut(edge.label)) for edge in diagram.edges), default=0)
    gap = max(46.0, widest * _CHARACTER + 2 * _PADDING)
    drawn = graphlay.layout(
        request, options={"direction": "leftright", "spacing": {"layer_gap": gap, "node_gap": 14.0}}
    )
    low, high = drawn.bounds["min"], drawn.bounds["max"]
    left, top = low["x"] - _MARGIN, low["y"] - _MARGIN
    width, height = high["x"] - low["x"] + 2 * _MARGIN, high["y"] - low["y"] + 2 * _MARGIN
    box = f"{left:.0f} {top:.0f} {width:.0f} {height:.0f}"
    size = f'width="{width:.0f}" height="{height:.0f}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" {size} role="img">',
        *(
            _arrow([(point["x"], point["y"]) for point in route["points"]], edge)
            for edge, route in zip(diagram.edges, drawn.edges, strict=True)
        ),
    ]
    for node, place, (wide, tall) in zip(diagram.nodes, drawn.nodes, sizes, strict=True):
        shown = _box(node, place["center"]["x"] - wide / 2, place["center"]["y"] - tall / 2, (wide, tall))
        address = where(node.name) if node.name else None
        parts.append(f'<a href="{escape(address)}">{shown}</a>' if address else shown)
    return "".join([*parts, "</svg>"])


def _entities(diagram: Diagram, number: dict[str, str]) -> list[str]:
    lines = []
    for node in diagram.nodes:
        lines.append(f'    {number[node.key]}["{_label(node.title)}"] {{')
        lines += [_column(row) for row in node.rows]
        lines.append("    }")
    edges = ((number[edge.source], number[edge.target], _label(edge.label)) for edge in diagram.edges)
    return lines + [f'    {source} }}o--|| {target} : "{label}"' for source, target, label in edges]


def _column(row: str) -> str:
    """The line of a column, which Mermaid wants as type and name."""
    name, _, kind = row.partition(": ")
    return f"        {_identifier(kind) or 'unknown'} {_identifier(name) or 'column'}"


def _identifier(text: str) -> str:
    return re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_")[:_LONGEST]


def _label(text: str) -> str:
    """`text` inside of Mermaid's quotes: only plain letters mean themselves there."""
    cut = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return "".join(one if one.isalnum() or one in " ._,:/-()…" else f"#{ord(one)};" for one in cut)


def _size(node: Node) -> tuple[float, float]:
    widest = max(len(_cut(text)) for text in (node.title, *node.rows))
    return widest * _CHARACTER + 2 * _PADDING, _ROW * (1 + len(node.rows)) + _PADDING


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _box(node: Node, x: float, y: float, size: tuple[float, float]) -> str:
    width, height = size
    kind = f' class="{escape(node.kind)}"' if node.kind else ""
    lines = [f'<rect{kind} x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="4"/>']
    for at, text in enumerate((node.title, *node.rows)):
        weight = ' font-weight="600"' if at == 0 and node.rows else ""
        line = y + _PADDING / 2 + _ROW * at + 12
        lines.append(f'<text x="{x + _PADDING:.1f}" y="{line:.1f}"{weight}>{escape(_cut(text))}</text>')
    return _hinted("".join(lines), node.hint)


def _hinted(shown: str, hint: str) -> str:
    return f"<g><title>{escape(hint)}</title>{shown}</g>" if hint else shown


def _arrow(points: Sequence[tuple[float, float]], edge: Edge) -> str:
    """The line through `points`, a head at its end, and its label above its first or its last part."""
    if len(points) < 2:
        return ""
    line = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    (before_x, before_y), (x, y) = points[-2], points[-1]
    length = ((x - before_x) ** 2 + (y - before_y) ** 2) ** 0.5 or 1.0
    along_x, along_y = (x - before_x) / length, (y - before_y) / length
    back_x, back_y = x - 7 * along_x, y - 7 * along_y
    head = (
        f"M{x:.1f} {y:.1f}L{back_x - 3.5 * along_y:.1f} {back_y + 3.5 * along_x:.1f}"
        f"L{back_x + 3.5 * along_y:.1f} {back_y - 3.5 * along_x:.1f}Z"
    )
    text = ""
    if edge.label:
        at_x, at_y, anchor = (*points[0], "start") if edge.is_labelled_at_start else (x, y, "end")
        at_x += 6 if edge.is_labelled_at_start else -10
        place = f'x="{at_x:.1f}" y="{at_y - 4:.1f}" text-anchor="{anchor}"'
        text = f'<text class="on" {place}>{escape(_cut(edge.label))}</text>'
    return _hinted(f'<path d="{line}"/><path class="head" d="{head}"/>{text}', edge.hint)
