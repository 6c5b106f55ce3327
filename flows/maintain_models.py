"""Maintain models: the model host's reserves are as the catalogue says, and memory that nobody needs is given back."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

from prefect import flow
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from blocks.configuration import load_configuration
from blocks.errors import LamaError
from blocks.model_host import ModelHost
from blocks.postgres import Postgres
from blocks.settings import settings
from models.model_host import HostStatus
from models.report import Report, Skip, compose
from tasks.model_host import asking, conversations
from tasks.model_host.upkeep import Step, due, findings, metrics
from tasks.reports.conclude import conclude
from tasks.reports.publish import reason_of
from tasks.step import step

CAPABILITY = "maintain_models"


@flow(name="maintain-models", persist_result=False)
async def maintain_models(
    clean: bool = True,  # noqa: FBT001, FBT002 - a flow's parameters are given by name
    conversation_days: float = 30.0,
    dry_run: bool = False,  # noqa: FBT001, FBT002
) -> Report:
    """Brings the model host's reserves to what `lama.toml` says, gives back memory that nobody needs, and reports.

    Args:
        clean: Also gives fragmented memory back, where nobody is being served.
        conversation_days: Conversations that nobody has taken up for so many days are deleted.
        dry_run: Only say what would be done.

    Returns:
        The report: memory of the device, who holds it, predictions against what was measured, and what failed. It is
        `incomplete` when the host does not answer or a reserve could not be made.

    Raises:
        ConfigurationError: `lama.toml` cannot be used; nothing was done.
    """
    started_at = datetime.now(UTC)
    config = settings()
    configured = load_configuration(config).model_host
    host, database = ModelHost.of(config), Postgres.of(config)
    skipped: list[Skip] = []
    done: list[str] = []
    found: HostStatus | None = None
    forgotten = 0
    try:
        found = await _status(host)
        for one in due(configured.models, found):
            try:
                if not dry_run:
                    await _apply(host, one)
                done.append(one.told)
            except LamaError as error:
                skipped.append(Skip(area=CAPABILITY, component=one.model, reason=f"{one.told}: {reason_of(error)}"))
        if clean and not dry_run:
            await _clean(host)
            found = await _status(host)
    except LamaError as error:
        skipped.append(Skip(area=CAPABILITY, component="model host", reason=reason_of(error)))
    if not dry_run:
        forgotten = await _forget(database, conversation_days)
    would = "would be: " if dry_run else ""
    changes = "; ".join(done) or "nothing to change"
    report = compose(
        Report,
        capability=CAPABILITY,
        summary=f"Reserves: {would}{changes}. Turns of old conversations deleted: {forgotten}.",
        scope=f"{config.node}{'; dry run' if dry_run else ''}",
        findings=findings(found) if found is not None else [],
        skipped=skipped,
        metrics=(metrics(found) if found is not None else {}) | {"turns_deleted_total": forgotten},
        started_at=started_at,
        finished_at=datetime.now(UTC),
        run_id=str(flow_run.id or uuid4()),
    )
    report = await conclude(report, database=database, key="maintain-models")
    get_run_logger(component=CAPABILITY).info("%s: %s", report.status.value, report.summary)
    return report


@step("look at the model host")
async def _status(host: ModelHost) -> HostStatus:
    async with host.get_client() as client:
        return await asking.status(client)


@step("bring a reserve to what the catalogue says")
async def _apply(host: ModelHost, one: Step) -> None:
    async with host.get_client() as client:
        if one.reserve is None:
            await asking.release(client, one.model)
        else:
            await asking.reserve(client, one.reserve)


@step("give memory back")
async def _clean(host: ModelHost) -> int:
    async with host.get_client() as client:
        return await asking.clean(client)


@step("delete old conversations")
async def _forget(database: Postgres, days: float) -> int:
    async with await database.get_async_client(autocommit=True) as connection:
        return await conversations.forget_old(connection, now=datetime.now(UTC), days=days)
