"""The worker class of the pool `gpu`: the warm worker, pinned to a GPU, whose runs wait for their memory."""

from __future__ import annotations

import hashlib
import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

import anyio.abc
import httpx
from prefect.client.schemas.objects import FlowRun, WorkerStatus
from prefect.client.schemas.responses import WorkerFlowRunResponse
from prefect.exceptions import ObjectNotFound
from prefect.workers.base import BaseWorkerResult
from prefect.workers.process import ProcessJobConfiguration, ProcessWorkerResult
from pydantic import Field, ValidationError

from blocks.model_host import ModelHost
from deployments.fork_code import Checkout
from deployments.job_leases import JobLeases, Need
from deployments.warm_worker import LamaJobConfiguration, LamaVariables, LamaWorker

if TYPE_CHECKING:
    from prefect.client.schemas.objects import WorkPool

_MIB = 1024 * 1024
_COLD_S = 1.0
"""How long a run is left to workers that have its models loaded already."""
_NEXT_S = 5.0
"""How long a run whose models nobody has loaded is left to each worker whose turn to load them is before ours."""
_BEYOND_S = 1.0
"""Seconds between two looks behind the runs that wait."""
_FORGOTTEN_S = 5.0
"""How long a run that waits keeps its place at the host without being seen; more than `_BEYOND_S`."""


class GpuJobConfiguration(LamaJobConfiguration):
    """The warm worker's configuration, and what a run needs of the device."""

    models: list[str] = Field(default_factory=list)
    memory: int | None = Field(default=None, ge=1)
    exclusive: bool = Field(default=False)

    @property
    def need(self) -> Need:
        """What the lease has to cover."""
        return Need(tuple(self.models), (self.memory or 0) * _MIB, self.exclusive)


class GpuVariables(LamaVariables):
    """What a pool, a deployment or a run may set."""

    models: list[str] = Field(
        default_factory=list,
        title="Models",
        description="Names of the model host's catalogue: loaded before the run starts, and kept until it ends.",
    )
    memory: int | None = Field(
        default=None,
        ge=1,
        title="Device memory (MiB)",
        description="Memory of the device that the run's own process takes, beside that of the models.",
    )
    exclusive: bool = Field(
        default=False,
        title="Exclusive",
        description="Whether the run has the device to itself: no other run and no request beside it.",
    )


@dataclass
class _Waiting:
    """A run that was seen and has no lease yet."""

    need: Need
    since: float
    seen_at: float
    again_at: float = 0.0
    told: str = ""
    """What kind of reason its log has already."""


class LamaGpuWorker(LamaWorker):
    """Takes a run when the model host beside it has granted its memory; it stays queued until then.

    Args:
        host: the model host of this worker's device.
        gpu: the UUID of the GPU, which is all that the runs see; None: the CPU.
        args: as of every Prefect worker.
        kwargs: as of `LamaWorker`.
    """

    type = "lama-gpu"
    job_configuration = GpuJobConfiguration
    job_configuration_variables = GpuVariables

    _display_name = "Lama GPU"
    _description = "Execute flow runs beside resident models, within the memory of one GPU."

    def __init__(self, *args: Any, host: ModelHost | None = None, gpu: str | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if host is None:
            from blocks.settings import settings  # noqa: PLC0415 - as Prefect's own command starts us

            host = ModelHost.of(settings())
        self._host = host
        self._gpu = gpu
        self._leases = JobLeases(host.get_client, self._logger)
        self._waiting: dict[UUID, _Waiting] = {}
        self._workers: list[str] = []
        self._host_back_at = 0.0
        self._beyond_at = 0.0

    def _ahead(self, checkout: Path) -> Checkout:
        return Checkout(checkout, pool=self._work_pool_name)

    async def __aenter__(self) -> Self:
        await self._leases.__aenter__()
        try:
            return await super().__aenter__()
        except BaseException:
            await self._leases.__aexit__()
            raise

    async def __aexit__(self, *exc_info: object) -> None:
        try:
            await super().__aexit__(*exc_info)
        finally:
            await self._leases.__aexit__()

    async def _lay_to_rest(self, flow_run: FlowRun) -> None:
        await self._leases.give_back_of_another(flow_run.id)
        await super()._lay_to_rest(flow_run)

    async def _sync_and_initialize(self) -> None:
        await super()._sync_and_initialize()
        try:
            workers = await self.client.read_workers_for_work_pool(self._work_pool_name)
        except (httpx.HTTPError, ObjectNotFound):
            return
        self._workers = sorted({self.name, *(one.name for one in workers if one.status == WorkerStatus.ONLINE)})

    async def _submit_scheduled_flow_runs(self, flow_run_response: list[WorkerFlowRunResponse]) -> list[FlowRun]:
        room = self._limiter.available_tokens if self._limiter else math.inf
        takeable = await self._takeable(flow_run_response, room)
        waiting = any(entry.flow_run.id in self._waiting for entry in flow_run_response)
        if waiting and len(takeable) < min(room, len(flow_run_response)) and time.monotonic() >= self._beyond_at:
            takeable += await self._beyond(flow_run_response, takeable, room)
            self._beyond_at = time.monotonic() + _BEYOND_S
        await self._forget({entry.flow_run.id for entry in takeable})
        return await super()._submit_scheduled_flow_runs(takeable)

    async def _takeable(self, found: list[WorkerFlowRunResponse], room: float) -> list[WorkerFlowRunResponse]:
        """Those of `found` that need no lease or have one, at most `room`."""
        now = time.monotonic()
        for entry in found:
            if waiting := self._waiting.get(entry.flow_run.id):
                waiting.seen_at = now
        takeable: list[WorkerFlowRunResponse] = []
        for entry in found:
            if len(takeable) >= room:
                break
            if entry.flow_run.id not in self._submitting_flow_run_ids and await self._granted(entry.flow_run):
                takeable.append(entry)
        return takeable

    async def _beyond(
        self, found: list[WorkerFlowRunResponse], taken: list[WorkerFlowRunResponse], room: float
    ) -> list[WorkerFlowRunResponse]:
        """Runs that can start among those that Prefect has not handed out.

        It hands out as many as the limits of pool and queue leave room for, the oldest first: those of them that wait
        for their memory would keep all others from being seen. No more are taken than it would have let us take. Of
        runs that are due at the very same time, those beyond a full page are not seen.
        """
        room = min(room, len(found)) - len(taken)
        known = {entry.flow_run.id for entry in found}
        chosen: list[WorkerFlowRunResponse] = []
        queues = await self.client.read_work_queues(work_pool_name=self._work_pool_name)
        for queue in sorted(queues, key=lambda one: one.priority or 1):
            if self._work_queues and queue.name not in self._work_queues:
                continue
            after: datetime | None = None
            page = await self._page(queue.name, after)
            full = len(page)
            left = full - sum(entry.work_queue_id == queue.id for entry in taken)
            while page and room > 0 and left > 0:
                fresh = [entry for entry in page if entry.flow_run.id not in known]
                known.update(entry.flow_run.id for entry in fresh)
                more = await self._takeable(fresh, min(room, left))
                chosen += more
                room, left = room - len(more), left - len(more)
                last = page[-1].flow_run.next_scheduled_start_time
                if last is None or len(page) < full:
                    break
                after = last if last != after else last + timedelta(microseconds=1)
                page = await self._page(queue.name, after)
        return chosen

    async def _page(self, queue: str, after: datetime | None) -> list[WorkerFlowRunResponse]:
        """What Prefect hands out of a queue, beginning with what is due at `after`."""
        before = datetime.now(UTC) + timedelta(seconds=int(self._prefetch_seconds))
        body = {"work_queue_names": [queue], "scheduled_before": before.isoformat()}
        if after is not None:
            body["scheduled_after"] = after.isoformat()
        path = {"name": self._work_pool_name}
        response = await self.client.request(
            "POST", "/work_pools/{name}/get_scheduled_flow_runs", path_params=path, json=body
        )
        return WorkerFlowRunResponse.model_validate_list(response.json())

    async def _forget(self, takeable: set[UUID]) -> None:
        """Return what is held for runs that are not there any more: cancelled, deleted, or taken by somebody else."""
        now = time.monotonic()
        for run_id in [run_id for run_id, one in self._waiting.items() if now - one.seen_at > _FORGOTTEN_S]:
            del self._waiting[run_id]
            await self._leases.give_back(run_id)
        for run_id in self._leases.held - self._in_flight - self._submitting_flow_run_ids - takeable:
            await self._leases.give_back(run_id)

    async def _granted(self, flow_run: FlowRun) -> bool:
        now = time.monotonic()
        waiting = self._waiting.get(flow_run.id)
        if waiting is None:
            need = await self._need(flow_run)
            if not need:
                return True
            waiting = self._waiting[flow_run.id] = _Waiting(need, since=now, seen_at=now)
        if now < max(waiting.again_at, self._host_back_at):
            return False
        cold_at = waiting.since + self._patience(waiting.need)
        answer = await self._leases.ask(flow_run.id, waiting.need, only_if_warm=now < cold_at)
        if answer.granted:
            del self._waiting[flow_run.id]
            return True
        if answer.away:
            self._host_back_at = time.monotonic() + answer.retry_s
        waiting.again_at = time.monotonic() + answer.retry_s
        if now < cold_at:
            waiting.again_at = min(waiting.again_at, cold_at)
        if (now >= cold_at or answer.for_ever or answer.away) and answer.code != waiting.told:
            waiting.told = answer.code
            waits = "It cannot run on this device" if answer.for_ever else "It waits for memory"
            self.get_flow_run_logger(flow_run).warning("%s (worker %s): %s", waits, self.name, answer.reason)
        return False

    def _patience(self, need: Need) -> float:
        """Seconds that a run is left to others: at once to those with its models, then to one after the other.

        Which of them loads the models of a run follows from their names, so that the same models come together.
        """
        if len(self._workers) < 2 or not need.models:
            return 0.0
        models = "\n".join(sorted(need.models))
        order = sorted(self._workers, key=lambda name: hashlib.sha256(f"{name}\n{models}".encode()).digest())
        return _COLD_S + _NEXT_S * order.index(self.name)

    async def drain(self, grace_seconds: float) -> None:
        """Take no more runs, and wait up to `grace_seconds` for those in flight. Those that wait lose their place."""
        self._draining = True
        for run_id in list(self._waiting):
            await self._leases.give_back(run_id)
        self._waiting.clear()
        await super().drain(grace_seconds)

    async def _need(self, flow_run: FlowRun) -> Need:
        """What the run's job variables say; nothing where they cannot be used, which its start then tells in full."""
        values: dict[str, Any] = {}
        if flow_run.deployment_id:
            try:
                deployment = await self.client.read_deployment(flow_run.deployment_id)
            except ObjectNotFound:
                return Need()
            values |= deployment.job_variables or {}
        values |= flow_run.job_variables or {}
        try:
            template = _leased_part(self.work_pool)
            found: object = await GpuJobConfiguration.from_template_and_values(template, values, client=self.client)
        except (ValidationError, ValueError):
            return Need()
        assert isinstance(found, GpuJobConfiguration)  # noqa: S101 - made from our class
        return found.need

    async def _submit_run(self, flow_run: FlowRun) -> None:
        try:
            await super()._submit_run(flow_run)
        finally:
            if flow_run.id not in self._in_flight:  # somebody else was faster, or it could not be started
                await self._leases.give_back(flow_run.id)

    async def _submit_run_and_capture_errors(
        self, flow_run: FlowRun, task_status: anyio.abc.TaskStatus[int | Exception] | None = None
    ) -> BaseWorkerResult | Exception:
        try:
            return await super()._submit_run_and_capture_errors(flow_run, task_status)
        finally:
            await self._leases.give_back(flow_run.id)

    async def run(
        self,
        flow_run: FlowRun,
        configuration: ProcessJobConfiguration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> ProcessWorkerResult:
        """Run `flow_run` where it sees this worker's GPU, and no other."""
        configuration.env = configuration.env | {
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "CUDA_VISIBLE_DEVICES": self._gpu or "",
            "LAMA_GPU": self._gpu or "cpu",
            "LAMA_MODEL_HOST_URL": self._host.url,
        }
        return await super().run(flow_run, configuration, task_status)


def _leased_part(pool: WorkPool) -> dict[str, Any]:
    """The pool's template with only what a lease is about; the rest, which may name blocks, is read at the start."""
    template = pool.base_job_template
    names = ("models", "memory", "exclusive")
    asked = template.get("job_configuration", {})
    variables = template.get("variables", {})
    return {
        "job_configuration": {name: asked[name] for name in names if name in asked},
        "variables": variables,
    }
