"""Who brings in what: which components a project itself asks for, and the shortest path to each of the others."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import fields
from operator import attrgetter
from typing import Any

from tasks.advisories.package import Package
from tasks.audit.component import Component, Evidence

_ASIDE = frozenset({"requirements", "requires", "constraints", "deps"})
"""Folders of requirements files: what is in them is said by the project around them."""
_RESOLVED = frozenset({Evidence.locked, Evidence.installed, Evidence.sbom})
_LONGEST = 50
"""Packages of one path; the rest of a longer one is left out."""

Answer = tuple[bool | None, tuple[str, ...]]
"""`direct` and `via` of a component."""


def mark(components: Iterable[Component], own: frozenset[Package]) -> tuple[Component, ...]:
    """`components` with `direct` and `via`, in the same order.

    Each lock file, and each environment, is a graph of its own. It begins at what the manifests of its project ask for
    (the manifests of the nearest folder above it that has any; else, those below it), and at what the projects that are
    part of it need. Where nothing tells what is direct, it stays None.
    """
    parts = tuple(components)
    projects = _Projects(parts)
    answers: dict[int, Answer] = {}
    bare: list[int] = []
    graphs: dict[str, list[int]] = defaultdict(list)
    for index, component in enumerate(parts):
        if component.evidence is Evidence.declared:
            answers[index] = (True, ())
        elif component.evidence in _RESOLVED:
            graphs[_graph_of(component)].append(index)
        elif component.evidence is Evidence.constraint:
            bare.append(index)
    shared: dict[tuple[str | None, Package], Answer] = {}
    for indices in graphs.values():
        found = _walk(parts, indices, projects, own)
        answers.update(found)
        if any(parts[index].requires for index in indices):
            for index, answer in found.items():
                shared.setdefault((projects.around(parts[index]), parts[index].package), answer)
        else:
            bare += [index for index, (direct, _) in found.items() if not direct]
    for index in bare:
        # Its file does not say what brings it in. Another one of the same project may.
        answers[index] = _elsewhere(parts[index], projects, shared) or answers.get(index, (None, ()))
    return tuple(
        [
            _answered(component, *answers[index]) if index in answers else component
            for index, component in enumerate(parts)
        ]
    )


def _answered(component: Component, direct: bool | None, via: tuple[str, ...]) -> Component:  # noqa: FBT001
    values: tuple[Any, ...] = (*_said(component), direct, via)
    return Component(*values)  # `dataclasses.replace` takes five times as long


_said = attrgetter(*(field.name for field in fields(Component)[:-2]))
"""All fields of a component but its answer, the last two."""


class _Projects:
    """Which folders ask for what."""

    def __init__(self, components: Iterable[Component]) -> None:
        self._asked: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._around: dict[tuple[str, str], str | None] = {}
        self._answers: dict[tuple[str, str, bool], frozenset[str]] = {}
        for component in components:
            if component.evidence is Evidence.declared:
                folder = _project_of(component.place.file)
                self._asked[component.package.family, folder].add(component.package.name)

    def around(self, component: Component) -> str | None:
        """The nearest folder above `component` that asks for something of its ecosystem; None when there is none."""
        family, folder = component.package.family, _folder(component.place.file)
        key = (family, folder)
        if key not in self._around:
            above: str | None = folder
            while above is not None and (family, above) not in self._asked:
                above = _folder(above) if above else None
            self._around[key] = above
        return self._around[key]

    def asks(self, component: Component) -> frozenset[str]:
        """Names that the project around `component` asks for.

        An environment serves whatever is below its project, and so does a file whose own project asks for nothing.
        """
        folder, family = self.around(component), component.package.family
        is_wide = folder is None or component.evidence is Evidence.installed
        below = self._above(family, _folder(_graph_of(component))) if folder is None else folder
        key = (family, below, is_wide)
        if key not in self._answers:
            prefix = f"{below}/" if below else ""
            self._answers[key] = frozenset(
                name
                for (asking_for, asking), names in self._asked.items()
                if asking_for == family and (asking == below or (is_wide and asking.startswith(prefix)))
                for name in names
            )
        return self._answers[key]

    def _above(self, family: str, folder: str) -> str:
        """The nearest folder above `folder` below which anything is asked for; the root when there is none."""
        while folder and not any(
            asking_for == family and asking.startswith(f"{folder}/") for asking_for, asking in self._asked
        ):
            folder = _folder(folder)
        return folder


def _walk(
    parts: tuple[Component, ...], indices: list[int], projects: _Projects, own: frozenset[Package]
) -> dict[int, Answer]:
    """The answers for one graph, breadth first: so the first path to a component is a shortest one."""
    named: dict[Package, list[int]] = defaultdict(list)
    exact: dict[tuple[Package, str], list[int]] = defaultdict(list)
    families: dict[str, frozenset[str]] = {}
    for index in indices:
        component = parts[index]
        named[component.package].append(index)
        exact[component.package, component.version or ""].append(index)
        if component.package.family not in families:
            families[component.package.family] = projects.asks(component)
    followed: set[tuple[Package, str]] = set()
    ours = [index for index in indices if parts[index].package in own]
    asked = {found for index in ours for found in _needs(parts[index], named, exact, followed)}
    followed.clear()
    asked |= {
        index
        for index in indices
        if parts[index].direct is True or parts[index].package.name in families[parts[index].package.family]
    }
    starts = [index for index in indices if index in asked and parts[index].package not in own]
    if not starts:
        return {index: (parts[index].direct, ()) for index in indices}
    answers: dict[int, Answer] = dict.fromkeys(ours, (None, ()))
    answers.update(dict.fromkeys(starts, (True, ())))
    todo = deque(starts)
    while todo:
        index = todo.popleft()
        above = answers[index][1]
        path = (*above, parts[index].package.name) if len(above) < _LONGEST else above
        for found in _needs(parts[index], named, exact, followed):
            if found not in answers:
                answers[found] = (False, path)
                todo.append(found)
    for index in indices:
        answers.setdefault(index, (False, ()))
    return answers


def _needs(
    component: Component,
    named: Mapping[Package, list[int]],
    exact: Mapping[tuple[Package, str], list[int]],
    followed: set[tuple[Package, str]],
) -> Iterable[int]:
    """What `component` brings in; what was followed before is left out, or equal names would cost their square."""
    for name, version in component.requires:
        wanted = (Package(component.package.ecosystem, name), version)
        if wanted not in followed:
            followed.add(wanted)
            yield from (exact.get(wanted, []) if version else []) or named.get(wanted[0], [])


def _elsewhere(
    component: Component, projects: _Projects, shared: Mapping[tuple[str | None, Package], Answer]
) -> Answer | None:
    answer = shared.get((projects.around(component), component.package))
    if answer is None and component.package.name in projects.asks(component):
        return True, ()
    return answer


def _graph_of(component: Component) -> str:
    """The file, or the folder of the environment's packages, that the component is part of."""
    return _folder(component.place.file) if component.evidence is Evidence.installed else component.place.file


def _project_of(file: str) -> str:
    folder = _folder(file)
    return _folder(folder) if folder.rpartition("/")[2] in _ASIDE else folder


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
