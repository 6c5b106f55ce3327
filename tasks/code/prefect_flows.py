"""The Prefect flows of a checkout: parameters, retries, the tasks that they run, how `prefect.yaml` deploys them."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.code import Codebase, Kind, Module, Parameter, Symbol, Unread
from tasks.code.classes import Defined
from tasks.code.docstrings import parse
from tasks.code.literals import literal, plain
from tasks.code.places import read_file

_CALLED_BY = frozenset({"submit", "map", "delay", "serve", "fn", "apply_async", "with_options"})
_DEPTH = 12


@dataclass(frozen=True, slots=True)
class FlowParameter:
    """One parameter of a flow."""

    name: str
    annotation: str | None
    default: str | None
    """Source text; None: it has to be given."""
    description: str
    """Of its docstring; empty without one."""


@dataclass(frozen=True, slots=True)
class Use:
    """A task or flow that another one runs."""

    path: str
    kind: str
    """`task` or `flow`."""
    via: tuple[str, ...] = ()
    """Functions in between, from the first on; empty: it is called directly."""
    handed: bool = False
    """It is handed on to what runs it, and not called by name."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a deployment runs by itself."""

    kind: str
    """`cron`, `interval` or `rrule`."""
    value: str
    timezone: str | None = None
    slug: str | None = None
    active: bool = True


@dataclass(frozen=True, slots=True)
class Deployment:
    """One deployment of `prefect.yaml`."""

    name: str
    entrypoint: str
    flow: str | None
    """Path of the flow; None when it was not read."""
    description: str = ""
    schedules: tuple[Schedule, ...] = ()
    pool: str | None = None
    queue: str | None = None
    tags: tuple[str, ...] = ()
    parameters: tuple[tuple[str, str], ...] = ()
    """(name, value as YAML says it)."""
    concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class Runnable:
    """A flow or a task."""

    path: str
    kind: str
    """`flow` or `task`."""
    name: str
    """What Prefect shows."""
    module: str
    file: str
    line: int
    summary: str
    parameters: tuple[FlowParameter, ...]
    returns: str | None
    asynchronous: bool
    options: Mapping[str, str] = field(default_factory=dict)
    """What its decorator is given, defaults of the checkout's own decorators included: name to source text."""
    uses: tuple[Use, ...] = ()
    """What it runs, in the order of the source."""
    deployments: tuple[Deployment, ...] = ()

    def number(self, option: str) -> float | None:
        """An option such as `retries` or `timeout_seconds` where it is a plain number."""
        value = literal(self.options.get(option))
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None


@dataclass(frozen=True, slots=True)
class Flows:
    """All flows and tasks of a checkout."""

    flows: tuple[Runnable, ...] = ()
    tasks: tuple[Runnable, ...] = ()
    deployments: tuple[Deployment, ...] = ()
    unread: tuple[Unread, ...] = ()


def flows_of(codebase: Codebase, *, files: tuple[str, ...] = ("prefect.yaml",)) -> Flows:
    """The flows, tasks and deployments of `codebase`; `files`: where deployments are described, in its root."""
    reader = _Reader(codebase)
    runnables = reader.runnables()
    deployments: list[Deployment] = []
    unread: list[Unread] = []
    for file in files:
        found, problem = _deployments(codebase, file)
        deployments += found
        if problem is not None:
            unread.append(problem)
    by_flow: dict[str, list[Deployment]] = {}
    for deployment in deployments:
        if deployment.flow is not None:
            by_flow.setdefault(deployment.flow, []).append(deployment)
    return Flows(
        tuple(reader.described(one, by_flow) for one in runnables if "flow" in one[1].labels),
        tuple(reader.described(one, {}) for one in runnables if "task" in one[1].labels),
        tuple(deployments),
        tuple(unread),
    )


class _Reader:
    def __init__(self, codebase: Codebase) -> None:
        self._codebase = codebase
        self._defined = Defined(codebase)

    def runnables(self) -> list[tuple[Module, Symbol]]:
        """Flows and tasks. Modules are decoded whole only where one of them is."""
        named, derived = self._codebase.names, self._codebase.derived
        paths = [path for path, marks in derived.items() if path in named and not {"flow", "task"}.isdisjoint(marks)]
        wanted = sorted({named[path].module for path in paths})
        return [
            (module, symbol)
            for module in map(self._defined.module, wanted)
            for symbol in module.symbols
            if symbol.kind is Kind.function and {"flow", "task"} & set(symbol.labels)
        ]

    def described(self, one: tuple[Module, Symbol], deployments: Mapping[str, list[Deployment]]) -> Runnable:
        module, symbol = one
        told = parse(symbol.docstring)
        descriptions = {item.name: item.description for item in told.parameters}
        kind = "flow" if "flow" in symbol.labels else "task"
        options = self._options(symbol, module.path)
        own = symbol.path.rpartition(".")[2]
        return Runnable(
            path=symbol.path,
            kind=kind,
            name=plain(options.get("name")) or (own.replace("_", "-") if kind == "flow" else own),
            module=module.path,
            file=module.file,
            line=symbol.line,
            summary=told.summary,
            parameters=tuple(
                FlowParameter(p.name, p.annotation, p.default, descriptions.get(p.name, ""))
                for p in symbol.parameters
                if not p.kind.startswith("variadic")
            ),
            returns=symbol.returns,
            asynchronous="async" in symbol.labels,
            options=options,
            uses=tuple(self._uses(symbol.path)),
            deployments=tuple(deployments.get(symbol.path, ())),
        )

    def _options(self, symbol: Symbol, module: str) -> dict[str, str]:
        for place, decorator in enumerate(symbol.decorators):
            arguments = symbol.decorator_arguments[place] if symbol.decorator_arguments else ()
            given = tuple((name, self._spelled(text, module)) for name, text in arguments)
            target = self._codebase.resolve(decorator)
            if target is None:
                if decorator.rpartition(".")[2] in {"flow", "task"}:
                    return {name: text for name, text in given if name}
                continue
            maker = self._defined.symbol(target)
            if maker is not None and maker.keywords:
                return _handed_on(maker, given)
        return {}

    def _spelled(self, text: str, module: str) -> str:
        """`text`, or the value that it names in `module` where that is made of constants only."""
        target = self._codebase.resolve(f"{module}.{text}") if text.isidentifier() else None
        symbol = None if target is None else self._defined.symbol(target)
        if symbol is None or symbol.value is None or literal(symbol.value) is None:
            return text
        return symbol.value

    def _uses(self, path: str) -> Iterator[Use]:
        """What `path` runs: breadth first, so that the shortest way to each is told."""
        met = {path}
        told: set[str] = set()
        level: list[tuple[str, tuple[str, ...]]] = [(path, ())]
        for _ in range(_DEPTH):
            following: list[tuple[str, tuple[str, ...]]] = []
            for caller, via in level:
                for target, handed in self._targets(caller):
                    symbol = self._defined.symbol(target)
                    if symbol is None or symbol.kind is not Kind.function:
                        continue
                    marks = {"flow", "task"} & set(symbol.labels)
                    if marks:
                        if target not in told and target != path:
                            told.add(target)
                            yield Use(target, marks.pop(), via, handed)
                    elif not handed and target not in met:
                        met.add(target)
                        following.append((target, (*via, target)))
            level = following

    def _targets(self, caller: str) -> Iterator[tuple[str, bool]]:
        calls, handed_on = self._defined.calls(caller)
        found = [(call.line, self._called(call.callee), False) for call in calls]
        for given in handed_on:
            found += [(given.line, target, True) for target in self._handed(given.callee)]
        for _, target, handed in sorted(found, key=lambda one: (one[0], one[2])):
            if target is not None:
                yield target, handed

    def _called(self, callee: str) -> str | None:
        target = self._codebase.resolve(callee)
        if target is None and callee.rpartition(".")[2] in _CALLED_BY:
            return self._codebase.resolve(callee.rpartition(".")[0])
        return target

    def _handed(self, path: str) -> Iterator[str]:
        """What is handed on: a function, or a value of the module's top that holds functions by their names."""
        target = self._codebase.resolve(path)
        symbol = None if target is None else self._defined.symbol(target)
        if symbol is None or target is None:
            return
        if symbol.kind is Kind.function:
            yield target
        elif symbol.kind is Kind.attribute and symbol.value is not None and len(symbol.value) < 1_000:
            home = self._codebase.names[target].module
            for name in _names_in(symbol.value):
                inner = self._codebase.resolve(f"{home}.{name}")
                if (
                    inner is not None
                    and (held := self._defined.symbol(inner)) is not None
                    and held.kind is Kind.function
                ):
                    yield inner


def _handed_on(maker: Symbol, given: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """The options of the decorator that `maker` makes, when it is called with `given`."""
    values = {p.name: p.default for p in maker.parameters if p.default is not None}
    values |= dict(zip(_positional(maker.parameters), (text for name, text in given if not name), strict=False))
    values |= {name: text for name, text in given if name}
    parameters = {p.name for p in maker.parameters}
    return {
        option: values[text] if text in parameters else text
        for option, text in maker.keywords
        if text not in parameters or text in values
    }


def _positional(parameters: tuple[Parameter, ...]) -> Iterator[str]:
    return (p.name for p in parameters if p.kind in {"positional-only", "positional or keyword"})


def _names_in(text: str) -> list[str]:
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return []
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in called]


def _deployments(codebase: Codebase, file: str) -> tuple[list[Deployment], Unread | None]:
    place = Path(codebase.root, file)
    if not place.is_symlink() and not place.exists():
        return [], None
    from tasks.code.yaml_file import load_yaml  # noqa: PLC0415

    try:
        document = load_yaml(read_file(str(place), inside=f"{codebase.root}/")[0])
    except (OSError, ValueError) as error:
        return [], Unread(file, getattr(error, "strerror", None) or str(error))
    rows = document.get("deployments") if isinstance(document, dict) else None
    if not isinstance(rows, list):
        return [], None
    return [
        _deployment(codebase, row) for row in rows if isinstance(row, dict) and isinstance(row.get("name"), str)
    ], None


def _deployment(codebase: Codebase, row: dict[str, Any]) -> Deployment:
    entrypoint = str(row.get("entrypoint") or "")
    pool = row.get("work_pool")
    pool = pool if isinstance(pool, dict) else {}
    schedules = row.get("schedules") if isinstance(row.get("schedules"), list) else [row.get("schedule")]
    parameters = row.get("parameters")
    limit = row.get("concurrency_limit")
    tags = row.get("tags")
    return Deployment(
        name=row["name"],
        entrypoint=entrypoint,
        flow=codebase.resolve(_path_of(entrypoint)),
        description=str(row.get("description") or ""),
        schedules=tuple(s for one in schedules or () if isinstance(one, dict) and (s := _schedule(one)) is not None),
        pool=None if pool.get("name") is None else str(pool["name"]),
        queue=None if pool.get("work_queue_name") is None else str(pool["work_queue_name"]),
        tags=tuple(map(str, tags)) if isinstance(tags, list) else (),
        parameters=tuple((str(k), str(v)) for k, v in parameters.items()) if isinstance(parameters, dict) else (),
        concurrency=limit if isinstance(limit, int) else None,
    )


def _path_of(entrypoint: str) -> str:
    """The dotted path of `package.module.flow`, `package.module:flow` or `folder/file.py:flow`."""
    file, _, name = entrypoint.rpartition(":")
    if not file:
        return entrypoint
    module = file.removeprefix("./").removesuffix(".py").replace("/", ".").removeprefix("src.")
    return f"{module.removesuffix('.__init__')}.{name}"


def _schedule(row: dict[str, Any]) -> Schedule | None:
    for kind in ("cron", "interval", "rrule"):
        if row.get(kind) is not None:
            zone, slug = row.get("timezone"), row.get("slug")
            return Schedule(
                kind,
                str(row[kind]),
                None if zone is None else str(zone),
                None if slug is None else str(slug),
                active=row.get("active") is not False,
            )
    return None
