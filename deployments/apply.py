"""Brings Prefect to what this checkout says: pool, queues, types of blocks, deployments, standing automations.

Applying twice changes nothing. Schedules of `lama.toml` replace those of `prefect.yaml`; what people paused stays
paused, and schedules that they added in the UI stay.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.metadata
import json
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

import blocks
from blocks.errors import ConfigurationError
from blocks.prefect_api import PrefectApi
from blocks.prefect_server import ZOMBIE_WINDOW_S
from blocks.settings import CHECKOUT
from deployments.programs import GPU_POOL, POOL

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.automations import Automation
    from prefect.blocks.core import Block
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.deployments.runner import RunnerDeployment

    from deployments.worker import LamaWorker

PENDING_WINDOW_S = 300
"""Seconds that a run may stay Pending: a worker that died between taking it and starting it leaves it there."""

_TRIES = 5
"""How often a type of blocks is registered when others do it too; one of two finds it at its second try."""

OWN_SLUG = "lama-toml"
"""The slug of a schedule that `lama.toml` sets."""

_AUTOMATIONS = ("lama: crash runs whose heartbeat stopped", "lama: crash runs that were taken and never started")


def read_definitions(path: Path = CHECKOUT / "prefect.yaml") -> dict[str, Any]:
    """The content of `prefect.yaml`."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or not isinstance(content.get("deployments"), list):
        raise ConfigurationError("holds no list of deployments.", component=str(path))
    return content


def entrypoints(definitions: Mapping[str, Any]) -> list[str]:
    """The entrypoint of every deployment, each once."""
    return list(dict.fromkeys(str(deployment["entrypoint"]) for deployment in definitions["deployments"]))


def refuse_unknown(
    schedules: Mapping[str, str], definitions: Mapping[str, Any], place: Callable[[str], str] = lambda _: "lama.toml"
) -> None:
    """Refuse schedules of deployments that are not there; `place` says where the schedule of a name was written.

    Raises:
        ConfigurationError: there is one.
    """
    known = sorted(str(entry["name"]) for entry in definitions["deployments"])
    for name in schedules:
        if name not in known:
            raise ConfigurationError(
                f"schedules.{name}: there is no such deployment.",
                component=place(name),
                remedy=f"There are: {', '.join(known)}.",
            )


def fingerprint(schedules: Mapping[str, str], api_url: str) -> str:
    """Stands for everything that `apply` would bring to Prefect: equal ones need not be applied again."""
    digest = hashlib.blake2b(importlib.metadata.version("prefect").encode(), digest_size=16)
    digest.update(json.dumps([api_url, dict(schedules)], sort_keys=True).encode())
    for folder in ("flows", "models", "blocks", "deployments"):  # a form of the UI is made of the types of these
        for path in sorted((CHECKOUT / folder).glob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    digest.update((CHECKOUT / "prefect.yaml").read_bytes())
    return digest.hexdigest()


def in_place(api: PrefectApi) -> bool:
    """Whether Prefect has every deployment and automation, by name; somebody may have deleted one."""
    names = {deployment["name"] for deployment in api.deployments()}
    wanted = {str(entry["name"]) for entry in read_definitions()["deployments"]}
    return wanted <= names and set(_AUTOMATIONS) <= api.automation_names()


async def apply(schedules: Mapping[str, str], *, definitions: Mapping[str, Any] | None = None) -> list[str]:
    """Apply everything; returns the full names of the deployments.

    Args:
        schedules: cron expressions by deployment name, from `lama.toml`; an empty one removes the schedule.
        definitions: content of `prefect.yaml`; read from the checkout by default.

    Raises:
        ConfigurationError: a schedule is for a deployment that is not there, is no cron expression, or has no slug;
            nothing has been applied then.
    """
    from prefect.client.orchestration import get_client  # noqa: PLC0415

    content = definitions if definitions is not None else read_definitions()
    wanted = [_deployment(entry) for entry in content["deployments"]]
    timetable = [_schedules(entry, schedules) for entry in content["deployments"]]
    refuse_unknown(schedules, content)
    async with get_client() as client:
        await _apply_pools(client)
        for queue in content.get("definitions", {}).get("work_queues", ()):
            await _apply_queue(client, queue)
        await register(client, block_types())
        for entry, deployment, declared in zip(content["deployments"], wanted, timetable, strict=True):
            await _keep_pause(client, deployment)
            ours = {row["slug"] for row in entry.get("schedules", ())} | {OWN_SLUG}
            await _apply_schedules(client, await deployment.aapply(), declared, ours)
    for automation in automations():
        await _apply_automation(automation)
    return [deployment.full_name for deployment in wanted]


async def register(client: PrefectClient, types: Iterable[type[Block]]) -> None:
    """Make Prefect know these types of blocks, also where somebody else registers the same at this moment."""
    from prefect.exceptions import ObjectAlreadyExists  # noqa: PLC0415

    for block in types:
        for left in reversed(range(_TRIES)):
            try:
                await block.aregister_type_and_schema(client=client)
                break
            except ObjectAlreadyExists:  # it was not there when Prefect's client looked, and is now
                if not left:
                    raise


def block_types() -> list[type[Block]]:
    """Every block of this checkout: people make blocks of these types in the Prefect UI."""
    from prefect.blocks.core import Block  # noqa: PLC0415

    found: list[type[Block]] = []
    for module in sorted(one.name for one in pkgutil.iter_modules(blocks.__path__, "blocks.")):
        found += [
            value
            for value in vars(importlib.import_module(module)).values()
            if isinstance(value, type) and issubclass(value, Block) and value.__module__ == module
        ]
    return found


def automations() -> list[Automation]:
    """What Prefect is to do by itself; the self-hosted server has none of these."""
    from prefect.automations import Automation  # noqa: PLC0415
    from prefect.client.schemas.objects import StateType  # noqa: PLC0415
    from prefect.events.actions import ChangeFlowRunState  # noqa: PLC0415
    from prefect.events.schemas.automations import EventTrigger, Posture  # noqa: PLC0415
    from prefect.events.schemas.events import ResourceSpecification  # noqa: PLC0415

    ends = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")}
    # Every state that a run can go to from Pending other than a final one: it is still alive then.
    moves = {
        f"prefect.flow-run.{state}"
        for state in ("Running", "Scheduled", "Late", "AwaitingRetry", "AwaitingConcurrencySlot", "Paused", "Suspended",
                      "Cancelling", "Retrying", "Submitting", "InfrastructurePending")
    }  # fmt: skip
    each_run = {
        "match": ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
        "for_each": {"prefect.resource.id"},
        "posture": Posture.Proactive,
        "threshold": 1,
    }
    return [
        Automation(
            name=_AUTOMATIONS[0],
            description="A run whose process is gone cannot say so itself.",
            trigger=EventTrigger(
                after={"prefect.flow-run.heartbeat"},
                expect={"prefect.flow-run.heartbeat"} | ends,
                within=timedelta(seconds=ZOMBIE_WINDOW_S),
                **each_run,
            ),
            actions=[
                ChangeFlowRunState(
                    state=StateType.CRASHED,
                    message=f"No sign of life for {ZOMBIE_WINDOW_S} s: its process or its machine is gone.",
                )
            ],
        ),
        Automation(
            name=_AUTOMATIONS[1],
            description="A worker that dies between taking a run and starting it leaves the run Pending.",
            trigger=EventTrigger(
                after={"prefect.flow-run.Pending"},
                expect=moves | ends,
                within=timedelta(seconds=PENDING_WINDOW_S),
                **each_run,
            ),
            actions=[
                ChangeFlowRunState(
                    state=StateType.CRASHED,
                    message=f"Pending for {PENDING_WINDOW_S} s: the worker that took it never started it.",
                )
            ],
        ),
    ]


def _schedules(entry: Mapping[str, Any], schedules: Mapping[str, str]) -> list[DeploymentScheduleCreate]:
    """The schedules that one deployment is to have."""
    from prefect.client.schemas.actions import DeploymentScheduleCreate  # noqa: PLC0415
    from prefect.client.schemas.schedules import CronSchedule  # noqa: PLC0415

    name = str(entry["name"])
    if any(not row.get("slug") for row in entry.get("schedules", ())):
        raise ConfigurationError(
            f"deployments.{name}: a schedule has no slug; it could not be told from those that people add.",
            component="prefect.yaml",
        )
    if name not in schedules:
        return [
            DeploymentScheduleCreate(
                schedule=CronSchedule(cron=row["cron"], timezone=row.get("timezone", "UTC")),
                slug=row["slug"],
                active=row.get("active", True),
            )
            for row in entry.get("schedules", ())
        ]
    if not schedules[name]:
        return []
    try:
        own = CronSchedule(cron=schedules[name], timezone="UTC")
    except ValueError as error:
        raise ConfigurationError(
            f"schedules.{name}: {schedules[name]!r} is no cron expression.", component="lama.toml"
        ) from error
    return [DeploymentScheduleCreate(schedule=own, slug=OWN_SLUG, active=True)]


def _deployment(entry: Mapping[str, Any]) -> RunnerDeployment:
    from prefect.deployments.runner import RunnerDeployment  # noqa: PLC0415

    pool = entry.get("work_pool", {})
    deployment = RunnerDeployment.from_entrypoint(
        str(entry["entrypoint"]),
        name=str(entry["name"]),
        triggers=entry.get("triggers") or None,
        parameters=entry.get("parameters") or {},
        description=entry.get("description"),
        tags=list(entry.get("tags", ())),
        concurrency_limit=entry.get("concurrency_limit"),
        work_pool_name=pool.get("name", POOL),
        work_queue_name=pool.get("work_queue_name"),
        job_variables=pool.get("job_variables") or {},
    )
    # Prefect merges the schedules of an update into those that are there, or replaces what people added: it is to
    # leave them alone. Only a field that is not set is not sent.
    deployment.model_fields_set.discard("schedules")
    if ":" not in str(entry["entrypoint"]):
        # A flow of an installed module is imported. With a path, every run would first copy all that lies there
        # into its workspace: the whole checkout, with its environment.
        deployment._path = None  # noqa: SLF001 - Prefect offers no other way from an entrypoint
    return deployment


async def _apply_pools(client: PrefectClient) -> None:
    from deployments.worker import LamaGpuWorker, LamaWorker  # noqa: PLC0415

    await _apply_pool(client, POOL, LamaWorker, "Warm workers: a trigger becomes a running flow in under a second.")
    told = "Workers pinned to a GPU: a run starts when its models are loaded and its memory is leased."
    await _apply_pool(client, GPU_POOL, LamaGpuWorker, told)


async def _apply_pool(client: PrefectClient, name: str, worker: type[LamaWorker], description: str) -> None:
    from prefect.client.schemas.actions import WorkPoolCreate  # noqa: PLC0415
    from prefect.exceptions import ObjectAlreadyExists  # noqa: PLC0415

    try:
        await client.create_work_pool(
            WorkPoolCreate(
                name=name,
                type=worker.type,
                description=description,
                base_job_template=worker.get_default_base_job_template(),
            )
        )
    except ObjectAlreadyExists:
        pool = await client.read_work_pool(name)
        if pool.type != worker.type:
            raise ConfigurationError(
                f"the work pool {name!r} is of type {pool.type!r}, not {worker.type!r}.",
                component="prefect",
                remedy="Delete it in the Prefect UI, then start again.",
            ) from None


async def _apply_queue(client: PrefectClient, queue: Mapping[str, Any]) -> None:
    from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound  # noqa: PLC0415

    name, limit = str(queue["name"]), queue.get("concurrency_limit")
    try:
        found = await client.read_work_queue_by_name(name, work_pool_name=POOL)
    except ObjectNotFound:
        try:
            found = await client.create_work_queue(
                name, work_pool_name=POOL, concurrency_limit=limit, priority=queue.get("priority")
            )
        except ObjectAlreadyExists:  # another node applies at the same moment
            found = await client.read_work_queue_by_name(name, work_pool_name=POOL)
    if limit is not None and found.concurrency_limit is None:
        # A limit that an operator set in the UI stays: only a missing one is filled in.
        await client.update_work_queue(found.id, concurrency_limit=limit)


async def _keep_pause(client: PrefectClient, deployment: RunnerDeployment) -> None:
    """A deployment that an operator paused in the UI stays paused."""
    from prefect.exceptions import ObjectNotFound  # noqa: PLC0415

    try:
        found = await client.read_deployment_by_name(deployment.full_name)
    except ObjectNotFound:
        return
    deployment.paused = found.paused


async def _apply_schedules(
    client: PrefectClient, deployment_id: UUID, wanted: list[DeploymentScheduleCreate], ours: set[str]
) -> None:
    """Leave, of the schedules whose slug is in `ours`, exactly the `wanted`; one that is paused stays paused."""
    from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError  # noqa: PLC0415

    missing = {schedule.slug: schedule for schedule in wanted}
    for found in await client.read_deployment_schedules(deployment_id):
        if found.slug not in ours:
            continue
        schedule = missing.pop(found.slug, None)
        with contextlib.suppress(ObjectNotFound):  # another node applies at the same moment
            if schedule is None:
                await client.delete_deployment_schedule(deployment_id, found.id)
            elif found.schedule != schedule.schedule:
                await client.update_deployment_schedule(deployment_id, found.id, schedule=schedule.schedule)
    for schedule in missing.values():
        try:
            await client.create_deployment_schedules(deployment_id, [schedule])
        except PrefectHTTPStatusError as error:
            if error.response.status_code != HTTPStatus.CONFLICT:  # another node has just made it
                raise


async def _apply_automation(wanted: Automation) -> None:
    from prefect.automations import Automation  # noqa: PLC0415

    try:
        found = await Automation.aread(name=wanted.name)
    except ValueError:
        await wanted.acreate()
        return
    if found.trigger != wanted.trigger or found.actions != wanted.actions:
        found.trigger, found.actions, found.description = wanted.trigger, wanted.actions, wanted.description
        await found.aupdate()
