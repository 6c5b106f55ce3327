"""How a run's process starts: as a child of the fork server, or as the stock worker would start it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast
from uuid import UUID

import anyio
import anyio.abc
from prefect.client.schemas.objects import FlowRun
from prefect.runner._flow_run_executor import FlowRunExecutorContext
from prefect.runner._process_manager import ProcessHandle, create_isolated_termination_scope
from prefect.runner._workspace_runtime import WorkspaceSupervisorConfig, write_private_model
from prefect.runner._workspace_starter import WorkspaceResolvingEngineCommandStarter
from prefect.settings import Settings
from prefect.utilities.processutils import sanitize_subprocess_env

from blocks.errors import StartError
from deployments.cancellation import Cancellation
from deployments.fork_client import ForkedProcess, Logger
from deployments.fork_generations import Generations
from deployments.fork_protocol import RunRequest

T = TypeVar("T")

_LOOK_S = 0.1


class ForkStarter(WorkspaceResolvingEngineCommandStarter):
    """Prefect's starter of deployed flows, with a fork where it executes an interpreter.

    The workspace, its pull steps, the engine and the hooks are Prefect's own; without a fork server it is exactly
    the stock starter.
    """

    def __init__(
        self,
        *,
        generations: Generations,
        context: FlowRunExecutorContext,
        workspace_root: Path,
        environment: Mapping[str, str | None],
        stream_output: bool,
        fresh_interpreter: bool,
        memory_limit_bytes: int | None,
        cancellation: Cancellation,
        logger: Logger,
    ) -> None:
        super().__init__(
            workspace_root=workspace_root,
            stream_output=stream_output,
            control_channel=context.control_channel,
            source_cwd=workspace_root,
            environment=environment,
        )
        self._generations = generations
        self._context = context
        self._fresh_interpreter = fresh_interpreter
        self._memory_limit_bytes = memory_limit_bytes
        self._cancellation = cancellation
        self._logger = logger
        self._flow_run_id: UUID | None = None

    async def start(
        self, flow_run: FlowRun, task_status: anyio.abc.TaskStatus[ProcessHandle] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Start the process of `flow_run`, report its handle, and wait for its end."""
        self._flow_run_id = flow_run.id
        try:
            process = await self._fork(flow_run)
        except StartError as error:
            self._logger.warning("The run starts in an interpreter of its own, seconds later: %s", error)
            await super().start(flow_run, limiting(task_status, self._memory_limit_bytes, self._logger))
            return
        try:
            scope = create_isolated_termination_scope(process.pid)
            # Prefect ends a run after 30 s, and looks every 3 s; this ends it as configured, and looks at once.
            self._context.process_manager.kill = partial(self._kill, process)  # type: ignore[method-assign]
            task_status.started(ProcessHandle(cast("anyio.abc.Process", process), termination_scope=scope))
            await process.wait()
        finally:
            if process.returncode is None:
                with anyio.CancelScope(shield=True):
                    await end_group(process, self._cancellation.left_s(flow_run.id))

    def cancel(self) -> None:
        """Cancel the run as if a user had asked for it; its context stays open until that is done."""
        if self._flow_run_id is not None:
            group = self._context._cancellation_task_group  # noqa: SLF001
            group.start_soon(self._cancellation.cancel_by_id, self._flow_run_id)

    async def _kill(
        self,
        process: ForkedProcess,
        flow_run_id: UUID,
        grace_seconds: float = 0.0,
        *,
        force: bool = False,
    ) -> None:
        if process.returncode is not None:
            raise ProcessLookupError  # Prefect then looks whether it had reached its end before
        await end_group(process, 0.0 if force else self._cancellation.left_s(flow_run_id))

    async def _fork(self, flow_run: FlowRun) -> ForkedProcess:
        write_private_model(
            self._config_path,
            WorkspaceSupervisorConfig(
                flow_run_id=flow_run.id,
                workspace_root=self._workspace_root,
                manifest_path=self._manifest_path,
            ),
        )
        channel, control = self._context.control_channel, {}
        with contextlib.suppress(RuntimeError):  # it could not listen: cancelling falls back to signals alone
            port, token = channel.register(flow_run.id)
            control = {"PREFECT__CONTROL_PORT": str(port), "PREFECT__CONTROL_TOKEN": token}
        request = RunRequest(
            environment=self._run_environment(flow_run, control),
            directory=str(self._workspace_root),
            workspace_config=str(self._config_path),
            fresh_interpreter=self._fresh_interpreter,
            memory_limit_bytes=self._memory_limit_bytes,
        )
        try:
            with _outputs(stream=self._stream_output) as (stdout, stderr):
                return await self._generations.fork(request, stdout, stderr)
        except BaseException:
            channel.unregister(flow_run.id)
            raise

    def _run_environment(self, flow_run: FlowRun, control: Mapping[str, str]) -> dict[str, str]:
        # As Prefect's `EngineCommandStarter`. The worker's own environment and its settings are in the job's already.
        environment: dict[str, str | None] = {
            **self._environment,
            "PREFECT__FLOW_RUN_ID": str(flow_run.id),
            "PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS": "false",
            **control,
        }
        return sanitize_subprocess_env(environment)


def settings_environment(settings: Settings) -> dict[str, str]:
    """The variables that give another process `settings`.

    Prefect takes 35 ms to find them, and needs them for every run; the settings of a process hardly ever change.
    """
    if not _environments or _environments[-1][0] is not settings:
        _environments[:] = [(settings, settings.to_environment_variables(exclude_unset=True))]
    return _environments[-1][1]


_environments: list[tuple[Settings, dict[str, str]]] = []


async def end_group(process: ForkedProcess, grace_seconds: float) -> None:
    """SIGTERM to the process group of `process`; SIGKILL to what has not ended within `grace_seconds`."""
    until = asyncio.get_running_loop().time() + grace_seconds
    with contextlib.suppress(ProcessLookupError):  # the group is gone
        if grace_seconds > 0:
            os.killpg(process.pid, signal.SIGTERM)
        while asyncio.get_running_loop().time() < until:
            os.killpg(process.pid, 0)
            await asyncio.sleep(_LOOK_S)
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def limiting(inner: anyio.abc.TaskStatus[T] | None, limit_bytes: int | None, logger: Logger) -> anyio.abc.TaskStatus[T]:
    """`inner`, which hears that a process has started only when its memory is limited.

    For processes in which no code of ours runs before the flow's. Where a process cannot limit another (macOS), it
    runs without a limit, and `logger` says so.
    """
    return cast("anyio.abc.TaskStatus[T]", _Limiting(inner, limit_bytes, logger))


class _Limiting:
    def __init__(self, inner: anyio.abc.TaskStatus[Any] | None, limit_bytes: int | None, logger: Logger) -> None:
        self._inner = inner
        self._limit_bytes = limit_bytes
        self._logger = logger

    def started(self, process: ProcessHandle | int) -> None:
        pid = process.pid if isinstance(process, ProcessHandle) else process
        if self._limit_bytes and pid is not None:
            if hasattr(resource, "prlimit"):
                resource.prlimit(pid, resource.RLIMIT_DATA, (self._limit_bytes, self._limit_bytes))
            else:
                self._logger.warning("This system cannot limit the memory of process %s; it runs without a limit.", pid)
        if self._inner is not None:
            self._inner.started(process)


@contextlib.contextmanager
def _outputs(*, stream: bool) -> Iterator[tuple[int, int]]:
    # The worker's own descriptors: what a run prints needs nobody to pass it on.
    if stream:
        yield 1, 2
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        yield nowhere, nowhere
    finally:
        os.close(nowhere)
