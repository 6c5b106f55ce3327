"""Runs whose worker process is gone: found by another worker of the same machine, and reported as crashed.

A worker that is killed takes its runs with it and can report nothing. Prefect's zombie automation notices the
missing heartbeats after minutes, and until then the runs hold their places in queues and pools. On the same machine
it can be known at once: every run is labelled with the process that took it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from functools import lru_cache
from pathlib import Path

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType

_MACHINE = "lama.machine"
_PROCESS = "lama.worker.process"
_PAGE = 200


def labels() -> dict[str, str]:
    """What marks a run as taken by this process; nothing where a process cannot be told from its successor."""
    process = _process(os.getpid())
    return {_MACHINE: _machine(), _PROCESS: process} if process else {}


async def orphans(client: PrefectClient, pool: str) -> AsyncIterator[FlowRun]:
    """The unfinished runs of `pool` that were taken on this machine by a process that is no more."""
    if not labels():
        return
    unfinished = FlowRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING, StateType.CANCELLING])
    offset = 0
    while True:
        page = await client.read_flow_runs(
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=unfinished)),
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
            limit=_PAGE,
            offset=offset,
        )
        for run in page:
            process = str(run.labels.get(_PROCESS, ""))
            if process and run.labels.get(_MACHINE) == _machine() and not _lives(process):
                yield run
        if len(page) < _PAGE:
            return
        offset += _PAGE


@lru_cache(maxsize=1)
def _machine() -> str:
    # Containers of one host share its boot, but count their processes separately.
    boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return f"{boot} {Path('/proc/self/ns/pid').readlink()}"


def _process(pid: int) -> str | None:
    """The process id and the clock tick at which it started, so that its next owner is somebody else."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", errors="replace")
    except FileNotFoundError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state == "Z" else f"{pid} {fields[18]}"


def _lives(process: str) -> bool:
    pid = process.partition(" ")[0]
    return pid.isdecimal() and _process(int(pid)) == process
