"""How a run is cancelled: it hears of it first, ends within its grace, and is Cancelled and nothing else before.

Prefect gives a run one second to say that it has understood, and none to one that is still starting. Then it sends
SIGTERM all the same: the run takes that for a crash and reports one, and so does whoever sees its process end. Until
the cancellation is reported, everybody who looks (automations, hooks, people) sees a run that has crashed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound
from prefect.runner._cancellation_manager import CancellationManager
from prefect.runner._flow_run_executor import FlowRunExecutorContext
from prefect.runner._process_manager import ProcessHandle
from prefect.runner._state_proposer import StateProposer
from prefect.states import Cancelling

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

_LOOK_S = 0.05
_STARTING_S = 5.0
"""How long a run that has just been started may take until it can be told anything."""
_API_S = 1.0


class Cancellation(CancellationManager):
    """Prefect's way to cancel a run, in place of the one in `context`.

    Args:
        context: of the run; its cancellations are ours from now on.
        grace_seconds: from the cancellation until what has not ended is killed.
    """

    def __init__(self, context: FlowRunExecutorContext, grace_seconds: float) -> None:
        super().__init__(
            process_manager=context.process_manager,
            hook_runner=context._hook_runner,  # noqa: SLF001
            state_proposer=context._state_proposer,  # noqa: SLF001
            event_emitter=context._event_emitter,  # noqa: SLF001
            client=context.client,
            control_channel=context.control_channel,
        )
        self._channel = context.control_channel
        self._grace_seconds = grace_seconds
        self._until: float | None = None
        # What waits for a run's word ends with its grace, and not before: a run that holds Python's lock is not deaf.
        self._channel._ack_timeout = max(grace_seconds, _LOOK_S)  # noqa: SLF001
        context._cancellation_manager = self  # noqa: SLF001

    @property
    def under_way(self) -> bool:
        """Whether somebody has asked for it; how the run ends is then ours to say."""
        return self._until is not None

    def left_s(self, flow_run_id: UUID) -> float:
        """Seconds that the processes of the run have left to end. None at all for one that could not be told why."""
        if self._until is None:
            return self._grace_seconds
        told = self._channel._registrations.get(flow_run_id)  # noqa: SLF001
        if told is not None and not told.connected.is_set() and not told.disconnected.is_set():
            return 0.0  # it has not begun: there is nothing to clean up, and it would report a crash
        return max(0.0, self._until - asyncio.get_running_loop().time())

    async def cancel_by_id(self, flow_run_id: UUID) -> None:
        """Cancel a run. An API that does not answer is waited for."""
        while True:
            try:
                flow_run = await self._client.read_flow_run(flow_run_id)
            except ObjectNotFound:
                return
            except httpx.HTTPError as error:
                self._logger.warning("Flow run '%s' is to be cancelled; trying again: %r", flow_run_id, error)
                await asyncio.sleep(_API_S)
            else:
                await self.cancel(flow_run)
                return

    async def cancel(self, flow_run: FlowRun, state_msg: str | None = None) -> None:
        """Tell the run, end its processes, run its hooks, report it as cancelled. Only the first call does anything."""
        if self.under_way:
            return
        self._until = asyncio.get_running_loop().time() + self._grace_seconds
        handle = self._process_manager.get(flow_run.id)
        if handle is not None:
            await self._connected(flow_run.id, handle)
            await super().cancel(flow_run, state_msg)
        await self._conclude(flow_run, handle)

    async def _connected(self, flow_run_id: UUID, handle: ProcessHandle) -> None:
        """Wait until the run can be told, has told us something, or is over."""
        until = asyncio.get_running_loop().time() + min(_STARTING_S, self._grace_seconds)
        while handle.returncode is None and asyncio.get_running_loop().time() < until:
            told = self._channel._registrations.get(flow_run_id)  # noqa: SLF001
            if told is None or told.connected.is_set() or told.disconnected.is_set() or told.conclusion is not None:
                return
            await asyncio.sleep(_LOOK_S)

    async def _conclude(self, flow_run: FlowRun, handle: ProcessHandle | None) -> None:
        """Report what was cancelled before it could begin: its own process has ended without a word."""
        while handle is not None and handle.returncode is None:  # noqa: ASYNC110 - processes of two kinds
            await asyncio.sleep(_LOOK_S)
        try:
            state = (await self._client.read_flow_run(flow_run.id)).state
            if state is None or not state.is_cancelling():
                return
            await self._hook_runner.run_cancellation_hooks(flow_run, Cancelling(message="Flow run was cancelled."))
            await self._finalize_cancelled_state(flow_run, {"message": "Flow run was cancelled before it began."})
        except (httpx.HTTPError, ObjectNotFound) as error:
            self._logger.warning("Flow run '%s' could not be reported as cancelled: %r", flow_run.id, error)


class UncrashedProposer(StateProposer):
    """Reports no crash of a run that is being cancelled: that its process ends is what was wanted.

    Args:
        cancellation: of the run.
        context: of the run.
    """

    def __init__(self, cancellation: Cancellation, context: FlowRunExecutorContext) -> None:
        super().__init__(client=context.client)
        self._cancellation = cancellation

    async def propose_crashed(self, flow_run: FlowRun, message: str) -> State[Any] | None:
        """As Prefect's, unless the run is being cancelled."""
        return None if self._cancellation.under_way else await super().propose_crashed(flow_run, message)
