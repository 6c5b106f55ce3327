"""Flows, what they run, and their deployments as facts; tables and what they refer to. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from models.graph import Label, Ref, Type
from tasks.code.prefect_flows import Deployment, Flows, Schedule
from tasks.code.tables import Table
from tasks.graph.ingest.facts import Facts, Saying, ref
from tasks.graph.ingest.names import Names


def flow_facts(flows: Flows, names: Names) -> Facts:
    """The flows of a checkout.

    A flow uses its function and its module, and every task that it runs: also one that it hands on to what calls it,
    which no call in the source tells of.
    """
    said = Saying()
    checkout = ref(Label.checkout, names.checkout)
    by_path: dict[str, Ref] = {}
    for flow in flows.flows:
        own = said.node(
            ref(Label.flow, names.checkout, flow.name),
            name=flow.name,
            summary=flow.summary,
            path=flow.path,
            parameters=[one.name for one in flow.parameters],
            retries=flow.number("retries"),
            timeout_s=flow.number("timeout_seconds"),
        )
        by_path[flow.path] = own
        said.hang(Type.contains, checkout, own)
        said.hang(Type.uses, own, ref(Label.module, names.checkout, flow.module))
        for path in (flow.path, *(use.path for use in flow.uses)):
            if (used := names.node(path)) is not None:
                said.hang(Type.uses, own, used)
    for deployment in flows.deployments:
        _deployment(said, deployment, names.checkout, by_path.get(deployment.flow or ""))
    return said.facts()


def _deployment(said: Saying, deployment: Deployment, checkout: str, flow: Ref | None) -> None:
    of = flow.key.partition(":")[2] if flow is not None else deployment.entrypoint
    own = said.node(
        ref(Label.deployment, checkout, f"{of}/{deployment.name}"),
        name=deployment.name,
        summary=deployment.description,
        entrypoint=deployment.entrypoint,
        schedules=[_schedule(one) for one in deployment.schedules],
        pool=deployment.pool,
        queue=deployment.queue,
        tags=deployment.tags,
        concurrency=deployment.concurrency,
    )
    said.hang(Type.contains, ref(Label.checkout, checkout), own)
    if flow is not None:
        said.hang(Type.runs, own, flow)


def _schedule(schedule: Schedule) -> str:
    zone = f" {schedule.timezone}" if schedule.timezone else ""
    return f"{schedule.kind} {schedule.value}{zone}{'' if schedule.active else ' (not active)'}"


def table_facts(tables: Sequence[Table], names: Names) -> Facts:
    """The tables that a checkout declares. A class uses its table: when that changes, it is the class that breaks."""
    said = Saying()
    known = {table.name for table in tables}
    for table in tables:
        own = said.node(
            ref(Label.table, names.checkout, table.name),
            name=table.name,
            summary=table.summary,
            columns=[f"{column.name} {column.type}" for column in table.columns],
            keys=[column.name for column in table.columns if column.primary_key],
            constraints=table.constraints,
        )
        said.hang(Type.contains, ref(Label.checkout, names.checkout), own)
        if (declared := names.node(table.path)) is not None:
            said.hang(Type.uses, declared, own)
        for column in table.columns:
            other = (column.foreign_key or "").rpartition(".")[0]
            if other in known:
                said.hang(Type.depends_on, own, ref(Label.table, names.checkout, other), column=column.name)
    return said.facts()
