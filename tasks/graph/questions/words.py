"""Answers about the graph in words for people, and as JSON for machines. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.graph import Edge, Node, Ref, Type
from tasks.graph.questions.impact import Hit, Impact
from tasks.graph.questions.names import spelled
from tasks.graph.questions.neighbourhood import Neighbourhood
from tasks.graph.questions.path import Found
from tasks.graph.questions.walk import Hop

VERBS = {
    Type.contains: "contains",
    Type.imports: "imports",
    Type.calls: "calls",
    Type.inherits: "inherits from",
    Type.runs: "runs",
    Type.uses: "uses",
    Type.depends_on: "depends on",
    Type.affected_by: "is affected by",
    Type.describes: "describes",
}
"""What the one that a relationship begins at does with the other."""


def sentence(hop: Hop) -> str:
    """A relationship as a sentence without its full stop."""
    kind, start, end = hop
    return f"{spelled(start)} {VERBS[kind]} {spelled(end)}"


def chain(path: Sequence[Hop], begin: Ref) -> str:
    """A path in one line, with arrows as its relationships point: `a -CALLS-> b <-USES- c`."""
    parts, at = [spelled(begin)], begin
    for kind, start, end in path:
        if start == at:
            parts.append(f"-{kind.value}-> {spelled(end)}")
            at = end
        else:
            parts.append(f"<-{kind.value}- {spelled(start)}")
            at = start
    return " ".join(parts)


def how(hit: Hit) -> str:
    """Why something may break: what it does with the one before it on the path."""
    kind, start, end = hit.path[-1]
    return f"{VERBS[kind]} {spelled(end)}" if start == hit.ref else f"is in {spelled(start)}"


def impact_summary(told: Impact) -> str:
    """One line about an impact."""
    sure = sum(hit.sure for hit in told.hits)
    rest = len(told.hits) - sure
    of = f"{spelled(told.of)} and its {told.parts - 1:,} parts" if told.parts > 1 else spelled(told.of)
    if not told.hits:
        return f"Nothing is known to hang on {of}."
    least = "at least " if told.cut else ""  # more may hang on it than were looked for
    through = f", {rest:,} more may through a module" if rest else ""
    return f"If {of} changes: {least}{sure:,} hang on it{through}."


def impact_json(told: Impact) -> dict[str, Any]:
    """An impact for machines."""
    return {
        "of": ref_json(told.of),
        "parts": told.parts,
        "hits": [
            {**ref_json(hit.ref), "distance": hit.distance, "sure": hit.sure, "path": [hop_json(h) for h in hit.path]}
            for hit in told.hits
        ],
        "cut": list(told.cut),
    }


def path_json(first: Ref, second: Ref, found: Found) -> dict[str, Any]:
    """A path for machines; `path` is null when there is none."""
    hops = None if found.path is None else [hop_json(hop) for hop in found.path]
    return {"from": ref_json(first), "to": ref_json(second), "path": hops, "cut": found.cut}


def neighbourhood_json(told: Neighbourhood) -> dict[str, Any]:
    """A neighbourhood for machines."""
    return {
        "nodes": [{**ref_json(ref), "distance": distance} for ref, distance in told.nodes],
        "relationships": [hop_json(hop) for hop in told.hops],
        "cut": told.cut,
    }


def node_json(node: Node) -> dict[str, Any]:
    """A record of a node for machines."""
    times = {name: getattr(node, name) for name in ("valid_from", "valid_to", "recorded_from", "recorded_to")}
    return {
        **ref_json(node.ref),
        "properties": dict(node.properties),
        "scopes": list(node.scopes),
        **{name: value.isoformat() if value is not None else None for name, value in times.items()},
    }


def ref_json(ref: Ref) -> dict[str, Any]:
    """A node's identity for machines."""
    return {"label": ref.label.value, "key": ref.key}


def hop_json(hop: Hop | Edge) -> dict[str, Any]:
    """A relationship for machines."""
    kind, start, end = (hop.type, hop.start, hop.end) if isinstance(hop, Edge) else hop
    return {"type": kind.value, "start": ref_json(start), "end": ref_json(end)}
