"""The import graph of a checkout: its packages, layers, cycles, and how much depends on what. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set

from pydantic import Field, JsonValue

from models.report import Finding, Severity, Skip, Value

AREA = "architecture"
_SHOWN = 20

Edges = Mapping[str, Set[str]]


class Unread(Value):
    """A source file that the graph does not know."""

    path: str = Field(description="Relative to the checkout.")
    reason: str = Field(description="Why it could not be read.")
    broken: bool = Field(default=False, description="Whether it is not valid Python, rather than out of reach.")


class CodeGraph(Value):
    """Who imports whom in one checkout, at run time (imports only for type checkers are left out)."""

    packages: tuple[str, ...] = Field(default=(), description="Its top-level packages.")
    modules: tuple[str, ...] = Field(default=(), description="Every module in them, also those that were not read.")
    imports: tuple[tuple[str, str], ...] = Field(default=(), description="Importer and imported, both in the checkout.")
    external: tuple[tuple[str, str], ...] = Field(default=(), description="Module, and the outside package it imports.")
    unread: tuple[Unread, ...] = Field(default=(), description="Files whose imports are not known.")

    def edges(self) -> dict[str, set[str]]:
        """The imports within the checkout, by importer; every module is there."""
        found: dict[str, set[str]] = {module: set() for module in self.modules}
        for importer, imported in self.imports:
            found.setdefault(importer, set()).add(imported)
            found.setdefault(imported, set())
        return found


def cycles(edges: Edges) -> list[tuple[str, ...]]:
    """The strongly connected components of two nodes or more, each sorted, in order of their first node.

    Tarjan, SIAM J. Comput. 1 (1972), without recursion: import graphs are deeper than Python's stack.
    """
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    found: list[tuple[str, ...]] = []
    for root in sorted(edges):
        if root in order:
            continue
        order[root] = low[root] = len(order)
        stack.append(root)
        on_stack.add(root)
        work = [(root, iter(sorted(edges[root])))]
        while work:
            node, successors = work[-1]
            for successor in successors:
                if successor not in order:
                    order[successor] = low[successor] = len(order)
                    stack.append(successor)
                    on_stack.add(successor)
                    work.append((successor, iter(sorted(edges.get(successor, ())))))
                    break
                if successor in on_stack:
                    low[node] = min(low[node], order[successor])
            else:
                work.pop()
                if work:
                    parent = work[-1][0]
                    low[parent] = min(low[parent], low[node])
                if low[node] == order[node]:
                    component = []
                    while True:
                        member = stack.pop()
                        on_stack.discard(member)
                        component.append(member)
                        if member == node:
                            break
                    if len(component) > 1:
                        found.append(tuple(sorted(component)))
    return sorted(found)


def part_of(module: str, depth: int) -> str:
    """The first `depth` names of `module`: the package that it counts to at that depth."""
    return ".".join(module.split(".")[:depth])


def package_edges(graph: CodeGraph, depth: int) -> dict[str, set[str]]:
    """The imports between packages at `depth` (1: top-level). At 2, only those inside one top-level package."""
    found: dict[str, set[str]] = {}
    for importer, imported in graph.imports:
        source, target = part_of(importer, depth), part_of(imported, depth)
        if source == target:
            continue
        # A package's own __init__ re-exports its parts; that is no relation between parts.
        if depth > 1 and (part_of(source, depth - 1) != part_of(target, depth - 1) or "." not in source + target):
            continue
        if depth > 1 and not (source.count(".") == target.count(".") == depth - 1):
            continue
        found.setdefault(source, set()).add(target)
        found.setdefault(target, set())
    return found


def fan_out(graph: CodeGraph) -> dict[str, int]:
    """How many modules and outside packages each module imports."""
    counted: dict[str, int] = defaultdict(int)
    for importer, _ in {*graph.imports, *graph.external}:
        counted[importer] += 1
    return dict(counted)


def fan_in(graph: CodeGraph) -> dict[str, int]:
    """How many modules of the checkout import each module."""
    counted: dict[str, int] = defaultdict(int)
    for _, imported in set(graph.imports):
        counted[imported] += 1
    return dict(counted)


def layer_of(module: str, layers: Sequence[str]) -> int | None:
    """The position of the layer that `module` is in (0: highest); the most exact name wins. None: in no layer."""
    best: int | None = None
    for position, layer in enumerate(layers):
        inside = module == layer or module.startswith(f"{layer}.")
        if inside and (best is None or len(layer) > len(layers[best])):
            best = position
    return best


def violations(graph: CodeGraph, layers: Sequence[str]) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """Imports that point upwards, by (lower layer, higher layer)."""
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for importer, imported in sorted(graph.imports):
        source, target = layer_of(importer, layers), layer_of(imported, layers)
        if source is not None and target is not None and target < source:
            found.setdefault((layers[source], layers[target]), []).append((importer, imported))
    return found


def findings_of(checkout: str, graph: CodeGraph, layers: Sequence[str], max_fan_out: int) -> list[Finding]:
    """What is to be said about the code of `checkout`, besides what it is."""
    return [
        *_cycle_findings(checkout, graph),
        *_layer_findings(checkout, graph, layers),
        *_fan_findings(checkout, graph, max_fan_out),
        *_unread_findings(checkout, graph),
    ]


def inventory_of(checkout: str, graph: CodeGraph) -> Finding:
    """What the code of `checkout` is made of."""
    outside = sorted({name for _, name in graph.external})
    return Finding(
        key=f"{AREA}.code:{checkout}",
        severity=Severity.info,
        component=checkout,
        title=f"{checkout} has {len(graph.packages)} packages, {len(graph.modules)} modules and "
        f"{len(graph.imports)} imports between them.",
        evidence={
            "packages": list(graph.packages),
            "package_imports": sorted(f"{a} -> {b}" for a, bs in package_edges(graph, 1).items() for b in bs),
            "modules": len(graph.modules),
            "imports": len(graph.imports),
            "outside_packages": list(outside[:200]),
            "most_imported": _top(fan_in(graph)),
            "most_importing": _top(fan_out(graph)),
        },
    )


def skips_of(checkout: str, graph: CodeGraph) -> list[Skip]:
    """What the graph does not know because files could not be read."""
    if not graph.unread:
        return []
    paths = ", ".join(unread.path for unread in graph.unread[:5])
    more = f" and {len(graph.unread) - 5} more" if len(graph.unread) > 5 else ""
    return [
        Skip(
            area=AREA,
            component=checkout,
            reason=f"the imports of {paths}{more} are not known: {graph.unread[0].reason}",
            hides=tuple(f"{AREA}.{kind}:{checkout}" for kind in ("cycle", "layer", "fan_out")),
        )
    ]


def _cycle_findings(checkout: str, graph: CodeGraph) -> Iterable[Finding]:
    levels: list[tuple[str, dict[str, set[str]], Severity]] = [
        ("modules", graph.edges(), Severity.medium),
        ("packages", package_edges(graph, 1), Severity.medium),
        ("subpackages", package_edges(graph, 2), Severity.low),
    ]
    for level, edges, severity in levels:
        for members in cycles(edges):
            inside = set(members)
            links = sorted(f"{a} -> {b}" for a in members for b in edges[a] & inside)
            yield Finding(
                key=f"{AREA}.cycle:{checkout}:{level}:{members[0]}",
                severity=severity,
                component=checkout,
                title=f"{len(members)} {level} of {checkout} import each other in a circle: {_listed(members)}.",
                detail="None of them can be understood, tested or replaced without the others.",
                remedy="Move what they share into one that imports none of them.",
                evidence={"members": list(members[:_SHOWN]), "imports": list(links[:_SHOWN]), "count": len(members)},
            )


def _layer_findings(checkout: str, graph: CodeGraph, layers: Sequence[str]) -> Iterable[Finding]:
    known = set(graph.modules) | set(graph.packages)
    for layer in layers:
        if layer not in known:
            yield Finding(
                key=f"{AREA}.layer_unknown:{checkout}:{layer}",
                severity=Severity.medium,
                component=checkout,
                title=f"The layer {layer!r} of {checkout} names nothing that is there, so it is not checked.",
                remedy="Correct it under [architecture.layers] in lama.toml.",
            )
    for (lower, higher), imports in violations(graph, layers).items():
        shown: list[JsonValue] = [f"{importer} -> {imported}" for importer, imported in imports[:_SHOWN]]
        yield Finding(
            key=f"{AREA}.layer:{checkout}:{lower}->{higher}",
            severity=Severity.high,
            component=checkout,
            title=f"{lower} imports from {higher}, a layer above it ({len(imports)} imports).",
            detail=f"The order from the highest to the lowest is {' > '.join(layers)}.",
            remedy=f"Move what {lower} needs below it, or pass it in from above.",
            evidence={"imports": shown, "count": len(imports)},
        )


def _fan_findings(checkout: str, graph: CodeGraph, limit: int) -> Iterable[Finding]:
    for module, count in sorted(fan_out(graph).items()):
        if count > limit:
            yield Finding(
                key=f"{AREA}.fan_out:{checkout}:{module}",
                severity=Severity.low,
                component=checkout,
                title=f"{module} imports {count} modules; more than {limit} is a lot for one.",
                remedy="Split it by subject.",
                evidence={"imports": count, "limit": limit},
            )


def _unread_findings(checkout: str, graph: CodeGraph) -> Iterable[Finding]:
    for unread in graph.unread:
        if unread.broken:
            yield Finding(
                key=f"{AREA}.syntax:{checkout}:{unread.path}",
                severity=Severity.medium,
                component=checkout,
                title=f"{unread.path} of {checkout} is not valid Python.",
                detail=unread.reason,
                remedy="Correct it, or leave it out with `exclude` of the checkout in lama.toml.",
                evidence={"path": unread.path},
            )


def _top(counts: Mapping[str, int], count: int = 10) -> dict[str, JsonValue]:
    best = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:count]
    return dict(best)


def _listed(names: Sequence[str], count: int = 4) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more
