"""Runs that are cancelled end as Cancelled, and as nothing else before, whenever that is."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import StateType
from prefect.states import Cancelling

from tests.worker.conftest import Bench, Started

_AT_ONCE = 5
"""Runs at a time: some of them start while others are ended."""
_MOMENTS = int(os.environ.get("LAMA_CANCEL_MOMENTS", "10"))


async def _has_been(client: PrefectClient, started: Started) -> list[str]:
    """Every state of the run, in order."""
    states = await client.read_flow_run_states(started.run.id)
    return [state.type.name for state in sorted(states, key=lambda state: state.timestamp)]


async def _cancelled_after(bench: Bench, client: PrefectClient, kind: StateType, wait_s: float) -> list[str]:
    """Every state of a run that was cancelled `wait_s` after it was of that kind."""
    started = await bench.trigger("nap")
    seen = {StateType.PENDING, StateType.RUNNING} if kind is StateType.PENDING else {kind}
    await started.until(lambda run: run.state is not None and run.state.type in seen)
    await asyncio.sleep(wait_s)
    await client.set_flow_run_state(started.run.id, Cancelling())
    await started.final()
    await asyncio.sleep(0.3)  # for a state that should not follow
    return await _has_been(client, started)


@pytest.mark.parametrize("kind", [StateType.RUNNING, StateType.PENDING])
async def test_whenever_a_run_is_cancelled_it_ends_as_cancelled(
    bench: Bench, client: PrefectClient, kind: StateType
) -> None:
    """Moments within the first second of running, and of starting. Never is it Crashed, or Cancelling for ever."""
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(wait_s: float) -> list[str]:
        async with places:
            return await _cancelled_after(bench, client, kind, wait_s)

    histories = await asyncio.gather(*(one(n / _MOMENTS) for n in range(_MOMENTS)))
    assert not [history for history in histories if history[-1] != "CANCELLED" or "CRASHED" in history]


async def test_a_run_that_is_interrupted_within_a_group_of_tasks_is_not_taken_for_a_crash(
    bench: Bench, client: PrefectClient, tmp_path: Path
) -> None:
    """The signal comes out of the group as an exception that Prefect does not know."""
    hook = tmp_path / "hook.json"
    started = await bench.trigger("busy", job={"env": {"HOOK": str(hook)}})
    await started.running()
    await client.set_flow_run_state(started.run.id, Cancelling())
    await started.final()
    await asyncio.sleep(0.3)  # for a state that should not follow
    assert (await _has_been(client, started))[-3:] == ["RUNNING", "CANCELLING", "CANCELLED"]
    assert not hook.exists(), "the hook of crashes has run"
