"""Maintain models: the model host's reserves are as the catalogue says, and memory that nobody needs is given back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated
from uuid import uuid4

import psycopg
from prefect import flow
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from pydantic import Field

from blocks.configuration import load_configuration
from blocks.errors import LamaError
from blocks.model_host import ModelHost
from blocks.postgres import Postgres
from blocks.settings import settings
from models.model_host import CatalogueEntry, HostStatus
from models.report import Report, Skip, compose
from tasks.model_host import asking, conversations
from tasks.model_host.sources import catalogue, has_host
from tasks.model_host.upkeep import Step, due, findings, metrics
from tasks.reports.conclude import conclude
from tasks.reports.publish import reason_of
from tasks.step import step

CAPABILITY = "maintain_models"


@flow(name="maintain-models", persist_result=False)
async def maintain_models(
    clean: bool = True,  # noqa: FBT001, FBT002 - a flow's parameters are given by name
    conversation_days: Annotated[float, Field(gt=0, le=36_500, allow_inf_nan=False)] = 30.0,
    dry_run: bool = False,  # noqa: FBT001, FBT002
) -> Report:
    """Brings the model host's reserves to what `lama.toml` says, gives back memory that nobody needs, and reports.

    Args:
        clean: Also gives fragmented memory back, where nobody is being served.
        conversation_days: Conversations that nobody has taken up for so many days are deleted.
        dry_run: Only say what would be done.

    Returns:
        The report: memory of the device, who holds it, predictions against what was measured, what failed, and where
        the host, which read the catalogue when it started, goes by another one. It is `incomplete` when the host or
        the database does not answer, or a reserve could not be made.

    Raises:
        ConfigurationError: `lama.toml` cannot be used; nothing was done.
    """
    started_at = datetime.now(UTC)
    config = settings()
    configured = load_configuration(config).model_host
    host, database = ModelHost.of(config), Postgres.of(config)
    kept = _Kept([], [])
    if has_host(configured):
        await _keep(kept, host, catalogue(configured), clean=clean, dry_run=dry_run)
    else:
        kept.done.append("there is no model host on this node")
    turns = await _forget(kept, database, conversation_days, dry_run=dry_run)
    changes = "; ".join(kept.done) or "nothing to change"
    report = compose(
        Report,
        capability=CAPABILITY,
        summary=f"Reserves: {'would be: ' if dry_run and kept.done else ''}{changes}. "
        f"Turns of old conversations {'to delete' if dry_run else 'deleted'}: {turns}.",
        scope=f"{config.node}{'; dry run' if dry_run else ''}",
        findings=findings(catalogue(configured), kept.found) if kept.found is not None else [],
        skipped=kept.skipped,
        metrics=(metrics(kept.found) if kept.found is not None else {}) | {"turns_deleted_total": turns},
        started_at=started_at,
        finished_at=datetime.now(UTC),
        run_id=str(flow_run.id or uuid4()),
    )
    report = await conclude(report, database=database, key="maintain-models")
    get_run_logger(component=CAPABILITY).info("%s: %s", report.status.value, report.summary)
    return report


@dataclass
class _Kept:
    """How far a run has come."""

    done: list[str]
    skipped: list[Skip]
    found: HostStatus | None = None

    def miss(self, component: str, reason: str) -> None:
        self.skipped.append(Skip(area=CAPABILITY, component=component, reason=reason))


async def _keep(
    kept: _Kept, host: ModelHost, entries: tuple[CatalogueEntry, ...], *, clean: bool, dry_run: bool
) -> None:
    try:
        kept.found = await _status(host)
        several = bool(kept.found.devices or kept.found.incomplete)
        for device in kept.found.each:
            for one in due(entries, device):
                told = f"{one.told} on device {device.number}" if several else one.told
                try:
                    if not dry_run:
                        await _apply(host, one, device.number if several else None)
                    kept.done.append(told)
                except LamaError as error:
                    kept.miss(one.model, f"Not done: {told}. {reason_of(error)}")
        if not dry_run:
            if clean:
                await _clean(host)
            kept.found = await _status(host)
        for gone in kept.found.incomplete:
            kept.miss(f"device {gone.device}", gone.reason)
    except LamaError as error:
        kept.miss("model host", reason_of(error))


async def _forget(kept: _Kept, database: Postgres, days: float, *, dry_run: bool) -> int:
    try:
        return await (_count(database, days) if dry_run else _delete(database, days))
    except (LamaError, psycopg.Error, OSError, TimeoutError) as error:
        kept.miss("conversations", f"Old ones were not deleted: {reason_of(error)}")
        return 0


@step("look at the model host")
async def _status(host: ModelHost) -> HostStatus:
    async with host.get_client() as client:
        return await asking.status(client)


@step("bring a reserve to what the catalogue says")
async def _apply(host: ModelHost, one: Step, device: int | None) -> None:
    async with host.get_client() as client:
        if one.reserve is None:
            await asking.release(client, one.model, device)
        else:
            await asking.reserve(client, one.reserve, device)


@step("give memory back")
async def _clean(host: ModelHost) -> int:
    async with host.get_client() as client:
        return await asking.clean(client)


@step("count old conversations")
async def _count(database: Postgres, days: float) -> int:
    async with await database.get_async_client(autocommit=True) as connection:
        return await conversations.count_old(connection, now=datetime.now(UTC), days=days)


@step("delete old conversations")
async def _delete(database: Postgres, days: float) -> int:
    async with await database.get_async_client(autocommit=True) as connection:
        return await conversations.forget_old(connection, now=datetime.now(UTC), days=days)
