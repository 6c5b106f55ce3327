"""The worker class of the warm pool: Prefect's process worker, whose runs start as children of a fork server."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import anyio
import anyio.abc
import httpx
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound
from prefect.runner._flow_run_executor import FlowRunExecutionResult, FlowRunExecutorContext
from prefect.runner._process_manager import ProcessHandle
from prefect.settings import get_current_settings
from prefect.workers.base import BaseWorkerResult
from prefect.workers.process import (
    ProcessJobConfiguration,
    ProcessVariables,
    ProcessWorker,
    ProcessWorkerResult,
)
from pydantic import Field

from blocks.settings import CHECKOUT
from deployments.cancellation import Cancellation, UncrashedProposer
from deployments.fork_code import Checkout
from deployments.fork_generations import Generations
from deployments.fork_starter import ForkStarter, limiting, settings_environment
from deployments.orphans import labels, orphans

_MIB = 1024 * 1024
_API_LOOK_S = 0.25
_LONGEST_PAUSE_S = 10.0


class LamaJobConfiguration(ProcessJobConfiguration):
    """The stock process worker's configuration, and what a fork adds."""

    memory_limit_mib: int | None = Field(default=None, ge=64)
    grace_seconds: float = Field(default=30.0, ge=0)
    fresh_interpreter: bool = Field(default=False)

    @classmethod
    def _base_environment(cls) -> dict[str, str]:
        return settings_environment(get_current_settings())

    @property
    def memory_limit_bytes(self) -> int | None:
        """The memory limit in bytes."""
        return self.memory_limit_mib * _MIB if self.memory_limit_mib else None


class LamaVariables(ProcessVariables):
    """What a pool, a deployment or a run may set."""

    memory_limit_mib: int | None = Field(
        default=None,
        ge=64,
        title="Memory limit (MiB)",
        description=(
            "Private memory that each process of a run may use, what was imported ahead included. Beyond it, "
            "Python raises MemoryError. No limit by default."
        ),
    )
    grace_seconds: float = Field(
        default=30.0,
        ge=0,
        title="Grace period (seconds)",
        description="How long a cancelled run may take to end before its process group is killed.",
    )
    fresh_interpreter: bool = Field(
        default=False,
        title="Fresh interpreter",
        description=(
            "Start runs in a new interpreter, as the stock process worker does; seconds slower. For flows whose "
            "libraries read variables of `env` when they are imported."
        ),
    )


class LamaWorker(ProcessWorker):
    """Runs flows in children of a fork server that has Prefect and the flows imported.

    Args:
        checkout: the folder with `prefect.yaml` whose flows are imported ahead; by default the one of Lama.
        args: as of every Prefect worker.
        kwargs: as of every Prefect worker.
    """

    type = "lama"
    job_configuration = LamaJobConfiguration
    job_configuration_variables = LamaVariables  # type: ignore[assignment]

    _display_name = "Lama"
    _description = "Execute flow runs as forked processes, which start in under a second."

    def __init__(self, *args: Any, checkout: Path | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._checkout = self._ahead(checkout or CHECKOUT)
        self._generations: Generations | None = None
        self._accepted: set[UUID] = set()
        self._in_flight: set[UUID] = set()
        self._cancels: dict[UUID, Callable[[], None]] = {}
        self._draining = False
        self._pause_s = 0.0

    def _ahead(self, checkout: Path) -> Checkout:
        """What is imported ahead of runs."""
        return Checkout(checkout)

    async def __aenter__(self) -> Self:
        if sys.platform == "linux":  # elsewhere a fork without exec is not safe: runs start the stock way
            environment = {**os.environ, **settings_environment(get_current_settings())}  # as of every run
            self._generations = Generations(self._checkout, environment, self._logger)
            await self._generations.__aenter__()
        try:
            await self._await_api()
            await super().__aenter__()
        except BaseException:
            await self._end_generations()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        try:
            await super().__aexit__(*exc_info)
        finally:
            await self._end_generations()

    async def _end_generations(self) -> None:
        if self._generations is not None:
            await self._generations.__aexit__()
            self._generations = None

    async def _await_api(self) -> None:
        # A worker whose first look fails does not look again before its next heartbeat, half a minute later.
        url = get_current_settings().api.url
        while url:
            try:
                async with httpx.AsyncClient(timeout=_LONGEST_PAUSE_S) as client:
                    if (await client.get(f"{url}/health")).status_code < 500:
                        return
            except httpx.TransportError as error:
                self._logger.debug("Waiting for Prefect's API: %r", error)
            await anyio.sleep(_API_LOOK_S)

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Look for scheduled runs and submit them; none while draining.

        An API that does not answer is waited for, however long: to give up would be to end the runs in flight.
        """
        if self._draining:
            return []
        # While a run becomes Pending, its row is locked, and the server's query for scheduled runs passes over locked
        # rows before it counts: it would hand out the next run beyond the limit of the pool.
        while self._submitting_flow_run_ids - self._accepted:  # noqa: ASYNC110
            await anyio.sleep(0.01)
        try:
            found = await super().get_and_submit_flow_runs()
        except (httpx.TransportError, httpx.HTTPStatusError) as error:
            self._outlive(error)
            self._pause_s = min(max(2 * self._pause_s, 0.5), _LONGEST_PAUSE_S)
            await anyio.sleep(self._pause_s)
            return []
        self._pause_s = 0.0
        return found

    async def _sync_and_initialize(self) -> None:
        try:
            await super()._sync_and_initialize()
        except (httpx.TransportError, httpx.HTTPStatusError) as error:
            if not self.is_setup:
                raise
            self._outlive(error)

    def _outlive(self, error: httpx.TransportError | httpx.HTTPStatusError) -> None:
        if isinstance(error, httpx.HTTPStatusError) and error.response.status_code < 500:
            raise error
        self._logger.warning("Prefect's API does not answer; trying again: %r", error)

    async def _initialize_after_sync(self) -> None:
        await super()._initialize_after_sync()
        if self._work_pool is None:
            return
        async for flow_run in orphans(self.client, self._work_pool_name):
            await self._lay_to_rest(flow_run)

    async def _lay_to_rest(self, flow_run: FlowRun) -> None:
        """Report a run that a worker had which is no more."""
        if flow_run.state is not None and flow_run.state.is_cancelling():
            message = "Cancelled; its worker was gone before it could say so."
            await self._mark_flow_run_as_cancelled(flow_run, {"message": message})
        else:
            await self._propose_crashed_state(flow_run, "The worker that ran it was killed, and the run with it.")

    async def _give_worker_labels_to_flow_run(self, flow_run_id: UUID) -> None:
        """Nothing yet: `run` labels the run beside its start, which need not wait for that."""

    async def _label(self, flow_run_id: UUID) -> None:
        ours = {
            "prefect.worker.name": self.name,
            "prefect.worker.type": self.type,
            "prefect.work-pool.name": self.work_pool.name,
            "prefect.work-pool.id": str(self.work_pool.id),
        }
        try:
            await self.client.update_flow_run_labels(flow_run_id, {**ours, **labels()})
        except (httpx.HTTPError, ObjectNotFound) as error:
            self._logger.warning("Flow run '%s' has no labels of its worker: %r", flow_run_id, error)

    async def _submit_run(self, flow_run: FlowRun) -> None:
        try:
            await super()._submit_run(flow_run)
        except (httpx.TransportError, httpx.HTTPStatusError) as error:  # nothing has happened yet: it is found again
            self._outlive(error)
            self._submitting_flow_run_ids.discard(flow_run.id)
            self._release_limit_slot(flow_run.id)
        finally:
            self._accepted.discard(flow_run.id)

    async def _propose_pending_state(self, flow_run: FlowRun) -> bool:
        try:
            return await super()._propose_pending_state(flow_run)
        finally:
            self._accepted.add(flow_run.id)

    async def _submit_run_and_capture_errors(
        self, flow_run: FlowRun, task_status: anyio.abc.TaskStatus[int | Exception] | None = None
    ) -> BaseWorkerResult | Exception:
        self._in_flight.add(flow_run.id)
        try:
            return await super()._submit_run_and_capture_errors(flow_run, task_status)
        finally:
            self._in_flight.discard(flow_run.id)

    async def run(
        self,
        flow_run: FlowRun,
        configuration: ProcessJobConfiguration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> ProcessWorkerResult:
        """Run `flow_run` in a child of the fork server; with a `command` of its own, as the stock worker does."""
        assert isinstance(configuration, LamaJobConfiguration)  # noqa: S101 - Prefect makes it from our class
        if configuration._command_configured or self._generations is None:  # noqa: SLF001
            await self._label(flow_run.id)
            return await super().run(
                flow_run, configuration, limiting(task_status, configuration.memory_limit_bytes, self._logger)
            )
        with tempfile.TemporaryDirectory(suffix="prefect") as temporary:
            async with FlowRunExecutorContext() as context:
                cancellation = Cancellation(context, configuration.grace_seconds)
                starter = ForkStarter(
                    generations=self._generations,
                    context=context,
                    workspace_root=Path(configuration.working_dir or temporary).resolve(),  # noqa: ASYNC240
                    environment=configuration.env,
                    stream_output=configuration.stream_output,
                    fresh_interpreter=configuration.fresh_interpreter,
                    memory_limit_bytes=configuration.memory_limit_bytes,
                    cancellation=cancellation,
                    logger=self.get_flow_run_logger(flow_run),
                )
                context.call_after_exit(starter.close)
                executor = context.create_executor(
                    flow_run, starter, propose_submitting=False, hook_runner=starter.hook_runner
                )
                executor._state_proposer = UncrashedProposer(cancellation, context)  # noqa: SLF001
                execution: FlowRunExecutionResult | None = None

                async def execute(*, task_status: anyio.abc.TaskStatus[ProcessHandle]) -> None:
                    nonlocal execution
                    execution = await executor.submit(task_status=task_status)

                self._cancels[flow_run.id] = starter.cancel
                try:
                    async with anyio.create_task_group() as group:
                        handle: ProcessHandle = await group.start(execute)
                        group.start_soon(self._label, flow_run.id)
                        group.start_soon(self._cancel_early, flow_run.id, cancellation)
                        if task_status is not None and handle.pid is not None:
                            task_status.started(handle.pid)
                finally:
                    del self._cancels[flow_run.id]
        if execution is None or execution.status_code is None:
            raise RuntimeError("The process of the flow run could not be started.")
        if configuration.memory_limit_mib:
            await self._explain_memory_limit(flow_run, configuration.memory_limit_mib)
        return ProcessWorkerResult(status_code=execution.status_code, identifier=str(execution.handle.pid))

    async def _cancel_early(self, flow_run_id: UUID, cancellation: Cancellation) -> None:
        """Cancel a run that somebody had cancelled before anybody listened for that."""
        try:
            state = (await self.client.read_flow_run(flow_run_id)).state
        except (httpx.HTTPError, ObjectNotFound) as error:
            self._logger.warning("Whether flow run '%s' was cancelled is not known: %r", flow_run_id, error)
            return
        if state is not None and state.is_cancelling():
            await cancellation.cancel_by_id(flow_run_id)

    async def _explain_memory_limit(self, flow_run: FlowRun, limit_mib: int) -> None:
        state = (await self.client.read_flow_run(flow_run.id)).state
        if state is not None and "MemoryError" in (state.message or ""):
            self.get_flow_run_logger(flow_run).error(
                "The run reached its memory limit of %s MiB: give it more with the job variable "
                "`memory_limit_mib`, or less to hold at a time.",
                limit_mib,
            )

    @property
    def runs_in_flight(self) -> int:
        """How many runs it is submitting or has running."""
        return len(self._in_flight | self._submitting_flow_run_ids)

    async def drain(self, grace_seconds: float) -> None:
        """Take no more runs, and wait up to `grace_seconds` for those in flight."""
        self._draining = True
        with anyio.move_on_after(grace_seconds):
            while self.runs_in_flight:  # noqa: ASYNC110 - what Prefect keeps to itself cannot be waited for
                await anyio.sleep(0.1)

    async def cancel_runs(self) -> None:
        """Cancel every run in flight, as a user would: its hooks run, its state is Cancelled. Waits for the end."""
        cancelled = set(self._cancels)
        for cancel in self._cancels.values():
            cancel()
        while cancelled & self._in_flight:  # noqa: ASYNC110
            await anyio.sleep(0.1)
