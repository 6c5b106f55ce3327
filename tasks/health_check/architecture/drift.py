"""What an architecture looks like in a few lists, and what differs between two of them. Pure.

A view is `{aspect: {item: value or None}}`. An item whose value is None on either side was not seen there: it
counts as present, and is not compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from models.health_check import Service
from models.report import Finding, Severity
from tasks.health_check.architecture.answer import Answer, Outcome
from tasks.health_check.architecture.graph import AREA, CodeGraph, package_edges

View = Mapping[str, Mapping[str, str | None]]

_SHOWN = 50
_WORDS: dict[str, tuple[str, Severity]] = {
    "host": ("facts of the host", Severity.info),
    "services": ("services", Severity.medium),
    "versions": ("versions of services", Severity.info),
    "packages": ("packages", Severity.low),
    "package_imports": ("imports between packages", Severity.low),
    "outside_packages": ("outside packages in use", Severity.low),
    "modules": ("modules", Severity.info),
}


def code_view(graph: CodeGraph) -> dict[str, dict[str, str | None]]:
    """The view of a checkout's code. While files of it are not read, what they import is not seen."""
    unseen = bool(graph.unread)
    edges = {f"{a} -> {b}" for depth in (1, 2) for a, targets in package_edges(graph, depth).items() for b in targets}
    view: dict[str, dict[str, str | None]] = {
        "packages": dict.fromkeys(graph.packages, ""),
        "modules": dict.fromkeys(graph.modules, ""),
        "package_imports": dict.fromkeys(sorted(edges), ""),
        "outside_packages": dict.fromkeys(sorted({name for _, name in graph.external}), ""),
    }
    if unseen:
        view["unread"] = dict.fromkeys((unread.path for unread in graph.unread), None)
    return view


def node_view(
    host: Mapping[str, str], answers: Sequence[Answer], services: Sequence[Service]
) -> dict[str, dict[str, str | None]]:
    """The view of a node: what it is, which services it is told to watch, and what they say they are."""
    return {
        "host": dict(host),
        "services": {service.name: service.kind.value for service in services},
        "versions": {a.service: a.version if a.outcome is Outcome.up else None for a in answers},
    }


def drift(subject: str, accepted: View, current: View) -> list[Finding]:
    """What differs, one finding an aspect, however much it is: a moved folder is one change, not a hundred."""
    found = []
    for aspect, (words, severity) in _WORDS.items():
        before, after = accepted.get(aspect), current.get(aspect)
        if before is None or after is None:
            continue
        appeared = sorted(after.keys() - before.keys())
        disappeared = sorted(before.keys() - after.keys())
        if aspect in {"package_imports", "outside_packages"}:
            # What a file imports that cannot be read just now has not gone; what it brings back has not come.
            disappeared = [] if "unread" in current else disappeared
            appeared = [] if "unread" in accepted else appeared
        changed = {
            name: f"{old} -> {new}"
            for name in sorted(before.keys() & after.keys())
            if (old := before[name]) is not None and (new := after[name]) is not None and old != new
        }
        if not (appeared or disappeared or changed):
            continue
        counts = ((len(appeared), "appeared"), (len(disappeared), "disappeared"), (len(changed), "changed"))
        said = ", ".join(f"{count} {word}" for count, word in counts if count)
        evidence: dict[str, JsonValue] = {
            "appeared": list(appeared[:_SHOWN]),
            "disappeared": list(disappeared[:_SHOWN]),
            "changed": dict(list(changed.items())[:_SHOWN]),
            "appeared_count": len(appeared),
            "disappeared_count": len(disappeared),
            "changed_count": len(changed),
        }
        found.append(
            Finding(
                key=f"{AREA}.drift:{subject}:{aspect}",
                severity=severity,
                component=subject,
                title=f"{subject} differs from the accepted architecture: {words}: {said}.",
                detail=_first(appeared, disappeared, changed),
                remedy="If it is meant to be so, accept it with `lama accept architecture`.",
                evidence=evidence,
            )
        )
    return found


def _first(appeared: Sequence[str], disappeared: Sequence[str], changed: Mapping[str, str]) -> str:
    parts = []
    for word, names in (
        ("new", appeared),
        ("gone", disappeared),
        ("changed", [f"{name} ({how})" for name, how in changed.items()]),
    ):
        if names:
            more = ", ..." if len(names) > 5 else ""
            parts.append(f"{word}: {', '.join(names[:5])}{more}")
    return "; ".join(parts)
