"""The worker class of the pool `gpu`: the warm worker, pinned to a GPU, whose runs wait for their memory."""

from __future__ import annotations

import time
from dataclasses import dataclass
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
    again_at: float = 0.0
    told: str = ""


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
        self._alone = True

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

    async def _sync_and_initialize(self) -> None:
        await super()._sync_and_initialize()
        try:
            workers = await self.client.read_workers_for_work_pool(self._work_pool_name)
        except (httpx.HTTPError, ObjectNotFound):
            return
        self._alone = not any(one.name != self.name and one.status == WorkerStatus.ONLINE for one in workers)

    async def _submit_scheduled_flow_runs(self, flow_run_response: list[WorkerFlowRunResponse]) -> list[FlowRun]:
        seen = {entry.flow_run.id for entry in flow_run_response}
        for gone in self._waiting.keys() - seen:
            del self._waiting[gone]
        room = self._limiter.available_tokens if self._limiter else len(flow_run_response)
        takeable: list[WorkerFlowRunResponse] = []
        for entry in flow_run_response:
            if entry.flow_run.id in self._submitting_flow_run_ids:
                continue
            if len(takeable) >= room:
                break
            if await self._granted(entry.flow_run):
                takeable.append(entry)
        return await super()._submit_scheduled_flow_runs(takeable)

    async def _granted(self, flow_run: FlowRun) -> bool:
        now = time.monotonic()
        waiting = self._waiting.get(flow_run.id)
        if waiting is None:
            need = await self._need(flow_run)
            if not need:
                return True
            waiting = self._waiting[flow_run.id] = _Waiting(need, since=now)
        if now < waiting.again_at:
            return False
        rather_warm = not self._alone and bool(waiting.need.models) and now - waiting.since < _COLD_S
        answer = await self._leases.ask(flow_run.id, waiting.need, only_if_warm=rather_warm)
        if answer.granted:
            del self._waiting[flow_run.id]
            return True
        waiting.again_at = time.monotonic() + answer.retry_s
        if not rather_warm and answer.reason != waiting.told:
            waiting.told = answer.reason
            waits = "It cannot run on this device" if answer.for_ever else "It waits for memory"
            self.get_flow_run_logger(flow_run).warning("%s (worker %s): %s", waits, self.name, answer.reason)
        return False

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
