"""The page about Prefect flows: parameters, schedules, tasks, retries, and the graph of what runs what."""

from __future__ import annotations

from collections.abc import Iterator

from models.code import Codebase
from tasks.code.prefect_flows import Deployment, Flows, Runnable, flows_of
from tasks.code.veil import veiled_annotation, veiled_source
from tasks.diagrams import Diagram, Edge, Node
from tasks.docs.site.overviews import Cell, Overview, Section, Table
from tasks.plural import plural

FILES = ("prefect.yaml",)
"""Where deployments are described."""
_OPTIONS = {
    "retries": "Retries",
    "retry_delay_seconds": "Seconds between retries",
    "timeout_seconds": "Timeout, s",
    "persist_result": "Keeps its result",
    "task_runner": "Task runner",
}


def flows_page(codebase: Codebase) -> Overview | None:
    """The flows of `codebase`; None where there are none."""
    found = flows_of(codebase, files=FILES)
    if not found.flows and not found.unread:
        return None
    tasks = {task.path: task for task in found.tasks} | {flow.path: flow for flow in found.flows}
    return Overview(
        key="flows",
        title="Flows",
        summary=f"{plural(len(found.flows), 'flow')}, {plural(len(found.tasks), 'task')}, "
        f"{plural(len(found.deployments), 'deployment')}.",
        sections=(
            *(_flow(flow, tasks) for flow in sorted(found.flows, key=lambda one: one.name)),
            *_tasks(found),
        ),
        unread=found.unread,
    )


def _flow(flow: Runnable, known: dict[str, Runnable]) -> Section:
    tables = []
    if flow.parameters:
        rows = tuple(
            (
                Cell(one.name, code=True),
                Cell(veiled_annotation(one.name, one.annotation or ""), code=True),
                Cell("required")
                if one.default is None
                else Cell(veiled_source(one.name, one.annotation, one.default), code=True),
                Cell(one.description),
            )
            for one in flow.parameters
        )
        tables.append(Table(("Parameter", "Type", "Default", "What it is"), rows))
    if flow.deployments:
        tables.append(
            Table(("Deployment", "Schedules", "Queue", "At once"), tuple(_deployment(one) for one in flow.deployments))
        )
    if options := tuple(_options(flow)):
        tables.append(Table(("Setting", "Value"), options))
    return Section(
        title=flow.name, name=flow.path, text=flow.summary, diagram=_diagram(flow, known), tables=tuple(tables)
    )


def _deployment(one: Deployment) -> tuple[Cell, ...]:
    times = ", ".join(f"{when.value}{f' ({when.timezone})' if when.timezone else ''}" for when in one.schedules)
    limit = "" if one.concurrency is None else str(one.concurrency)
    return Cell(one.name, code=True), Cell(times or "none", code=bool(times)), Cell(one.queue or ""), Cell(limit)


def _options(one: Runnable) -> Iterator[tuple[Cell, ...]]:
    for option, words in _OPTIONS.items():
        if option in one.options:
            yield Cell(words), Cell(veiled_source(option, None, one.options[option]), code=True)


def _diagram(flow: Runnable, known: dict[str, Runnable]) -> Diagram | None:
    """What the flow runs: a box a task, the arrow named after the function in between."""
    if not flow.uses:
        return None
    nodes = [Node(flow.path, flow.name, name=flow.path)]
    edges = []
    for use in flow.uses:
        run = known.get(use.path)
        rows = (f"retries: {run.options['retries']}",) if run and run.options.get("retries", "0") != "0" else ()
        nodes.append(Node(use.path, run.name if run else use.path.rpartition(".")[2], rows, name=use.path))
        edges.append(Edge(flow.path, use.path, f"{use.via[0].rpartition('.')[2]}" if use.via else ""))
    diagram = Diagram(tuple(nodes), tuple(edges))
    return diagram if diagram.is_readable else None


def _tasks(found: Flows) -> Iterator[Section]:
    if found.tasks:
        rows = tuple(
            (
                Cell(task.name, name=task.path),
                Cell(task.options.get("retries", "0"), code=True),
                Cell(task.options.get("timeout_seconds", ""), code=True),
                Cell(task.summary),
            )
            for task in sorted(found.tasks, key=lambda one: one.path)
        )
        yield Section(title="Tasks", tables=(Table(("Task", "Retries", "Timeout, s", "What it does"), rows),))
