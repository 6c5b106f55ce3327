"""Deployments have the schedules that `lama.toml` and `prefect.yaml` say, whichever changes; and they run."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.schedules import CronSchedule
from prefect.client.schemas.sorting import FlowRunSort

from blocks.errors import ConfigurationError
from blocks.settings import Settings
from deployments.apply import apply, automations

_LIMIT_S = 30.0


@dataclass
class Deployed:
    """One deployment of a `prefect.yaml`, scheduled there once a day, of a name of its own."""

    client: PrefectClient
    name: str

    @property
    def definitions(self) -> dict[str, Any]:
        """Content of that `prefect.yaml`."""
        schedule = {"cron": "30 5 * * *", "timezone": "UTC", "slug": "daily"}
        entry = {"name": self.name, "entrypoint": "flows.advisories.update_advisories", "schedules": [schedule]}
        return {"deployments": [entry]}

    async def apply(self, cron: str | None = None) -> None:
        """Apply it, with `cron` for this deployment in `lama.toml`."""
        await apply({} if cron is None else {self.name: cron}, definitions=self.definitions)

    async def id(self) -> uuid.UUID:
        """The id that Prefect gave it."""
        return (await self.client.read_deployment_by_name(f"advisories/{self.name}")).id

    async def schedules(self) -> Mapping[str | None, tuple[str, bool]]:
        """Cron expression and activity of each of its schedules, by slug."""
        rows = await self.client.read_deployment_schedules(await self.id())
        found = {row.slug: (str(getattr(row.schedule, "cron", row.schedule)), row.active) for row in rows}
        assert len(found) == len(rows)
        return found

    async def runs(self) -> list[FlowRun]:
        """Its flow runs, those to start first before the others."""
        only = DeploymentFilter(id=DeploymentFilterId(any_=[await self.id()]))
        return await self.client.read_flow_runs(deployment_filter=only, sort=FlowRunSort.EXPECTED_START_TIME_ASC)

    async def first_runs(self) -> list[FlowRun]:
        """Its flow runs, as soon as there are any."""
        async with asyncio.timeout(_LIMIT_S):
            while not (runs := await self.runs()):  # noqa: ASYNC110 - another process makes them
                await asyncio.sleep(0.2)
        return runs


@pytest.fixture
async def deployed(prefect_server: Settings) -> AsyncIterator[Deployed]:
    async with get_client() as client:
        one = Deployed(client, f"schedules-{uuid.uuid4().hex[:8]}")
        await one.apply()
        yield one
        await client.delete_deployment(await one.id())
        for automation in automations():
            for found in await client.read_automations_by_name(automation.name):
                await client.delete_automation(found.id)


async def test_a_schedule_of_lama_toml_replaces_the_declared_one_until_it_is_taken_out(deployed: Deployed) -> None:
    daily = {"daily": ("30 5 * * *", True)}
    assert await deployed.schedules() == daily
    await deployed.apply("*/2 * * * *")
    assert await deployed.schedules() == {"lama-toml": ("*/2 * * * *", True)}
    await deployed.apply("*/3 * * * *")
    assert await deployed.schedules() == {"lama-toml": ("*/3 * * * *", True)}
    await deployed.apply()
    assert await deployed.schedules() == daily
    await deployed.apply("")
    assert await deployed.schedules() == {}
    await deployed.apply()
    assert await deployed.schedules() == daily


async def test_what_people_paused_or_added_stays(deployed: Deployed) -> None:
    one = await deployed.id()
    await deployed.apply("*/2 * * * *")
    added = DeploymentScheduleCreate(schedule=CronSchedule(cron="0 1 * * 0", timezone="UTC"), active=True)
    await deployed.client.create_deployment_schedules(one, [added])
    schedule = next(row for row in await deployed.client.read_deployment_schedules(one) if row.slug == "lama-toml")
    await deployed.client.update_deployment_schedule(one, schedule.id, active=False)
    by_hand = {None: ("0 1 * * 0", True)}
    for cron in ("*/2 * * * *", "*/5 * * * *"):
        await deployed.apply(cron)
        assert await deployed.schedules() == {"lama-toml": (cron, False)} | by_hand
    await deployed.apply()
    assert await deployed.schedules() == {"daily": ("30 5 * * *", True)} | by_hand
    await deployed.apply("")
    assert await deployed.schedules() == by_hand


async def test_what_is_no_cron_expression_is_refused_and_changes_nothing(deployed: Deployed) -> None:
    with pytest.raises(ConfigurationError, match=r"schedules\.schedules-\w+: 'every day' is no cron expression"):
        await deployed.apply("every day")
    assert set(await deployed.schedules()) == {"daily"}


async def test_the_scheduler_of_the_server_makes_runs_of_a_schedule(deployed: Deployed) -> None:
    """Nobody asks it to: a server whose scheduler fails looks well, and starts nothing by itself, ever."""
    await deployed.apply("* * * * *")
    runs = await deployed.first_runs()
    assert all(run.auto_scheduled and run.state_type is StateType.SCHEDULED for run in runs)
    first = runs[0].expected_start_time
    assert first is not None
    assert first - datetime.now(UTC) < timedelta(minutes=2)
    await deployed.apply("")
    assert await deployed.runs() == [], "what a schedule planned goes with it"


@pytest.mark.usefixtures("prefect_server")
async def test_two_who_apply_a_new_deployment_at_once_both_succeed() -> None:
    async with get_client() as client:
        one = Deployed(client, f"at-once-{uuid.uuid4().hex[:8]}")
        await asyncio.gather(*(one.apply() for _ in range(3)))
        assert set(await one.schedules()) == {"daily"}
        await client.delete_deployment(await one.id())
        for automation in automations():
            for found in await client.read_automations_by_name(automation.name):
                await client.delete_automation(found.id)
