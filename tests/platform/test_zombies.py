"""A run whose heartbeat stopped ends as Crashed by the server alone: no worker is there to say so."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from prefect import flow
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.events.schemas.automations import EventTrigger
from prefect.states import Running

from blocks.settings import Settings
from deployments.apply import automations

_WINDOW_S = 10.0  # the least that Prefect allows
_WITHIN_S = 120.0


@flow
async def lives() -> None:
    """Never really run."""


@pytest.fixture
async def client(prefect_server: Settings) -> AsyncIterator[PrefectClient]:
    """A client of a server that has the automation, with a window in which a test can wait."""
    standing = automations()[0]
    assert isinstance(standing.trigger, EventTrigger)
    shorter = standing.model_copy(
        update={
            "name": f"zombies-{uuid.uuid4().hex[:8]}",
            "trigger": standing.trigger.model_copy(update={"within": timedelta(seconds=_WINDOW_S)}),
        }
    )
    made = await shorter.acreate()
    async with get_client() as fresh:
        yield fresh
        await fresh.delete_automation(made.id)


async def _beat(client: PrefectClient, run: FlowRun) -> None:
    event = {
        "occurred": datetime.now(UTC).isoformat(),
        "event": "prefect.flow-run.heartbeat",
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run.id}"},
        "id": str(uuid.uuid4()),
    }
    (await client.request("POST", "/events", json=[event])).raise_for_status()


async def test_a_run_that_falls_silent_is_crashed_and_one_that_beats_is_not(client: PrefectClient) -> None:
    silent, alive = [await client.create_flow_run(lives, state=Running()) for _ in range(2)]
    await _beat(client, silent)
    clock = asyncio.get_running_loop().time
    deadline, last, longest_pause = clock() + _WITHIN_S, clock(), 0.0
    while (seen := await client.read_flow_run(silent.id)).state_type is StateType.RUNNING:
        assert clock() < deadline, "it still seems alive"
        await _beat(client, alive)
        last, longest_pause = clock(), max(longest_pause, clock() - last)
        await asyncio.sleep(1)
    assert seen.state_type is StateType.CRASHED
    assert seen.state is not None
    assert "No sign of life" in str(seen.state.message)
    if longest_pause < _WINDOW_S / 2:  # else this machine was too busy for its beats to be in time
        assert (await client.read_flow_run(alive.id)).state_type is StateType.RUNNING
