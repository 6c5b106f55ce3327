"""The pages that tell of the whole: what imports what, how much is documented, and what of a kind there is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from models.code import Unread
from tasks.diagrams import MOST_EDGES, MOST_NODES, Diagram, Edge, Node
from tasks.docs.site.facts import Facts
from tasks.plural import plural

_MOST_MISSING = 200


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table: text as somebody wrote it, code, or a name that leads to its page."""

    text: str
    code: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of an overview."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A part of an overview."""

    title: str = ""
    name: str = ""
    """What it is about: its title leads to that page."""
    text: str = ""
    """As in a docstring."""
    diagram: Diagram | None = None
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True, slots=True)
class Overview:
    """A page that tells of the whole."""

    key: str
    """Its file's name, without suffix."""
    title: str
    summary: str
    sections: tuple[Section, ...] = ()
    unread: tuple[Unread, ...] = ()
    """Files beside the source that could not be read, and are not told of here."""


def imports_of(facts: Mapping[str, Facts]) -> Overview | None:
    """Which part of the code base imports which: of modules where there are few, otherwise of the packages above."""
    edges = {(path, found) for path, one in facts.items() for found in _imported(one, facts) if found != path}
    if len(facts) < 2:
        return None
    deepest = max(path.count(".") for path in facts) + 1
    for depth in range(deepest, 0, -1):
        drawn = _coarsened(facts, edges, depth)
        if drawn.is_readable or depth == 1:
            break
    what = "modules" if depth == deepest else f"packages, {depth} deep"
    rows = _rows(facts, edges)
    return Overview(
        key="imports",
        title="Imports",
        summary=f"What imports what when it is imported itself: {plural(len(facts), 'module')}, "
        f"{plural(len(edges), 'import')} among them. "
        f"The diagram shows {what}.",
        sections=(
            Section(diagram=drawn if drawn.is_readable else None),
            Section(title="Modules", tables=(Table(("Module", "Imports", "Imported by"), rows),)),
        ),
    )


def coverage_of(facts: Mapping[str, Facts]) -> Overview:
    """Which public objects have a docstring."""
    counted = sorted((path, one) for path, one in facts.items() if one.objects)
    total, documented = sum(one.objects for _, one in counted), sum(one.documented for _, one in counted)
    rows = tuple(
        (Cell(path, name=path), Cell(str(one.objects)), Cell(str(one.documented)), Cell(_ratio(one)))
        for path, one in counted
    )
    missing = [name for _, one in counted for name in one.missing]
    listed = tuple((Cell(name, name=name),) for name in missing[:_MOST_MISSING])
    more = f" The first {_MOST_MISSING} of them:" if len(missing) > _MOST_MISSING else ""
    share = f"{documented / total:.1%}" if total else "All"
    sections = [Section(tables=(Table(("Module", "Public objects", "With a docstring", "Share"), rows),))]
    if missing:
        told = f"{len(missing)} have none.{more}"
        sections.append(Section(title="Without a docstring", text=told, tables=(Table(("Name",), listed),)))
    return Overview(
        key="coverage",
        title="Coverage",
        summary=f"{share} of {total} public objects have a docstring.",
        sections=tuple(sections),
    )


def _imported(one: Facts, facts: Mapping[str, Facts]) -> Iterator[str]:
    """The modules that what it imports are, or are members of."""
    for target in one.imports:
        found = target
        while found and found not in facts:
            found = found.rpartition(".")[0]
        if found:
            yield found


def _ratio(one: Facts) -> str:
    return f"{one.documented / one.objects:.0%}"


def _coarsened(facts: Mapping[str, Facts], edges: set[tuple[str, str]], depth: int) -> Diagram:
    """The imports among what is at most `depth` names deep."""

    def cut(path: str) -> str:
        return ".".join(path.split(".")[:depth])

    nodes = sorted({cut(path) for path in facts})
    inner = sorted({(cut(one), cut(other)) for one, other in edges} - {(node, node) for node in nodes})
    return Diagram(
        tuple(Node(node, node, name=node) for node in nodes[: MOST_NODES + 1]),
        tuple(Edge(one, other) for one, other in inner)
        if len(nodes) <= MOST_NODES
        else (Edge("", ""),) * (MOST_EDGES + 1),
    )


def _rows(facts: Mapping[str, Facts], edges: set[tuple[str, str]]) -> tuple[tuple[Cell, ...], ...]:
    out: dict[str, int] = defaultdict(int)
    into: dict[str, int] = defaultdict(int)
    for one, other in edges:
        out[one] += 1
        into[other] += 1
    return tuple((Cell(path, name=path), Cell(str(out[path])), Cell(str(into[path]))) for path in sorted(facts))
