"""The graph as GraphML (http://graphml.graphdrawing.org/specification.html), as networkx, Gephi and yEd read it."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import AsyncIterator, Mapping
from typing import IO, TextIO
from xml.sax.saxutils import escape, quoteattr

from models.graph import Edge, Node, Property, Ref

_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
"""
_IN_MEMORY = 16 * 1024 * 1024
_CHUNK = 1 << 20
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML 1.0 document may hold, however they are escaped (section 2.2)."""
_WIDER = {frozenset({"long", "double"}): "double"}


async def to_graphml(nodes: AsyncIterator[Node], edges: AsyncIterator[Edge], out: TextIO) -> tuple[int, int]:
    """Write both to `out`; returns how many of each were said. Of a graph, only which nodes it has is kept in memory.

    Every node has its label and key, and what is true of it; lists become JSON, what XML cannot hold U+FFFD. An end
    that nobody says, because its source has not been told yet, becomes a node with nothing else.
    """
    keys: dict[tuple[str, str], str] = {}
    counts = [0, 0]
    there: set[bytes] = set()
    # What properties there are, and of which types, is known at the end; GraphML wants it at the beginning.
    with tempfile.SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="utf-8", newline="\n") as body:
        async for node in nodes:
            counts[0] += 1
            there.add(_digest(node.ref))
            body.write(_node(node.ref, node.properties, keys))
        async for edge in edges:
            counts[1] += 1
            for end in (edge.start, edge.end):
                if (digest := _digest(end)) not in there:
                    there.add(digest)
                    body.write(_node(end, {}, keys))
            ends = f"source={_attribute(_id(edge.start))} target={_attribute(_id(edge.end))}"
            about = {"type": edge.type.value, **_prefixed(edge.properties)}
            body.write(f"<edge {ends}>{_data('edge', about, keys)}</edge>\n")
        out.write(_HEAD)
        for (kind, name), type_ in keys.items():
            out.write(
                f'<key id={_attribute(f"{kind} {name}")} for="{kind}" attr.name={_attribute(name)} '
                f'attr.type="{type_}"/>\n'
            )
        out.write('<graph id="lama" edgedefault="directed">\n')
        _copy(body, out)
        out.write("</graph>\n</graphml>\n")
    return counts[0], counts[1]


def _node(ref: Ref, properties: Mapping[str, Property], keys: dict[tuple[str, str], str]) -> str:
    about = {"label": ref.label.value, "key": ref.key, **_prefixed(properties)}
    return f"<node id={_attribute(_id(ref))}>{_data('node', about, keys)}</node>\n"


def _prefixed(properties: Mapping[str, Property]) -> dict[str, Property]:
    """A property that is called like a column of ours keeps its own one."""
    return {f"{name}_" if name in {"label", "key", "type"} else name: value for name, value in properties.items()}


def _data(kind: str, about: Mapping[str, Property], keys: dict[tuple[str, str], str]) -> str:
    parts = []
    for name, value in about.items():
        type_, text = _typed(value)
        known = keys.setdefault((kind, name), type_)
        if known != type_:
            keys[kind, name] = _WIDER.get(frozenset({known, type_}), "string")
        parts.append(f"<data key={_attribute(f'{kind} {name}')}>{escape(_sound(text))}</data>")
    return "".join(parts)


def _typed(value: Property) -> tuple[str, str]:
    if isinstance(value, bool):
        return "boolean", str(value).lower()
    if isinstance(value, int):
        return "long", str(value)
    if isinstance(value, float):
        return "double", repr(value)
    if isinstance(value, str):
        return "string", value
    import json  # noqa: PLC0415 - few have lists

    return "string", json.dumps(value, ensure_ascii=False)


def _id(ref: Ref) -> str:
    text = f"{ref.label.value}:{ref.key}"
    if not _FORBIDDEN.search(text):
        return text
    return f"{text}~{hashlib.blake2b(text.encode('utf-8', 'surrogatepass'), digest_size=8).hexdigest()}"


def _digest(ref: Ref) -> bytes:
    return hashlib.blake2b(f"{ref.label.value}:{ref.key}".encode("utf-8", "surrogatepass"), digest_size=12).digest()


def _attribute(text: str) -> str:
    return quoteattr(_sound(text))


def _sound(text: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)


def _copy(body: IO[str], out: TextIO) -> None:
    body.seek(0)
    while chunk := body.read(_CHUNK):
        out.write(chunk)
