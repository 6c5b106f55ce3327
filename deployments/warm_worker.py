"""The worker class of the warm pool: Prefect's process worker, whose runs start as children of a fork server."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import anyio.abc
import httpx
from prefect.client.schemas.objects import FlowRun
from prefect.runner._flow_run_executor import FlowRunExecutionResult, FlowRunExecutorContext
from prefect.runner._process_manager import ProcessHandle
from prefect.workers.process import (
    ProcessJobConfiguration,
    ProcessVariables,
    ProcessWorker,
    ProcessWorkerResult,
)
from pydantic import Field

from deployments.fork_code import Checkout
from deployments.fork_generations import Generations
from deployments.fork_starter import ForkStarter, base_environment, limiting

_MIB = 1024 * 1024
_LONGEST_PAUSE_S = 10.0


class LamaJobConfiguration(ProcessJobConfiguration):
    """The stock process worker's configuration, and what a fork adds."""

    memory_limit_mib: int | None = Field(default=None, ge=64)
    grace_seconds: float = Field(default=30.0, ge=0)
    fresh_interpreter: bool = Field(default=False)

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
        self._checkout = Checkout(checkout) if checkout else Checkout()
        self._generations: Generations | None = None
        self._running: dict[UUID, Callable[[], Coroutine[Any, Any, None]]] = {}
        self._draining = False
        self._pause_s = 0.0

    async def setup(self) -> None:
        """Prepare the worker, and start the first fork server in the background."""
        if sys.platform == "linux":  # elsewhere a fork without exec is not safe: runs start the stock way
            self._generations = await self._exit_stack.enter_async_context(
                Generations(self._checkout, base_environment(), self._logger)
            )
        await super().setup()

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Look for scheduled runs and submit them; none while draining.

        An API that does not answer is waited for, however long: to give up would be to end the runs in flight.
        """
        if self._draining:
            return []
        try:
            found = await super().get_and_submit_flow_runs()
        except (httpx.TransportError, httpx.HTTPStatusError) as error:
            if isinstance(error, httpx.HTTPStatusError) and error.response.status_code < 500:
                raise
            self._pause_s = min(max(2 * self._pause_s, 0.5), _LONGEST_PAUSE_S)
            self._logger.warning("Prefect's API does not answer, looking again in %.1f s: %r", self._pause_s, error)
            await anyio.sleep(self._pause_s)
            return []
        self._pause_s = 0.0
        return found

    async def run(
        self,
        flow_run: FlowRun,
        configuration: ProcessJobConfiguration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> ProcessWorkerResult:
        """Run `flow_run` in a child of the fork server; with a `command` of its own, as the stock worker does."""
        assert isinstance(configuration, LamaJobConfiguration)  # noqa: S101 - Prefect makes it from our class
        if configuration._command_configured or self._generations is None:  # noqa: SLF001
            return await super().run(flow_run, configuration, limiting(task_status, configuration.memory_limit_bytes))
        with tempfile.TemporaryDirectory(suffix="prefect") as temporary:
            async with FlowRunExecutorContext() as context:
                starter = ForkStarter(
                    generations=self._generations,
                    context=context,
                    workspace_root=Path(configuration.working_dir or temporary).resolve(),  # noqa: ASYNC240
                    environment=configuration.env,
                    stream_output=configuration.stream_output,
                    fresh_interpreter=configuration.fresh_interpreter,
                    memory_limit_bytes=configuration.memory_limit_bytes,
                    grace_seconds=configuration.grace_seconds,
                    logger=self.get_flow_run_logger(flow_run),
                )
                context.call_after_exit(starter.close)
                executor = context.create_executor(
                    flow_run, starter, propose_submitting=False, hook_runner=starter.hook_runner
                )
                execution: FlowRunExecutionResult | None = None

                async def execute(*, task_status: anyio.abc.TaskStatus[ProcessHandle]) -> None:
                    nonlocal execution
                    execution = await executor.submit(task_status=task_status)

                self._running[flow_run.id] = starter.cancel
                try:
                    async with anyio.create_task_group() as group:
                        handle: ProcessHandle = await group.start(execute)
                        if task_status is not None and handle.pid is not None:
                            task_status.started(handle.pid)
                finally:
                    self._running.pop(flow_run.id, None)
        if execution is None or execution.status_code is None:
            raise RuntimeError("The process of the flow run could not be started.")
        return ProcessWorkerResult(status_code=execution.status_code, identifier=str(execution.handle.pid))

    @property
    def runs_in_flight(self) -> int:
        """How many runs it is submitting or has running."""
        return len(self._running.keys() | self._submitting_flow_run_ids)

    async def drain(self, grace_seconds: float) -> None:
        """Take no more runs, and wait up to `grace_seconds` for those in flight."""
        self._draining = True
        with anyio.move_on_after(grace_seconds):
            while self.runs_in_flight:  # noqa: ASYNC110 - what Prefect keeps to itself cannot be waited for
                await anyio.sleep(0.1)

    async def cancel_runs(self) -> None:
        """Cancel every run in flight, as a user would: its hooks run, and its state is Cancelled."""
        async with anyio.create_task_group() as group:
            for cancel in list(self._running.values()):
                group.start_soon(cancel)
